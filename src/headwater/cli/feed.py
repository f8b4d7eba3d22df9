"""Owns the stored batches of a topic as `consume` reads them, wherever they are: what there is, then what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from headwater.cli.place import Place, cluster_of
from headwater.cli.span import Span
from headwater.core.record import StoredRecord
from headwater.core.topic import Offset
from headwater.fluvio.batch import StoredBatch, decode_records
from headwater.log import LogReader

if TYPE_CHECKING:
    from headwater.cluster import Cluster

# How often a follower asks the database for its version (seconds): an eighth of the delay that people are promised.
_NAP = 0.006
_CHUNK = 4 * 1024 * 1024
# Batches that may wait to be printed while more are fetched from a cluster.
_MOST_WAITING = 8

Piece = tuple[Span, Sequence[StoredBatch]]


class Feed(Protocol):
    """The records of one topic."""

    async def offsets(self) -> list[tuple[int, int]]:
        """Return of each partition its first offset and the one behind its last."""
        ...

    def pieces(self, spans: Sequence[Span]) -> AsyncIterator[Sequence[Piece]]:
        """Yield what there is for the spans until all are done. Whoever takes a piece moves its span on."""
        ...

    async def last(self, partition: int, most: int) -> list[StoredRecord]:
        """Return at most so many of the last records of a partition, oldest first."""
        ...


class FileFeed:
    """A topic of a data directory, read beside whoever writes it."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._info = reader.topic(topic)

    async def offsets(self) -> list[tuple[int, int]]:
        """Return the offsets of each partition."""
        return [self._reader.offsets(self._info.name, number) for number in range(self._info.spec.partitions)]

    async def pieces(self, spans: Sequence[Span]) -> AsyncIterator[Sequence[Piece]]:
        """Yield what there is, then look for more."""
        reader = self._reader
        while True:
            # Asked before reading: what is committed while this reads shows as a change afterwards.
            reader.changed()
            moved = False
            for span in spans:
                if not span.done and (batches := self._read(span.partition, span.position)):
                    moved = True
                    yield ((span, batches),)
            if all(span.done for span in spans):
                return
            while not moved and not reader.changed():  # noqa: ASYNC110 - another process writes: only the file tells
                await asyncio.sleep(_NAP)

    def _read(self, partition: int, position: int) -> list[StoredBatch]:
        return self._reader.read(self._info.name, partition, position, _CHUNK, topic_id=self._info.id)

    async def last(self, partition: int, most: int) -> list[StoredRecord]:
        """Return the last records of a partition."""
        start, end = self._reader.offsets(self._info.name, partition)
        position = max(start, end - most)
        found: list[StoredRecord] = []
        while position < end and (batches := self._read(partition, position)):
            for batch in batches:
                found += [it for it in decode_records(batch.data, partition=partition) if it.offset >= position]
            position = batches[-1].base_offset + batches[-1].count
        return found


class ClusterFeed:
    """A topic of a cluster."""

    def __init__(self, cluster: Cluster, topic: str, partitions: int) -> None:
        self._cluster = cluster
        self._topic = topic
        self._partitions = partitions

    async def offsets(self) -> list[tuple[int, int]]:
        """Return the offsets of each partition."""
        return [await self._cluster.offsets(self._topic, number) for number in range(self._partitions)]

    async def pieces(self, spans: Sequence[Span]) -> AsyncIterator[Sequence[Piece]]:
        """Yield what streams bring; of each partition one batch at a time, in their order."""
        waiting: asyncio.Queue[Piece | None] = asyncio.Queue(_MOST_WAITING)

        async def pump(span: Span) -> None:
            if span.done:
                return
            stream = self._cluster.stream(self._topic, span.partition, span.position, until=span.end)
            async with stream:
                async for batch in stream:
                    await waiting.put((span, (batch,)))

        async def pump_all() -> None:
            try:
                async with asyncio.TaskGroup() as pumps:
                    for span in spans:
                        pumps.create_task(pump(span))
            finally:
                await waiting.put(None)

        pumping = asyncio.create_task(pump_all())
        try:
            ended = False
            while not ended:
                pieces = [await waiting.get()]
                while not waiting.empty():
                    pieces.append(waiting.get_nowait())
                ended = None in pieces
                yield [piece for piece in pieces if piece is not None]
        finally:
            pumping.cancel()
            while not waiting.empty():
                waiting.get_nowait()
            outcome = (await asyncio.gather(pumping, return_exceptions=True))[0]
        if isinstance(outcome, BaseExceptionGroup):
            # Of several partitions the first trouble is told.
            raise outcome.exceptions[0]

    async def last(self, partition: int, most: int) -> list[StoredRecord]:
        """Return the last records of a partition."""
        return await self._cluster.read(self._topic, Offset.end(most), partition=partition, limit=most)


@asynccontextmanager
async def feed_of(place: Place, topic: str) -> AsyncIterator[Feed]:
    """Open a topic for reading. Raises TopicNotFoundError, LogError, ClusterError or ProfileError."""
    if not place.on_cluster:
        with LogReader(place.directory) as reader:
            yield FileFeed(reader, topic)
        return
    async with cluster_of(place) as cluster:
        yield ClusterFeed(cluster, topic, (await cluster.topic(topic)).spec.partitions)
