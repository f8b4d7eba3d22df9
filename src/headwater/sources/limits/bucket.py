"""Owns a rate: when the next request may go so that no span of time ever has more than it allows. Pure.

It is the generic cell rate algorithm: one number says how far ahead of an even pace the requests are. Who waits, and in
which order, is `line`'s.
"""

from __future__ import annotations

import math

import msgspec


class Rate(msgspec.Struct, frozen=True, order=True):
    """So many requests in so many seconds, one after the other, of which `burst` may come at once.

    Any span of `s` seconds has at most `burst + s * count / period` of them.
    """

    count: int
    period: float
    burst: int = 1

    @property
    def interval(self) -> float:
        """Return the seconds between two requests at an even pace."""
        return self.period / self.count


class Bucket(msgspec.Struct, frozen=True):
    """How far the requests so far are ahead: `full` is when nothing of them would be left. Times are seconds."""

    full: float = -math.inf

    def ready(self, rate: Rate, ahead: int = 0) -> float:
        """Return the earliest time of the next request, or of the one after `ahead` others; it may have passed."""
        return self.full - (rate.burst - 1 - ahead) * rate.interval

    def taken(self, rate: Rate, now: float) -> Bucket:
        """Return what follows a request at `now`, which must be ready."""
        return Bucket(max(self.full, now) + rate.interval)


def wait_for(bucket: Bucket, rate: Rate, ahead: int, now: float) -> float:
    """Return for how many seconds from `now` a request waits that comes after `ahead` others."""
    return max(0.0, Bucket(max(bucket.full, now)).ready(rate, ahead) - now)
