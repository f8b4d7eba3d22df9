"""Owns one connector at work: wait for the tick, exchange, judge, append, again. Decides nothing itself.

What to send and what an answer means is the source's; when to poll is the schedule's; what an answer leaves is the
harvester's; what is worth a log line is health's.

A poll that goes well is three callbacks: its time, its answer, its receipt. Futures and the wake-ups of a task would
cost more than all else in it. Whatever has to wait besides - another attempt, a transform, a log that refuses - is
handed to the task of the connector, which finishes that poll and lets the callbacks go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec
import structlog

from headwater.config import ConnectorConfig
from headwater.core.callback import Cancellable, settle
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.core.clock import Clock
from headwater.core.errors import ClusterError, FetchError, HeadwaterError, LogError
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Fetcher, Response
from headwater.core.units import format_duration
from headwater.engine.counters import Counters, Figures, Trouble
from headwater.engine.deadletter import told
from headwater.engine.harvest import Harvest, Harvester
from headwater.engine.health import Change, Health
from headwater.engine.lookback import begin
from headwater.engine.schedule import Cron, Every, Schedule, Tick
from headwater.engine.target import Target
from headwater.fluvio.compression import Compression
from headwater.log import Append, Receipt
from headwater.sources.judge import Action, Attempt, Verdict
from headwater.sources.poll import Poll
from headwater.sources.retry import back_off
from headwater.transforms.chain import Chain, Rejection

# A wall clock can be set while a cron waits: look at it at least this often (seconds).
_LONGEST_NAP = 30.0
# Bodies from this size on are rendered and encoded in a thread, so that they delay no other connector (bytes).
_LARGE = 256 * 1024
_APPEND_PAUSE, _LONGEST_APPEND_PAUSE = 0.5, 10.0

# Members of an enum by name cost as much as five function calls in Python 3.11.
_STORE, _RETRY, _FAIL, _ACCEPTED = Action.STORE, Action.RETRY, Action.FAIL, Decision.ACCEPTED
_DECISIONS = {
    Action.EMPTY: Decision.EMPTY,
    Action.UNCHANGED: Decision.UNCHANGED,
    Action.RETRY: Decision.FAILED,
    Action.FAIL: Decision.FAILED,
}

# What finishes a poll that callbacks could not finish.
Rest = Callable[[], Awaitable[None]]

logger = structlog.get_logger("headwater.connector")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connector of an engine shares. `chance` returns a random number in [0, 1)."""

    target: Target
    fetcher: Fetcher
    clock: Clock
    chance: Callable[[], float]
    figures: Figures


def schedule_of(config: ConnectorConfig, offset: float = 0.0) -> Schedule:
    """Return the schedule that a configuration asks for."""
    if config.http.cron is not None:
        return Cron(config.http.cron, config.http.timezone)
    return Every(config.interval.total_seconds(), offset)


class Connector:
    """One connector. `run` polls until it is cancelled, or until `stop` was called and no exchange is under way."""

    __slots__ = (
        "_attempts",
        "_begun",
        "_chain",
        "_checkpoint",
        "_clock",
        "_counters",
        "_duration",
        "_fetcher",
        "_handed",
        "_harvest",
        "_harvester",
        "_health",
        "_lag",
        "_mask",
        "_name",
        "_passing",
        "_pending",
        "_poll",
        "_requests",
        "_schedule",
        "_scheduled",
        "_shared",
        "_skipped",
        "_started",
        "_stopping",
        "_target",
        "_task",
        "_tick",
        "_topic",
        "_waiting",
        "_why",
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
    ) -> None:
        self.config = config
        self._name = config.name
        self._topic = config.topic.name
        self._mask = config.masker.mask
        self._shared = shared
        self._target = shared.target
        self._fetcher = shared.fetcher
        self._clock = shared.clock
        self._requests = shared.figures.requests
        self._lag = shared.figures.lag
        self._schedule = schedule
        self._poll = Poll(config)
        self._checkpoint = Checkpoint()
        self._chain = chain
        self._harvester = Harvester(config, self._poll, compression, chain, mask=self._told, partitions=partitions)
        self._health = Health()
        self._passing = Health()
        self._counters: Counters = shared.figures.of(config.name)
        self._counters.trouble = None
        self._skipped = 0
        self._why = ""
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        # The poll under way: its tick, when it began (on three scales), how long it took to be decided, what it left.
        self._tick = Tick(0.0)
        self._begun = 0.0
        self._started = self._scheduled = self._duration = self._attempts = 0
        self._harvest: Harvest | None = None
        # What the next callback waits for, whether that is only time, and who takes over when callbacks cannot go on.
        self._pending: Cancellable | None = None
        self._waiting = False
        self._handed: asyncio.Future[Rest | None]

    def stop(self) -> None:
        """Ask the connector to end: at once when it only waits, else after the exchange that is under way."""
        self._stopping = True
        if self._waiting and self._task is not None:
            self._task.cancel()

    def next_poll(self) -> int | None:
        """Return when the next poll is due, ms since the Unix epoch; None while one is under way, and when never."""
        if not self._waiting or math.isinf(self._tick.at):
            return None
        at = self._tick.at
        if not self._schedule.wall:
            at += self._clock.time_ms() / 1000 - self._clock.monotonic()
        return round(at * 1000)

    async def run(self) -> None:
        """Poll for ever. Raises LogError: unless retryable, the log is beyond repair. Other trouble is counted."""
        self._task = asyncio.current_task()
        stored = await self._target.checkpoint(self._name)
        if stored is not None:
            self._checkpoint = decode_checkpoint(stored)
        if self._chain is not None:
            await begin(self._chain, self._checkpoint.transforms, self._target, self._topic, self._clock.time_ms())
        self._tick = self._schedule.first(self._now())
        while not self._stopping:
            rest = await self._go_on()
            if rest is not None:
                await rest()

    async def _go_on(self) -> Rest | None:
        """Let callbacks poll; return what finishes the first poll that they cannot finish, or None at the stop."""
        self._handed = asyncio.get_running_loop().create_future()
        try:
            self._await_tick()
            return await self._handed
        finally:
            self._waiting = False
            if self._pending is not None:
                self._pending.cancel()
                self._pending = None

    def _now(self) -> float:
        """Return the time on the schedule's scale, in seconds."""
        return self._clock.time_ms() / 1000 if self._schedule.wall else self._clock.monotonic()

    # The first callback: time.

    def _await_tick(self) -> None:
        """Wait for the tick. Then `stop` may cancel the connector."""
        at = self._tick.at
        if self._schedule.wall:
            at = self._clock.monotonic() + min(at - self._clock.time_ms() / 1000, _LONGEST_NAP)
        self._waiting = True
        self._pending = self._clock.call_at(at, self._on_time)

    def _on_time(self) -> None:
        try:
            if self._schedule.wall and self._tick.at > self._clock.time_ms() / 1000:
                self._await_tick()
            else:
                self._waiting = False
                self._begin()
        except Exception as error:  # noqa: BLE001 - a callback's boundary: `run` raises it
            self._crash(error)

    def _begin(self) -> None:
        clock = self._clock
        self._begun = begun = clock.monotonic()
        self._started = started = clock.time_ms()
        late = (started / 1000 if self._schedule.wall else begun) - self._tick.at
        self._scheduled = started - round(late * 1000)
        self._lag.observe(max(0.0, late))
        self._attempts = 1
        self._counters.attempts += 1
        self._pending = self._fetcher.begin(self._poll.request(self._checkpoint), self._on_answer)

    # The second callback: the answer.

    def _on_answer(self, outcome: Response | FetchError) -> None:
        try:
            self._pending = None
            self._answered(outcome)
        except Exception as error:  # noqa: BLE001 - a callback's boundary: `run` raises it
            self._crash(error)

    def _answered(self, outcome: Response | FetchError) -> None:
        verdict = self._judge(outcome)
        if verdict.action is _STORE and isinstance(outcome, Response):
            if self._chain is None and len(outcome.body) < _LARGE:
                now = self._started + self._duration // 1000
                self._harvest = harvest = self._reap(outcome, verdict, now)
                self._target.store(harvest.append, self._on_receipt)
            else:
                self._hand_over(partial(self._store, outcome, verdict))
        elif verdict.action is _RETRY and not self._stopping:
            self._hand_over(partial(self._try_again, outcome, verdict))
        else:
            self._follow(self._conclude(outcome, verdict))

    def _judge(self, outcome: Response | FetchError) -> Verdict:
        self._duration = int((self._clock.monotonic() - self._begun) * 1_000_000)
        if isinstance(outcome, Response):
            self._counters.bytes += outcome.received
            self._requests.observe(outcome.elapsed)
            verdict = self._poll.accept(outcome, self._checkpoint)
            if verdict is not None:
                return verdict
        following = self._schedule.after(self._tick.at, self._tick.at)
        circumstances = Attempt(
            number=self._attempts,
            now=self._clock.time_ms() / 1000,
            left=following.at - self._now(),
            chance=self._shared.chance(),
            conditional=self._poll.conditional(self._checkpoint),
        )
        return self._poll.judge(outcome, circumstances, self._checkpoint)

    def _reap(self, response: Response, verdict: Verdict, now: int) -> Harvest:
        """Return what an accepted response leaves at `now`."""
        records = self._poll.records(response)
        exchange = self._entry(response, verdict, len(records))
        return self._harvester.harvest(records, response, self._checkpoint, exchange, now=now)

    def _entry(self, outcome: Response | FetchError, verdict: Verdict, records: int = 0) -> Exchange:
        """Return the ledger entry of the poll under way."""
        status = received = None
        if isinstance(outcome, Response):
            status, received = outcome.status, outcome.received
        accepted = verdict.action is _STORE
        reason = self._told(verdict.reason)
        if self._skipped:
            reason = f"{reason}; {self._skipped} before it skipped: {self._why}"
        return Exchange(
            self._name,
            self._scheduled,
            self._started,
            self._duration,
            _ACCEPTED if accepted else _DECISIONS[verdict.action],
            reason,
            status,
            received or 0,
            self._attempts,
            records,
            self._topic if accepted else None,
            skipped=self._skipped,
        )

    def _told(self, reason: str) -> str:
        """Return a reason as it may be stored and shown: masked, and encodable whatever a server put into it."""
        masked = self._mask(reason)
        return masked if masked.isascii() else masked.encode("utf-8", "replace").decode()

    def _conclude(self, outcome: Response | FetchError, verdict: Verdict) -> float:
        """Enter a poll that leaves no record into the ledger; return for how many seconds the server wants quiet."""
        self._note(self._entry(outcome, verdict))
        if verdict.action is _FAIL or verdict.action is _RETRY:
            hint = outcome.hint if isinstance(outcome, FetchError) else ""
            self._bad(verdict.slug, self._told(verdict.reason), hint)
            return verdict.wait if verdict.action is _FAIL else 0.0
        self._good()
        return 0.0

    def _note(self, exchange: Exchange) -> None:
        self._skipped = 0
        self._target.note(exchange)
        self._counters.decisions[exchange.decision] += 1

    # The third callback: the receipt.

    def _on_receipt(self, outcome: Receipt | HeadwaterError) -> None:
        if self._handed.done():
            # Cancelled meanwhile. What was stored is stored: the next run begins with its checkpoint.
            return
        try:
            assert self._harvest is not None
            if isinstance(outcome, Receipt):
                self._stored(self._harvest)
                self._follow(0.0)
            else:
                self._hand_over(partial(self._store_again, self._harvest, outcome))
        except Exception as error:  # noqa: BLE001 - a callback's boundary: `run` raises it
            self._crash(error)

    def _stored(self, harvest: Harvest) -> None:
        """Count what is in the log now."""
        self._skipped = 0
        self._checkpoint = harvest.checkpoint
        counters, exchange = self._counters, harvest.exchange
        counters.decisions[_ACCEPTED] += 1
        counters.records += exchange.records
        counters.rejected += exchange.rejected
        counters.last_record = harvest.at
        if counters.trouble is not None:
            self._good()

    # What all three share.

    def _follow(self, hold: float) -> None:
        """End the poll under way and wait for the next, after `hold` seconds at the earliest."""
        self._advance(hold)
        if self._stopping:
            self._hand_over(None)
        else:
            self._await_tick()

    def _advance(self, hold: float = 0.0) -> None:
        """Go to the next tick. Count those in between that did not become a poll, and keep the reason for its entry."""
        tick = self._tick
        now = self._now()
        self._tick = following = self._schedule.after(tick.at, max(now + hold, tick.at))
        if following.missed:
            self._counters.decisions[Decision.SKIPPED] += following.missed
            self._skipped = following.missed
            if hold:
                self._why = f"the server asked to be left alone for {hold:g} s"
            else:
                self._why = f"the one before took {now - tick.at:.3g} s, longer than its interval"

    def _hand_over(self, rest: Rest | None) -> None:
        settle(self._handed, rest)

    def _crash(self, error: Exception) -> None:
        if not self._handed.done():
            self._handed.set_exception(error)

    # What only the task does, since it waits.

    async def _wait(self, deadline: float) -> None:
        """Wait until a monotonic time. Meanwhile `stop` may cancel the connector."""
        if self._stopping:
            raise asyncio.CancelledError
        self._waiting = True
        try:
            await self._clock.sleep_until(deadline)
        finally:
            self._waiting = False

    async def _try_again(self, outcome: Response | FetchError, verdict: Verdict) -> None:
        """Finish a poll whose first attempt is worth another."""
        while verdict.action is _RETRY and not self._stopping:
            await self._wait(self._clock.monotonic() + verdict.wait)
            outcome = await self._attempt()
            verdict = self._judge(outcome)
        if verdict.action is _STORE and isinstance(outcome, Response):
            await self._store(outcome, verdict)
        else:
            self._advance(self._conclude(outcome, verdict))

    async def _attempt(self) -> Response | FetchError:
        self._attempts += 1
        self._counters.attempts += 1
        answered: asyncio.Future[Response | FetchError] = asyncio.get_running_loop().create_future()
        exchange = self._fetcher.begin(self._poll.request(self._checkpoint), partial(settle, answered))
        try:
            return await answered
        finally:
            exchange.cancel()

    async def _store(self, response: Response, verdict: Verdict) -> None:
        """Finish a poll whose records are worked on in a thread, or that was retried."""
        now = self._clock.time_ms()
        if self._chain is None and len(response.body) < _LARGE:
            harvest = self._reap(response, verdict, now)
        else:
            harvest = await asyncio.to_thread(self._reap, response, verdict, now)
        if harvest.rejections and self.config.on_error == "fail":
            await self._refuse(harvest)
        else:
            await self._append(harvest)
            if self._chain is not None:
                self._passed(harvest.rejections)
        self._advance()

    async def _refuse(self, harvest: Harvest) -> None:
        """Let a poll fail because a transform refused some of its records: nothing of it is stored."""
        if self._chain is not None:
            # What the transforms remember of this poll must be forgotten with it.
            await asyncio.to_thread(self._chain.begin, self._checkpoint.transforms)
        reason = told(harvest.rejections, whither="refused", mask=self._told)
        entry = harvest.exchange
        self._note(msgspec.structs.replace(entry, decision=Decision.FAILED, reason=reason, topic=None, records=0))
        self._bad("transform", reason, "on_error: fail is why the poll failed")

    async def _store_again(self, harvest: Harvest, refusal: HeadwaterError) -> None:
        """Finish a poll whose append was refused."""
        await self._append(harvest, refusal)
        self._advance()

    async def _append(self, harvest: Harvest, refusal: HeadwaterError | None = None) -> None:
        """Append, waiting as long as the log's trouble may pass: the records stay in memory and nothing is polled.

        `refusal` is what the first try ended with. Cancelling is safe at any moment: records and checkpoint commit
        together or not at all.
        """
        failures = 0
        while True:
            outcome = refusal or await self._receipt(harvest.append)
            if isinstance(outcome, Receipt):
                break
            if not isinstance(outcome, LogError | ClusterError) or not outcome.retryable:
                raise outcome
            refusal = None
            failures += 1
            self._bad("log" if isinstance(outcome, LogError) else "cluster", outcome.message, outcome.hint)
            pause = back_off(
                failures, initial=_APPEND_PAUSE, longest=_LONGEST_APPEND_PAUSE, chance=self._shared.chance()
            )
            await self._wait(self._clock.monotonic() + pause)
        self._stored(harvest)

    async def _receipt(self, append: Append) -> Receipt | HeadwaterError:
        decided: asyncio.Future[Receipt | HeadwaterError] = asyncio.get_running_loop().create_future()
        self._target.store(append, partial(settle, decided))
        return await decided

    # What is worth a line.

    def _passed(self, rejections: Sequence[Rejection]) -> None:
        """Say once that records are refused, and once that they pass again."""
        now = self._clock.monotonic()
        if not rejections:
            if self._passing.good(now) is not None:
                logger.info("transforms refuse nothing any more", connector=self._name)
            return
        first = rejections[0]
        if self._passing.bad(f"{first.stage} {first.slug}", first.reason, now) is not None:
            logger.warning(
                "a transform refuses records",
                connector=self._name,
                stage=first.stage,
                module=self._told(first.name),
                reason=self._told(first.reason),
                action=self.config.dead_letters or "left out",
            )

    def _good(self) -> None:
        change = self._health.good(self._clock.monotonic())
        if change is not None:
            self._counters.trouble = None
            self._report(change)

    def _bad(self, slug: str, reason: str, hint: str) -> None:
        change = self._health.bad(slug, reason, self._clock.monotonic())
        if change is not None:
            before = self._counters.trouble
            since = self._clock.time_ms() if before is None else before.since
            self._counters.trouble = Trouble(slug, self._mask(reason), since)
            self._report(change, hint)

    def _report(self, change: Change, hint: str = "") -> None:
        lasted = format_duration(timedelta(milliseconds=round(change.seconds * 1000)))
        if change.healthy:
            logger.info("connector recovered", connector=self._name, failures=change.failures, after=lasted)
        else:
            logger.warning(
                "connector is failing",
                connector=self._name,
                reason=self._mask(change.reason),
                endpoint=str(self.config.http.endpoint),
                **({"hint": hint} if hint else {}),
            )
