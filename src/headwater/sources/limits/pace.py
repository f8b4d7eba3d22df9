"""Owns how soon to look again: sooner while things change, later while they do not, never before an answer is stale.

Pure and without chance: the same outcomes make the same pace. What counts as a change is decided here as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from headwater.core.checkpoint import Pace
from headwater.core.http import Headers
from headwater.sources.patience import patience

_DIGITS = 16


class Pacing(msgspec.Struct, frozen=True):
    """How a pace changes: from `usual`, between `fastest` and `slowest` (seconds), by the two factors.

    With `fresh` no round comes before the answer of the last one has become stale, as the server says, but for
    `slowest`.
    """

    usual: float
    fastest: float
    slowest: float
    faster: float = 2.0
    slower: float = 1.5
    fresh: bool = False

    def seconds(self, pace: Pace | None) -> float:
        """Return the seconds from one round to the next, within the bounds as they are now."""
        return self._bounded(pace.seconds if pace is not None and pace.seconds else self.usual)

    def until(self, pace: Pace | None, fresh: float) -> float:
        """Return the same when the last answer is fresh for so many seconds from the round's scheduled time on."""
        seconds = self.seconds(pace)
        return seconds if fresh <= seconds else max(seconds, min(fresh, self.slowest))

    def after(self, pace: Pace | None, *, changed: bool | None, digest: str = "") -> Pace:
        """Return the pace after a round that has shown whether things change; None is one that has not."""
        seconds = self.seconds(pace)
        if changed is not None:
            seconds = seconds / self.faster if changed else seconds * self.slower
        before = "" if pace is None else pace.digest
        return Pace(round(self._bounded(seconds), 3), digest or before)

    def _bounded(self, seconds: float) -> float:
        return min(max(seconds, self.fastest), self.slowest)


class Brought:
    """What the exchanges of one round have brought, put together for a digest."""

    __slots__ = ("_hash", "records")

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_DIGITS // 2)
        self.records = 0

    def add(self, parts: Iterable[bytes], records: int) -> None:
        """Take in an answer: its parts, and how many records it left."""
        for part in parts:
            self._hash.update(part)
            self._hash.update(b"\0")
        self.records += records

    @property
    def digest(self) -> str:
        """Return 16 hex digits that are those of the last round if it brought the same."""
        return self._hash.hexdigest()

    def changes(self, pace: Pace | None) -> bool | None:
        """Return whether the round shows a change: it left records, and not from what the last one brought.

        The first round of all shows nothing.
        """
        if pace is None or not pace.digest:
            return None
        return self.records > 0 and pace.digest != self.digest


def fresh_for(headers: Headers) -> float:
    """Return for how many seconds an answer is fresh, as its server says (RFC 9111, section 4.2); 0 when it does not.

    It is for us alone, so `s-maxage` and `private` say nothing here.
    """
    values: dict[str, str] = {}
    directives: dict[str, str] = {}
    for name, value in headers:
        if name == "cache-control":
            for directive in value[:1024].split(","):
                key, _, given = directive.partition("=")
                directives.setdefault(key.strip().lower(), given.strip().strip('"'))
        elif name in {"age", "expires", "date"}:
            values.setdefault(name, value)
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    age = _seconds(values.get("age")) or 0.0
    if "max-age" in directives:
        lifetime = _seconds(directives["max-age"])
    else:
        expires, date = (patience(values.get(name, ""), now=0.0) for name in ("expires", "date"))
        # `Expires: 0` and the like mean that it is stale.
        lifetime = None if expires is None or date is None or values["expires"].strip().isdecimal() else expires - date
    return 0.0 if lifetime is None else max(0.0, lifetime - age)


def _seconds(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text[:12]) if text.isascii() and text.isdecimal() else None
