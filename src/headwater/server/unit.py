"""Owns what the SPU's port does: append, read, follow, and how far consumers have got.

Batches go into the log as they come and out of it as they are; only a request with SmartModules has records looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headwater.core.errors import HeadwaterError, TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import Receipt
from headwater.fluvio import records as spu
from headwater.fluvio.batch import EncodedBatch, decode_header, decode_records, encode_batches
from headwater.fluvio.batches import split_batches
from headwater.fluvio.compression import Compression, agreed
from headwater.fluvio.errorcode import OK, ErrorCode, Replica, as_code, code
from headwater.fluvio.frame import Header
from headwater.fluvio.wire import Reader, decode, encode
from headwater.log import Append, ConsumerOffset, Log
from headwater.server.connection import Apis, Connection, Turns
from headwater.server.describe import CONSUMER_TOPIC
from headwater.server.refused import RefusedError
from headwater.server.stream import Stream

if TYPE_CHECKING:
    from headwater.server.modules import Modules
    from headwater.transforms.chain import Chain

RANGES = {
    spu.PRODUCE: (7, 25),
    spu.FETCH: (10, 25),
    spu.FETCH_OFFSETS: (0, 25),
    spu.STREAM_FETCH: (16, 25),
    spu.UPDATE_OFFSETS: (0, 25),
    spu.UPDATE_CONSUMER_OFFSET: (23, 25),
    spu.DELETE_CONSUMER_OFFSET: (23, 25),
    spu.FETCH_CONSUMER_OFFSETS: (23, 25),
}
# As in Fluvio's storage (bytes).
_MOST_BATCH = 2_097_152
# Streams of one connection: as many as a topic may have partitions.
_MOST_STREAMS = 10_000
_LONGEST_WAIT = 30.0
# What one reply to a fetch holds (bytes), as its clients ask for at most.
_MOST_FETCHED = 4 * 1024 * 1024


class Unit:
    """The SPU that there is: it leads every partition."""

    def __init__(self, log: Log, modules: Callable[[], Modules]) -> None:
        self._log = log
        self._modules = modules
        self._numbers = count(1)
        self.apis = Apis(
            {
                spu.PRODUCE: self._produce,
                spu.FETCH: self._fetch,
                spu.FETCH_OFFSETS: self._fetch_offsets,
                spu.STREAM_FETCH: self._stream_fetch,
                spu.UPDATE_OFFSETS: self._update_offsets,
                spu.UPDATE_CONSUMER_OFFSET: self._update_consumer_offset,
                spu.DELETE_CONSUMER_OFFSET: self._delete_consumer_offset,
                spu.FETCH_CONSUMER_OFFSETS: self._fetch_consumer_offsets,
            },
            RANGES,
        )

    async def _produce(self, header: Header, reader: Reader, connection: Connection) -> None:
        request = decode(spu.Produce, reader, header.version)
        refused: ErrorCode | None = None
        chain: Chain | None = None
        if request.modules:
            try:
                chain = await self._modules().chain(request.modules)
            except RefusedError as error:
                refused = error.code
        # Everything is submitted before the next request is read, so that records keep their order.
        topics = []
        turns = Turns()
        for topic in request.topics:
            entries = []
            for data in topic.partitions:
                await turns.next()
                outcome = refused or await self._append(topic.topic, data, chain)
                entries.append(_Entry(data.partition, outcome))
            topics.append((topic.topic, entries))
        await connection.reply_later(header, _produced(topics, header.version))

    async def _append(
        self, topic: str, data: spu.PartitionData, chain: Chain | None
    ) -> ErrorCode | asyncio.Future[Receipt]:
        """Submit what a request has for a partition; return its receipt to come, or why it is refused."""
        info = self._log.info(topic)
        if info is None:
            return code("TopicNotFound")
        if data.partition >= info.spec.partitions:
            return code("NotLeaderForPartition")
        try:
            batches = split_batches(data.batches, most=_MOST_BATCH)
            for batch in batches:
                codec = Compression(decode_header(batch.data).attributes & 0x07)
                if agreed(codec.name.lower(), info.spec.compression) is None:
                    return code("CompressionError")
            if chain is not None:
                batches = await asyncio.to_thread(self._transformed, chain, batches)
            return self._log.submit(Append(topic, batches, data.partition))
        except RefusedError as error:
            return error.code
        except ValueError:
            return code("CompressionError")
        except HeadwaterError as error:
            return as_code(error)

    def _transformed(self, chain: Chain, batches: list[EncodedBatch]) -> list[EncodedBatch]:
        from headwater.server.modules import passed  # noqa: PLC0415 - only modules pay for the import

        records = [record for batch in batches for record in decode_records(batch.data)]
        if not records:
            return batches
        outcome = passed(chain, records)
        if outcome.code:
            raise RefusedError(outcome.code)
        left = [Record(it.value, it.key, it.timestamp) for it in outcome.records]
        return encode_batches(left, self._log.now_ms())

    async def _fetch_offsets(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        request = decode(spu.FetchOffsets, reader, header.version)
        topics = []
        turns = Turns()
        for topic in request.topics:
            found = []
            for number in topic.partitions:
                await turns.next()
                found.append(self._offsets(topic.topic, number))
            topics.append(spu.TopicOffsets(topic.topic, tuple(found)))
        if request.consumer is not None:
            topics = [self._from_consumer(topic, request.consumer, await self._log.kept_offsets()) for topic in topics]
        return (encode(spu.Offsets(tuple(topics)), header.version),)

    @staticmethod
    def _from_consumer(topic: spu.TopicOffsets, consumer: str, kept: Iterable[ConsumerOffset]) -> spu.TopicOffsets:
        """Return offsets that begin behind what a consumer has read: what version 23 understands by naming one."""
        read = {it.partition: it.offset + 1 for it in kept if (it.consumer, it.topic) == (consumer, topic.topic)}
        partitions = [
            msgspec.structs.replace(it, start=min(max(it.start, read.get(it.partition, it.start)), it.end))
            for it in topic.partitions
        ]
        return spu.TopicOffsets(topic.topic, tuple(partitions))

    def _offsets(self, topic: str, partition: int) -> spu.PartitionOffsets:
        if topic == CONSUMER_TOPIC and partition == 0:
            return spu.PartitionOffsets(OK, partition, 0, 0)
        try:
            start, end = self._log.reader.offsets(topic, partition)
        except HeadwaterError as error:
            return spu.PartitionOffsets(as_code(error), partition, -1, -1)
        return spu.PartitionOffsets(OK, partition, start, end)

    async def _fetch(self, header: Header, reader: Reader, connection: Connection) -> None:
        request = decode(spu.Fetch, reader, header.version)
        # Its reply is large, so few are made at once for one client.
        await connection.heavy.acquire()

        async def work() -> None:
            await connection.ready()
            fetched = await self._fetched_later(request, connection.shared.chunk)
            await connection.send(header, (encode(spu.Fetched(0, OK, -1, fetched), header.version),))

        connection.later(work()).add_done_callback(lambda _: connection.heavy.release())

    async def _fetched_later(self, request: spu.Fetch, chunk: int) -> tuple[spu.TopicFetched, ...]:
        """Return what there is, after waiting for some as long as the request says."""
        most = min(request.max_bytes if request.max_bytes > 0 else chunk, chunk, _MOST_FETCHED)
        fetched: tuple[spu.TopicFetched, ...] = ()
        infos = {topic.topic: self._log.info(topic.topic) for topic in request.topics}
        grown = [self._log.grown(info.id) for info in infos.values() if info is not None]
        try:
            for attempt in range(2):
                fetched = await self._fetched(request.topics, most)
                there = any(it.batches or it.code for topic in fetched for it in topic.partitions)
                if there or attempt or not grown or request.max_wait <= 0:
                    break
                wait = min(request.max_wait / 1000, _LONGEST_WAIT)
                await asyncio.wait(grown, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in grown:
                future.cancel()
        return fetched

    async def _fetched(self, topics: Iterable[spu.FetchTopic], left: int) -> tuple[spu.TopicFetched, ...]:
        """Return one batch at least and, beside it, no more than so many bytes."""
        replies = []
        turns = Turns()
        for topic in topics:
            found = []
            for wanted in topic.partitions:
                await turns.next()
                try:
                    start, end = self._log.reader.offsets(topic.topic, wanted.partition)
                    answer = OK if start <= wanted.offset <= end else code("OffsetOutOfRange")
                    data = b""
                    if left > 0 and not answer:
                        most = max(1, min(wanted.max_bytes, left))
                        batches = self._log.reader.read(topic.topic, wanted.partition, wanted.offset, most)
                        data = b"".join(batch.data for batch in batches)
                except HeadwaterError as error:
                    found.append(spu.PartitionFetched(wanted.partition, as_code(error)))
                    continue
                left -= len(data)
                found.append(spu.PartitionFetched(wanted.partition, answer, end, 0, start, None, data))
            replies.append(spu.TopicFetched(topic.topic, tuple(found)))
        return tuple(replies)

    async def _stream_fetch(self, header: Header, reader: Reader, connection: Connection) -> None:
        request = decode(spu.StreamFetch, reader, header.version)
        number = next(self._numbers) & 0x7FFFFFFF
        if len(connection.streams) >= _MOST_STREAMS:
            answer = spu.PartitionFetched(request.partition, code("Other", f"more than {_MOST_STREAMS} streams"))
            await connection.send(header, (encode(spu.StreamFetched(request.topic, number, answer), header.version),))
            return
        stream = Stream(connection, header, request, number=number, log=self._log, modules=self._modules)
        connection.streams[number] = stream
        connection.later(stream.run())

    async def _update_offsets(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:
        request = decode(spu.UpdateOffsets, reader, header.version)
        statuses = []
        turns = Turns()
        for update in request.offsets:
            await turns.next()
            stream = connection.streams.get(update.stream)
            if stream is not None:
                stream.want(update.offset)
            statuses.append(spu.OffsetStatus(update.stream, OK if stream else code("FetchSessionNotFoud")))
        return (encode(spu.OffsetsUpdated(tuple(statuses)), header.version),)

    async def _update_consumer_offset(self, header: Header, reader: Reader, connection: Connection) -> None:
        request = decode(spu.UpdateConsumerOffset, reader, header.version)
        stream: Stream | None = connection.streams.get(request.stream)

        async def work() -> Iterable[bytes]:
            answer = OK
            if stream is None:
                answer = code("FetchSessionNotFoud")
            elif not stream.consumer:
                answer = code("OffsetManagementDisabled")
            else:
                kept = ConsumerOffset(
                    stream.consumer, stream.topic, stream.partition, request.offset, self._log.now_ms()
                )
                try:
                    await self._log.keep_offset(kept)
                except HeadwaterError as error:
                    answer = as_code(error)
            return (encode(spu.ConsumerOffsetUpdated(request.offset, answer), header.version),)

        await connection.reply_later(header, work())

    async def _delete_consumer_offset(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        request = decode(spu.DeleteConsumerOffset, reader, header.version)
        answer = OK
        try:
            await self._log.forget_offset(request.consumer, request.replica.topic, request.replica.partition)
        except TopicNotFoundError:
            # Nothing is known of it, which is what the client wants.
            answer = OK
        except HeadwaterError as error:
            answer = as_code(error)
        return (encode(spu.ConsumerOffsetDeleted(answer), header.version),)

    async def _fetch_consumer_offsets(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        wanted = decode(spu.FetchConsumerOffsets, reader, header.version).filter or spu.ConsumerFilter()
        try:
            kept = await self._log.kept_offsets()
        except HeadwaterError as error:
            return (encode(spu.ConsumerOffsets(as_code(error), ()), header.version),)
        found = tuple(
            spu.ConsumerOffset(it.consumer, Replica(it.topic, it.partition), it.offset, it.modified // 1000)
            for it in kept
            if wanted.consumer in {None, it.consumer}
            and (wanted.replica is None or wanted.replica == Replica(it.topic, it.partition))
        )
        return (encode(spu.ConsumerOffsets(OK, found), header.version),)


class _Entry(NamedTuple):
    """A part of a request to append: its partition, and its receipt to come, or why it is refused."""

    partition: int
    outcome: ErrorCode | asyncio.Future[Receipt]


async def _produced(topics: list[tuple[str, list[_Entry]]], version: int) -> Iterable[bytes]:
    """Return the reply to a request to append, when all of it is on disk or refused."""
    replies = []
    turns = Turns()
    for topic, entries in topics:
        partitions = []
        for partition, outcome in entries:
            await turns.next()
            if isinstance(outcome, ErrorCode):
                partitions.append(spu.PartitionProduced(partition, outcome))
                continue
            try:
                receipt = await outcome
            except HeadwaterError as error:
                partitions.append(spu.PartitionProduced(partition, as_code(error)))
            else:
                partitions.append(spu.PartitionProduced(partition, OK, receipt.base_offset))
        replies.append(spu.TopicProduced(topic, tuple(partitions)))
    return (encode(spu.Produced(tuple(replies)), version),)
