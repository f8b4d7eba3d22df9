"""Owns time: what it is, and waiting for it. Tests put their own in its place; nothing else is ever faked."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

# uvloop rounds timers to the nearest millisecond; half of one more makes sure that none is early (seconds).
_ROUNDING = 0.0005


class Clock(Protocol):
    """The time as the engine sees it."""

    def monotonic(self) -> float:
        """Return seconds on a scale that never goes back."""
        ...

    def time_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Wait until `monotonic()` has reached `deadline`. Cancellable."""
        ...


class SystemClock:
    """The real time: one timer of the event loop for each sleeper.

    An event loop's own time stands still while it works and may count in milliseconds, so it is not what lateness is
    measured with.

    `slack` (seconds) lets sleepers wake together: at the next multiple of it, never before their deadline. Thousands of
    sleepers that wake one by one cost twice the processor time of those that wake in groups.
    """

    __slots__ = ("_groups", "_slack")

    def __init__(self, slack: float = 0.0) -> None:
        self._slack = slack
        self._groups: dict[int, list[asyncio.Future[None]]] = {}

    def monotonic(self) -> float:
        """Return the system's monotonic time."""
        return time.monotonic()

    def time_ms(self) -> int:
        """Return the wall clock's time."""
        return time.time_ns() // 1_000_000

    async def sleep_until(self, deadline: float) -> None:
        """Wait on one timer; a deadline that has passed returns at once."""
        delay = deadline - time.monotonic()
        if delay <= 0:
            return
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[None] = loop.create_future()
        if self._slack:
            # Whoever wakes at the same multiple shares one timer.
            number = int(deadline / self._slack) + 1
            group = self._groups.get(number)
            if group is None:
                group = self._groups[number] = []
                loop.call_later(delay + number * self._slack - deadline + _ROUNDING, self._wake, number)
            group.append(reached)
            await reached
            return
        timer = loop.call_later(delay + _ROUNDING, _reach, reached)
        try:
            await reached
        finally:
            timer.cancel()

    def _wake(self, number: int) -> None:
        for reached in self._groups.pop(number):
            _reach(reached)


def _reach(reached: asyncio.Future[None]) -> None:
    if not reached.done():
        reached.set_result(None)
