"""A hundred thousand items: there is never an object for each of them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.config.changes import ChangesOptions
from headwater.config.deduplicate import DeduplicateOptions
from headwater.core.memory import Remembered
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.fluvio.batch import encode_batches
from headwater.log import Append, Log
from headwater.sources.changes import Changes
from headwater.sources.dedup import Dedup
from headwater.sources.sifted import Sieve, Sifted, Sifter

ITEMS = 100_000
PIECE = 2000
# As a body that arrives is told of in steps (bytes).
STEP = 1024 * 1024
# Blocks of memory that Python may have at once beside those of the beginning: a step has thousands of items.
MOST = 80_000
SIFTERS = [
    Changes(ChangesOptions.model_validate({"key": "/id"}), connector="c", topic="cats"),
    Changes(ChangesOptions.model_validate({"key": "/id", "ignore": ["/at"]}), connector="c", topic="cats"),
    Changes(ChangesOptions.model_validate({"key": "/id", "removed": "ignore"}), connector="c", topic="cats"),
    Dedup(DeduplicateOptions.model_validate({"by": "/id", "count": 250_000}), connector="c", topic="cats"),
]


def pieces(served: int) -> Iterator[list[bytes]]:
    for start in range(0, ITEMS, PIECE):
        numbers = range(start, start + PIECE)
        yield [b'{"id":%d,"name":"item number %d","at":%d}' % (number, number, served) for number in numbers]


class Poll:
    """A round over all items, as a body that arrives. `blocks` is the most that was allocated after a piece."""

    def __init__(self, log: Log, sifter: Sifter, before: Remembered | None, round_: int) -> None:
        self._log = log
        self._sifter = sifter
        self._moment = Moment(round_, round_)
        self.remembered = before
        self.records = self.blocks = 0

    async def run(self, served: int) -> None:
        """Take the items, and store step after step."""
        sieve = self._sieve(going_on=False)
        for some in pieces(served):
            sieve.take(some, lambda place, some=some: Record(some[place]))  # type: ignore[misc]
            self.blocks = max(self.blocks, sys.getallocatedblocks())
            if sieve.size > STEP:
                await self._store(sieve.close(last=False))
                sieve = self._sieve(going_on=True)
        await self._store(sieve.close(last=True))

    def _sieve(self, *, going_on: bool) -> Sieve:
        return self._sifter.begin(self._log.recall("c"), self.remembered, self._moment, going_on=going_on)

    async def _store(self, sifted: Sifted) -> None:
        self.remembered = sifted.remembered
        self.records += len(sifted.records)
        await self._log.submit(Append("cats", encode_batches(sifted.records, 1), memory=sifted.memory))


@pytest.mark.parametrize("sifter", SIFTERS, ids=["changes", "ignoring", "parts", "dedup"])
async def test_what_is_held_is_bounded(tmp_path: Path, sifter: Sifter) -> None:
    """Of a first round in steps, and of one in which nothing has changed."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        gc.collect()
        before = sys.getallocatedblocks()
        first = Poll(log, sifter, None, 1)
        await first.run(0)
        second = Poll(log, sifter, first.remembered, 2)
        await second.run(int(sifter is SIFTERS[1]))
        assert (first.records, second.records) == (ITEMS, 0)
        assert second.remembered is not None
        assert second.remembered.known == ITEMS
        assert first.blocks - before < MOST
        assert second.blocks - before < MOST
