"""Owns what waits to be sent: which record goes into which batch, and which batches go into the next request. Pure.

The time is a parameter; nothing here sends or waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from operator import attrgetter

from headwater.core.record import Record
from headwater.core.topic import Receipt
from headwater.fluvio.batch import HEADER_BYTES, MOST_BATCH_BYTES, EncodedBatch
from headwater.fluvio.partition import partition_of

# Holds every fixed part and number of a record at its longest (bytes).
RECORD_OVERHEAD = 32
# No record can be larger in a batch that stock consumers can read (bytes).
MOST_RECORD_BYTES = MOST_BATCH_BYTES - HEADER_BYTES - RECORD_OVERHEAD


def sizes_of(records: Iterable[Record]) -> list[int]:
    """Return how many bytes of a batch each record needs at most."""
    return [
        len(record.value) + (RECORD_OVERHEAD if record.key is None else RECORD_OVERHEAD + len(record.key))
        for record in records
    ]


class Turns:
    """Whose turn it is among partitions: each record without a key has the next one, as with stock clients."""

    def __init__(self) -> None:
        self._next = 0

    def spread(self, records: Sequence[Record], partitions: int) -> dict[int, Sequence[Record]]:
        """Return which records go to which partition, in their order. Keys choose as in Fluvio."""
        if partitions == 1:
            return {0: records}
        if len(records) == 1 and records[0].key is None:
            self._next += 1
            return {(self._next - 1) % partitions: records}
        spread: dict[int, list[Record]] = {}
        for record in records:
            if record.key is None:
                partition = self._next % partitions
                self._next += 1
            else:
                partition = partition_of(record.key, partitions)
            spread.setdefault(partition, []).append(record)
        return {**spread}


class Sending:
    """One call to send: done when the last of its batches is."""

    __slots__ = ("_left", "_receipts", "future")

    def __init__(self, future: asyncio.Future[list[Receipt]]) -> None:
        self.future = future
        self._left = 0
        self._receipts: list[Receipt] = []

    def expect(self) -> None:
        """Wait for one more batch."""
        self._left += 1

    def settle(self, receipt: Receipt) -> None:
        """Take the receipt of one batch's share."""
        self._left -= 1
        self._receipts.append(receipt)
        if not self._left and not self.future.done():
            self.future.set_result(joined(self._receipts))

    def fail(self, error: BaseException) -> None:
        """End with an error; what else is under way goes on, and nobody hears of it."""
        if not self.future.done():
            self.future.set_exception(error)


def joined(receipts: Iterable[Receipt]) -> list[Receipt]:
    """Return receipts by partition and offset, those that follow one another as one."""
    made: list[Receipt] = []
    for receipt in sorted(receipts, key=attrgetter("partition", "base_offset")):
        last = made[-1] if made else None
        if (
            last is not None
            and last.partition == receipt.partition
            and last.base_offset + last.count == receipt.base_offset
        ):
            made[-1] = Receipt(last.partition, last.base_offset, last.count + receipt.count)
        else:
            made.append(receipt)
    return made


class Batch:
    """Records that go together: for whom, by when they must leave, and by when they must have arrived (seconds)."""

    __slots__ = ("deadline", "due", "encoded", "full", "partition", "records", "shares", "size")

    def __init__(self, partition: int, due: float, deadline: float) -> None:
        self.partition = partition
        self.due = due
        self.deadline = deadline
        self.records: list[Record] = []
        self.size = HEADER_BYTES
        self.full = False
        self.encoded: EncodedBatch | None = None
        self.shares: list[tuple[Sending, int, int]] = []

    def settle(self, base_offset: int) -> None:
        """Tell everybody who has records in it where they are."""
        for sending, first, count in self.shares:
            sending.settle(Receipt(self.partition, base_offset + first, count))

    def fail(self, error: BaseException) -> None:
        """Tell everybody who has records in it that they did not arrive."""
        for sending, _, _ in self.shares:
            sending.fail(error)


class Pile:
    """The batches that wait for one partition, in their order."""

    def __init__(self, partition: int, batch_bytes: int) -> None:
        self.partition = partition
        self._batch_bytes = batch_bytes
        self.batches: deque[Batch] = deque()

    def add(self, records: Sequence[Record], sending: Sending, due: float, deadline: float) -> None:
        """Put records into batches, the last one first as far as it has room."""
        batch = self.batches[-1] if self.batches else None
        start = 0
        if batch is not None and batch.full:
            batch = None
        first = 0 if batch is None else len(batch.records)
        for index, record in enumerate(records):
            # As sizes_of() says: a list of them costs more than adding them up again.
            key = record.key
            size = len(record.value) + (RECORD_OVERHEAD if key is None else RECORD_OVERHEAD + len(key))
            if batch is not None and batch.size + size > self._batch_bytes:
                # A larger record has a batch of its own.
                batch.full = True
                self._share(batch, sending, first, records[start:index])
                batch = None
            if batch is None:
                batch = Batch(self.partition, due, deadline)
                self.batches.append(batch)
                first, start = 0, index
            batch.size += size
        if batch is not None:
            batch.full = batch.size >= self._batch_bytes
            self._share(batch, sending, first, records[start:])

    @staticmethod
    def _share(batch: Batch, sending: Sending, first: int, records: Sequence[Record]) -> None:
        if records:
            batch.records += records
            batch.shares.append((sending, first, len(records)))
            sending.expect()

    def due(self) -> float | None:
        """Return when the first batch must leave, None when there is none. A full one has no reason to wait."""
        if not self.batches:
            return None
        first = self.batches[0]
        return 0.0 if first.full else first.due

    def take(self, now: float, room: int) -> list[Batch]:
        """Take the batches that must leave now, as many as have room, but one if `room` is not 0 (bytes)."""
        taken: list[Batch] = []
        while self.batches and room > 0:
            first = self.batches[0]
            if (not first.full and first.due > now) or (taken and first.size > room):
                break
            # What has left takes no more records, also when it comes back.
            first.full = True
            taken.append(self.batches.popleft())
            room -= first.size
        return taken

    def put_back(self, batches: Sequence[Batch]) -> None:
        """Put batches that did not arrive before all others."""
        self.batches.extendleft(reversed(batches))

    def clear(self) -> list[Batch]:
        """Take all batches."""
        batches, self.batches = self.batches, deque()
        return list(batches)

    def expire(self, now: float) -> list[Batch]:
        """Take the batches whose deadline has passed."""
        expired = [batch for batch in self.batches if batch.deadline <= now]
        if expired:
            self.batches = deque(batch for batch in self.batches if batch.deadline > now)
        return expired
