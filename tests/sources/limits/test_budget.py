"""Budgets: so many requests in an hour, a day, a month of a time zone, over restarts."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.sources.limits.budget import Budget, UsedUp, encode_counts, period


def unix(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("kind", "zone", "now", "start", "hours"),
    [
        ("hour", "UTC", "2024-05-01T10:59", "2024-05-01T10:00", 1),
        ("hour", "Asia/Kolkata", "2024-05-01T10:29", "2024-05-01T10:00", 1),
        ("day", "UTC", "2024-05-01T23:59", "2024-05-01T00:00", 24),
        ("day", "Europe/Berlin", "2024-05-01T00:00", "2024-05-01T00:00", 24),
        # The clocks go forward, and back.
        ("day", "Europe/Berlin", "2024-03-31T12:00", "2024-03-31T00:00", 23),
        ("day", "Europe/Berlin", "2024-10-27T02:30", "2024-10-27T00:00", 25),
        # A midnight that does not exist: the day begins at one.
        ("day", "Africa/Cairo", "2024-04-26T12:00", "2024-04-26T01:00", 23),
        # One that comes twice: the day before has both.
        ("day", "America/Havana", "2024-11-03T12:00", "2024-11-03T00:00", 25),
        ("month", "UTC", "2024-02-29T12:00", "2024-02-01T00:00", 29 * 24),
        ("month", "UTC", "2024-12-31T23:59", "2024-12-01T00:00", 31 * 24),
        ("month", "Europe/Berlin", "2024-03-15T00:00", "2024-03-01T00:00", 31 * 24 - 1),
    ],
)
def test_periods(kind: str, zone: str, now: str, start: str, hours: int) -> None:
    """Days and months are those of the calendar, whatever the clocks do."""
    found = period(kind, zone, unix(now, zone))
    assert found.start == unix(start, zone)
    assert found.end - found.start == hours * 3600


@example(kind="day", zone="UTC", now=1893455999.9999998)
@example(kind="hour", zone="Asia/Kathmandu", now=1893455099.9999998)
@given(
    st.sampled_from(["hour", "day", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.floats(unix("2020-01-01T00:00"), unix("2030-01-01T00:00")),
)
def test_periods_follow_each_other_without_gaps(kind: str, zone: str, now: float) -> None:
    """Each time is in the period that is said to hold it, and the next one begins where it ends."""
    this = period(kind, zone, now)
    assert this.start <= now < this.end
    if kind != "hour" or zone != "Australia/Lord_Howe":  # its clocks change by half an hour
        assert period(kind, zone, this.end).start == this.end
    assert period(kind, zone, this.start) == this


def test_a_budget_is_used_up_until_its_period_ends() -> None:
    """Then it is whole again."""
    budget, now = Budget({"day": 2}), unix("2024-05-01T10:00")
    for _ in range(2):
        assert budget.used_up(now) is None
        budget.take(now)
    assert budget.used_up(now) == UsedUp("day", 2, unix("2024-05-02T00:00"))
    assert budget.left(now) == {"day": 0}
    assert budget.used_up(unix("2024-05-02T00:00")) is None
    assert budget.left(unix("2024-05-02T00:00")) == {"day": 2}


def test_of_several_budgets_the_longest_counts() -> None:
    """It is no use to ask again when the hour is over and the day's budget is used up as well."""
    budget, now = Budget({"hour": 1, "day": 1}), unix("2024-05-01T10:00")
    budget.take(now)
    used = budget.used_up(now)
    assert used is not None
    assert used.kind == "day"


def test_what_is_not_sent_is_given_back() -> None:
    """As if it had never been counted."""
    budget = Budget({"hour": 1})
    budget.take(0)
    budget.give_back(0)
    assert budget.used_up(0) is None


def test_small_budgets_are_stored_with_each_request() -> None:
    """Large ones a lot ahead, so that few requests wait for a disk."""
    small = Budget({"day": 50})
    for _ in range(3):
        assert not small.take(0)
        small.kept(small.ahead())
        assert small.covered()
    large = Budget({"day": 5000})
    assert not large.take(0)
    large.kept(large.ahead())
    assert [large.take(0) for _ in range(50)].count(False) == 1
    assert large.ahead()["day"].count == 51 + 49


def test_what_is_stored_goes_on_after_a_restart() -> None:
    """The exact count is stored at the end; without an end up to a lot is counted that was not sent."""
    first = Budget({"day": 1000})
    first.take(0)
    first.kept(first.ahead())
    killed = Budget({"day": 1000}, "UTC", encode_counts(first.ahead()))
    assert killed.left(0) == {"day": 990}
    exact = first.exact()
    assert exact is not None
    stopped = Budget({"day": 1000}, "UTC", encode_counts(exact))
    assert stopped.left(0) == {"day": 999}
    assert stopped.exact() is None


@pytest.mark.parametrize("stored", [b"", b"{}", b"[1]", b'{"day":{"start":"x"}}', b"\xff"])
def test_what_is_no_count_begins_anew(stored: bytes) -> None:
    """A budget never stops a connector for what cannot be read."""
    assert Budget({"day": 5}, "UTC", stored).left(0) == {"day": 5}


def test_a_clock_that_is_set_back_brings_no_new_budget() -> None:
    """What was counted a little later is counted now, up to a period; beyond that the clock was wrong before."""
    budget = Budget({"day": 3}, "UTC")
    later = unix("2024-05-02T00:10")
    budget.take(later)
    budget.take(later)
    assert budget.left(later - 3600) == {"day": 1}
    assert budget.left(later - 3 * 86_400) == {"day": 3}


def test_another_zone_and_another_limit() -> None:
    """They may change while it counts."""
    budget, now = Budget({"day": 3}, "UTC"), unix("2024-05-01T12:00")
    budget.take(now)
    budget.limits, budget.zone = {"day": 5, "hour": 1}, "Europe/Berlin"
    assert budget.left(now) == {"day": 4, "hour": 1}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana"]),
    st.integers(1, 12),
    st.integers(1, 40),
    st.lists(
        st.tuples(st.floats(0, 9 * 3600), st.sampled_from(["ask", "ask", "ask", "ask", "kill", "stop"])),
        min_size=20,
        max_size=150,
    ),
    st.sampled_from(["2024-03-30T12:00", "2024-04-25T12:00", "2024-10-26T12:00", "2024-11-02T12:00"]),
)
def test_no_day_ever_has_more_than_its_budget(
    zone: str, hourly: int, daily: int, steps: list[tuple[float, str]], start: str
) -> None:
    """Over changes of clocks, kills and stops: no calendar day has more, and a kill costs a lot at most."""
    limits = {"hour": hourly, "day": daily}
    now, disk = unix(start), None
    budget = Budget(limits, zone)
    sent: Counter[str] = Counter()
    for seconds, what in steps:
        now += seconds
        if what == "ask" and budget.used_up(now) is None:
            if not budget.take(now):
                ahead = budget.ahead()
                disk = encode_counts(ahead)
                budget.kept(ahead)
            assert budget.covered()
            local = datetime.fromtimestamp(now, ZoneInfo(zone))
            sent[f"{local:%Y-%m-%d}"] += 1
            sent[f"{local:%Y-%m-%d %H %z}"] += 1
        elif what == "stop" and (exact := budget.exact()) is not None:
            disk = encode_counts(exact)
        if what != "ask":
            budget = Budget(limits, zone, disk)
    for name, count in sent.items():
        assert count <= (hourly if " " in name else daily), name


def test_a_kill_costs_a_lot_at_most() -> None:
    """Of a budget of 1000 that is 10 requests."""
    limits, disk, sent = {"day": 1000}, b"{}", 0
    for _ in range(20):
        budget = Budget(limits, "UTC", disk)
        for _ in range(3):
            if not budget.take(0):
                ahead = budget.ahead()
                disk = encode_counts(ahead)
                budget.kept(ahead)
            sent += 1
    left = Budget(limits, "UTC", disk).left(0)["day"]
    assert 0 <= 1000 - sent - left <= 20 * 9


def test_a_month_has_all_its_days() -> None:
    """Nothing is left over from the month before."""
    budget = Budget({"month": 31}, "Europe/Berlin")
    now = datetime(2024, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    for _ in range(366):
        assert budget.used_up(now.timestamp()) is None
        budget.take(now.timestamp())
        now += timedelta(days=1)
