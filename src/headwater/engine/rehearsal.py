"""Owns rehearsals: a connector at work as always, for so many rounds, into a log that is thrown away.

A recording is made of a rehearsal over the network, a replay is one against a recording, with a clock that is turned.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import TopicNotFoundError
from headwater.core.exchange import Exchange
from headwater.core.http import Fetcher
from headwater.core.record import StoredRecord
from headwater.engine.backstage import Beside, Counted, Listed, PlayingFetcher, RecordingFetcher, Threads
from headwater.engine.connector import schedule_of
from headwater.engine.credentials import Credentials, Wicket
from headwater.engine.engine import Engine, RunState
from headwater.engine.standins import StandIns
from headwater.log import Log
from headwater.recording.tape import Player, Round, Take, Tape

# So much is kept of a topic.
_MOST_RECORDS = 1_000_000
# So many turns of the event loop without anything to do are enough to know that all wait for the clock.
_QUIET = 20
# How often is looked whether a connector has finished (seconds).
_GLANCE = 0.02


class TurnableClock(Clock, Protocol):
    """A clock that moves only when it is turned."""

    async def sleeping(self, sleepers: int = 1) -> float:
        """Wait until so many sleep; return the seconds until the first wakes."""
        ...

    def advance(self, seconds: float) -> None:
        """Turn the clock."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What a rehearsal came to: the records of each topic in order, the ledger, and what crashed the connector."""

    records: list[tuple[str, StoredRecord]]
    entries: list[Exchange]
    crash: str = ""


async def record(
    config: ConnectorConfig,
    log: Log,
    fetcher: Fetcher,
    *,
    directory: Path,
    rounds: int,
    most: int,
    most_bytes: int,
    credentials: Wicket | None = None,
) -> tuple[Tape, Outcome, bool]:
    """Let a connector do so many rounds over the network; return the recording, what came of it, and if that is all.

    `directory` has the SmartModules. What `credentials` send is not recorded: there is little in it but secrets.
    """
    recorder = RecordingFetcher(fetcher, config.masker.mask, most=most, most_bytes=most_bytes)
    schedule = Counted(schedule_of(config), rounds)
    target = Beside(log, directory, lambda: None)
    wicket = credentials or Credentials(target, fetcher, SystemClock(), random.random)
    engine = Engine(target, recorder, schedule=lambda _config, _offset: schedule, credentials=wicket)
    crash = ""
    try:
        await engine.prepare([config])
        await engine.start([config])
        crash = await _until(engine, config.name, recorder.full)
    finally:
        await engine.drain(1.0)
    outcome = await _outcome(config, log, target, crash)
    return _tape(config, recorder.takes(), outcome.entries), outcome, not recorder.full.is_set()


def _tape(config: ConnectorConfig, takes: Sequence[Take], entries: Sequence[Exchange]) -> Tape:
    """Part exchanges into the rounds that the ledger tells of: each entry had so many attempts."""
    rounds: list[Round] = []
    left = list(takes)
    for entry in entries:
        count = entry.attempts
        if not rounds or rounds[-1].scheduled != entry.scheduled:
            rounds.append(Round(entry.scheduled, []))
        rounds[-1].takes.extend(left[:count])
        del left[:count]
    if left:
        # Of credentials and children, which are no entries of their own: they are found wherever they stand.
        if not rounds:
            rounds.append(Round(0, []))
        rounds[-1].takes.extend(left)
    return Tape(config.name, [it for it in rounds if it.takes])


async def replay(
    config: ConnectorConfig,
    tape: Tape,
    log: Log,
    clock: TurnableClock,
    *,
    directory: Path,
    interrupted: bool = False,
) -> tuple[Outcome, Player]:
    """Let a connector do the rounds of a recording; return what came of it, and what is left of the recording.

    The `clock` stands at the time of the first round. With `interrupted` the connector is ended after each exchange
    that was stored, and begins again from its checkpoint.
    """
    player = Player(tape)
    start = clock.monotonic() - clock.time_ms() / 1000
    schedule = Listed([start + one.scheduled / 1000 for one in tape.rounds])
    stored = asyncio.Event()
    running: list[Engine] = []

    def on_stored() -> None:
        run = running[-1].runs().get(config.name) if interrupted and running else None
        if run is not None:
            run.connector.stop()
            stored.set()

    target = Beside(log, directory, on_stored)
    threads = Threads()
    asyncio.get_running_loop().set_default_executor(threads)
    while True:
        stored.clear()
        fetcher = PlayingFetcher(player, config.masker.mask)
        engine = Engine(
            target, fetcher, clock=clock, schedule=lambda *_: schedule, chance=lambda: 0.5, credentials=StandIns()
        )
        running.append(engine)
        turning = asyncio.create_task(_turn(clock, lambda: bool(target.pending or threads.busy)))
        try:
            await engine.prepare([config])
            await engine.start([config])
            crash = await _until(engine, config.name, stored)
        finally:
            await engine.drain(1.0)
            turning.cancel()
            with suppress(asyncio.CancelledError):
                await turning
        if crash or not stored.is_set():
            return await _outcome(config, log, target, crash), player
        schedule.leave_out(clock.monotonic())


async def _turn(clock: TurnableClock, at_work: Callable[[], bool]) -> None:
    """Turn the clock to whoever sleeps on it first, again and again, when nothing else is to be waited for."""
    while True:
        try:
            await clock.sleeping()
            quiet = 0
            while quiet < _QUIET:
                await asyncio.sleep(0.001 if at_work() else 0)
                quiet = 0 if at_work() else quiet + 1
            step = await clock.sleeping()
        except TimeoutError:
            # A transform may take long.
            continue
        if math.isinf(step):
            return
        clock.advance(step)


async def _until(engine: Engine, name: str, end: asyncio.Event) -> str:
    """Wait until the event has come, or the schedule has ended; return why the connector crashed, if it did."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GLANCE):
                await end.wait()
            return ""
        run = engine.runs().get(name)
        if run is None or run.state is not RunState.RUNNING:
            return "it ended" if run is None else run.reason
        if engine.fatal.done():
            return str(engine.fatal.result())
        if run.connector.finished:
            return ""


async def _outcome(config: ConnectorConfig, log: Log, target: Beside, crash: str) -> Outcome:
    records: list[tuple[str, StoredRecord]] = []
    for topic in (config.topic.name, config.dead_letters):
        if topic is None:
            continue
        with suppress(TopicNotFoundError):
            found = await log.last(topic, _MOST_RECORDS)
            records += [(topic, it) for it in sorted(found, key=lambda it: (it.partition, it.offset))]
    return Outcome(records, list(target.entries), crash)
