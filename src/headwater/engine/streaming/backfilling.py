"""Owns asking for what happened in the gaps of a stream, one gap after the other, while the stream goes on.

What is asked is the configuration's: a poll by a window of time, which is the gap. How far that is stands in a
checkpoint of its own, so that a gap that is broken off goes on where it was, and one that is done is not begun again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from headwater.config import ConnectorConfig
from headwater.config.backfill import gap_backfilled
from headwater.core.callback import settle
from headwater.core.checkpoint import Checkpoint, Progress, decode_checkpoint, encode_checkpoint, gap_name
from headwater.engine.appending import Appender
from headwater.engine.connector import Connector, schedule_of
from headwater.engine.gate import Gate
from headwater.engine.round import Surroundings
from headwater.engine.watched import Watched
from headwater.fluvio.compression import Compression
from headwater.log import Append
from headwater.transforms.chain import Chain

Gap = tuple[int, int]
# More gaps than this wait no longer by themselves: the two that are nearest to each other become one.
MOST_WAITING = 100


def poll_of(config: ConnectorConfig, gap: Gap = (0, 1)) -> ConnectorConfig:
    """Return the poll that asks for a gap, times in ms since the Unix epoch. The stream has a `gap`."""
    made = gap_backfilled(config, *gap)
    return made.model_copy(update={"name": gap_name(config.name)}).located(
        config.place, config.masker, config.secret_origins
    )


def added(gaps: Sequence[Gap], gap: Gap) -> tuple[Gap, ...]:
    """Return gaps with one more, later than all others."""
    found = [*gaps, gap]
    if len(found) > MOST_WAITING:
        between = [later[0] - earlier[1] for earlier, later in pairwise(found)]
        place = between.index(min(between))
        found[place : place + 2] = [(found[place][0], found[place + 1][1])]
    return tuple(found)


class Backfilling:
    """The gaps of one stream: those of `waiting` are asked for, oldest first. `filled` is told of each that is done."""

    __slots__ = (
        "_appender",
        "_chain",
        "_compression",
        "_config",
        "_connector",
        "_filled",
        "_gates",
        "_partitions",
        "_shared",
        "_stopping",
        "_waiter",
        "waiting",
    )

    def __init__(  # noqa: PLR0917 - what a connector takes
        self,
        config: ConnectorConfig,
        shared: Surroundings,
        compression: Compression,
        chain: Chain | None,
        partitions: int,
        gates: Sequence[Gate],
        appender: Appender,
        filled: Callable[[Gap], None],
    ) -> None:
        self._config = config
        self._shared = shared
        self._compression = compression
        self._chain = chain
        self._partitions = partitions
        self._gates = gates
        self._appender = appender
        self._filled = filled
        self._connector: Connector | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._stopping = False
        self.waiting: list[Gap] = []

    def stop(self) -> None:
        """Let `run` end, after the exchange that is under way."""
        self._stopping = True
        for gate in self._gates:
            gate.stop()
        if self._connector is not None:
            self._connector.stop()
        self._wake()

    def add(self, gap: Gap) -> None:
        """Have a gap asked for."""
        self.waiting = [*added(self.waiting, gap)]
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            settle(self._waiter, None)

    async def run(self, waiting: Sequence[Gap]) -> None:
        """Ask for gaps, these first, until `stop` was called. Raises LogError when the log is beyond repair."""
        self.waiting = [*waiting]
        while not self._stopping:
            if not self.waiting:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
                continue
            gap = self.waiting[0]
            if await self._fill(gap):
                # It may have become one with the next meanwhile.
                self.waiting = [it for it in self.waiting if it[1] > gap[1]]
                self._filled(gap)

    async def _fill(self, gap: Gap) -> bool:
        """Ask for one gap; return whether all of it is stored, which it is unless `stop` was called."""
        poll, shared = poll_of(self._config, gap), self._shared
        start, end = gap
        stored = await shared.target.checkpoint(poll.name)
        known = Checkpoint() if stored is None else decode_checkpoint(stored)
        at = 0 if known.progress is None else known.progress.window
        if at >= end:
            return True
        if at < start:
            # What is left of the gap before is no part of this one.
            begun = Checkpoint(
                known.exchanges, known.records, transforms=known.transforms, progress=Progress(window=start)
            )
            await self._appender.store(Append(None, (), None, (poll.name, encode_checkpoint(begun))))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look(append: Append) -> None:
            assert append.checkpoint is not None
            progress = decode_checkpoint(append.checkpoint[1]).progress
            if progress is not None and progress.window >= end and not progress.round:
                settle(done, None)

        if self._stopping:
            return False
        watched: Any = Watched(shared.target, look)
        connector = self._connector = Connector(
            poll,
            dataclasses.replace(shared, target=watched),
            schedule_of(poll),
            self._compression,
            chain=self._chain,
            partitions=self._partitions,
            gates=self._gates,
        )
        task = asyncio.create_task(connector.run())
        try:
            await asyncio.wait((task, done), return_when=asyncio.FIRST_COMPLETED)
            connector.stop()
            await asyncio.wait((task,))
            if not task.cancelled():
                # By a cancellation it stops; what it raises is for whoever supervises us.
                task.result()
        finally:
            self._connector = None
            task.cancel()
        return done.done()
