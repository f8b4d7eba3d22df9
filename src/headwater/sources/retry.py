"""Owns how long to wait before a failed request is sent again. Does not decide whether it is: the judge does."""

from __future__ import annotations

from headwater.sources.patience import patience

# A number of more digits asks to wait for ever, whatever it counts.
_MOST_DIGITS = 15


def back_off(failures: int, *, initial: float, longest: float, chance: float) -> float:
    """Return the seconds to wait after `failures` failures in a row: `initial`, doubled each time, at most `longest`.

    `chance` in [0, 1) spreads it over its upper half, so that clients which failed together do not return together.
    """
    # 2**60 times any pause is beyond every bound; the cap keeps the power from overflowing.
    pause = min(longest, initial * 2.0 ** min(failures - 1, 60))
    return pause * (0.5 + chance / 2)


def retry_after(value: str | None, *, now: float) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3). `now` is Unix time in seconds.

    What servers send besides is read as well: fractions of seconds, Unix times, other dates. Return the seconds to
    wait, never negative; None when there is no header or it makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if len(value) > _MOST_DIGITS and value.isascii() and value.isdigit():
        return float(value[:12])
    return patience(value, now=now)
