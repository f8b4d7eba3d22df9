"""Owns the exchanges of a round that wait: for gates, for answers, between attempts, for pages, bodies and the log.

What is decided of them stands in `round`. A plain poll that goes well never comes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.callback import settle
from headwater.core.checkpoint import Checkpoint, encode_checkpoint
from headwater.core.errors import FetchError, HeadwaterError
from headwater.core.exchange import Decision
from headwater.core.http import Request, Response
from headwater.core.units import format_size
from headwater.engine.appending import Appender, Nap
from headwater.engine.deadletter import told
from headwater.engine.gate import Gate, HeldError
from headwater.engine.harvest import Harvest
from headwater.engine.inflow import Inflow
from headwater.engine.round import LARGE, Round, Surroundings, kept
from headwater.engine.schedule import Schedule
from headwater.engine.steps import Steps, Tally, sliced
from headwater.fluvio.compression import Compression
from headwater.log import Append
from headwater.sources.course import NothingDueError
from headwater.sources.judge import Action, Verdict
from headwater.sources.limits.pace import Brought, Pacing, fresh_for
from headwater.sources.output import phrase
from headwater.sources.reaped import Reaped
from headwater.sources.reaping import Reaping, anew
from headwater.sources.split.resume import AnotherBodyError
from headwater.transforms.chain import Chain

if TYPE_CHECKING:
    from headwater.engine.children import Brood
    from headwater.sources.children import Children

_STORE, _RETRY, _FAIL, _RENEW = Action.STORE, Action.RETRY, Action.FAIL, Action.REAUTHENTICATE


class Exchanges(Round):
    """A round with all its exchanges. `run` does one from its beginning, the others the rest of one."""

    __slots__ = ("_appender", "_brood", "_final", "_inflow", "_nap", "_opened")

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
        super().__init__(config, shared, schedule, compression, chain=chain, partitions=partitions, gates=gates)
        self._nap = nap
        self._appender = Appender(shared.target, shared.clock, self._standing, shared.chance, nap)
        # Where bodies come in that are cut into items, the last request and itself with a way for them, and the last
        # step of a body that was stored while it arrived.
        held = self._poll.holds
        self._inflow = None if held is None else Inflow(held, self._wanted)
        self._opened: tuple[Request, Request] | None = None
        self._final: Harvest | None = None
        self._brood = None if self._poll.children is None else self._brood_of(self._poll.children)

    def _brood_of(self, children: Children) -> Brood:
        from headwater.engine.children import Brood  # noqa: PLC0415 - only connectors with children pay for the import

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
            strict=self._config.on_error == "fail",
        )

    def _wanted(self, head: Response) -> bool:
        """Return whether the body of a response is to be cut into items, by its head."""
        return self._poll.cuts(head, self.checkpoint)

    def _request(self) -> Request:
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

    async def run(self) -> None:
        """Do the whole round that is due, and close it."""
        self._brought = Brought()
        self.open()
        self.close(await self._go_on())

    async def finish(self, outcome: Response | FetchError, verdict: Verdict) -> None:
        """Do the rest of a round whose first attempt is judged, and close it."""
        self.close(await self._go_on((outcome, verdict)))

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
            await self._appender.receipt(Append(None, (), None, (self._name, encode_checkpoint(self.checkpoint))))

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
                request = self._request()
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

        inflow = self._inflow

        def deliver(outcome: Response | FetchError) -> None:
            # None: the body was too large to be held, and is on its way.
            arrived = outcome if inflow is None else inflow.arrived(outcome)
            if arrived is not None:
                settle(answered, arrived)

        fetching = self._fetcher.begin(request, deliver)
        if inflow is not None:
            inflow.begun(fetching, partial(settle, answered, None))
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
        reaped = await asyncio.to_thread(self._poll.reap, kept(response, verdict), before, moment)
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
        append = harvest.append if harvest.partial else self._tally.summed(harvest)
        receipt = await self._appender.store(append, refusal)
        if harvest.partial:
            self._tally.add(harvest, receipt)
        self.stored(harvest)
