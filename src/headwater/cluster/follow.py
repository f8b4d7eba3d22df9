"""Owns the records of a topic in a cluster as a caller reads them: one partition or all, for ever or what is there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Unpack

from headwater.cluster.consumer import BatchStream, Reading, offsets
from headwater.cluster.links import Links
from headwater.core.record import StoredRecord
from headwater.core.topic import Offset
from headwater.fluvio.batch import decode_records


async def follow(
    links: Links,
    topic: str,
    start: Offset | None = None,
    *,
    partition: int | None = None,
    **how: Unpack[Reading],
) -> AsyncGenerator[StoredRecord, None]:
    """Yield the records of one partition, or of all, from `start` (or the end), then as they come.

    Of each partition there are two answers at most in memory, and one batch of all. Raises HeadwaterError.
    """
    place = start or Offset.end()
    numbers = range(await links.partitions(topic)) if partition is None else (partition,)
    streams = [BatchStream(links, topic, number, place, **how) for number in numbers]
    if len(streams) == 1:
        async with aclosing(_records(streams[0], numbers[0])) as only:
            async for records in only:
                for record in records:
                    yield record
        return
    async with aclosing(_merged([_records(*it) for it in zip(streams, numbers, strict=True)])) as merged:
        async for records in merged:
            for record in records:
                yield record


async def _merged(
    sources: Sequence[AsyncGenerator[list[StoredRecord], None]],
) -> AsyncGenerator[list[StoredRecord], None]:
    """Yield what sources yield as it comes. One piece at most is taken before the caller wants it."""
    pieces: deque[list[StoredRecord]] = deque()
    room = asyncio.Semaphore(1)
    moved = asyncio.Event()

    async def pump(source: AsyncGenerator[list[StoredRecord], None]) -> None:
        async with aclosing(source):
            async for piece in source:
                await room.acquire()
                pieces.append(piece)
                moved.set()

    pumps = [asyncio.ensure_future(pump(source)) for source in sources]
    for task in pumps:
        task.add_done_callback(lambda _: moved.set())
    try:
        while True:
            moved.clear()
            while pieces:
                yield pieces.popleft()
                room.release()
            for task in pumps:
                if task.done():
                    task.result()
            await moved.wait()
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _records(stream: BatchStream, partition: int) -> AsyncGenerator[list[StoredRecord], None]:
    """Yield the records of one batch after another, from where the stream was to begin."""
    async with stream:
        async for batch in stream:
            records = decode_records(batch.data, partition=partition)
            if batch.base_offset < stream.begin:
                records = [record for record in records if record.offset >= stream.begin]
            yield records


async def read(
    links: Links,
    topic: str,
    start: Offset | None = None,
    *,
    partition: int = 0,
    limit: int = 1000,
    **how: Unpack[Reading],
) -> list[StoredRecord]:
    """Return at most `limit` records that are there now, from the beginning unless `start` is given."""
    first, end = await offsets(links, topic, partition)
    position = (start or Offset.beginning()).resolve(first, end)
    stream = BatchStream(links, topic, partition, position, until=end, **how)
    records: list[StoredRecord] = []
    async with aclosing(_records(stream, partition)) as found:
        async for some in found:
            records += some
            if len(records) >= limit:
                break
    return records[:limit]
