"""Owns a clock that stands still until a test turns it. Nothing else in tests is ever faked."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from functools import partial
from itertools import count

from headwater.core.callback import settle

# How long a test may wait, in real seconds, for somebody to sleep on the clock.
_PATIENCE = 30.0


class _Timer:
    """A callback that waits for its deadline."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """A `headwater.core.clock.Clock` whose time moves only by `advance` and `next_wake`.

    `unix` is the wall clock's time at the beginning, seconds since the Unix epoch. Belongs to one event loop.
    """

    def __init__(self, unix: float = 1_700_000_000.0) -> None:
        self._now = 0.0
        self._unix = unix
        self._sleepers: list[tuple[float, int, _Timer]] = []
        self._order = count()
        self._arrival = asyncio.Event()

    def monotonic(self) -> float:
        """Return the seconds that the clock has been turned."""
        return self._now

    def time_ms(self) -> int:
        """Return the wall clock's time, ms since the Unix epoch."""
        return round((self._unix + self._now) * 1000)

    def call_at(self, deadline: float, callback: Callable[[], None]) -> _Timer:
        """Call back when the clock is turned to `deadline`; one that has passed is the next turn of the event loop."""
        timer = _Timer(callback)
        if deadline <= self._now:
            asyncio.get_running_loop().call_soon(_call, timer)
        else:
            heapq.heappush(self._sleepers, (deadline, next(self._order), timer))
            self._arrival.set()
        return timer

    async def sleep_until(self, deadline: float) -> None:
        """Wait until the clock has been turned to `deadline`."""
        if deadline <= self._now:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(deadline, partial(settle, woken, None))
        try:
            await woken
        finally:
            timer.cancel()

    def set_wall(self, unix: float) -> None:
        """Set the wall clock to a Unix time in seconds, as an administrator would; monotonic time goes on."""
        self._unix = unix - self._now

    def advance(self, seconds: float) -> None:
        """Turn the clock, waking everybody whose deadline it reaches."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _call(heapq.heappop(self._sleepers)[2])

    async def sleeping(self, sleepers: int = 1) -> float:
        """Wait until at least so many sleep on the clock; return the seconds until the first of them wakes.

        Raises TimeoutError after 30 s of real time.
        """
        async with asyncio.timeout(_PATIENCE):
            while True:
                self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[2].callback is not None]
                heapq.heapify(self._sleepers)
                if len(self._sleepers) >= sleepers:
                    return self._sleepers[0][0] - self._now
                self._arrival.clear()
                await self._arrival.wait()

    async def next_wake(self, sleepers: int = 1) -> float:
        """Wait until so many sleep, then turn the clock to the first one's deadline; return by how many seconds."""
        step = await self.sleeping(sleepers)
        self.advance(step)
        return step


def _call(timer: _Timer) -> None:
    if timer.callback is not None:
        timer.callback()
