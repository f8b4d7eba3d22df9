"""Owns what is due in the life of a WebSocket: pings, an application's own keep-alive, and the verdict that it is dead.

Pure: time is a parameter, seconds of any clock that does not jump. Who sends, and wakes up, is the engine's.
"""

from __future__ import annotations

import msgspec

# How late a look at a silent peer may come (seconds). When it is later, the process has been busy or stood still, and
# what the peer said may be waiting to be read: it is given that much time more, once.
_LATE = 1.0


class Due(msgspec.Struct, frozen=True):
    """What is to be done now, and when to look again; None for never. When it is `dead`, nothing else is due."""

    ping: bool = False
    keep_alive: bool = False
    dead: bool = False
    again_at: float | None = None


class Life:
    """The life of one connection, which begins at `now`. Seconds, each of which may be 0 for: none.

    It is dead when a ping went out and nothing at all was heard within `pong_timeout`. While reading is held back
    nobody can hear anything, and a ping that went out is forgotten.
    """

    __slots__ = (
        "_deadline",
        "_heard",
        "_keep_alive",
        "_keep_at",
        "_ping_at",
        "_ping_interval",
        "_spared",
        "_timeout",
    )

    def __init__(self, now: float, *, ping_interval: float, pong_timeout: float, keep_alive: float = 0) -> None:
        self._ping_interval = ping_interval
        self._timeout = pong_timeout
        self._keep_alive = keep_alive
        self._ping_at = now + ping_interval if ping_interval else None
        self._keep_at = now + keep_alive if keep_alive else None
        # Up to when something must have been heard since a ping, how much had been heard then, and whether a late look
        # has moved it already.
        self._deadline: float | None = None
        self._heard = 0
        self._spared = False

    def due(self, now: float, heard: int, *, held: bool = False) -> Due:
        """Return what is due, and take it as done. `heard` is the session's; `held`: nothing is read at the moment."""
        if self._deadline is not None and (held or heard != self._heard):
            self._deadline = None
        if self._deadline is not None and now >= self._deadline:
            if self._spared or now - self._deadline <= _LATE:
                return Due(dead=True)
            self._spared = True
            self._deadline = now + _LATE
        ping = self._ping_at is not None and now >= self._ping_at
        keep_alive = self._keep_at is not None and now >= self._keep_at
        if ping:
            self._ping_at = now + self._ping_interval
            if self._deadline is None and self._timeout and not held:
                self._deadline = now + self._timeout
                self._heard = heard
                self._spared = False
        if keep_alive:
            self._keep_at = now + self._keep_alive
        times = [at for at in (self._ping_at, self._keep_at, self._deadline) if at is not None]
        return Due(ping, keep_alive, again_at=min(times, default=None))
