"""What holds for connectors that share limits."""

from __future__ import annotations

from headwater.sources.limits.breaker import Fuse
from headwater.sources.limits.bucket import Rate
from headwater.sources.limits.terms import Terms, strictest


def test_what_is_strictest() -> None:
    """The smallest of each; what somebody does not say limits nobody."""
    one = Terms(Rate(10, 1.0, 5), None, (("day", 10),), "UTC", Fuse(3, 10, 100))
    other = Terms(Rate(100, 60.0, 9), 4, (("day", 5), ("hour", 2)), "Europe/Berlin", Fuse(5, 30, 50))
    terms, apart = strictest([one, other, Terms()])
    assert terms == Terms(Rate(100, 60.0, 5), 4, (("day", 5), ("hour", 2)), "Europe/Berlin", Fuse(3, 30, 100))
    assert apart == ["rate", "requests_per_day", "timezone", "breaker"]
    assert strictest([one, Terms()]) == (one, [])
