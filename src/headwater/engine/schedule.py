"""Owns when a connector polls: from an interval or a cron expression to the next tick. Pure: time is a parameter."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

# A cron that was missed for longer than this many ticks is counted no further: only the report would be longer.
_MOST_MISSED = 100_000


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One scheduled time, seconds on the schedule's own scale, and how many before it were skipped."""

    at: float
    missed: int = 0


class Schedule(Protocol):
    """When to poll. Times are seconds: monotonic ones where `wall` is false, Unix time where it is true."""

    @property
    def wall(self) -> bool:
        """Whether times are Unix time."""
        ...

    def first(self, now: float) -> Tick:
        """Return the first tick of a connector that starts at `now`."""
        ...

    def after(self, last: float, now: float) -> Tick:
        """Return the first tick later than `now`; `missed` counts those between `last` and it."""
        ...


class Every(msgspec.Struct, frozen=True):
    """Every `period` seconds from the first poll on, which is `offset` after the start. The phase never drifts."""

    period: float
    offset: float = 0.0
    wall: bool = False

    def first(self, now: float) -> Tick:
        """Return the start, moved by the offset."""
        return Tick(now + self.offset)

    def after(self, last: float, now: float) -> Tick:
        """Return the next multiple of the period after `last` that lies beyond `now`."""
        steps = max(1, int((now - last) // self.period) + 1)
        if last + steps * self.period <= now:  # a rounding error away from a tick in the past
            steps += 1
        return Tick(last + steps * self.period, steps - 1)


class Cron(msgspec.Struct, frozen=True):
    """At the times of a cron expression in a time zone, with Debian's rules where daylight saving changes.

    An expression that never comes true again, such as 30 February, has its next tick at infinity.
    """

    expression: str
    zone: str = "UTC"
    wall: bool = True

    def first(self, now: float) -> Tick:
        """Return the first time of the expression after `now`: a cron does not poll at the start."""
        return Tick(next(self._times(now), math.inf))

    def after(self, last: float, now: float) -> Tick:
        """Return the first time of the expression after `now`, counting those since `last` that have gone by."""
        for missed, at in enumerate(self._times(last)):
            if at > now:
                return Tick(at, missed)
            if missed >= _MOST_MISSED:
                break
        return Tick(next(self._times(now), math.inf), _MOST_MISSED)

    def _times(self, after: float) -> CronTimes:
        return CronTimes(self.expression, self.zone, after)


class CronTimes:
    """The times of a cron expression after a Unix time, in order. Raises StopIteration when there are no more."""

    def __init__(self, expression: str, zone: str, after: float) -> None:
        self._simulation = CronSim(expression, datetime.fromtimestamp(after, ZoneInfo(zone)))

    def __iter__(self) -> CronTimes:
        return self

    def __next__(self) -> float:
        # A fold (the repeated hour) makes local times ambiguous; UTC is not.
        return next(self._simulation).astimezone(UTC).timestamp()


def spread_offset(name: str, period: float) -> float:
    """Return a moment in [0, period) that is a connector's own: the same after each restart, on any machine."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * period
