"""Room is given in the order of coming, and given back."""

from __future__ import annotations

import asyncio

import pytest

from headwater.cluster.room import Room
from headwater.core.errors import ClusterUnreachableError


async def test_order() -> None:
    """Nobody passes those who wait, not even with little."""
    room = Room(10)
    assert room.take(12) is None
    first, second = room.take(5), room.take(5)
    assert first is not None
    assert second is not None
    room.release(1)
    assert not first.done()
    room.release(2)
    assert first.done()
    assert not second.done()
    assert room.taken == 14
    room.release(14)
    assert second.done()


async def test_who_gave_up_gets_nothing() -> None:
    """A turn that was cancelled is skipped."""
    room = Room(10)
    assert room.take(10) is None
    first, second = room.take(5), room.take(7)
    assert first is not None
    assert second is not None
    first.cancel()
    room.release(10)
    assert (second.done(), room.taken) == (True, 7)


async def test_empty() -> None:
    """Waiting for emptiness ends with the last byte, for everybody who still waits."""
    room = Room(10)
    await room.empty()
    room.force(20)
    waiting = [asyncio.ensure_future(room.empty()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    room.release(20)
    await waiting[1]


async def test_close() -> None:
    """Who waits when it closes is told why."""
    room = Room(1)
    assert room.take(1) is None
    turn, other = room.take(1), room.take(1)
    assert turn is not None
    assert other is not None
    other.cancel()
    room.close(ClusterUnreachableError("closed"))
    with pytest.raises(ClusterUnreachableError, match="closed"):
        await turn
