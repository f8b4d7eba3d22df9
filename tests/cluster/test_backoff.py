"""Waits grow, within their bound, and are never the same for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.cluster.backoff import Backoff


@given(attempt=st.integers(0, 10_000), chance=st.floats(0, 1))
def test_bounds(attempt: int, chance: float) -> None:
    """No pause is shorter than half the first, nor longer than the longest."""
    assert 0.05 <= Backoff(0.1, 8).pause(attempt, chance) <= 8


def test_doubling() -> None:
    """Each pause is twice the one before, until they are long enough."""
    assert [Backoff(0.1, 1).pause(attempt, 1) for attempt in range(6)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    assert Backoff(0.1, 1).pause(0, 0) == 0.05
