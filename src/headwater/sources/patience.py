"""Owns how long a text asks to wait: seconds, a Unix time, a date, a duration. What is done about it is the judge's."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from headwater.core.units import parse_duration

# `auto` tells by the size and the form; the others say what a bare number counts, from now on or since the Unix epoch.
Unit = Literal["auto", "s", "ms"]

_LONGEST = 100
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,9})?")
_ZONE = re.compile(r"\bGMT(?=[+-]\d{4}\b)")
# Nobody asks to wait for fifteen years, and no clock shows a time before 1985: a number beyond this is a Unix time.
_TIMES_FROM = 500_000_000.0
# A Unix time in seconds reaches this in the year 5138: a number beyond it counts milliseconds.
_MILLISECONDS_FROM = 100_000_000_000.0


def patience(text: str, *, now: float, unit: Unit = "auto") -> float | None:
    """Return the seconds from `now` (Unix time) that a text asks to wait, never negative; None when it makes no sense.

    Texts are those of headers and bodies: `12`, `0.5`, `1700000000`, `1700000000123`, `2024-01-01T00:00:00Z`, an HTTP
    date, `1m30s`.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST or not text.isascii():
        return None
    if _NUMBER.fullmatch(text):
        number = float(text)
        if unit == "ms" or (unit == "auto" and number >= _MILLISECONDS_FROM):
            number /= 1000
        return max(0.0, number - now) if number >= _TIMES_FROM else number
    moment = _moment(text)
    if moment is not None:
        return max(0.0, moment - now)
    try:
        return parse_duration(text).total_seconds()
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    """Read a date of ISO 8601 or of HTTP as Unix time."""
    # As JavaScript writes it: GMT+0100 (Central European Standard Time).
    text = _ZONE.sub("", text)
    try:
        date = datetime.fromisoformat(text) if text[:4].isdecimal() else parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return date.timestamp()
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
