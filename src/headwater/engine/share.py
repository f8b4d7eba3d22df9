"""Owns what connectors that share limits have together: their line, breaker, budget, and what servers said is left.

What a limit allows is decided in `sources.limits`; here is the waiting, and what is worth a log line.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import structlog

from headwater.core.callback import Cancellable, settle
from headwater.core.clock import Clock
from headwater.core.errors import FetchError, RequestError
from headwater.core.http import Response
from headwater.core.units import format_duration
from headwater.engine.budget import KeptBudget
from headwater.engine.counters import ShareFigures
from headwater.engine.gate import HeldError
from headwater.engine.target import Target
from headwater.sources.limits.breaker import Breaker, Fuse, State, is_failure
from headwater.sources.limits.line import Line, Place
from headwater.sources.limits.quota import Allowance
from headwater.sources.limits.terms import Terms, strictest

# What holds requests back for longer than this is worth a line (seconds).
_WORTH_A_LINE = 60.0
# So many connectors are named in a line.
_MOST_TOLD = 10
# Who a server answers is told apart by credentials; more of them than this share what is left.
_MOST_ALLOWANCES = 1000

logger = structlog.get_logger("headwater.limits")


class Obstacle(msgspec.Struct, frozen=True):
    """What keeps a request back until a monotonic time. `trouble` is the kind of failure behind it, if one is.

    With `open` it may end before.
    """

    reason: str
    slug: str
    until: float
    trouble: str = ""
    open: bool = False

    def error(self, deadline: float) -> HeldError:
        """Return it as what a gate raises for a request that can wait until a deadline.

        The next one can wait as long: it comes early enough when it has to wait no longer than that.
        """
        wait = max(0.0, self.until - deadline)
        return HeldError(self.reason, slug=self.slug, wait=wait, failing=bool(self.trouble), trouble=self.trouble)


class Share:
    """Limits that are kept together. `name` says of what; `key` says in time under what a budget is stored."""

    def __init__(
        self, name: str, key: Callable[[], Awaitable[str]], clock: Clock, target: Target, figures: ShareFigures
    ) -> None:
        self.name = name
        self.budget = KeptBudget(name, key, clock, target, figures)
        self._clock = clock
        self._figures = figures
        self._members: dict[str, Terms] = {}
        # The same counted, for thousands may say the same.
        self._said: Counter[Terms] = Counter()
        self._apart: list[str] = []
        self._line = Line()
        self._called: dict[Place, asyncio.Future[None]] = {}
        self._timer: tuple[float, Cancellable] | None = None
        self._fuse: Fuse | None = None
        self._breaker = Breaker()
        self._allowances: dict[bytes | None, Allowance] = {}
        self._watchers: set[asyncio.Future[None]] = set()
        self._terms = Terms()
        self._told: str | None = None

    # Who is in it.

    def __len__(self) -> int:
        """Return how many connectors share it."""
        return len(self._members)

    def join(self, connector: str, terms: Terms) -> None:
        """Take a connector in."""
        self._members[connector] = terms
        self._said[terms] += 1
        if self._said[terms] == 1:
            self._agree()

    async def leave(self, connector: str) -> None:
        """Let a connector go; the last one leaves an exact count of the budget behind."""
        terms = self._members.pop(connector)
        self._line.forget(connector)
        self._said[terms] -= 1
        if not self._said[terms]:
            del self._said[terms]
            if self._said:
                self._agree()
        if not self._members:
            await self.budget.settle()

    def _agree(self) -> None:
        self._terms, apart = strictest(self._said)
        terms = self._terms
        if apart and apart != self._apart:
            names = sorted(self._members)
            more = [f"{len(names) - _MOST_TOLD} more"] if len(names) > _MOST_TOLD else []
            logger.warning(
                "connectors that share limits say different things; the strictest counts",
                share=self.name,
                options=", ".join(apart),
                connectors=", ".join([*names[:_MOST_TOLD], *more]),
            )
        self._apart = apart
        self._line.rate, self._line.at_once, self._fuse = terms.rate, terms.at_once, terms.fuse
        self.budget.agree(terms)
        self._pump()

    def allowance(self, credential: bytes | None) -> Allowance:
        """Return what a server has said to whoever asks with a credential."""
        known = self._allowances.get(credential)
        if known is None:
            key = credential if len(self._allowances) < _MOST_ALLOWANCES else None
            known = self._allowances.setdefault(key, Allowance())
        return known

    # What keeps a request back.

    def obstacle(self) -> Obstacle | None:
        """Return what keeps every request back at this moment."""
        now = self._clock.monotonic()
        breaker = self._breaker
        if self._fuse is not None and not breaker.admits(now):
            trying = breaker.state is State.HALF_OPEN
            return Obstacle(self._of_breaker(breaker, now), "breaker", breaker.until, breaker.slug, trying)
        used = self.budget.used_up()
        if used is None:
            return None
        reason, seconds = used
        self.tell(reason, seconds)
        return Obstacle(reason, "budget", now + seconds)

    def _of_breaker(self, breaker: Breaker, now: float) -> str:
        said = f"the circuit breaker of {self.name} is {breaker.state.value} after {breaker.failures} failures in a row"
        if breaker.state is State.HALF_OPEN:
            return f"{said}, the last: {breaker.reason}; one request is under way to see whether others may go"
        again = datetime.fromtimestamp(self._clock.time_ms() / 1000 + breaker.until - now, UTC)
        return f"{said}, the last: {breaker.reason}; nothing is sent before {again:%H:%M:%S} UTC"

    def tell(self, reason: str, seconds: float) -> None:
        """Say once what holds requests back for long."""
        if seconds >= _WORTH_A_LINE and reason != self._told:
            self._told = reason
            lasts = format_duration(timedelta(seconds=round(seconds)))
            logger.info("limits hold requests back", share=self.name, reason=reason, lasts=lasts)

    async def rest(self, until: float, waiting: set[asyncio.Future[None]], *, watch: bool) -> None:
        """Wait until a monotonic time, or with `watch` until something has changed here.

        `waiting` holds the future meanwhile.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if watch:
            self._watchers.add(future)
        try:
            await self._wait(future, until, waiting)
        finally:
            self._watchers.discard(future)

    async def _wait(self, future: asyncio.Future[None], until: float, waiting: set[asyncio.Future[None]]) -> None:
        began = self._clock.monotonic()
        timer = self._clock.call_at(until, partial(settle, future, None))
        waiting.add(future)
        try:
            await future
        finally:
            timer.cancel()
            waiting.discard(future)
            self._figures.waited += self._clock.monotonic() - began

    def _changed(self) -> None:
        for future in self._watchers:
            settle(future, None)

    # Turns.

    async def turn(self, who: str, deadline: float, waiting: set[asyncio.Future[None]]) -> Place:
        """Wait for a connector's turn; return the place, which is to be given back or ended. Raises HeldError."""
        line, now = self._line, self._clock.monotonic()
        place = line.join(who, now)
        late = line.wait(place, now)
        if now + late > deadline:
            line.turn_away(place)
            rate = self._terms.rate
            assert rate is not None
            many = "s" if rate.count > 1 else ""
            said = f"{rate.count:,} request{many} in {format_duration(timedelta(seconds=rate.period))}"
            reason = (
                f"{self.name} is asked as often as its rate allows, {said}: its turn comes in {late:.3g} s, too late"
            )
            raise HeldError(reason, slug="rate", wait=now + late - deadline)
        self._pump()
        if self._is_called(place):
            return place
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._called[place] = future
        self._figures.waiting = line.waiting
        try:
            await self._wait(future, deadline, waiting)
        except BaseException:
            self.give_back(place)
            raise
        finally:
            self._called.pop(place, None)
            self._figures.waiting = line.waiting
        if self._is_called(place):
            return place
        line.turn_away(place)
        self._pump()
        crowded = self._terms.at_once is not None and line.under_way >= self._terms.at_once
        many = "request is" if line.under_way == 1 else "requests are"
        why = f"{line.under_way} {many} under way, and no more are allowed" if crowded else "others came first"
        reason = f"its turn at {self.name} did not come in time: {why}"
        raise HeldError(reason, slug="concurrent" if crowded else "rate", wait=0.0)

    @staticmethod
    def _is_called(place: Place) -> bool:
        return place.called

    def give_back(self, place: Place) -> None:
        """Give a place back whose request is not sent."""
        self._line.leave(place)
        self._pump()

    def _pump(self) -> None:
        """Call whoever's turn it is, and see to it that the next one is called in time."""
        line, now = self._line, self._clock.monotonic()
        while (place := line.call(now)) is not None:
            future = self._called.get(place)
            if future is not None:
                settle(future, None)
        self._figures.under_way = line.under_way
        due = line.due()
        if self._timer is not None and self._timer[0] != due:
            self._timer[1].cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = (due, self._clock.call_at(due, self._on_time))

    def _on_time(self) -> None:
        self._timer = None
        self._pump()

    # What goes out and comes back.

    def sent(self, allowance: Allowance, patience: float) -> None:
        """Take in that a request goes out whose answer takes `patience` seconds at most."""
        allowance.flying += 1
        if self._fuse is not None:
            self._enter(self._breaker.sent(self._clock.monotonic(), patience))

    def ended(self, allowance: Allowance, outcome: Response | FetchError | None, told: Callable[[], str]) -> None:
        """Take in what came of a request that was sent; None when nobody waits for it any more. `told` says it."""
        allowance.flying -= 1
        self._line.ended()
        now = self._clock.monotonic()
        if self._fuse is not None:
            failure = None if outcome is None else is_failure(outcome)
            if failure:
                slug = outcome.slug if isinstance(outcome, FetchError) else "status"
                self._enter(self._breaker.bad(told(), slug, now, self._fuse))
            elif outcome is None or isinstance(outcome, RequestError):
                self._enter(self._breaker.dropped(now))
            elif failure is False or self._breaker.state is State.HALF_OPEN:
                self._enter(self._breaker.good())
        self._changed()
        self._pump()

    def _enter(self, following: Breaker) -> None:
        before, self._breaker = self._breaker, following
        if following.state is before.state:
            return
        self._figures.breaker = following.state.value
        if following.state is State.OPEN and before.state is State.CLOSED:
            self._figures.opened += 1
            logger.warning(
                "circuit breaker opened",
                share=self.name,
                failures=following.failures,
                reason=following.reason,
                pause=format_duration(timedelta(seconds=following.pause)),
            )
        elif following.state is State.CLOSED:
            after = format_duration(timedelta(seconds=round(self._clock.monotonic() - before.since)))
            logger.info("circuit breaker closed", share=self.name, after=after, failures=before.failures)

    def publish(self, allowance: Allowance) -> None:
        """Show what a server says is left."""
        self._figures.quotas = {
            scope: (quota.limit, quota.remaining)
            for scope, quota in allowance.left().items()
            if quota.remaining is not None
        }
