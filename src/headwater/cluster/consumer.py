"""Owns reading a partition of a cluster from a place on, whatever becomes of connections. Decodes no records.

What was handed out is the position: a stream that broke begins again behind it, so there is no gap and no repeat.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypedDict, Unpack

import msgspec

from headwater.cluster.consumeroffsets import consumer_offsets
from headwater.cluster.failure import MOVED, AgainError, refused
from headwater.cluster.flow import Flow
from headwater.cluster.links import Links
from headwater.cluster.position import step
from headwater.cluster.versions import CHAINS
from headwater.core.errors import (
    BatchError,
    ClusterError,
    ClusterProtocolError,
    ClusterRefusedError,
    ClusterUnreachableError,
)
from headwater.core.topic import Offset
from headwater.fluvio.batch import StoredBatch
from headwater.fluvio.frame import MOST_FRAME
from headwater.fluvio.invocation import Invocation
from headwater.fluvio.records import (
    FETCH_OFFSETS,
    STREAM_FETCH,
    FetchOffsets,
    Isolation,
    Offsets,
    OffsetsTopic,
    PartitionFetched,
    PartitionOffsets,
    StreamFetch,
)

# What stock clients ask for at once (bytes): holds any batch that they write.
MAX_BYTES = 1_048_588
# A stream that lasted so long was a good one: what broke it is not what broke the one before (seconds).
_LASTED = 10.0


async def offsets(links: Links, topic: str, partition: int) -> tuple[int, int]:
    """Return the offset of a partition's first record, and the one behind the last. Raises HeadwaterError."""

    async def ask() -> tuple[int, int]:
        spu = await links.leader(topic, partition)
        connection = await links.asking(spu.spec.id)
        request = FetchOffsets((OffsetsTopic(topic, (partition,)),))
        reply = await links.ask(connection, FETCH_OFFSETS, request, Offsets)
        found = _only(reply, topic, partition)
        if found is None:
            raise connection.distrust(f"{connection.endpoint} sent offsets of something else than it was asked for")
        if found.code:
            error = refused(found.code, f"cannot get the offsets of partition {partition} of topic {topic}")
            raise AgainError(error) if found.code.number in MOVED else error
        return found.start, found.end

    return await links.persist(ask)


def _only(reply: Offsets, topic: str, partition: int) -> PartitionOffsets | None:
    found = [it for made in reply.topics if made.topic == topic for it in made.partitions]
    return found[0] if len(found) == 1 and found[0].partition == partition else None


class Reading(TypedDict, total=False):
    """How records are read: the most bytes of an answer, what may be seen, and the SmartModules they pass first."""

    max_bytes: int
    isolation: Isolation
    modules: Sequence[Invocation]


class BatchStream:
    """The batches of one partition from a place on: `async for batch in stream`.

    `start` is a place, or an offset that is taken as it is. Whole batches come, so the first may begin before it: the
    caller drops those records. The stream ends where the position reaches `until`, else only by an error, or when the
    caller ends it with `async with` or `aclose`: leaving a loop does not, for another one may go on. A named `consumer`
    that the cluster keeps an offset for begins behind that, whatever `start` says.
    """

    def __init__(
        self,
        links: Links,
        topic: str,
        partition: int,
        start: Offset | int,
        *,
        until: int | None = None,
        consumer: str | None = None,
        **how: Unpack[Reading],
    ) -> None:
        self._links = links
        self._start = start
        self._until = until
        self._request = StreamFetch(
            topic,
            partition,
            0,
            how.get("max_bytes", MAX_BYTES),
            how.get("isolation", Isolation.READ_UNCOMMITTED),
            modules=tuple(how.get("modules", ())),
            consumer=consumer,
        )
        self._name = f"partition {partition} of topic {topic}"
        self._flow: Flow | None = None
        self._opened: float | None = None
        self._batches = self._run()
        self.begin = -1
        self.position = -1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[StoredBatch]:
        return self._batches

    async def aclose(self) -> None:
        """End the stream."""
        await self._batches.aclose()

    async def commit(self, offset: int) -> None:
        """Have the cluster keep that the stream's consumer is done with everything up to `offset`, inclusive.

        The next stream of the consumer begins behind it. Raises ClusterError, also when nothing has come yet.
        """
        if self._flow is None:
            raise ClusterUnreachableError(f"cannot keep offset {offset}: {self._name} is not being streamed now")
        await self._flow.commit(offset)

    async def _run(self) -> AsyncGenerator[StoredBatch, None]:
        """Stream, and again when that broke. Patience is for each break anew."""
        clock = self._links.clock
        failures, until = 0, 0.0
        while True:
            try:
                async with aclosing(self._stream()) as batches:
                    async for batch in batches:
                        failures = 0
                        yield batch
            except AgainError as again:
                error = again.error
            except ClusterError as broken:
                if not broken.retryable:
                    raise
                error = broken
            else:
                if self._until is not None and self.position >= self._until:
                    return
                continue  # with a larger bound
            now = clock.monotonic()
            if not failures or (self._opened is not None and now - self._opened > _LASTED):
                failures, until = 0, now + self._links.target.patience.total_seconds()
            if now >= until:
                raise error
            await self._links.rest(failures, until, news=isinstance(error, ClusterRefusedError))
            await self._links.refresh()
            failures += 1

    async def _stream(self) -> AsyncGenerator[StoredBatch, None]:
        """Stream on one connection until it breaks, or the end is reached, or a batch needs a larger bound."""
        links, request = self._links, self._request
        self._opened = None
        if self.position < 0:
            self.begin = self.position = await self._resolve()
        if self._until is not None and self.position >= self._until:
            return
        spu = await links.leader(request.topic, request.partition)
        connection = await links.streaming(spu.spec.id)
        if request.modules and connection.version(STREAM_FETCH) < CHAINS:
            raise ClusterProtocolError(f"{connection.endpoint} is too old for SmartModules in a request")
        flow = Flow(connection, msgspec.structs.replace(request, offset=self.position))
        self._flow, self._opened = flow, links.clock.monotonic()
        try:
            while self._until is None or self.position < self._until:
                answer = (await flow.next()).partition
                try:
                    found = step(answer, self.position)
                except BatchError as error:
                    raise connection.distrust(f"{connection.endpoint} sent damaged batches: {error.message}") from error
                if found.needed is not None:
                    self._grow(found.needed, answer)
                    return
                if found.update is not None:
                    flow.go_on(found.update)
                for batch in found.batches:
                    self.position = max(self.position, batch.base_offset + batch.count)
                    yield batch
                self.position = found.next
                if answer.code:
                    raise self._refused(answer)
        finally:
            self._flow = None
            links.end_stream(connection, flow.number)

    async def _resolve(self) -> int:
        request = self._request
        if request.consumer is not None:
            for kept in await consumer_offsets(self._links, request.consumer, request.topic, request.partition):
                return kept.offset + 1
        if isinstance(self._start, int):
            return self._start
        return self._start.resolve(*await offsets(self._links, request.topic, request.partition))

    def _grow(self, needed: int, answer: PartitionFetched) -> None:
        """Ask for more at once: a server stops where its bytes are enough, be it in the middle of the first batch."""
        most = self._request.max_bytes
        if needed <= most or needed > MOST_FRAME:
            raise ClusterProtocolError(
                f"a batch of {needed} bytes at offset {self.position} of {self._name} does not come:"
                f" {len(answer.batches)} bytes came of {most} that were asked for"
            )
        self._request = msgspec.structs.replace(self._request, max_bytes=needed)

    def _refused(self, answer: PartitionFetched) -> Exception:
        error = refused(answer.code, f"cannot stream {self._name} from offset {self.position} on")
        return AgainError(error) if answer.code.number in MOVED else error
