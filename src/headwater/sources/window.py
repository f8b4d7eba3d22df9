"""Owns which span of time is asked for next: one after the other, without a gap, from scheduled times alone. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from headwater.config.window import WindowOptions
from headwater.core.instant import Instant

# Windows end at whole seconds: few APIs take anything finer, and nothing is lost by it.
_GRAIN = 1000
_MS = timedelta(milliseconds=1)


class Span(msgspec.Struct, frozen=True):
    """From `start` up to, but not including, `end`, in ms since the Unix epoch."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{Instant.of_ms(self.start).text} to {Instant.of_ms(self.end).text}"


class Windows:
    """The windows of a configuration. `until` is where the last of them ends, if one does."""

    __slots__ = ("_ago", "_from", "_lag", "_look_back", "_size", "_whole", "most", "until")

    def __init__(self, options: WindowOptions) -> None:
        self._size = None if options.size is None else options.size // _MS
        self._lag = options.lag // _MS
        self._look_back = options.look_back // _MS
        self._from = options.initial.ms if options.initial is not None else None
        self._ago = options.initial.ago if options.initial is not None else None
        self._whole = options.whole
        self.most = options.max_windows
        self.until = None if options.until is None else options.until.ms

    def following(self, done: int, scheduled: int) -> Span | None:
        """Return the window after those up to `done` (0: none yet) at a scheduled time; None when none is due."""
        limit = _floor(scheduled - self._lag)
        if self.until is not None:
            # Where the last one ends is said, and is not made coarser.
            limit = self.until if scheduled - self._lag >= self.until else min(limit, self.until)
        start = done or self._first(limit, scheduled)
        end = limit if self._size is None else min(limit, start + self._size)
        if end <= start or (self._whole and self.until is None and end - start < (self._size or 0)):
            return None
        return Span(start, end)

    def _first(self, limit: int, scheduled: int) -> int:
        if self._from is not None:
            return self._from
        if self._ago is not None:
            return max(1, _floor(scheduled - self._ago))
        return max(1, limit - (self._size or 0))

    def scope(self, span: Span) -> dict[str, Any]:
        """Return what templates see of a window."""
        return {"start": Instant.of_ms(max(0, span.start - self._look_back)), "end": Instant.of_ms(span.end)}


def _floor(ms: int) -> int:
    return ms // _GRAIN * _GRAIN
