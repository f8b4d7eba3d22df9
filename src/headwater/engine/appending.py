"""Owns an append that has to be stored: tried again as long as the trouble of the log may pass, and told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from headwater.core.callback import settle
from headwater.core.clock import Clock
from headwater.core.errors import ClusterError, HeadwaterError, LogError
from headwater.engine.standing import Standing
from headwater.engine.target import Target
from headwater.log import Append, Receipt
from headwater.sources.retry import back_off

_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

# Waits until a monotonic time, unless the connector is asked to stop: then it raises CancelledError.
Nap = Callable[[float], Awaitable[None]]


class Appender:
    """Stores the appends of one connector, one after the other. `chance` returns a random number in [0, 1)."""

    __slots__ = ("_chance", "_clock", "_nap", "_standing", "_target")

    def __init__(self, target: Target, clock: Clock, standing: Standing, chance: Callable[[], float], nap: Nap) -> None:
        self._target = target
        self._clock = clock
        self._standing = standing
        self._chance = chance
        self._nap = nap

    async def store(self, append: Append, refusal: HeadwaterError | None = None) -> Receipt:
        """Return the receipt, after as many tries as it takes: meanwhile the records stay in memory.

        `refusal` is what the first try ended with. Raises what the target refuses for good. Cancelling is safe at any
        moment: records and checkpoint commit together or not at all.
        """
        failures = 0
        while True:
            outcome = refusal or await self.receipt(append)
            if isinstance(outcome, Receipt):
                return outcome
            if not isinstance(outcome, LogError | ClusterError) or not outcome.retryable:
                raise outcome
            refusal = None
            failures += 1
            slug = "log" if isinstance(outcome, LogError) else "cluster"
            self._standing.bad(slug, outcome.message, outcome.hint)
            pause = back_off(failures, initial=_PAUSE, longest=_LONGEST_PAUSE, chance=self._chance())
            await self._nap(self._clock.monotonic() + pause)

    async def receipt(self, append: Append) -> Receipt | HeadwaterError:
        """Try once; return what came of it."""
        decided: asyncio.Future[Receipt | HeadwaterError] = asyncio.get_running_loop().create_future()
        self._target.store(append, partial(settle, decided))
        return await decided
