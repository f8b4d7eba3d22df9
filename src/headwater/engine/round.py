"""Owns the round of a connector as far as nothing waits: its exchange under way, judged, reaped, entered, counted.

When a round begins is the connector's; what waits in it is `exchanges`'. What to send and what an answer means is the
source's, what an answer leaves the harvester's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import Clock
from headwater.core.errors import FetchError
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Fetcher, Request, Response
from headwater.core.memory import Recall
from headwater.core.moment import Moment
from headwater.engine.counters import Counters, Figures
from headwater.engine.gate import Gate
from headwater.engine.harvest import Harvest, Harvester
from headwater.engine.schedule import Every, Schedule, Tick
from headwater.engine.standing import Standing
from headwater.engine.steps import Tally
from headwater.engine.streaming.room import Room
from headwater.engine.target import Target
from headwater.fluvio.compression import Compression
from headwater.sources.judge import IGNORED, Action, Attempt, Verdict
from headwater.sources.limits.pace import Brought, Pacing
from headwater.sources.poll import Poll
from headwater.sources.reaped import Reaped
from headwater.sources.reaping import ANOTHER
from headwater.transforms.chain import Chain

# Bodies from this size on are rendered and encoded in a thread, so that they delay no other connector (bytes).
LARGE = 256 * 1024

# Members of an enum by name cost as much as five function calls in Python 3.11.
_STORE, _RETRY, _FAIL, _RENEW = Action.STORE, Action.RETRY, Action.FAIL, Action.REAUTHENTICATE
_ACCEPTED, _FAILED = Decision.ACCEPTED, Decision.FAILED
_DECISIONS = {
    Action.EMPTY: Decision.EMPTY,
    Action.UNCHANGED: Decision.UNCHANGED,
    Action.RETRY: Decision.FAILED,
    Action.FAIL: Decision.FAILED,
    Action.REAUTHENTICATE: Decision.FAILED,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connector of an engine shares. `chance` returns a random number in [0, 1)."""

    target: Target
    fetcher: Fetcher
    clock: Clock
    chance: Callable[[], float]
    figures: Figures
    room: Room = field(default_factory=Room)


class Round:
    """The round of a connector that is under way, and between rounds what the next one begins with.

    `tick` is its scheduled time. `checkpoint` is what was stored last. `stopping`: no further exchange is to begin.
    `plain`: callbacks can do what goes well, which is one exchange that no gate holds and one record. `quick`: what an
    accepted answer leaves is made at once, without a transform, and without asking the disk.
    """

    __slots__ = (
        "_anew",
        "_attempts",
        "_begun",
        "_brought",
        "_chain",
        "_clock",
        "_config",
        "_counters",
        "_duration",
        "_fetcher",
        "_first",
        "_fresh",
        "_gates",
        "_harvester",
        "_held_by",
        "_lag",
        "_name",
        "_pacing",
        "_poll",
        "_reason",
        "_renewed",
        "_requests",
        "_schedule",
        "_scheduled",
        "_sent",
        "_shared",
        "_skipped",
        "_standing",
        "_started",
        "_tally",
        "_target",
        "_told",
        "_topic",
        "_why",
        "checkpoint",
        "plain",
        "quick",
        "stopping",
        "tick",
    )

    def __init__(
        self,
        config: ConnectorConfig,
        shared: Surroundings,
        schedule: Schedule,
        compression: Compression,
        *,
        chain: Chain | None,
        partitions: int,
        gates: Sequence[Gate],
    ) -> None:
        self._config = config
        self._name = config.name
        self._topic = config.topic.name
        self._shared = shared
        self._target = shared.target
        self._fetcher = shared.fetcher
        self._clock = shared.clock
        self._requests = shared.figures.requests
        self._lag = shared.figures.lag
        self._schedule = schedule
        self._gates = gates
        self._chain = chain
        self._poll = Poll(config)
        self._counters: Counters = shared.figures.of(config.name)
        self._standing = Standing(config, shared.clock, self._counters)
        self._harvester = Harvester(
            config,
            compression,
            chain,
            mask=self._standing.told,
            partitions=partitions,
            most_record=shared.target.most_record,
        )
        self.checkpoint = Checkpoint()
        self.stopping = False
        self.tick = Tick(0.0)
        self._skipped = 0
        # The last reason of a verdict, and as it may be told.
        self._reason = self._told = ""
        self._why = ""
        self._held_by = ""
        # How the interval follows the changes, what the round has brought so far, and until when its answer is fresh.
        self._pacing = pacing_of(config)
        self._brought = Brought()
        self._fresh = 0.0
        # The exchange under way: when it began (on three scales), how long it took to be decided, and its attempts.
        self._begun = 0.0
        self._started = self._scheduled = self._duration = self._attempts = 0
        self._renewed = self._anew = False
        self._first = True
        # The last request as the gates let it pass.
        self._sent: Request | None = None
        self._tally = Tally()
        self.plain = self._poll.simple and not gates and self._pacing is None
        self.quick = chain is None and not self._poll.remembers

    def stop(self) -> None:
        """Let no further exchange begin, and nobody wait for one."""
        self.stopping = True
        for gate in self._gates:
            gate.stop()

    def now(self) -> float:
        """Return the time on the schedule's scale, in seconds."""
        return self._clock.time_ms() / 1000 if self._schedule.wall else self._clock.monotonic()

    def open(self) -> None:
        """Begin the round that is due."""
        self._enter()
        self._first = True
        late = (self._started / 1000 if self._schedule.wall else self._begun) - self.tick.at
        self._scheduled = self._started - round(late * 1000)
        self._lag.observe(max(0.0, late))

    def _enter(self) -> None:
        """Begin an exchange."""
        self._begun = self._clock.monotonic()
        self._started = self._clock.time_ms()
        self._attempts = 0
        self._renewed = self._first = self._anew = False
        if self._tally.steps:
            self._tally = Tally()

    def ask(self) -> Request:
        """Begin the round that is due of a plain poll, and return its request."""
        # As `open`, without a call of its own for each part: this is done at every poll of most connectors.
        self._begun = begun = self._clock.monotonic()
        self._started = started = self._clock.time_ms()
        late = (started / 1000 if self._schedule.wall else begun) - self.tick.at
        self._scheduled = started - round(late * 1000)
        self._lag.observe(max(0.0, late))
        self._first = True
        self._renewed = self._anew = False
        self._attempts = 1
        self._counters.attempts += 1
        return self._poll.same(self.checkpoint)

    def _moment(self) -> Moment:
        progress = self.checkpoint.progress
        # A round that was broken off is still the one it was.
        scheduled = self._scheduled if progress is None else progress.round or self._scheduled
        if self.checkpoint.body is not None:
            scheduled = self.checkpoint.body.scheduled
        return Moment(scheduled, self._started, self._first)

    def judge(self, outcome: Response | FetchError) -> Verdict:
        """Decide what came of an attempt, and count it."""
        self._duration = int((self._clock.monotonic() - self._begun) * 1_000_000)
        if isinstance(outcome, Response):
            self._counters.bytes += outcome.received
            self._requests.observe(outcome.elapsed)
            verdict = self._poll.accept(outcome, self.checkpoint)
            if verdict is not None:
                return verdict
        circumstances = Attempt(
            number=self._attempts,
            now=self._clock.time_ms() / 1000,
            left=self._left(),
            chance=self._shared.chance(),
            conditional=self._poll.conditional(self.checkpoint),
            renewed=self._renewed,
        )
        return self._poll.judge(outcome, circumstances, self.checkpoint)

    def _count(self, outcome: Response | FetchError) -> None:
        self._duration = int((self._clock.monotonic() - self._begun) * 1_000_000)
        if isinstance(outcome, Response):
            self._counters.bytes += outcome.received
            self._requests.observe(outcome.elapsed)

    def _left(self) -> float:
        """Return for how many seconds the exchange under way may be tried: until the next tick, or as long as a period.

        The first exchange of a round is over when the next round is due; the others would never have any time.
        """
        following = self._schedule.after(self.tick.at, self.tick.at).at
        left = following - self.now()
        if self._poll.plain:
            return left
        return max(left, following - self.tick.at - (self._clock.monotonic() - self._begun))

    def reap(self, response: Response, verdict: Verdict, now: int) -> Harvest:
        """Return what an accepted response leaves at `now` (ms since the Unix epoch). A thread may do this."""
        ignored = verdict.slug == IGNORED
        whole = kept(response, verdict)
        reaped = self._poll.reap(whole, self.checkpoint, self._moment(), self._recall, ignored=ignored)
        return self._reaped(reaped, response, verdict, now)

    def _reaped(self, reaped: Reaped, response: Response, verdict: Verdict, now: int) -> Harvest:
        if self._pacing is not None:
            reaped = self._paced(self._pacing, reaped, kept(response, verdict).body)
        return self._harvested(reaped, response, verdict, self.checkpoint, now)

    def _recall(self) -> Recall:
        """Return what is remembered of items, as of now. A thread may do this."""
        return self._target.recall(self._name)

    def _harvested(self, reaped: Reaped, response: Response, verdict: Verdict, before: Checkpoint, now: int) -> Harvest:
        exchange = self._entry(response, verdict, len(reaped.records))
        if reaped.failure:
            reason = f"{exchange.reason}; {self._standing.told(reaped.failure)}"
            exchange = msgspec.structs.replace(exchange, decision=Decision.FAILED, reason=reason, topic=None)
        return self._harvester.harvest(reaped, before, exchange, now=now)

    def reap_at_once(self, response: Response, verdict: Verdict) -> Harvest:
        """Return what an accepted response of a plain poll leaves that has just come."""
        now, before = self._started + self._duration // 1000, self.checkpoint
        if before.remembered is not None or before.progress is not None or before.body is not None:
            # What an earlier configuration needed is let go of.
            return self.reap(response, verdict, now)
        value, checkpoint = self._poll.reap_one(response, before, self._scheduled)
        return self._harvester.harvest_one(value, checkpoint, self._entry(response, verdict, 1), now=now)

    def stored(self, harvest: Harvest) -> None:
        """Count what is in the log now."""
        self._skipped = 0
        self.checkpoint = harvest.checkpoint
        counters, exchange = self._counters, harvest.exchange
        counters.records += exchange.records
        counters.rejected += exchange.rejected
        if harvest.partial:
            return
        counters.decisions[exchange.decision] += 1
        if exchange.decision is _FAILED:
            hint = harvest.hint or "see what the answers say with: headwater test"
            self._standing.bad(harvest.slug, exchange.reason, hint)
            return
        counters.last_record = harvest.at
        if counters.trouble is not None:
            self._standing.good()

    def _paced(self, pacing: Pacing, reaped: Reaped, body: bytes = b"") -> Reaped:
        """Return what an answer comes to, with the pace that follows the last one of a round.

        Of an answer that is stored in steps there is no whole body.
        """
        pace, brought = self.checkpoint.pace, self._brought
        if body or reaped.records:
            brought.add((body,) if body else [it.value or b"" for it in reaped.records], len(reaped.records))
        if not reaped.more and not reaped.failure and not reaped.partial:
            changed = brought.changes(pace) if brought.records else False
            pace = pacing.after(pace, changed=changed, digest=brought.digest if brought.records else "")
        return msgspec.structs.replace(reaped, checkpoint=msgspec.structs.replace(reaped.checkpoint, pace=pace))

    def conclude(self, outcome: Response | FetchError, verdict: Verdict) -> float:
        """Enter an exchange that leaves no record into the ledger; return how long the server wants quiet (seconds)."""
        entry = self._entry(outcome, verdict)
        if self._tally.steps:
            entry = msgspec.structs.replace(entry, reason=f"{entry.reason}; {self._tally.told}")
        self._note(entry)
        if verdict.action in {_RETRY, _FAIL, _RENEW}:
            hint = outcome.hint if isinstance(outcome, FetchError) else ""
            self._standing.bad(verdict.slug, self._standing.told(verdict.reason), hint)
            return verdict.wait if verdict.action is _FAIL else 0.0
        self._standing.good()
        return 0.0

    def _entry(self, outcome: Response | FetchError | None, verdict: Verdict, records: int = 0) -> Exchange:
        """Return the ledger entry of the exchange under way."""
        status, received = None, 0
        if isinstance(outcome, Response):
            status, received = outcome.status, outcome.received
        accepted = verdict.action is _STORE
        if verdict.reason is not self._reason or self._gates:
            # Verdicts repeat from answer to answer, but gates bring secrets that are to be masked from then on.
            self._reason, self._told = verdict.reason, self._standing.told(verdict.reason)
        reason = self._told
        if self._anew:
            reason = f"{reason}; {ANOTHER}"
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
            received,
            self._attempts,
            records,
            self._topic if accepted else None,
            None,
            None,
            self._skipped,
        )

    def _note(self, exchange: Exchange) -> None:
        self._skipped = 0
        self._target.note(exchange)
        self._counters.decisions[exchange.decision] += 1

    def close(self, hold: float = 0.0) -> None:
        """Go to the next tick, after `hold` seconds at the earliest. What is left out is counted, with the reason."""
        tick = self.tick
        # As `now`, without a call of its own.
        now = self._clock.time_ms() / 1000 if self._schedule.wall else self._clock.monotonic()
        if self._pacing is not None:
            self._schedule = Every(self._pacing.until(self.checkpoint.pace, self._fresh - tick.at))
        self.tick = following = self._schedule.after(tick.at, max(now + hold, tick.at))
        if following.missed:
            self._counters.decisions[Decision.SKIPPED] += following.missed
            self._skipped = following.missed
            if self._held_by:
                self._why = self._held_by
            elif hold:
                self._why = f"the server asked to be left alone for {hold:g} s"
            else:
                self._why = f"the one before took {now - tick.at:.3g} s, longer than its interval"
        self._held_by = ""


def kept(response: Response, verdict: Verdict) -> Response:
    """Return what is made of a response: what a rule ignores has no items, and says nothing of further pages."""
    if verdict.slug != IGNORED:
        return response
    return msgspec.structs.replace(response, status=204, headers=(), body=b"")


def pacing_of(config: ConnectorConfig) -> Pacing | None:
    """Return how the interval of a connector follows the changes, None when it is fixed."""
    options = config.http.adaptive
    if options is None:
        return None
    fastest, slowest = options.bounds(config.interval)
    return Pacing(
        config.interval.total_seconds(),
        fastest.total_seconds(),
        slowest.total_seconds(),
        options.faster,
        options.slower,
        options.cache_control,
    )
