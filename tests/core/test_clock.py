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


async def test_sleepers_with_slack_wake_together() -> None:
    """With slack sleepers wake at its next multiple: never before their deadline, and at most so much after it."""
    clock = SystemClock(slack=0.02)
    woken: list[tuple[float, float]] = []

    async def sleeper(deadline: float) -> None:
        await clock.sleep_until(deadline)
        woken.append((deadline, clock.monotonic()))

    now = clock.monotonic()
    tasks = [asyncio.create_task(sleeper(now + number / 1000)) for number in range(40)]
    tasks.append(asyncio.create_task(sleeper(now + 1000)))
    await asyncio.sleep(0)
    tasks.pop().cancel()
    await asyncio.gather(*tasks)
    assert len(woken) == 40
    assert all(deadline <= at for deadline, at in woken)
    assert len({int(deadline / 0.02) for deadline, _ in woken}) <= 4
