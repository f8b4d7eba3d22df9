"""A rate: no span of time has more than it allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.limits.bucket import Bucket, Rate, wait_for

RATES = st.builds(Rate, st.integers(1, 50), st.floats(0.01, 1000), st.integers(1, 20))


def test_requests_are_spread_evenly() -> None:
    """Without a burst the first goes at once and the others one interval after the other."""
    rate, bucket, at, times = Rate(10, 1.0), Bucket(), 100.0, []
    for _ in range(4):
        at = max(at, bucket.ready(rate))
        times.append(round(at, 6))
        bucket = bucket.taken(rate, at)
    assert times == [100, 100.1, 100.2, 100.3]


def test_a_burst_may_come_after_a_pause() -> None:
    """So many at once, then at the even pace; a pause makes room for the next burst."""
    rate, bucket = Rate(1, 1.0, burst=3), Bucket()
    for _ in range(3):
        assert bucket.ready(rate) <= 50
        bucket = bucket.taken(rate, 50)
    assert bucket.ready(rate) == 51
    assert [wait_for(bucket, rate, ahead, 50) for ahead in (0, 1, 2)] == [1, 2, 3]
    assert [wait_for(bucket, rate, ahead, 60) for ahead in (0, 1, 2, 3, 4)] == [0, 0, 0, 1, 2]


@given(RATES, st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_no_span_has_more_than_the_rate_allows(rate: Rate, pauses: list[float]) -> None:
    """Whenever requests come: any span of s seconds has at most burst + s / interval of them."""
    bucket, now, times = Bucket(), 0.0, []
    for pause in pauses:
        now += pause
        now = max(now, bucket.ready(rate))
        bucket = bucket.taken(rate, now)
        times.append(now)
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            allowed = rate.burst + (times[last] - start) / rate.interval
            assert last - first + 1 <= allowed + 1e-6


@given(RATES, st.lists(st.floats(0, 10), max_size=20), st.integers(0, 30))
def test_a_forecast_comes_true(rate: Rate, pauses: list[float], ahead: int) -> None:
    """A request behind so many others goes exactly when it was said to."""
    bucket, now = Bucket(), 0.0
    for pause in pauses:
        now = max(now + pause, bucket.ready(rate))
        bucket = bucket.taken(rate, now)
    expected = now + wait_for(bucket, rate, ahead, now)
    at = now
    for _ in range(ahead + 1):
        at = max(at, bucket.ready(rate))
        bucket = bucket.taken(rate, at)
    assert abs(at - expected) < 1e-6 * max(1.0, expected)
