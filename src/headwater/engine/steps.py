"""Owns storing one answer in several steps: the next is made in a thread while the last is on its way to the disk.

What a step holds is the reaping's; what an append that is refused comes to is the round's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import msgspec

from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError
from headwater.engine.harvest import Harvest
from headwater.log import Append, Receipt
from headwater.sources.reaped import Reaped
from headwater.sources.reaping import Reaping
from headwater.sources.split.item import WINDOW
from headwater.sources.split.resume import AnotherBodyError

# Returns what is left of a step, given the checkpoint of the one before.
Make = Callable[[Reaped, Checkpoint], Harvest]


class Tally(msgspec.Struct):
    """What the steps of one exchange came to that are stored, and where the first of them begins."""

    steps: int = 0
    records: int = 0
    rejected: int = 0
    partition: int | None = None
    offset: int | None = None

    def add(self, harvest: Harvest, receipt: Receipt) -> None:
        """Count a step that is stored."""
        if not self.steps:
            self.partition, self.offset = receipt.partition, receipt.base_offset
        self.steps += 1
        self.records += harvest.exchange.records
        self.rejected += harvest.exchange.rejected

    @property
    def told(self) -> str:
        """What is said of them where the rest is not stored."""
        return f"{self.records:,} records of it are stored, in {self.steps} step{'s' if self.steps != 1 else ''}"

    def summed(self, harvest: Harvest) -> Append:
        """Return the append of the last step, whose entry in the ledger tells of all."""
        append, entry = harvest.append, harvest.append.exchange
        if not self.steps or entry is None:
            return append
        if harvest.exchange.topic is None:
            return msgspec.structs.replace(append, exchange=_with(entry, reason=f"{entry.reason}; {self.told}"))
        entry = _with(
            entry,
            reason=f"{entry.reason}; in {self.steps + 1} steps",
            records=entry.records + self.records,
            rejected=entry.rejected + self.rejected,
            partition=self.partition,
            offset=self.offset,
        )
        return msgspec.structs.replace(append, exchange=entry)


_with = msgspec.structs.replace


class Steps:
    """Stores an answer but for its last step. `refused` says whether a step is not to be stored at all."""

    __slots__ = ("_append", "_latest", "_make", "_reaping", "_refused")

    def __init__(
        self,
        reaping: Reaping,
        before: Checkpoint,
        make: Make,
        append: Callable[[Harvest], Awaitable[None]],
        refused: Callable[[Harvest], bool],
    ) -> None:
        self._reaping = reaping
        self._latest = before
        self._make = make
        self._append = append
        self._refused = refused

    async def store(self, pieces: AsyncIterator[bytes]) -> Harvest:
        """Take the pieces of a body, store step after step, and return the last, or one that is refused.

        Raises what `pieces` does, and AnotherBodyError. What is stored then stays.
        """
        storing: asyncio.Task[None] | None = None
        try:
            async for piece in pieces:
                harvest = await asyncio.to_thread(self._feed, piece)
                if harvest is None:
                    continue
                if storing is not None:
                    await storing
                    storing = None
                if self._reaping.ended or self._refused(harvest):
                    return harvest
                storing = asyncio.create_task(self._stored(harvest))
                await _remembered(storing, harvest)
            last = await asyncio.to_thread(self._finish)
        except (FetchError, AnotherBodyError):
            if storing is not None:
                await storing
            raise
        except BaseException:
            if storing is not None:
                storing.cancel()
                with suppress(asyncio.CancelledError):
                    await storing
            raise
        if storing is not None:
            await storing
        return last

    async def _stored(self, harvest: Harvest) -> None:
        await self._append(harvest)

    def _feed(self, piece: bytes) -> Harvest | None:
        reaped = self._reaping.feed(piece)
        return None if reaped is None else self._made(reaped)

    def _finish(self) -> Harvest:
        return self._made(self._reaping.finish())

    def _made(self, reaped: Reaped) -> Harvest:
        harvest = self._make(reaped, self._latest)
        self._latest = harvest.checkpoint
        return harvest


async def _remembered(storing: asyncio.Task[None], harvest: Harvest) -> None:
    """Wait for a step that changes what is remembered, for the next one asks what that is."""
    if harvest.append.memory is not None:
        await storing


async def sliced(body: bytes) -> AsyncIterator[bytes]:
    """Give out a body that is held, in pieces."""
    view = memoryview(body)
    for start in range(0, len(body), WINDOW):
        yield bytes(view[start : start + WINDOW])
