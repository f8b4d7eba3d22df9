"""When a connector polls: from an interval or a cron expression to the next tick."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from headwater.engine.schedule import Cron, Every, Tick, spread_offset


def unix(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_the_first_poll_is_at_once() -> None:
    """Without an offset a connector polls when it starts."""
    assert Every(10).first(now=123.5) == Tick(123.5)
    assert Every(10, offset=4).first(now=100.0) == Tick(104.0)


def test_the_phase_is_kept() -> None:
    """The next tick is counted from the scheduled time, not from when the poll began or ended."""
    assert Every(10).after(last=100, now=100.7) == Tick(110)
    assert Every(10).after(last=100, now=109.999) == Tick(110)


def test_a_poll_that_outlasts_its_interval_skips_ticks() -> None:
    """Ticks that passed during a poll are counted, and the one that is just now is not taken twice."""
    assert Every(10).after(last=100, now=110) == Tick(120, 1)
    assert Every(10).after(last=100, now=135) == Tick(140, 3)


@given(
    st.floats(0, 1e9),
    st.floats(0.001, 1e5),
    st.floats(0, 1e6),
)
def test_ticks_lie_ahead_and_none_is_lost_count_of(last: float, period: float, late: float) -> None:
    """The next tick is beyond now by at most a period, and skipped plus taken ticks account for all time."""
    tick = Every(period).after(last, last + late)
    assert tick.at > last + late
    assert tick.at <= last + late + period * (1 + 1e-6) + 1e-3
    assert math.isclose(tick.at, last + (tick.missed + 1) * period, rel_tol=1e-9)


def test_a_cron_waits_for_its_time() -> None:
    """A cron does not poll at the start but at the next time of its expression."""
    tick = Cron("30 5 * * *", "Europe/Berlin").first(unix("2026-07-01T04:00:00", "Europe/Berlin"))
    assert datetime.fromtimestamp(tick.at, UTC) == datetime(2026, 7, 1, 3, 30, tzinfo=UTC)


def test_a_cron_counts_what_it_missed() -> None:
    """Times that went by during a poll are counted."""
    last = unix("2026-07-01T10:00:00")
    assert Cron("*/5 * * * *").after(last, last + 11 * 60) == Tick(last + 15 * 60, 2)


def test_a_daily_cron_runs_once_on_the_days_the_clock_changes() -> None:
    """02:30 does not exist on one day and exists twice on another: one poll on each of them."""
    zone = ZoneInfo("Europe/Berlin")
    for day, first, last in (
        ("spring", "2026-03-28T12:00", "2026-03-29T23:00"),
        ("autumn", "2026-10-24T12:00", "2026-10-25T23:00"),
    ):
        schedule, at, seen = Cron("30 2 * * *", "Europe/Berlin"), unix(first, "Europe/Berlin"), []
        while (at := schedule.first(at).at) < unix(last, "Europe/Berlin"):
            seen.append(datetime.fromtimestamp(at, zone))
        assert len(seen) == 1, (day, seen)


@given(st.text(min_size=1), st.floats(0.001, 1e6))
def test_spread_is_stable_and_within_the_interval(name: str, period: float) -> None:
    """A connector's own moment lies in its interval and is the same each time."""
    offset = spread_offset(name, period)
    assert 0 <= offset <= period
    assert offset == spread_offset(name, period)


def test_spread_fills_the_interval_evenly() -> None:
    """10,000 connectors over ten seconds: every tenth of a second gets its share, none gets three times as much."""
    buckets = [0] * 100
    for number in range(10_000):
        buckets[int(spread_offset(f"connector-{number}", 10) * 10)] += 1
    assert min(buckets) > 50
    assert max(buckets) < 200
