"""Owns when a connector's trouble is worth a line: once when it begins, changes, or ends. Pure."""

from __future__ import annotations

import msgspec


class Change(msgspec.Struct, frozen=True):
    """A change of state worth one log line. `failures` and `seconds` tell of the trouble that it ends or continues."""

    healthy: bool
    reason: str
    failures: int
    seconds: float


class Health:
    """The state of one connector, fed with every outcome; answers with a Change when there is something to say."""

    __slots__ = ("_failures", "_since", "_slug")

    def __init__(self) -> None:
        self._slug = ""
        self._failures = 0
        self._since = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the last outcome was good, or there has been none."""
        return not self._slug

    def good(self, now: float) -> Change | None:
        """Take in a good outcome at `now` (seconds); answer with a change only when it ends a trouble."""
        if not self._slug:
            return None
        change = Change(healthy=True, reason="", failures=self._failures, seconds=now - self._since)
        self._slug, self._failures = "", 0
        return change

    def bad(self, slug: str, reason: str, now: float) -> Change | None:
        """Take in a failure of the kind `slug`; answer with a change when it is the first of its kind in a row."""
        if not self._slug:
            self._since = now
        self._failures += 1
        if slug == self._slug:
            return None
        self._slug = slug
        return Change(healthy=False, reason=reason, failures=self._failures, seconds=now - self._since)
