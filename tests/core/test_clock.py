"""The system's clock."""

from __future__ import annotations

import asyncio
import time

import pytest

from headwater.core.clock import SystemClock


async def test_sleeping_reaches_the_deadline() -> None:
    """A sleeper wakes at its deadline, not before; one in the past returns at once."""
    clock = SystemClock()
    deadline = clock.monotonic() + 0.01
    await clock.sleep_until(deadline)
    assert clock.monotonic() >= deadline
    await clock.sleep_until(deadline - 1000)
    assert abs(clock.time_ms() - time.time() * 1000) < 60_000


async def test_sleeping_can_be_cancelled() -> None:
    """A cancelled sleeper leaves no timer behind that would wake it."""
    clock = SystemClock()
    task = asyncio.create_task(clock.sleep_until(clock.monotonic() + 1000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
