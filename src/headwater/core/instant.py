"""Owns points in time as APIs spell them: read exactly, compared, moved, and written in their own spelling. Pure.

Knows no clock and no time zone by name; times without an offset are UTC.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Final, Self

import msgspec

NS: Final = 1_000_000_000
# RFC 3339 and what ISO 8601 has beside it in APIs: a date alone, no seconds, a blank or `t` between, `+0200`, `,5`.
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:([Tt ])(\d\d):(\d\d)(?::(\d\d)(?:([.,])(\d{1,12}))?)?( ?)([Zz]|[+-]\d\d(?::?\d\d)?|UTC)?)?",
    re.ASCII,
)
_LONGEST: Final = 100
_DIGITS = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
# Unix times are told apart by their size: seconds until the year 5138, then milliseconds, microseconds, nanoseconds.
_UNITS = ((100_000_000_000, NS), (100_000_000_000_000, 1_000_000), (100_000_000_000_000_000, 1000))
# What datetime can write, in any zone: the years 1 to 9999 less a day at both ends.
_FIRST, _LAST = -62_135_510_400 * NS, 253_402_214_400 * NS - 1


class Instant(msgspec.Struct, frozen=True, gc=False):
    """A point in time: `ns` since the Unix epoch, and how it is spelt.

    `form` is `iso`, `date`, `http` or `unix`. Of `iso`: `joint` stands between date and time, `seconds` are written,
    `point` stands before `digits` of a fraction, `zone` is what ends it, for `minutes` east of Greenwich. Of `unix`:
    `unit` is the nanoseconds of one, and `digits` stand behind the point.
    """

    ns: int
    form: str = "iso"
    joint: str = "T"
    seconds: bool = True
    point: str = "."
    digits: int = 0
    zone: str = "Z"
    minutes: int = 0
    unit: int = NS

    @classmethod
    def of_ms(cls, ms: int) -> Self:
        """Return the time of so many ms since the Unix epoch; milliseconds are written when there are any."""
        return cls(ms * 1_000_000, digits=3 if ms % 1000 else 0)

    def moved(self, ns: int) -> Instant:
        """Return the time so many nanoseconds later, in the same spelling; what does not fit into it is cut off."""
        return msgspec.structs.replace(self, ns=min(max(self.ns + ns, _FIRST), _LAST))

    @property
    def text(self) -> str:
        """The time in its own spelling."""
        if self.form == "unix":
            return self._unix()
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self.ns // NS)
        if self.form == "http":
            return format_datetime(moment, usegmt=True)
        if self.form == "date":
            return f"{moment:%Y-%m-%d}".rjust(10, "0")
        local = moment + timedelta(minutes=self.minutes)
        clock = f"{local.hour:02}:{local.minute:02}"
        if self.seconds:
            clock = f"{clock}:{local.second:02}"
        if self.digits:
            clock = f"{clock}{self.point}{f'{self.ns % NS:09}000'[: self.digits]}"
        return f"{local.year:04}-{local.month:02}-{local.day:02}{self.joint}{clock}{self.zone}"

    def _unix(self) -> str:
        if not self.digits:
            return str(self.ns // self.unit)
        scale = 10**self.digits
        count = self.ns * scale // self.unit
        sign = "-" if count < 0 else ""
        return f"{sign}{abs(count) // scale}.{abs(count) % scale:0{self.digits}}"

    @property
    def iso(self) -> str:
        """The time in UTC as RFC 3339 has it, with as many digits of a fraction as there are."""
        fraction = f"{self.ns % NS:09}".rstrip("0")
        return Instant(self.ns, digits=max(len(fraction), 3) if fraction else 0).text


def read_instant(text: str) -> Instant | None:
    """Read a time: ISO 8601 as RFC 3339 has it, a date, or the form of HTTP and mail. None for anything else."""
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)  # one is looked at in several places
def _read(text: str) -> Instant | None:
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return _read_http(text.strip())
    year, month, day, joint, hour, minute, second, point, fraction, blank, zone = match.groups()
    try:
        days = datetime(int(year), int(month), int(day), tzinfo=UTC)
    except ValueError:
        return None
    if joint is None:
        return Instant(timegm(days.timetuple()) * NS, "date")
    minutes = _minutes(zone)
    # 23:59:60 is a leap second: the next one. 24:00 is the end of the day.
    if int(hour) > 24 or int(minute) > 59 or int(second or 0) > 60 or minutes is None:
        return None
    seconds = timegm(days.timetuple()) + int(hour) * 3600 + int(minute) * 60 + int(second or 0) - minutes * 60
    ns = seconds * NS + int(f"{fraction or '0':0<9}"[:9])
    if not _FIRST <= ns <= _LAST:
        return None
    return Instant(
        ns,
        "iso",
        joint,
        second is not None,
        point or ".",
        len(fraction or ""),
        f"{blank}{zone or ''}",
        minutes,
    )


def _minutes(zone: str | None) -> int | None:
    """Return how far east of Greenwich a zone is; None for one that is nowhere."""
    if zone is None or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


def _read_http(text: str) -> Instant | None:
    if not 16 <= len(text) <= 64 or ":" not in text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return Instant(timegm(moment.utctimetuple()) * NS, "http")


def read_unix(text: str) -> Instant | None:
    """Read a Unix time: its size says whether it counts seconds, ms, us or ns. None for what is no plain number."""
    if not _DIGITS.fullmatch(text) or len(text) > 40:
        return None
    number = Decimal(text)
    # Exponents beyond this are no time in any unit.
    if number.adjusted() > 20:
        return None
    unit = next((unit for bound, unit in _UNITS if abs(number) < bound), 1)
    ns = int((number * unit).to_integral_value(rounding="ROUND_FLOOR"))
    if not _FIRST <= ns <= _LAST:
        return None
    _, point, fraction = text.partition(".")
    digits = len(fraction) if point and fraction.isdigit() else 0
    return Instant(ns, "unix", unit=unit, digits=min(digits, 9))
