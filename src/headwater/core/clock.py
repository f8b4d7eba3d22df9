"""Owns time: what it is, and waiting for it. Tests put their own in its place; nothing else is ever faked."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


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
    """The real time: one timer of the event loop for each sleeper."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Return the event loop's own time, so that timers and readings agree."""
        return asyncio.get_running_loop().time()

    def time_ms(self) -> int:
        """Return the wall clock's time."""
        return time.time_ns() // 1_000_000

    async def sleep_until(self, deadline: float) -> None:
        """Wait on one `call_at`; a deadline that has passed returns at once."""
        loop = asyncio.get_running_loop()
        if deadline <= loop.time():
            return
        reached = loop.create_future()
        timer = loop.call_at(deadline, _reach, reached)
        try:
            await reached
        finally:
            timer.cancel()


def _reach(reached: asyncio.Future[None]) -> None:
    if not reached.done():
        reached.set_result(None)
