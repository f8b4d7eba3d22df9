"""Owns a budget at work: its count is read when it is first needed, and stored ahead of the requests that it covers.

How many may go, and what is stored, is decided in `sources.limits.budget`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from headwater.core.callback import settle
from headwater.core.clock import Clock
from headwater.core.errors import ConnectorError, HeadwaterError
from headwater.engine.counters import ShareFigures
from headwater.engine.gate import HeldError
from headwater.engine.target import Target
from headwater.log import Append, Receipt
from headwater.sources.limits.budget import Budget, Count, encode_counts
from headwater.sources.limits.terms import Terms

# What is kept of a budget stands among the checkpoints; no connector has such a name.
PREFIX: Final = "@limits/"
# How long a count may take to be stored (seconds): a target may try for ten.
_LONGEST_STORE = 30.0

logger = structlog.get_logger("headwater.limits")


def _begun(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin work that several wait for. What it raises is theirs, and nobody's when none of them waits any more."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


class KeptBudget:
    """The budget of limits that are shared as `name`. `key` says in time under what its count is kept."""

    def __init__(
        self, name: str, key: Callable[[], Awaitable[str]], clock: Clock, target: Target, figures: ShareFigures
    ) -> None:
        self._name = name
        self._find_key = key
        self._key = ""
        self._clock = clock
        self._target = target
        self._figures = figures
        self._terms = Terms()
        self._budget: Budget | None = None
        self._loading: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._durable = True

    def agree(self, terms: Terms) -> None:
        """Go on with other limits."""
        self._terms = terms
        if self._budget is not None:
            self._budget.limits, self._budget.zone = dict(terms.budgets), terms.zone

    def _now(self) -> float:
        return self._clock.time_ms() / 1000

    def used_up(self) -> tuple[str, float] | None:
        """Return what is used up, and for how many seconds; None when a request may go."""
        used = None if self._budget is None else self._budget.used_up(self._now())
        if used is None:
            return None
        until = datetime.fromtimestamp(used.until, UTC).astimezone(ZoneInfo(self._terms.zone))
        article = "an" if used.kind == "hour" else "a"
        budget = f"the budget of {used.limit:,} requests {article} {used.kind} for {self._name}"
        reason = f"{budget} is used up until {until:%Y-%m-%d %H:%M} {self._terms.zone}"
        return reason, used.until - self._now()

    async def ready(self) -> None:
        """Have the count at hand. Raises HeldError."""
        if not self._terms.budgets or self._budget is not None:
            return
        if self._loading is None:
            self._loading = _begun(self._load())
        try:
            await asyncio.shield(self._loading)
        except HeadwaterError as error:
            self._loading = None
            raise self._no_count(error.message) from error

    async def _load(self) -> None:
        stored = None
        self._key = f"{PREFIX}{await self._find_key()}"
        try:
            stored = await self._target.checkpoint(self._key)
        except ConnectorError as error:
            # Of a process that shares connectors with others: nobody has a budget's count for itself there.
            self._durable = False
            logger.warning(
                "a budget is counted from now on and for this process alone", share=self._name, reason=error.message
            )
        self._budget = Budget(dict(self._terms.budgets), self._terms.zone, stored)

    async def spend(self) -> None:
        """Count a request, and have what is stored cover it. Raises HeldError, and counts none then."""
        budget = self._budget
        if budget is None:
            return
        now = self._now()
        covered = budget.take(now)
        self._figures.budgets = {kind: (budget.limits[kind], left) for kind, left in budget.left(now).items()}
        try:
            while not covered and self._durable and not budget.covered():
                if self._writing is None or self._writing.done():
                    self._writing = _begun(self._keep(budget, budget.ahead()))
                await asyncio.shield(self._writing)
        except HeadwaterError as error:
            budget.give_back(now)
            raise self._no_count(error.message) from error
        except BaseException:
            budget.give_back(now)
            raise

    async def settle(self) -> None:
        """Store the exact count: nothing more is sent."""
        budget = self._budget
        counts = None if budget is None or not self._durable else budget.exact()
        if budget is not None and counts is not None:
            # What is stored instead counts too much, which does no harm.
            with suppress(HeadwaterError, HeldError):
                await self._keep(budget, counts)

    async def _keep(self, budget: Budget, counts: dict[str, Count]) -> None:
        decided: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        append = Append(None, (), None, (self._key, encode_counts(counts)))
        self._target.store(append, partial(settle, decided))
        try:
            async with asyncio.timeout(_LONGEST_STORE):
                outcome: Receipt | HeadwaterError = await decided
        except TimeoutError:
            raise self._no_count(f"it was not stored within {_LONGEST_STORE:g} s") from None
        if isinstance(outcome, HeadwaterError):
            raise outcome
        budget.kept(counts)

    def _no_count(self, why: str) -> HeldError:
        reason = f"the count of the budget for {self._name} cannot be kept: {why}"
        return HeldError(reason, slug="budget", wait=0.0, failing=True)
