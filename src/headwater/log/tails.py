"""Owns the newest batches of topics that are followed, in memory: a follower has them without asking the file. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from headwater.fluvio.batch import StoredBatch

# All tails together (bytes).
_MOST = 4 * 1024 * 1024


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """A batch that was just committed, and where."""

    topic: int
    partition: int
    batch: StoredBatch


class Tails:
    """For each partition its newest batches without a gap, the least lately grown ones dropped first."""

    __slots__ = ("_most", "_size", "_tails")

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._size = 0
        self._tails: OrderedDict[tuple[int, int], deque[StoredBatch]] = OrderedDict()

    def add(self, fresh: Fresh) -> None:
        """Put a batch at the end of its tail. One that does not follow the last begins a new tail."""
        place, batch = (fresh.topic, fresh.partition), fresh.batch
        tail = self._tails.get(place)
        if tail is None:
            tail = self._tails[place] = deque()
        elif tail and tail[-1].base_offset + tail[-1].count != batch.base_offset:
            self._size -= sum(len(it.data) for it in tail)
            tail.clear()
        self._tails.move_to_end(place)
        tail.append(batch)
        self._size += len(batch.data)
        while self._size > self._most:
            oldest, batches = next(iter(self._tails.items()))
            self._size -= len(batches.popleft().data)
            if not batches:
                del self._tails[oldest]

    def read(self, topic: int, partition: int, offset: int, most: int) -> list[StoredBatch]:
        """Return batches from the one that holds `offset` on: one if it is here, then up to `most` bytes.

        Nothing means that it is not here, not that it is nowhere.
        """
        found: list[StoredBatch] = []
        tail = self._tails.get((topic, partition))
        if not tail or not tail[0].base_offset <= offset < tail[-1].base_offset + tail[-1].count:
            return found
        size = 0
        for batch in tail:
            if batch.base_offset + batch.count > offset:
                found.append(batch)
                size += len(batch.data)
                if size >= most:
                    break
        return found
