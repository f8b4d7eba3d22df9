"""The feed of the sample API: which fact is told when."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from headwater.sample.feed import KEPT, Feed


def test_a_fact_each_second() -> None:
    """The first is told at once; each has its number, and its time."""
    feed = Feed(1_800_000_000.0)
    assert [feed.last(1_800_000_000.0 + after) for after in (-1, 0, 0.5, 1, 1.5, 10)] == [0, 1, 1, 2, 2, 11]
    told = json.loads(feed.text(3))
    assert (told["id"], told["time"]) == (3, "2027-01-15T08:00:02.000Z")
    assert told["length"] == len(told["fact"])


def test_who_goes_on() -> None:
    """What was missed follows at once, as far as it is kept."""
    feed = Feed(0.0)
    assert feed.following(3, 10.0) == 4
    assert feed.following(11, 10.0) == 12
    assert feed.following(0, 10_000.0) == 10_001 - KEPT + 1
    assert feed.following(None, 10.0) == feed.following(12, 10.0) == 12


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_what_lies_between_two_times(start: int, end: int, now: int) -> None:
    """From the first time on and before the second; nothing that is still to come, and not more than is kept."""
    feed = Feed(0.0, 0.5)
    found = [*feed.within(start / 4, end / 4, now / 4)]
    expected = [it for it in range(1, feed.last(now / 4) + 1) if start / 4 <= feed.time(it) < end / 4]
    assert found == expected[-KEPT:]
