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
from headwater.core.errors import FetchError, HeadwaterError, RequestError, TopicNotFoundError
from headwater.core.exchange import Exchange
from headwater.core.http import Deliver, Fetcher, Fetching, Request, Response
from headwater.core.memory import Recall
from headwater.core.record import StoredRecord
from headwater.engine.connector import schedule_of
from headwater.engine.credentials import Credentials, Wicket
from headwater.engine.engine import Engine, RunState
from headwater.engine.schedule import Schedule, Tick
from headwater.engine.standins import StandIns
from headwater.log import Append, Log, Receipt, TopicInfo, TopicSpec
from headwater.recording.tape import Answered, Asked, Mask, Player, Round, Take, Tape, answered, asked

# So much is kept of a topic, and of the ledger.
_MOST_RECORDS = 1_000_000
_MOST_ENTRIES = 100_000
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


class _Counted:
    """A schedule that ends after so many rounds."""

    def __init__(self, inner: Schedule, most: int) -> None:
        self._inner = inner
        self._most = most
        # The rounds that were asked about: each is asked what follows it several times.
        self._rounds: set[float] = set()

    @property
    def wall(self) -> bool:
        """Whether times are Unix time."""
        return self._inner.wall

    def first(self, now: float) -> Tick:
        """Return the first tick."""
        return self._inner.first(now)

    def after(self, last: float, now: float) -> Tick:
        """Return the tick that follows, at infinity when that would be one too many."""
        self._rounds.add(last)
        return self._inner.after(last, now) if len(self._rounds) < self._most else Tick(math.inf)


class _Listed:
    """A schedule of given times, on the monotonic scale."""

    wall = False

    def __init__(self, times: Sequence[float]) -> None:
        self._times = list(times)

    def leave_out(self, now: float) -> None:
        """Leave out what has been, for a connector that is started again."""
        self._times = [at for at in self._times if at > now]

    def first(self, now: float) -> Tick:
        """Return the first time."""
        return Tick(max(now, self._times[0]) if self._times else math.inf)

    def after(self, last: float, now: float) -> Tick:
        """Return the time that follows; those that have gone by meanwhile are left out."""
        return Tick(next((at for at in self._times if at > max(last, now)), math.inf))


class _Beside:
    """A log that finds SmartModules in another directory, keeps its ledger, and says when something was stored."""

    def __init__(self, log: Log, directory: Path, stored: Callable[[], None]) -> None:
        self.directory = directory
        self._log = log
        self._stored = stored
        # The ledger, in order: in the log itself some of it waits for an occasion.
        self.entries: list[Exchange] = []

    async def topics(self) -> Sequence[TopicInfo]:
        return await self._log.topics()

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> TopicInfo:
        return await self._log.create_topic(name, spec)

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        def received(outcome: Receipt | HeadwaterError) -> None:
            if isinstance(outcome, Receipt):
                self._keep(append.exchange)
                self._stored()
            receive(outcome)

        self._log.store(append, received)

    def note(self, exchange: Exchange) -> None:
        self._keep(exchange)
        self._log.note(exchange)

    def _keep(self, exchange: Exchange | None) -> None:
        if exchange is not None and len(self.entries) < _MOST_ENTRIES:
            self.entries.append(exchange)

    async def checkpoint(self, connector: str) -> bytes | None:
        return await self._log.checkpoint(connector)

    @property
    def remembers(self) -> bool:
        return self._log.remembers

    def recall(self, connector: str) -> Recall:
        return self._log.recall(connector)

    async def modules(self, names: Sequence[str]) -> dict[str, bytes]:
        return await self._log.modules(names)

    async def last(self, topic: str, most: int) -> list[StoredRecord]:
        return await self._log.last(topic, most)


class RecordingFetcher:
    """Keeps what goes through another fetcher, masked, up to so many exchanges and bytes."""

    def __init__(self, inner: Fetcher, mask: Mask, *, most: int, most_bytes: int) -> None:
        self._inner = inner
        self._mask = mask
        self._most = most
        self._room = most_bytes
        self.takes: list[Take] = []
        self.full = asyncio.Event()

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        """Begin an exchange. Its body is gathered, however the connector would have it."""

        def keep(outcome: Response | FetchError) -> None:
            size = len(outcome.body) if isinstance(outcome, Response) else 0
            if len(self.takes) < self._most and size <= self._room:
                self._room -= size
                self.takes.append(Take(asked(request, self._mask), answered(outcome, self._mask)))
            else:
                self.full.set()
            deliver(outcome)

        return self._inner.begin(msgspec.structs.replace(request, open=None, idle_timeout=None), keep)


class _Played:
    """An exchange of a replay under way."""

    def __init__(self, handle: asyncio.Handle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        self._handle.cancel()

    def resume(self) -> None:
        """Nothing is held back."""


class PlayingFetcher:
    """Answers from a recording."""

    def __init__(self, player: Player, mask: Mask) -> None:
        self._player = player
        self._mask = mask

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        """Deliver what was recorded for a request, or that there is nothing."""
        wanted: Asked = asked(request, self._mask)
        found: Answered | None = self._player.answer(wanted)
        outcome: Response | FetchError
        if found is None:
            hint = "record it again, or look at what has changed in the configuration"
            outcome = RequestError(f"it is not in the recording: {wanted.sentence()}", hint=hint)
        else:
            outcome = found.outcome(request.url)
        return _Played(asyncio.get_running_loop().call_soon(deliver, outcome))


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
    schedule = _Counted(schedule_of(config), rounds)
    target = _Beside(log, directory, lambda: None)
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
    return _tape(config, recorder.takes, outcome.entries), outcome, not recorder.full.is_set()


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
    schedule = _Listed([start + one.scheduled / 1000 for one in tape.rounds])
    stored = asyncio.Event()
    running: list[Engine] = []

    def on_stored() -> None:
        run = running[-1].runs().get(config.name) if interrupted and running else None
        if run is not None:
            run.connector.stop()
            stored.set()

    target = _Beside(log, directory, on_stored)
    while True:
        stored.clear()
        fetcher = PlayingFetcher(player, config.masker.mask)
        engine = Engine(
            target, fetcher, clock=clock, schedule=lambda *_: schedule, chance=lambda: 0.5, credentials=StandIns()
        )
        running.append(engine)
        turning = asyncio.create_task(_turn(clock))
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


async def _turn(clock: TurnableClock) -> None:
    """Turn the clock to whoever sleeps on it first, again and again."""
    while True:
        try:
            step = await clock.sleeping()
        except TimeoutError:
            # A transform may take long.
            continue
        if math.isinf(step):
            return
        clock.advance(step)
        await asyncio.sleep(0)


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


async def _outcome(config: ConnectorConfig, log: Log, target: _Beside, crash: str) -> Outcome:
    records: list[tuple[str, StoredRecord]] = []
    for topic in (config.topic.name, config.dead_letters):
        if topic is None:
            continue
        with suppress(TopicNotFoundError):
            found = await log.last(topic, _MOST_RECORDS)
            records += [(topic, it) for it in sorted(found, key=lambda it: (it.partition, it.offset))]
    return Outcome(records, list(target.entries), crash)
