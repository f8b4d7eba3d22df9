"""Owns one connector at work: wait for the tick, let its round be done, again. Decides nothing itself.

A poll that goes well is three callbacks: its time, its answer, its receipt. Futures and the wake-ups of a task would
cost more than all else in it. Whatever has to wait besides - another attempt, another page, a gate, a transform, a log
that refuses - is handed to the task of the connector, which does that round and lets the callbacks go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from headwater.config import ConnectorConfig
from headwater.core.callback import Cancellable, settle
from headwater.core.checkpoint import decode_checkpoint
from headwater.core.errors import FetchError, HeadwaterError
from headwater.core.http import Response
from headwater.engine.exchanges import Exchanges
from headwater.engine.gate import Gate
from headwater.engine.harvest import Harvest
from headwater.engine.lookback import begin
from headwater.engine.round import LARGE, Surroundings
from headwater.engine.schedule import Cron, Every, Schedule, Tick
from headwater.fluvio.compression import Compression
from headwater.log import Receipt
from headwater.sources.judge import Action
from headwater.transforms.chain import Chain

# A wall clock can be set while a cron waits: look at it at least this often (seconds).
_LONGEST_NAP = 30.0

# Members of an enum by name cost as much as five function calls in Python 3.11.
_STORE, _RETRY, _RENEW = Action.STORE, Action.RETRY, Action.REAUTHENTICATE

# What finishes a round that callbacks could not finish.
Rest = Callable[[], Awaitable[None]]


def schedule_of(config: ConnectorConfig, offset: float = 0.0) -> Schedule:
    """Return the schedule that a configuration asks for."""
    if config.http.cron is not None:
        return Cron(config.http.cron, config.http.timezone)
    return Every(config.interval.total_seconds(), offset)


class Connector:
    """One connector. `run` polls until it is cancelled, or until `stop` was called and no exchange is under way."""

    __slots__ = (
        "_chain",
        "_clock",
        "_fetcher",
        "_handed",
        "_harvest",
        "_pending",
        "_plain",
        "_round",
        "_schedule",
        "_target",
        "_task",
        "_waiting",
        "config",
    )

    def __init__(
        self,
        config: ConnectorConfig,
        shared: Surroundings,
        schedule: Schedule,
        compression: Compression = Compression.NONE,
        *,
        chain: Chain | None = None,
        partitions: int = 1,
        gates: Sequence[Gate] = (),
    ) -> None:
        self.config = config
        self._target = shared.target
        self._fetcher = shared.fetcher
        self._clock = shared.clock
        self._schedule = schedule
        self._chain = chain
        self._round = Exchanges(
            config, shared, schedule, compression, chain=chain, partitions=partitions, gates=gates, nap=self._nap
        )
        self._plain = self._round.plain
        self._task: asyncio.Task[None] | None = None
        # What the poll under way leaves.
        self._harvest: Harvest | None = None
        # What the next callback waits for, whether that is only time, and who takes over when callbacks cannot go on.
        self._pending: Cancellable | None = None
        self._waiting = False
        self._handed: asyncio.Future[Rest | None]

    def stop(self) -> None:
        """Ask the connector to end: at once when it only waits, else after the exchange that is under way."""
        self._round.stop()
        if self._waiting and self._task is not None:
            self._task.cancel()

    def next_poll(self) -> int | None:
        """Return when the next poll is due, ms since the Unix epoch; None while one is under way, and when never."""
        at = self._round.tick.at
        if not self._waiting or math.isinf(at):
            return None
        if not self._schedule.wall:
            at += self._clock.time_ms() / 1000 - self._clock.monotonic()
        return round(at * 1000)

    @property
    def finished(self) -> bool:
        """Whether its schedule has ended: it waits for a time that never comes."""
        return self._waiting and math.isinf(self._round.tick.at)

    async def run(self) -> None:
        """Poll for ever. Raises LogError: unless retryable, the log is beyond repair. Other trouble is counted."""
        self._task = asyncio.current_task()
        its = self._round
        stored = await self._target.checkpoint(self.config.name)
        if stored is not None:
            its.checkpoint = decode_checkpoint(stored)
        if self._chain is not None:
            state, topic = its.checkpoint.transforms, self.config.topic.name
            await begin(self._chain, state, self._target, topic, self._clock.time_ms())
        progress = its.checkpoint.progress
        # A round that was broken off goes on at once, also where a schedule would begin later.
        broken = its.checkpoint.body is not None or (progress is not None and progress.round)
        its.tick = Tick(its.now()) if broken else self._schedule.first(its.now())
        while not its.stopping:
            rest = await self._go_on()
            if rest is not None:
                await rest()

    async def _go_on(self) -> Rest | None:
        """Let callbacks poll; return what does the first round that they cannot do, or None at the stop."""
        self._handed = asyncio.get_running_loop().create_future()
        try:
            self._await_tick()
            return await self._handed
        finally:
            self._waiting = False
            if self._pending is not None:
                self._pending.cancel()
                self._pending = None

    # The first callback: time.

    def _await_tick(self) -> None:
        """Wait for the tick. Then `stop` may cancel the connector."""
        at = self._round.tick.at
        if self._schedule.wall:
            at = self._clock.monotonic() + min(at - self._clock.time_ms() / 1000, _LONGEST_NAP)
        self._waiting = True
        self._pending = self._clock.call_at(at, self._on_time)

    def _on_time(self) -> None:
        try:
            if self._schedule.wall and self._round.tick.at > self._clock.time_ms() / 1000:
                self._await_tick()
                return
            self._waiting = False
            if self._plain:
                self._pending = self._fetcher.begin(self._round.ask(), self._on_answer)
            else:
                self._hand_over(self._round.run)
        except Exception as error:  # noqa: BLE001 - a callback's boundary: `run` raises it
            self._crash(error)

    # The second callback: the answer.

    def _on_answer(self, outcome: Response | FetchError) -> None:
        try:
            self._pending = None
            its = self._round
            verdict = its.judge(outcome)
            action = verdict.action
            if action is _STORE and isinstance(outcome, Response) and its.quick and len(outcome.body) < LARGE:
                self._harvest = harvest = its.reap_at_once(outcome, verdict)
                self._target.store(harvest.append, self._on_receipt)
            elif action is _STORE or ((action is _RETRY or action is _RENEW) and not its.stopping):
                self._hand_over(partial(its.finish, outcome, verdict))
            else:
                self._follow(its.conclude(outcome, verdict))
        except Exception as error:  # noqa: BLE001 - a callback's boundary: `run` raises it
            self._crash(error)

    # The third callback: the receipt.

    def _on_receipt(self, outcome: Receipt | HeadwaterError) -> None:
        if self._handed.done():
            # Cancelled meanwhile. What was stored is stored: the next run begins with its checkpoint.
            return
        try:
            harvest = self._harvest
            assert harvest is not None
            if isinstance(outcome, Receipt):
                self._round.stored(harvest)
                self._follow(0.0)
            else:
                self._hand_over(partial(self._round.finish_append, harvest, outcome))
        except Exception as error:  # noqa: BLE001 - a callback's boundary: `run` raises it
            self._crash(error)

    # What all three share.

    def _follow(self, hold: float) -> None:
        """End the round under way and wait for the next, after `hold` seconds at the earliest."""
        self._round.close(hold)
        if self._round.stopping:
            self._hand_over(None)
        else:
            self._await_tick()

    def _hand_over(self, rest: Rest | None) -> None:
        settle(self._handed, rest)

    def _crash(self, error: Exception) -> None:
        if not self._handed.done():
            self._handed.set_exception(error)

    async def _nap(self, deadline: float) -> None:
        """Wait until a monotonic time. Meanwhile `stop` may cancel the connector."""
        if self._round.stopping:
            raise asyncio.CancelledError
        self._waiting = True
        try:
            await self._clock.sleep_until(deadline)
        finally:
            self._waiting = False
