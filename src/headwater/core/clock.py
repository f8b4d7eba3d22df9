"""Owns time: what it is, and waiting for it. Tests put their own in its place; nothing else is ever faked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from headwater.core.callback import Cancellable, settle

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

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Cancellable:
        """Call back once `monotonic()` has reached `deadline`, never from within this call. It must not raise."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Wait until `monotonic()` has reached `deadline`. Cancellable."""
        ...


class SystemClock:
    """The real time, over timers of the running event loop.

    An event loop's own time stands still while it works and may count in milliseconds, so it is not what lateness is
    measured with.

    `slack` (seconds) lets callbacks share timers: they come at the next multiple of it, never before their deadline.
    Thousands that come one by one cost twice the processor time of those that come in groups. It may be set once,
    later on.
    """

    __slots__ = ("_groups", "slack")

    # As it is: a method of ours around it would cost more than the time itself.
    monotonic = staticmethod(time.monotonic)

    def __init__(self, slack: float = 0.0) -> None:
        self.slack = slack
        self._groups: dict[int, list[_Shared]] = {}

    def time_ms(self) -> int:
        """Return the wall clock's time."""
        return time.time_ns() // 1_000_000

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Cancellable:
        """Call back on a timer; a deadline that has passed is the next turn of the event loop."""
        if self.slack:
            timer = _Shared(callback)
            number = int(deadline / self.slack) + 1
            group = self._groups.get(number)
            if group is None:
                group = self._groups[number] = self._group(number)
            group.append(timer)
            return timer
        delay = deadline - time.monotonic()
        loop = asyncio.get_running_loop()
        return loop.call_later(delay + _ROUNDING, callback) if delay > 0 else loop.call_soon(callback)

    def _group(self, number: int) -> list[_Shared]:
        """Return a new group that is called at a multiple of the slack."""
        delay = number * self.slack - time.monotonic() + _ROUNDING
        asyncio.get_running_loop().call_later(max(0.0, delay), self._call, number)
        return []

    def _call(self, number: int) -> None:
        for timer in self._groups.pop(number):
            if timer.callback is not None:
                timer.callback()

    async def sleep_until(self, deadline: float) -> None:
        """Wait on one timer; a deadline that has passed returns at once."""
        if deadline <= time.monotonic():
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(deadline, partial(settle, reached, None))
        try:
            await reached
        finally:
            timer.cancel()


class _Shared(msgspec.Struct, eq=False):
    """One of the callbacks that share a timer."""

    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None
