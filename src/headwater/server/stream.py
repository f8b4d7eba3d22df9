"""Owns one stream of records to a client: a partition from an offset on, one reply under way at a time.

A reply holds whole batches as they are stored. The next one goes out when the client has said from where on it wants
more: so a slow client costs one reply of memory, however far behind it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headwater.core.errors import HeadwaterError, SmartModuleError, TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import Offset
from headwater.fluvio.batch import StoredBatch, decode_records
from headwater.fluvio.batches import encode_stored, trimmed
from headwater.fluvio.errorcode import OK, ErrorCode, as_code, code
from headwater.fluvio.frame import Header
from headwater.fluvio.records import PartitionFetched, StreamFetch, StreamFetched
from headwater.fluvio.wire import encode
from headwater.log import Log, TopicInfo
from headwater.server.connection import Connection
from headwater.server.refused import RefusedError

if TYPE_CHECKING:
    from headwater.server.modules import Modules
    from headwater.transforms.chain import Chain


class Stream:
    """One stream. `run` sends until the connection ends, the topic is deleted, or an error code has gone out."""

    def __init__(
        self,
        connection: Connection,
        header: Header,
        request: StreamFetch,
        *,
        number: int,
        log: Log,
        modules: Callable[[], Modules],
    ) -> None:
        self.number = number
        self.topic = request.topic
        self.partition = request.partition
        self.consumer = request.consumer
        self._connection = connection
        self._header = header
        self._request = request
        # The partition's first offset and the one behind its last, when the file was asked last.
        self._bounds = (-1, -1)
        self._log = log
        self._modules = modules
        # Where the client says from where on it wants more, while a reply is under way.
        self._wanted: asyncio.Future[int] | None = None

    def want(self, offset: int) -> None:
        """Take in from where on the client wants more."""
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(offset)

    async def run(self) -> None:
        """Send what there is, then what comes. Raises OSError or TimeoutError when the client has gone."""
        shared = self._connection.shared
        shared.streams += 1
        try:
            info, position = self._start()
            chain = await self._chain(info)
            while True:
                position = await self._send_next(info, position, chain)
        except HeadwaterError as error:
            await self._send(self._answer(error), ())
        finally:
            shared.streams -= 1
            self._connection.streams.pop(self.number, None)

    @staticmethod
    def _answer(error: HeadwaterError) -> ErrorCode:
        return error.code if isinstance(error, RefusedError) else as_code(error)

    def _start(self) -> tuple[TopicInfo, int]:
        info = self._log.info(self.topic)
        if info is None:
            raise TopicNotFoundError(f"topic not found: {self.topic}")
        start, end = self._log.reader.offsets(self.topic, self.partition)
        position = self._request.offset
        if 0 <= position < start:
            raise RefusedError(code("OffsetEvicted", position, start))
        if not start <= position <= end:
            raise RefusedError(code("OffsetOutOfRange"))
        return info, position

    async def _chain(self, info: TopicInfo) -> Chain | None:
        request = self._request
        if request.wasm or request.legacy or request.module or request.derived:
            said = "modules in the form of Fluvio before 0.10 are not available; use a newer client"
            raise RefusedError(code("Other", said))
        if not request.modules:
            return None
        from headwater.server.modules import MOST_LOOKED_BACK  # noqa: PLC0415 - only modules pay for the import

        chain = await self._modules().chain(request.modules)
        topic = await self._log.topic(info.name)
        for index, lookback in chain.lookbacks:
            most = min(lookback.last or MOST_LOOKED_BACK, MOST_LOOKED_BACK)
            found = await topic.read(Offset.end(most), partition=self.partition, limit=most)
            since = 0 if lookback.age is None else self._log.now_ms() - lookback.age * 1000
            earlier = [Record(it.value, it.key, it.timestamp) for it in found if it.timestamp >= since]
            try:
                if earlier:
                    await asyncio.to_thread(chain.steps[index].stage.look_back, earlier)
            except SmartModuleError as error:
                raise RefusedError(code("SmartModuleLookBackError", error.message)) from error
        return chain

    async def _send_next(self, info: TopicInfo, position: int, chain: Chain | None) -> int:
        """Send the records from `position` on, waiting for some; return from where on the client wants more."""
        while True:
            # Asked for before reading, so that nothing committed meanwhile is slept through.
            grown = self._log.grown(info.id)
            # What other streams of this client have sent must be taken first, for each reply is large.
            await self._connection.ready()
            if chain is None:
                following = await self._send_stored(info, position)
            else:
                # What is being transformed is held meanwhile: of few streams at once.
                async with self._connection.heavy:
                    following = await self._send_passed(info, position, chain)
            if self._wanted is not None:
                grown.cancel()
                wanted, self._wanted = await self._wanted, None
                return max(wanted, 0)
            if following == position:
                await grown
            else:
                # Nothing has passed: the client need not hear of it.
                grown.cancel()
                position = following

    async def _send_stored(self, info: TopicInfo, position: int) -> int:
        """Send what there is as it is stored; return the offset behind it."""
        batches = self._read(info, position)
        if not batches:
            return position
        following = batches[-1].base_offset + batches[-1].count
        if batches[0].base_offset < position:
            # Stock clients take what stands before it for a part of what they asked for.
            first = batches[0]
            batches[0] = await asyncio.to_thread(lambda: trimmed(first, decode_records(first.data), position))
        await self._send_and_wait(OK, batches, following)
        return following

    async def _send_passed(self, info: TopicInfo, position: int, chain: Chain) -> int:
        """Send what the modules leave of what there is, if anything; return the offset behind it."""
        batches = self._read(info, position)
        if not batches:
            return position
        following = batches[-1].base_offset + batches[-1].count
        left, answer = await self._passed(chain, batches, position)
        if left or answer:
            await self._send_and_wait(answer, left, following)
        return following

    def _read(self, info: TopicInfo, position: int) -> list[StoredBatch]:
        most = min(max(1, self._request.max_bytes), self._connection.shared.chunk)
        newest = self._log.tails.read(info.id, self.partition, position, most)
        if newest:
            # The file would take most of a millisecond just after it was written.
            return newest
        self._bounds = self._log.reader.offsets(self.topic, self.partition)
        return self._log.reader.read(self.topic, self.partition, position, most, topic_id=info.id)

    async def _passed(
        self, chain: Chain, batches: Sequence[StoredBatch], position: int
    ) -> tuple[list[StoredBatch], ErrorCode]:
        from headwater.server.modules import passed  # noqa: PLC0415 - only modules pay for the import

        def work() -> tuple[list[StoredBatch], ErrorCode]:
            records = [record for batch in batches for record in decode_records(batch.data, partition=self.partition)]
            outcome = passed(chain, [it for it in records if it.offset >= position])
            return encode_stored(outcome.records), outcome.code

        return await asyncio.to_thread(work)

    async def _send_and_wait(self, answer: ErrorCode, batches: Sequence[StoredBatch], following: int) -> None:
        """Send a reply, which the client is to answer."""
        self._wanted = asyncio.get_running_loop().create_future()
        await self._send(answer, batches, following)

    async def _send(self, answer: ErrorCode, batches: Sequence[StoredBatch], following: int = 0) -> None:
        start, end = (-1, -1)
        if batches or not answer:
            start, end = self._bounds[0], max(following, self._bounds[1])
        fetched = PartitionFetched(self.partition, answer, end, following, start)
        head = encode(StreamFetched(self.topic, self.number, fetched), self._header.version)
        data = [batch.data for batch in batches]
        # The message ends with the length of its batches, which are not copied into it.
        await self._connection.send(self._header, (head[:-4], sum(map(len, data)).to_bytes(4), *data))
