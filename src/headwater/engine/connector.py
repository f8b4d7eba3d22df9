"""Owns one connector at work: wait for the tick, exchange, judge, append, again. Decides nothing itself.

What to send and what an answer means is the source's; when to poll is the schedule's; what is worth a log line is
health's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from headwater.core.clock import Clock
from headwater.core.errors import FetchError, LogError
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Fetcher, Response
from headwater.core.record import Record
from headwater.core.units import format_duration
from headwater.engine.counters import Counters, Figures
from headwater.engine.deadletter import dead_letter, told
from headwater.engine.health import Change, Health
from headwater.engine.schedule import Cron, Every, Schedule, Tick
from headwater.fluvio.batch import EncodedBatch, encode_batches
from headwater.fluvio.compression import Compression
from headwater.log import Append, Log, Offset, Receipt
from headwater.sources.judge import Action, Attempt, Verdict
from headwater.sources.poll import Poll
from headwater.sources.retry import back_off
from headwater.transforms.abi import Lookback
from headwater.transforms.chain import Chain, Rejection

# A wall clock can be set while a cron waits: look at it at least this often (seconds).
_LONGEST_NAP = 30.0
# Bodies from this size on are rendered and encoded in a thread, so that they delay no other connector (bytes).
_LARGE = 256 * 1024
# A lookback by age alone must end somewhere.
_MOST_LOOKED_BACK = 100_000
_APPEND_PAUSE, _LONGEST_APPEND_PAUSE = 0.5, 10.0

_DECISIONS = {Action.EMPTY: Decision.EMPTY, Action.UNCHANGED: Decision.UNCHANGED, Action.FAIL: Decision.FAILED}

logger = structlog.get_logger("headwater.connector")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connector of an engine shares. `chance` returns a random number in [0, 1)."""

    log: Log
    fetcher: Fetcher
    clock: Clock
    chance: Callable[[], float]
    figures: Figures


class _RefusedError(Exception):
    """A transform refused a record, and the poll fails for it."""

    def __init__(self, reason: str, count: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.count = count


def schedule_of(config: ConnectorConfig, offset: float = 0.0) -> Schedule:
    """Return the schedule that a configuration asks for."""
    if config.http.cron is not None:
        return Cron(config.http.cron, config.http.timezone)
    return Every(config.interval.total_seconds(), offset)


class Connector:
    """One connector. `run` polls until it is cancelled, or until `stop` was called and no exchange is under way."""

    __slots__ = (
        "_chain",
        "_checkpoint",
        "_compression",
        "_counters",
        "_health",
        "_linger",
        "_mask",
        "_name",
        "_passing",
        "_poll",
        "_schedule",
        "_shared",
        "_skipped",
        "_stopping",
        "_task",
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
        chain: Chain | None = None,
    ) -> None:
        self.config = config
        self._compression = compression
        self._name = config.name
        self._topic = config.topic.name
        self._mask = config.masker.mask if config.masker else str
        self._linger = config.producer.linger.total_seconds()
        self._shared = shared
        self._schedule = schedule
        self._poll = Poll(config)
        self._checkpoint = Checkpoint()
        self._chain = chain
        self._health = Health()
        self._passing = Health()
        self._counters: Counters = shared.figures.of(config.name)
        self._skipped = 0
        self._why = ""
        self._stopping = False
        self._waiting = False
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Ask the connector to end: at once when it only waits, else after the exchange that is under way."""
        self._stopping = True
        if self._waiting and self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Poll for ever. Raises LogError: unless retryable, the log is beyond repair. Other trouble is counted."""
        self._task = asyncio.current_task()
        shared = self._shared
        stored = await shared.log.checkpoint(self._name)
        if stored is not None:
            self._checkpoint = decode_checkpoint(stored)
        if self._chain is not None:
            await self._begin(self._chain)
        tick = self._schedule.first(self._now())
        while not self._stopping:
            await (self._reach(tick) if self._schedule.wall else self._wait(tick.at))
            following = self._schedule.after(tick.at, tick.at)
            hold = await self._exchange(tick, following)
            now = self._now() + hold
            if following.at <= now:
                following = self._schedule.after(tick.at, now)
                self._skip(tick, following, hold)
            tick = following

    def _now(self) -> float:
        """Return the time on the schedule's scale, in seconds."""
        clock = self._shared.clock
        return clock.time_ms() / 1000 if self._schedule.wall else clock.monotonic()

    async def _wait(self, deadline: float) -> None:
        """Wait until a monotonic time. Only here may `stop` cancel the connector."""
        if self._stopping:
            raise asyncio.CancelledError
        self._waiting = True
        try:
            await self._shared.clock.sleep_until(deadline)
        finally:
            self._waiting = False

    async def _reach(self, tick: Tick) -> None:
        """Wait for a tick of the wall clock, which may be set meanwhile."""
        clock = self._shared.clock
        while (left := tick.at - clock.time_ms() / 1000) > 0:
            await self._wait(clock.monotonic() + min(left, _LONGEST_NAP))

    async def _exchange(self, tick: Tick, following: Tick) -> float:
        """Perform one scheduled poll with all its attempts. Return for how many seconds the server wants quiet.

        `following` is the tick before which attempts must begin.
        """
        clock = self._shared.clock
        begun = clock.monotonic()
        started = clock.time_ms()
        late = (started / 1000 if self._schedule.wall else begun) - tick.at
        scheduled = started - round(late * 1000)
        self._shared.figures.lag.observe(max(0.0, late))
        number = 0
        while True:
            number += 1
            outcome = await self._attempt()
            verdict = self._judge(outcome, number, following.at - self._now())
            if verdict.action is not Action.RETRY or self._stopping:
                break
            await self._wait(clock.monotonic() + verdict.wait)
        response = outcome if isinstance(outcome, Response) else None
        told = reason = self._told(verdict.reason)
        if self._skipped:
            reason = f"{told}; {self._skipped} before it skipped: {self._why}"
        exchange = Exchange(
            connector=self._name,
            scheduled=scheduled,
            started=started,
            duration=round((clock.monotonic() - begun) * 1_000_000),
            decision=_DECISIONS.get(verdict.action, Decision.FAILED),
            reason=reason,
            status=None if response is None else response.status,
            bytes=0 if response is None else response.received,
            attempts=number,
            skipped=self._skipped,
        )
        self._skipped = 0
        if verdict.action is Action.STORE and response is not None:
            try:
                await self._store(response, exchange)
            except _RefusedError as error:
                self._note(msgspec.structs.replace(exchange, reason=error.reason, rejected=error.count))
                self._bad("transform", error.reason, "on_error: fail is why the poll failed")
                return 0.0
            self._good()
        else:
            self._note(exchange)
            if verdict.action is Action.FAIL or verdict.action is Action.RETRY:
                self._bad(verdict.slug, told, outcome.hint if isinstance(outcome, FetchError) else "")
                return verdict.wait if verdict.action is Action.FAIL else 0.0
            self._good()
        return 0.0

    def _note(self, exchange: Exchange) -> None:
        self._shared.log.note(exchange)
        self._counters.decisions[exchange.decision] += 1

    def _told(self, reason: str) -> str:
        """Return a reason as it may be stored and shown: masked, and encodable whatever a server put into it."""
        masked = self._mask(reason)
        return masked if masked.isascii() else masked.encode("utf-8", "replace").decode()

    async def _attempt(self) -> Response | FetchError:
        shared, counters = self._shared, self._counters
        counters.attempts += 1
        try:
            response = await shared.fetcher.fetch(self._poll.request(self._checkpoint))
        except FetchError as error:
            return error
        counters.bytes += response.received
        shared.figures.requests.observe(response.elapsed)
        return response

    def _judge(self, outcome: Response | FetchError, number: int, left: float) -> Verdict:
        circumstances = Attempt(
            number=number,
            now=self._shared.clock.time_ms() / 1000,
            left=left,
            chance=self._shared.chance(),
            conditional=self._poll.conditional(self._checkpoint),
        )
        return self._poll.judge(outcome, circumstances, self._checkpoint)

    async def _store(self, response: Response, exchange: Exchange) -> None:
        """Append the records of a response together with the checkpoint and the ledger entry, in one step.

        Raises _RefusedError when a transform refused a record and the poll is to fail then.
        """
        now = self._shared.clock.time_ms()
        if self._chain is None and len(response.body) < _LARGE:
            append, checkpoint, rejections = self._append_of(response, exchange, now)
        else:
            append, checkpoint, rejections = await asyncio.to_thread(self._append_of, response, exchange, now)
        if rejections and self.config.on_error == "fail" and self._chain is not None:
            # What the transforms remember of this poll must be forgotten with it.
            await asyncio.to_thread(self._chain.begin, self._checkpoint.transforms)
            raise _RefusedError(self._told(told(rejections, whither="refused")), len(rejections))
        await self._append(append)
        self._checkpoint = checkpoint
        self._counters.decisions[Decision.ACCEPTED] += 1
        self._counters.records += append.exchange.records if append.exchange else 0
        self._counters.rejected += len(rejections)
        self._counters.last_record = now
        if self._chain is not None:
            self._passed(rejections)

    def _append_of(
        self, response: Response, exchange: Exchange, now: int
    ) -> tuple[Append, Checkpoint, Sequence[Rejection]]:
        given: Sequence[Record] = self._poll.records(response)
        records = given
        rejections: Sequence[Rejection] = ()
        beside: tuple[tuple[str, Sequence[EncodedBatch]], ...] = ()
        reason = exchange.reason
        if self._chain is not None:
            passed = self._chain.run(given, base_timestamp=now)
            records, rejections = passed.records, passed.rejections
        checkpoint = self._poll.advance(self._checkpoint, response, scheduled=exchange.scheduled, records=len(records))
        if self._chain is not None:
            checkpoint = msgspec.structs.replace(checkpoint, transforms=self._chain.state)
            topic = self.config.dead_letters
            if rejections:
                reason = f"{reason}; {self._told(told(rejections, whither=f'to {topic}' if topic else 'left out'))}"
                if topic:
                    beside = ((topic, self._dead_letters(rejections, given, now)),)
            elif not records:
                reason = f"{reason}; no record passed the transforms"
        append = Append(
            topic=self._topic,
            batches=encode_batches(records, now, self._compression),
            checkpoint=(self._name, encode_checkpoint(checkpoint)),
            exchange=msgspec.structs.replace(
                exchange,
                decision=Decision.ACCEPTED,
                topic=self._topic,
                records=len(records),
                rejected=len(rejections),
                reason=reason,
            ),
            linger=self._linger,
            beside=beside,
        )
        return append, checkpoint, rejections

    def _dead_letters(self, rejections: Sequence[Rejection], given: Sequence[Record], now: int) -> list[EncodedBatch]:
        letters = [
            dead_letter(it, given, connector=self._name, topic=self._topic, now_ms=now, mask=self._told)
            for it in rejections
        ]
        return encode_batches(letters, now)

    async def _begin(self, chain: Chain) -> None:
        """Make the transforms ready: their state as of the checkpoint, and earlier records for those that look back."""
        await asyncio.to_thread(chain.begin, self._checkpoint.transforms)
        for index, lookback in chain.lookbacks:
            earlier = await self._earlier(lookback)
            if earlier:
                await asyncio.to_thread(chain.steps[index].stage.look_back, earlier)

    async def _earlier(self, lookback: Lookback) -> list[Record]:
        """Return the last records of the topic that a lookback asks for, oldest first, of all partitions by time."""
        topic = await self._shared.log.topic(self._topic)
        most = min(lookback.last or _MOST_LOOKED_BACK, _MOST_LOOKED_BACK)
        found = []
        for partition in range(topic.info.spec.partitions):
            found += await topic.read(Offset.end(most), partition=partition, limit=most)
        found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
        since = 0 if lookback.age is None else self._shared.clock.time_ms() - lookback.age * 1000
        return [Record(it.value, it.key, it.timestamp) for it in found[-most:] if it.timestamp >= since]

    def _passed(self, rejections: Sequence[Rejection]) -> None:
        """Say once that records are refused, and once that they pass again."""
        now = self._shared.clock.monotonic()
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
                module=first.name,
                reason=self._told(first.reason),
                action=self.config.dead_letters or "left out",
            )

    async def _append(self, append: Append) -> Receipt:
        """Append, waiting as long as the log's trouble may pass: the records stay in memory and nothing is polled.

        Cancelling is safe at any moment: records and checkpoint commit together or not at all.
        """
        failures = 0
        while True:
            try:
                receipt = await self._shared.log.submit(append)
            except LogError as error:
                if not error.retryable:
                    raise
                failures += 1
                self._bad("log", error.message, error.hint)
                pause = back_off(
                    failures, initial=_APPEND_PAUSE, longest=_LONGEST_APPEND_PAUSE, chance=self._shared.chance()
                )
                await self._wait(self._shared.clock.monotonic() + pause)
            else:
                return receipt

    def _skip(self, tick: Tick, following: Tick, hold: float) -> None:
        """Count the ticks between two polls that did not become one, and keep the reason for the next entry."""
        self._counters.decisions[Decision.SKIPPED] += following.missed
        self._skipped = following.missed
        if hold:
            self._why = f"the server asked to be left alone for {hold:g} s"
        else:
            self._why = f"the one before took {self._now() - tick.at:.3g} s, longer than its interval"

    def _good(self) -> None:
        change = self._health.good(self._shared.clock.monotonic())
        if change is not None:
            self._counters.failing_since = None
            self._report(change)

    def _bad(self, slug: str, reason: str, hint: str) -> None:
        if self._counters.failing_since is None:
            self._counters.failing_since = self._shared.clock.time_ms()
        change = self._health.bad(slug, reason, self._shared.clock.monotonic())
        if change is not None:
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
