"""Owns how long to wait before something is tried again. Pure: chance is a parameter, and nobody waits here."""

from __future__ import annotations

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """Waits that double from `first` up to `most` (seconds). Half of each is left to chance.

    So that the many clients of a server that comes back do not all call in the same moment.
    """

    first: float = 0.05
    most: float = 5.0

    def pause(self, attempt: int, chance: float) -> float:
        """Return how long to wait after the attempt with this number, from 0 on; `chance` is from 0 to 1 (seconds)."""
        # Beyond 2 ** 30 every pause is the longest, and the power would grow without bound.
        whole = min(self.most, self.first * 2.0 ** min(attempt, 30))
        return whole * (0.5 + chance / 2)
