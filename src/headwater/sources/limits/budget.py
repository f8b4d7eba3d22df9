"""Owns how many requests may go in an hour, a day, a month of a time zone, counted over restarts. Pure.

What is stored runs ahead of what is counted, by a small lot: whatever kills the process, no more requests go than the
budget allows, and at most one lot of them is lost.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

PERIODS = ("hour", "day", "month")
# A lot is a hundredth of the budget, and never more than this.
_SHARE, _LARGEST_LOT = 100, 100


class Period(msgspec.Struct, frozen=True):
    """One hour, day or month: from `start` to before `end`, Unix time in seconds."""

    start: float
    end: float


def period(kind: str, zone: str, now: float) -> Period:
    """Return the hour, the day or the month of a time zone that a Unix time is in.

    A day on which the clocks change has 23 or 25 hours; an hour is one of sixty minutes.
    """
    # Down, never up: a day has not begun a tenth of a microsecond before it does.
    local = datetime.fromtimestamp(math.floor(now), _zone(zone))
    if kind == "hour":
        offset = (local.utcoffset() or timedelta()).total_seconds()
        start = (now + offset) // 3600 * 3600 - offset
        return Period(start, start + 3600)
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
    if kind == "day":
        following = first + timedelta(days=1)
    else:
        first = first.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    return Period(_unix(first, zone), _unix(following, zone))


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _unix(local: datetime, zone: str) -> float:
    # A midnight that the clocks jump over is the moment of the jump, and of one that comes twice the first counts.
    return local.replace(tzinfo=_zone(zone)).astimezone(UTC).timestamp()


class Count(msgspec.Struct, frozen=True):
    """How many requests went in the period that began at `start` (Unix time)."""

    start: float
    count: int


class UsedUp(msgspec.Struct, frozen=True):
    """A budget that is used up until `until` (Unix time)."""

    kind: str
    limit: int
    until: float


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(dict[str, Count])


class Budget:
    """The budgets of one share: a limit for some of the periods. `limits` and `zone` may change at any time."""

    __slots__ = ("_counts", "_kept", "_periods", "limits", "zone")

    def __init__(self, limits: dict[str, int], zone: str = "UTC", stored: bytes | None = None) -> None:
        self.limits = limits
        self.zone = zone
        self._counts: dict[str, Count] = {}
        self._periods: dict[tuple[str, str], Period] = {}
        if stored is not None:
            try:
                self._counts = _DECODER.decode(stored)
            except (msgspec.DecodeError, msgspec.ValidationError):
                # Counting anew is the best that can be done with what is no count.
                self._counts = {}
        # What is on disk, which counts ahead.
        self._kept = dict(self._counts)

    def used_up(self, now: float) -> UsedUp | None:
        """Return the budget that lets no request go at `now` for the longest time; None when one may go."""
        worst = None
        for kind, limit in self.limits.items():
            this = self._period(kind, now)
            if self._count(kind, this) >= limit and (worst is None or this.end > worst.until):
                worst = UsedUp(kind, limit, this.end)
        return worst

    def left(self, now: float) -> dict[str, int]:
        """Return how many requests each budget still has at `now`."""
        return {kind: max(0, limit - self._count(kind, self._period(kind, now))) for kind, limit in self.limits.items()}

    def take(self, now: float) -> bool:
        """Count a request; return whether what is stored covers it. When not, `ahead` is to be stored first."""
        covered = True
        for kind in self.limits:
            this = self._period(kind, now)
            count = Count(this.start, self._count(kind, this) + 1)
            self._counts[kind] = count
            covered &= self._covered(kind, count)
        return covered

    def give_back(self, now: float) -> None:
        """Take back a request that was counted and not sent."""
        for kind in self.limits:
            this = self._period(kind, now)
            count = self._count(kind, this)
            if count:
                self._counts[kind] = Count(this.start, count - 1)

    def covered(self) -> bool:
        """Return whether what is stored covers everything that is counted."""
        return all(self._covered(kind, count) for kind, count in self._counts.items())

    def ahead(self) -> dict[str, Count]:
        """Return what to store now, which is a lot ahead of what is counted."""
        return {kind: self._ahead(kind, count) for kind, count in self._counts.items()}

    def exact(self) -> dict[str, Count] | None:
        """Return what to store at the end, None when that is stored already."""
        return None if self._kept == self._counts else dict(self._counts)

    def kept(self, counts: dict[str, Count]) -> None:
        """Take in that counts are stored."""
        self._kept = counts

    def _covered(self, kind: str, count: Count) -> bool:
        kept = self._kept.get(kind)
        return kept is not None and kept.start == count.start and kept.count >= count.count

    def _ahead(self, kind: str, count: Count) -> Count:
        limit = self.limits.get(kind)
        if limit is None:
            return count
        lot = max(1, min(limit // _SHARE, _LARGEST_LOT))
        return Count(count.start, max(count.count, min(limit, count.count + lot - 1)))

    def _count(self, kind: str, this: Period) -> int:
        counted = self._counts.get(kind)
        if counted is None:
            return 0
        # The clock was set back, or the zone is another one: what has been counted goes on counting for a while.
        return counted.count if this.start <= counted.start < this.end or self._later(counted, this) else 0

    @staticmethod
    def _later(counted: Count, this: Period) -> bool:
        return this.end <= counted.start < this.end + (this.end - this.start)

    def _period(self, kind: str, now: float) -> Period:
        known = self._periods.get((kind, self.zone))
        if known is None or not known.start <= now < known.end:
            known = self._periods[kind, self.zone] = period(kind, self.zone, now)
        return known


def encode_counts(counts: dict[str, Count]) -> bytes:
    """Encode what `ahead` or `exact` returned."""
    return _ENCODER.encode(counts)
