"""Owns the feed of the sample API: one fact after the other, each at its time and with its number. Pure.

Whoever asks later is told the same: the time of a fact follows from its number.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from headwater.sample.facts import FACTS

# So many facts of the past are still told.
KEPT = 1000


class Feed:
    """A fact every `every` seconds since `begun` (Unix time in seconds); the first, number 1, at once."""

    def __init__(self, begun: float, every: float = 1.0) -> None:
        self.begun = begun
        self.every = every

    def time(self, number: int) -> float:
        """Return when a fact is told, Unix time in seconds."""
        return self.begun + (number - 1) * self.every

    def last(self, now: float) -> int:
        """Return the number of the last fact that is told at a time; 0 before the first."""
        return max(0, math.floor((now - self.begun) / self.every + 1e-9) + 1)

    def following(self, number: int | None, now: float) -> int:
        """Return the number of the next fact for somebody who has had those up to `number`; None: who is new.

        Who has had more than there is knows them from another feed, one before this, and is new here.
        """
        last = self.last(now)
        return last + 1 if number is None or number > last else max(number + 1, last - KEPT + 1, 1)

    def within(self, start: float, end: float, now: float) -> range:
        """Return the numbers of the facts from a time on and before another, as far as they are told."""
        first = max(1, math.ceil((start - self.begun) / self.every - 1e-9) + 1)
        beyond = min(math.ceil((end - self.begun) / self.every - 1e-9) + 1, self.last(now) + 1)
        return range(max(first, beyond - KEPT), max(first, beyond))

    def text(self, number: int) -> str:
        """Return a fact as compact JSON, with its number and its time."""
        fact = FACTS[(number - 1) % len(FACTS)]
        time = datetime.fromtimestamp(self.time(number), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {"id": number, "time": time, "fact": fact, "length": len(fact)}
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False)
