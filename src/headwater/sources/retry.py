"""Owns how long to wait before a failed request is sent again. Does not decide whether it is: the judge does."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def back_off(failures: int, *, initial: float, longest: float, chance: float) -> float:
    """Return the seconds to wait after `failures` failures in a row: `initial`, doubled each time, at most `longest`.

    `chance` in [0, 1) spreads it over its upper half, so that clients which failed together do not return together.
    """
    # 2**60 times any pause is beyond every bound; the cap keeps the power from overflowing.
    pause = min(longest, initial * 2.0 ** min(failures - 1, 60))
    return pause * (0.5 + chance / 2)


def retry_after(value: str | None, *, now: float) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3). `now` is Unix time in seconds.

    Return the seconds to wait, never negative; None when there is no header or it makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    try:
        return max(0.0, (date - datetime.fromtimestamp(now, UTC)).total_seconds())
    except OverflowError:
        return None
