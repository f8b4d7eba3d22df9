"""Owns one topic as callers see it: append, read, follow. Whoever has the log open does the writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from headwater.core.record import Record, StoredRecord, newest
from headwater.core.topic import Offset, Receipt
from headwater.fluvio.batch import decode_records, encode_batches
from headwater.fluvio.compression import Compression, agreed
from headwater.fluvio.partition import grouped
from headwater.log.reader import LogReader
from headwater.log.values import Append, TopicInfo

_CHUNK = 256 * 1024


class Appendable(Protocol):
    """What a topic needs of the log that it is in, whoever has that open."""

    @property
    def reader(self) -> LogReader:
        """A reader of its own, for the event loop's thread."""
        ...

    def now_ms(self) -> int:
        """Return the time, ms since the Unix epoch."""
        ...

    def submit(self, append: Append) -> asyncio.Future[Receipt]:
        """Queue an append."""
        ...

    def grown(self, topic: int) -> asyncio.Future[None]:
        """Return a future that is done when the topic has grown after this call."""
        ...


class Topic:
    """One topic of a log."""

    def __init__(self, log: Appendable, info: TopicInfo) -> None:
        self._log = log
        self.info = info

    async def append(self, records: Sequence[Record], *, partition: int | None = None) -> list[Receipt]:
        """Append records in one step per partition; return a receipt for each. Keys choose partitions as in Fluvio.

        Records without a key go to the partitions in turn, those of one call together. Raises TopicError or LogError.
        """
        now = self._log.now_ms()
        groups = grouped(records, self.info.spec.partitions) if partition is None else {partition: records}
        codec = agreed(None, self.info.spec.compression) or Compression.NONE
        appends = [Append(self.info.name, encode_batches(group, now, codec), place) for place, group in groups.items()]
        return await asyncio.gather(*(self._log.submit(append) for append in appends))

    async def last(self, most: int) -> list[StoredRecord]:
        """Return at most so many of the newest records, of all partitions by time, oldest first."""
        found: list[StoredRecord] = []
        for partition in range(self.info.spec.partitions):
            found += await self.read(Offset.end(most), partition=partition, limit=most)
        return newest(found, most)

    async def read(self, start: Offset | None = None, *, partition: int = 0, limit: int = 1000) -> list[StoredRecord]:
        """Return at most `limit` records that are there now, from the beginning unless `start` is given."""
        first, end = self._log.reader.offsets(self.info.name, partition)
        position = (start or Offset.beginning()).resolve(first, end)
        records: list[StoredRecord] = []
        while len(records) < limit:
            found = self._read(partition, position)
            if not found:
                break
            records += found
            position = records[-1].offset + 1
        return records[:limit]

    def _read(self, partition: int, position: int) -> list[StoredRecord]:
        batches = self._log.reader.read(self.info.name, partition, position, _CHUNK, topic_id=self.info.id)
        records = [record for batch in batches for record in decode_records(batch.data, partition=partition)]
        return [record for record in records if record.offset >= position]

    async def follow(self, start: Offset | None = None, *, partition: int | None = None) -> AsyncIterator[StoredRecord]:
        """Yield the records of one partition, or of all, from `start` (or the end), then as they are committed."""
        partitions = range(self.info.spec.partitions) if partition is None else (partition,)
        positions = {}
        for number in partitions:
            positions[number] = (start or Offset.end()).resolve(*self._log.reader.offsets(self.info.name, number))
        while True:
            # Asked for before reading, so that nothing committed meanwhile is slept through.
            grown = self._log.grown(self.info.id)
            moved = False
            for number in partitions:
                for record in self._read(number, positions[number]):
                    positions[number] = record.offset + 1
                    moved = True
                    yield record
            if not moved:
                await grown
