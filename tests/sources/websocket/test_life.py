"""When to ping, when to say that one is alive, and when a connection is dead."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.websocket.life import Due, Life


def test_nothing_is_due_of_nothing() -> None:
    """Without an interval there is nothing to do, ever."""
    life = Life(100, ping_interval=0, pong_timeout=10)
    assert life.due(100, 0) == Due()
    assert life.due(1e9, 0) == Due()


def test_pings() -> None:
    """One for each interval, the first after one; what was heard since keeps the connection alive."""
    life = Life(100, ping_interval=10, pong_timeout=4)
    assert life.due(100, 0) == Due(again_at=110)
    assert life.due(109.9, 0) == Due(again_at=110)
    assert life.due(110, 7) == Due(ping=True, again_at=114)
    assert life.due(112, 8) == Due(again_at=120)
    assert life.due(120.1, 8) == Due(ping=True, again_at=124.1)
    assert life.due(124, 8) == Due(again_at=124.1)
    assert life.due(124.1, 8) == Due(dead=True)


def test_a_time_out_longer_than_the_interval() -> None:
    """The first ping that nobody answers counts, not the last."""
    life = Life(0, ping_interval=1, pong_timeout=3)
    assert life.due(1, 0) == Due(ping=True, again_at=2)
    assert life.due(2, 0) == Due(ping=True, again_at=3)
    assert life.due(3, 0) == Due(ping=True, again_at=4)
    assert life.due(4, 0) == Due(dead=True)


def test_without_a_time_out() -> None:
    """Nothing is ever dead."""
    life = Life(0, ping_interval=1, pong_timeout=0)
    assert [life.due(at, 0) for at in (1, 2, 50)] == [Due(ping=True, again_at=at + 1) for at in (1, 2, 50)]


def test_keep_alive() -> None:
    """An application's own, beside pings; it asks for no answer."""
    life = Life(0, ping_interval=10, pong_timeout=5, keep_alive=4)
    assert life.due(4, 0) == Due(keep_alive=True, again_at=8)
    assert life.due(8, 0) == Due(keep_alive=True, again_at=10)
    assert life.due(12, 0) == Due(ping=True, keep_alive=True, again_at=16)
    alone = Life(0, ping_interval=0, pong_timeout=5, keep_alive=4)
    assert alone.due(100, 0) == Due(keep_alive=True, again_at=104)


def test_reading_that_is_held_back() -> None:
    """Who does not read cannot hear: the connection is judged anew with the next ping."""
    life = Life(0, ping_interval=10, pong_timeout=4)
    assert life.due(10, 0) == Due(ping=True, again_at=14)
    assert life.due(14, 0, held=True) == Due(again_at=20)
    assert life.due(20, 0, held=True) == Due(ping=True, again_at=30)
    assert life.due(30, 0) == Due(ping=True, again_at=34)
    assert life.due(34, 0) == Due(dead=True)


def test_a_look_that_comes_late() -> None:
    """A process that stood still may not have read yet what was said: it gets a moment, once."""
    life = Life(0, ping_interval=60, pong_timeout=5)
    assert life.due(60, 3).ping
    assert life.due(100, 3) == Due(again_at=101)
    assert life.due(101, 4) == Due(again_at=120)
    assert life.due(120, 4).ping
    assert life.due(180, 4) == Due(ping=True, again_at=181)
    assert life.due(999, 4) == Due(dead=True)


@given(
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.sampled_from([0.0, 0.7]),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 1), st.booleans()), max_size=30),
)
def test_whatever_happens(
    interval: float, timeout: float, keep_alive: float, steps: list[tuple[float, int, bool]]
) -> None:
    """The next look is later than now; only who was silent for the whole time-out behind a ping is dead."""
    life = Life(0, ping_interval=interval, pong_timeout=timeout, keep_alive=keep_alive)
    now = 0.0
    heard = 0
    pinged = math.inf
    for pause, new, held in steps:
        now += pause
        heard += new
        if new or held:
            pinged = math.inf
        due = life.due(now, heard, held=held)
        if due.dead:
            assert now - pinged >= timeout > 0
            return
        assert (due.again_at is None) is (not interval and not keep_alive)
        assert due.again_at is None or due.again_at > now
        if due.ping and not held:
            pinged = min(pinged, now)
