"""When a connector's trouble is worth a line."""

from __future__ import annotations

from headwater.engine.health import Change, Health


def test_a_healthy_connector_is_silent() -> None:
    """Good outcomes say nothing."""
    health = Health()
    assert [health.good(now) for now in (0.0, 1.0, 2.0)] == [None, None, None]
    assert health.healthy


def test_a_trouble_is_told_when_it_begins_and_when_it_ends() -> None:
    """A hundred failures of one kind make one line, and the recovery another that counts them."""
    health = Health()
    assert health.bad("status", "500", 10.0) == Change(healthy=False, reason="500", failures=1, seconds=0.0)
    assert all(health.bad("status", "500", 10.0 + n) is None for n in range(1, 100))
    assert not health.healthy
    assert health.good(200.0) == Change(healthy=True, reason="", failures=100, seconds=190.0)


def test_a_trouble_that_changes_is_told_again() -> None:
    """Another kind of failure is another line, and the time runs from the first of all."""
    health = Health()
    health.bad("status", "500", 10.0)
    assert health.bad("dns", "no such host", 15.0) == Change(
        healthy=False, reason="no such host", failures=2, seconds=5.0
    )
