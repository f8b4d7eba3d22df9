"""Owns one connector's round: the exchanges of one scheduled time, each judged, stored, and entered into the ledger.

When a round begins is the connector's. What to send and what an answer means is the source's, what may be sent now the
gates', what an answer leaves the harvester's. The methods that do not wait are what callbacks of a plain poll need.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.callback import settle
from headwater.core.checkpoint import Checkpoint, encode_checkpoint
from headwater.core.clock import Clock
from headwater.core.errors import ClusterError, FetchError, HeadwaterError, LogError
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Fetcher, Fetching, Request, Response
from headwater.core.memory import Recall
from headwater.core.moment import Moment
from headwater.core.units import format_size
from headwater.engine.children import Brood
from headwater.engine.counters import Counters, Figures
from headwater.engine.deadletter import told
from headwater.engine.gate import Gate, HeldError
from headwater.engine.harvest import Harvest, Harvester
from headwater.engine.inflow import Inflow
from headwater.engine.schedule import Every, Schedule, Tick
from headwater.engine.standing import Standing
from headwater.engine.steps import Steps, Tally, sliced
from headwater.engine.target import Target
from headwater.fluvio.compression import Compression
from headwater.log import Append, Receipt
from headwater.sources.children import Children
from headwater.sources.course import NothingDueError
from headwater.sources.judge import IGNORED, Action, Attempt, Verdict
from headwater.sources.limits.pace import Brought, Pacing, fresh_for
from headwater.sources.output import phrase
from headwater.sources.poll import Poll
from headwater.sources.reaped import Reaped
from headwater.sources.reaping import ANOTHER, Reaping, anew
from headwater.sources.retry import back_off
from headwater.sources.split.resume import AnotherBodyError
from headwater.transforms.chain import Chain

# Bodies from this size on are rendered and encoded in a thread, so that they delay no other connector (bytes).
LARGE = 256 * 1024
_APPEND_PAUSE, _LONGEST_APPEND_PAUSE = 0.5, 10.0

# Members of an enum by name cost as much as five function calls in Python 3.11.
_STORE, _RETRY, _FAIL, _RENEW = Action.STORE, Action.RETRY, Action.FAIL, Action.REAUTHENTICATE
_ACCEPTED = Decision.ACCEPTED
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


# Waits until a monotonic time, unless the connector is asked to stop: then it raises CancelledError.
Nap = Callable[[float], Awaitable[None]]


class Round:
    """The round of a connector that is under way, and between rounds what the next one begins with.

    `tick` is its scheduled time. `checkpoint` is what was stored last. `stopping`: no further exchange is to begin.
    """

    __slots__ = (
        "_anew",
        "_attempts",
        "_begun",
        "_brood",
        "_brought",
        "_chain",
        "_clock",
        "_config",
        "_counters",
        "_duration",
        "_fetcher",
        "_final",
        "_first",
        "_fresh",
        "_gates",
        "_harvester",
        "_held_by",
        "_inflow",
        "_lag",
        "_name",
        "_nap",
        "_opened",
        "_pacing",
        "_poll",
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
        "_topic",
        "_why",
        "checkpoint",
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
        nap: Nap,
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
        self._nap = nap
        self._chain = chain
        self._poll = Poll(config)
        self._counters: Counters = shared.figures.of(config.name)
        self._standing = Standing(config, shared.clock, self._counters)
        self._harvester = Harvester(config, compression, chain, mask=self._standing.told, partitions=partitions)
        self.checkpoint = Checkpoint()
        self.stopping = False
        self.tick = Tick(0.0)
        self._skipped = 0
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
        # Where bodies come in that are cut into items, the last request and itself with a way for them, and the last
        # step of a body that was stored while it arrived.
        held = self._poll.holds
        self._inflow = None if held is None else Inflow(held, self._wanted)
        self._opened: tuple[Request, Request] | None = None
        self._final: Harvest | None = None
        self._brood = None if self._poll.children is None else self._brood_of(self._poll.children)
        self._tally = Tally()

    def _brood_of(self, children: Children) -> Brood:
        def left() -> float:
            # As long as an exchange with a round of its own would have.
            return self._schedule.after(self.tick.at, self.tick.at).at - self.tick.at

        def count(outcome: Response | FetchError) -> None:
            self._counters.attempts += 1
            if isinstance(outcome, Response):
                self._counters.bytes += outcome.received
                self._requests.observe(outcome.elapsed)

        shared = self._shared
        return Brood(
            children,
            self._fetcher,
            self._gates,
            self._clock,
            chance=shared.chance,
            left=left,
            nap=self._nap,
            count=count,
        )

    @property
    def plain(self) -> bool:
        """Whether callbacks can do what goes well: one exchange, which no gate holds."""
        return self._poll.plain and not self._gates and self._pacing is None

    @property
    def quick(self) -> bool:
        """Whether what an accepted answer leaves is made at once, without a transform, and without asking the disk."""
        return self._chain is None and not self._poll.remembers

    def stop(self) -> None:
        """Let no further exchange begin, and nobody wait for one."""
        self.stopping = True
        for gate in self._gates:
            gate.stop()

    # What does not wait.

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
        self._tally = Tally()

    def request(self) -> Request:
        """Return the request of the next attempt, and count it. Raises what the source does when there is none."""
        self._attempts += 1
        request = self._poll.request(self.checkpoint, self._moment())
        self._counters.attempts += 1
        if self._inflow is None:
            return request
        self._inflow.reset()
        # The same request stays the same one: fetchers keep what they have set up for it.
        if self._opened is None or self._opened[0] is not request:
            self._opened = request, msgspec.structs.replace(request, open=self._inflow.open)
        return self._opened[1]

    def begun(self, fetching: Fetching, flood: Callable[[], None]) -> None:
        """Know the exchange that is under way, and what is to be done when its body is too large to be held."""
        if self._inflow is not None:
            self._inflow.begun(fetching, flood)

    def arrived(self, outcome: Response | FetchError) -> Response | FetchError | None:
        """Return what an exchange came to, None for one whose body was too large to be held."""
        return outcome if self._inflow is None else self._inflow.arrived(outcome)

    def cut(self) -> None:
        """Cut the exchange whose body is coming in."""
        if self._inflow is not None:
            self._inflow.cancel()

    def _wanted(self, head: Response) -> bool:
        """Return whether the body of a response is to be cut into items, by its head."""
        return self._poll.cuts(head, self.checkpoint)

    def _moment(self) -> Moment:
        progress = self.checkpoint.progress
        # A round that was broken off is still the one it was.
        scheduled = self._scheduled if progress is None else progress.round or self._scheduled
        if self.checkpoint.body is not None:
            scheduled = self.checkpoint.body.scheduled
        return Moment(scheduled, self._started, self._first)

    def judge(self, outcome: Response | FetchError) -> Verdict:
        """Decide what came of an attempt, and count it."""
        self._count(outcome)
        if isinstance(outcome, Response):
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
        kept = _kept(response, verdict)
        reaped = self._poll.reap(kept, self.checkpoint, self._moment(), self._recall, ignored=ignored)
        return self._reaped(reaped, response, verdict, now)

    def _reaped(self, reaped: Reaped, response: Response, verdict: Verdict, now: int) -> Harvest:
        if self._pacing is not None:
            reaped = self._paced(self._pacing, reaped, _kept(response, verdict).body)
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
        """Return what an accepted response leaves that has just come."""
        return self.reap(response, verdict, self._started + self._duration // 1000)

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
        if exchange.decision is Decision.FAILED:
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
        status = received = None
        if isinstance(outcome, Response):
            status, received = outcome.status, outcome.received
        accepted = verdict.action is _STORE
        reason = self._standing.told(verdict.reason)
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
            received or 0,
            self._attempts,
            records,
            self._topic if accepted else None,
            skipped=self._skipped,
        )

    def _note(self, exchange: Exchange) -> None:
        self._skipped = 0
        self._target.note(exchange)
        self._counters.decisions[exchange.decision] += 1

    def close(self, hold: float = 0.0) -> None:
        """Go to the next tick, after `hold` seconds at the earliest. What is left out is counted, with the reason."""
        tick = self.tick
        now = self.now()
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

    # What waits.

    async def run(self) -> None:
        """Do the whole round that is due, and close it."""
        self._brought = Brought()
        self.open()
        self.close(await self._go_on())

    async def finish(self, outcome: Response | FetchError, verdict: Verdict) -> None:
        """Do the rest of a round whose first attempt is judged, and close it."""
        self.close(await self._go_on((outcome, verdict)))

    async def finish_flood(self) -> None:
        """Do the rest of a round whose first answer is larger than what is held, and close it."""
        try:
            outcome, verdict = await self._flow()
        except AnotherBodyError:
            self.close(await self._go_on())
        else:
            self.close(await self._go_on((outcome, verdict or self.judge(outcome))))

    async def finish_append(self, harvest: Harvest, refusal: HeadwaterError) -> None:
        """Do the rest of a round whose first append was refused, and close it."""
        await self._append(harvest, refusal)
        hold = 0.0
        if self._continues(harvest):
            self._enter()
            hold = await self._go_on()
        self.close(hold)

    async def _go_on(self, judged: tuple[Response | FetchError, Verdict] | None = None) -> float:
        """Do one exchange after the other; return for how many seconds the server is to be left alone."""
        while True:
            try:
                outcome, verdict = await self._settle(judged)
            except HeldError as held:
                return self._held(held)
            except NothingDueError:
                return 0.0
            judged = None
            if self._pacing is not None and isinstance(outcome, Response):
                await self._pace(self._pacing, outcome, verdict)
            if isinstance(outcome, Response) and self._leaves(verdict):
                try:
                    more = await self._store(outcome, verdict)
                except HeldError as held:
                    # Of a request about an item: that for the items themselves was sent.
                    self._counters.attempts += 1
                    return self._held(held)
            elif (harvest := self._begin_again(outcome, verdict)) is not None:
                await self._append(harvest)
                more = self._continues(harvest)
            else:
                return self.conclude(outcome, verdict)
            if not more:
                return 0.0
            self._enter()

    async def _pace(self, pacing: Pacing, response: Response, verdict: Verdict) -> None:
        """Take in how long an answer is fresh, and slow down after one that leaves nothing to store."""
        action = verdict.action
        if action not in {_STORE, Action.UNCHANGED, Action.EMPTY}:
            return
        if pacing.fresh:
            self._fresh = self._clock.monotonic() + fresh_for(response.headers)
        if self._leaves(verdict):
            return
        before, brought = self.checkpoint.pace, self._brought
        pace = pacing.after(before, changed=brought.changes(before) if brought.records else False)
        if pace != before:
            self.checkpoint = msgspec.structs.replace(self.checkpoint, pace=pace)
            # A log that refuses is met again with the next records; until then it is enough to know the pace.
            await self._receipt(Append(None, (), None, (self._name, encode_checkpoint(self.checkpoint))))

    def _leaves(self, verdict: Verdict) -> bool:
        """Return whether an answer leaves something: records, or in a course of several exchanges how far it is."""
        return verdict.action is _STORE or (verdict.action is Action.EMPTY and not self._poll.plain)

    def _begin_again(self, outcome: Response | FetchError, verdict: Verdict) -> Harvest | None:
        """Return what is left when a page of a round that was broken off is not known any more, None otherwise."""
        if verdict.action is not _FAIL or not isinstance(outcome, Response):
            return None
        reaped = self._poll.forgotten(outcome, self.checkpoint, self._moment())
        if reaped is None:
            return None
        exchange = self._entry(outcome, verdict)
        return self._harvester.harvest(reaped, self.checkpoint, exchange, now=self._clock.time_ms())

    async def _settle(
        self, judged: tuple[Response | FetchError, Verdict] | None
    ) -> tuple[Response | FetchError, Verdict]:
        """Try the exchange under way until it is worth no other attempt."""
        outcome, verdict = judged or await self._attempt()
        while not self.stopping:
            if verdict.action is _RETRY:
                await self._nap(self._clock.monotonic() + verdict.wait)
            elif verdict.action is not _RENEW:
                break
            else:
                try:
                    if not await self._renew():
                        break
                except FetchError as error:
                    outcome, verdict = error, self.judge(error)
                    continue
            outcome, verdict = await self._attempt()
        return outcome, verdict

    async def _attempt(self) -> tuple[Response | FetchError, Verdict]:
        """Send the request once, when the gates let it, and judge what came of it."""
        while True:
            passed: list[Gate] = []
            try:
                request = self.request()
                for gate in self._gates:
                    request = self._sent = await gate.admit(request, max(0.0, self._left()))
                    passed.append(gate)
                outcome, verdict = await self._exchange(request)
            except AnotherBodyError:
                self._drop(passed)
                continue
            except FetchError as error:
                self._drop(passed)
                return error, self.judge(error)
            except BaseException:
                self._drop(passed)
                raise
            for gate in passed:
                gate.heard(request, outcome)
            return outcome, verdict or self.judge(outcome)

    def _drop(self, gates: Sequence[Gate]) -> None:
        """Tell gates that nobody waits any more for the request that they admitted."""
        for gate in gates:
            if self._sent is not None:
                gate.dropped(self._sent)

    async def _exchange(self, request: Request) -> tuple[Response | FetchError, Verdict | None]:
        """Return what an exchange came to, with the verdict where it is known already."""
        answered: asyncio.Future[Response | FetchError | None] = asyncio.get_running_loop().create_future()

        def deliver(outcome: Response | FetchError) -> None:
            arrived = self.arrived(outcome)
            if arrived is not None:
                settle(answered, arrived)

        fetching = self._fetcher.begin(request, deliver)
        self.begun(fetching, partial(settle, answered, None))
        try:
            outcome = await answered
            return (outcome, None) if outcome is not None else await self._flow()
        finally:
            fetching.cancel()

    async def _flow(self) -> tuple[Response | FetchError, Verdict | None]:
        """Store a body while it arrives, but for its last step. Raises AnotherBodyError."""
        inflow = self._inflow
        assert inflow is not None
        head = inflow.head
        assert head is not None
        reaping = self._poll.reaping(head, self.checkpoint, self._moment(), self._recall)
        try:
            self._final = await self._in_steps(reaping, head, inflow.pieces())
        except FetchError as error:
            return error, None
        except AnotherBodyError:
            await self._forget(head)
            raise
        finally:
            inflow.cancel()
        outcome = inflow.outcome if isinstance(inflow.outcome, Response) else head
        self._count(outcome)
        return outcome, self._so_far(head, reaping)

    async def _in_steps(self, reaping: Reaping, response: Response, pieces: AsyncIterator[bytes]) -> Harvest:
        """Store a body in steps, and return the last. Raises what `pieces` does, and AnotherBodyError."""

        def make(reaped: Reaped, before: Checkpoint) -> Harvest:
            self._duration = int((self._clock.monotonic() - self._begun) * 1_000_000)
            if self._pacing is not None:
                reaped = self._paced(self._pacing, reaped)
            return self._harvested(reaped, response, self._so_far(response, reaping), before, self._clock.time_ms())

        steps = Steps(reaping, self.checkpoint, make, self._append, self._refuses)
        return await steps.store(pieces)

    def _so_far(self, response: Response, reaping: Reaping) -> Verdict:
        status = f"{response.status} {phrase(response.status)}".rstrip()
        return Verdict(_STORE, f"{status}, {format_size(reaping.received)}" + ("" if reaping.ended else " so far"))

    async def _forget(self, response: Response) -> None:
        """Forget how far a body was stored that came as another one."""
        verdict = Verdict(_STORE, "")
        reaped = Reaped((), anew(self.checkpoint), partial=True)
        await self._append(self._harvested(reaped, response, verdict, self.checkpoint, self._clock.time_ms()))
        self._tally = Tally()
        self._anew = True

    async def _renew(self) -> bool:
        """Have the credentials renewed; return whether that was any use."""
        self._renewed = True
        sent = self._sent
        if sent is None:
            # The request of a plain poll: there are no gates.
            return False
        renewed = [await gate.renew(sent, max(0.0, self._left())) for gate in self._gates]
        return any(renewed)

    def _held(self, held: HeldError) -> float:
        """Enter an exchange that was not sent; return for how long none will be."""
        self._counters.attempts -= 1
        self._counters.held[held.slug] = self._counters.held.get(held.slug, 0) + 1
        self._held_by = self._standing.told(held.reason)
        verdict = Verdict(_FAIL, held.reason, held.slug, held.wait)
        entry = self._entry(None, verdict)
        decision = Decision.FAILED if held.failing else Decision.SKIPPED
        self._note(msgspec.structs.replace(entry, decision=decision, attempts=max(0, self._attempts - 1)))
        if held.failing:
            self._standing.held(held.trouble, self._held_by)
        return held.wait

    async def _store(self, response: Response, verdict: Verdict) -> bool:
        """Store what an accepted response leaves; return whether another exchange follows."""
        harvest = await self._made(response, verdict)
        if self._refuses(harvest):
            await self._refuse(harvest)
            return False
        await self._append(harvest)
        if self._chain is not None:
            self._standing.passed(harvest.rejections)
        return self._continues(harvest)

    async def _made(self, response: Response, verdict: Verdict) -> Harvest:
        """Return what an accepted response leaves; of one that is stored in several steps the last."""
        final, self._final = self._final, None
        if final is not None:
            return final
        if self._brood is not None:
            return await self._with_children(self._brood, response, verdict)
        now = self._clock.time_ms()
        large = len(response.body) >= LARGE
        if self.quick and not large:
            return self.reap(response, verdict, now)
        if not large or self._inflow is None:
            return await asyncio.to_thread(self.reap, response, verdict, now)
        while True:
            reaping = self._poll.reaping(response, self.checkpoint, self._moment())
            try:
                return await self._in_steps(reaping, response, sliced(response.body))
            except AnotherBodyError:
                await self._forget(response)

    async def _with_children(self, brood: Brood, response: Response, verdict: Verdict) -> Harvest:
        """Return what an accepted response leaves together with the children of its items."""
        moment, before = self._moment(), self.checkpoint
        reaped = await asyncio.to_thread(self._poll.reap, _kept(response, verdict), before, moment)
        if reaped.parents:
            scope = self._poll.scope(before, moment)
            reaped = await brood.complete(reaped, before, scope, moment, response.url)
        return await asyncio.to_thread(self._reaped, reaped, response, verdict, self._clock.time_ms())

    def _refuses(self, harvest: Harvest) -> bool:
        return bool(harvest.rejections) and self._config.on_error == "fail"

    def _continues(self, harvest: Harvest) -> bool:
        return harvest.more and not self.stopping

    async def _refuse(self, harvest: Harvest) -> None:
        """Let a round fail because a transform refused some of its records: nothing of the exchange is stored."""
        if self._chain is not None:
            # What the transforms remember of this exchange must be forgotten with it.
            await asyncio.to_thread(self._chain.begin, self.checkpoint.transforms)
        reason = told(harvest.rejections, whither="refused", mask=self._standing.told)
        entry = harvest.exchange
        self._note(msgspec.structs.replace(entry, decision=Decision.FAILED, reason=reason, topic=None, records=0))
        self._standing.bad("transform", reason, "on_error: fail is why the poll failed")

    async def _append(self, harvest: Harvest, refusal: HeadwaterError | None = None) -> None:
        """Append, waiting as long as the log's trouble may pass: the records stay in memory and nothing is polled.

        `refusal` is what the first try ended with. Cancelling is safe at any moment: records and checkpoint commit
        together or not at all.
        """
        failures = 0
        append = harvest.append if harvest.partial else self._tally.summed(harvest)
        while True:
            outcome = refusal or await self._receipt(append)
            if isinstance(outcome, Receipt):
                break
            if not isinstance(outcome, LogError | ClusterError) or not outcome.retryable:
                raise outcome
            refusal = None
            failures += 1
            slug = "log" if isinstance(outcome, LogError) else "cluster"
            self._standing.bad(slug, outcome.message, outcome.hint)
            pause = back_off(
                failures, initial=_APPEND_PAUSE, longest=_LONGEST_APPEND_PAUSE, chance=self._shared.chance()
            )
            await self._nap(self._clock.monotonic() + pause)
        if harvest.partial:
            self._tally.add(harvest, outcome)
        self.stored(harvest)

    async def _receipt(self, append: Append) -> Receipt | HeadwaterError:
        decided: asyncio.Future[Receipt | HeadwaterError] = asyncio.get_running_loop().create_future()
        self._target.store(append, partial(settle, decided))
        return await decided


def _kept(response: Response, verdict: Verdict) -> Response:
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
