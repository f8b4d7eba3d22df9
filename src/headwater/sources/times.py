"""Owns reading the time of an item: from raw JSON to ms since the Unix epoch. Knows no clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec

from headwater.core.instant import NS, Instant, read_instant, read_unix
from headwater.core.pointer import scalar_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUICK = msgspec.json.Decoder(datetime)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_UNITS = {"s": NS, "ms": 1_000_000, "us": 1000, "ns": 1}
# Records count in ms, and the last that they can hold is far behind the year 9999.
_LAST = 253_402_300_799_999


def reader(form: str, zone: str) -> Callable[[bytes], int | None]:
    """Return what reads times of a form (`auto`, `iso`, `http`, `s`, `ms`, `us`, `ns`, or strptime's) in raw JSON.

    What it returns gives ms since the Unix epoch for a raw scalar, None for null and an empty text, and raises
    ValueError with a sentence for anything else. Times that name no zone are in `zone`.
    """
    place: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
    read = _ways(form, place)

    def ms(raw: bytes) -> int | None:
        if raw[0] == 0x22 and quick:
            try:
                return _checked(_since(_QUICK.decode(raw), place), raw.decode())
            except msgspec.DecodeError:
                pass
        text = scalar_text(raw)
        if text is None or not text.strip():
            return None
        found = read(text.strip())
        if found is None:
            raise ValueError(f"{text[:60]!r} is no time" + ("" if form == "auto" else f" of the form {form}"))
        return _checked(found, text)

    quick = form in {"auto", "iso"}
    return ms


def _ways(form: str, zone: tzinfo) -> Callable[[str], int | None]:
    """Return what reads a text of a form: ms since the Unix epoch, or None."""
    if form in _UNITS:
        return lambda text: _counted(text, _UNITS[form])
    if "%" in form:
        return lambda text: _formatted(text, form, zone)
    kinds = {"iso": {"iso", "date"}, "http": {"http"}}.get(form, {"iso", "date", "http"})

    def read(text: str) -> int | None:
        found = read_instant(text)
        if found is not None:
            return _ms(found, zone) if found.form in kinds else None
        found = read_unix(text) if form == "auto" else None
        return None if found is None else found.ns // 1_000_000

    return read


def _ms(found: Instant, zone: tzinfo) -> int:
    """Return a time that was read as if it were UTC's where it names no zone."""
    if zone is UTC or found.form == "http" or (found.form == "iso" and found.zone.strip()):
        return found.ns // 1_000_000
    return _since(datetime(1970, 1, 1) + timedelta(microseconds=found.ns // 1000), zone)  # noqa: DTZ001 - local time


def _since(moment: datetime, zone: tzinfo) -> int:
    """Return ms since the Unix epoch, in whole numbers: floats lose some."""
    past = (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment) - _EPOCH
    return past.days * 86_400_000 + past.seconds * 1000 + past.microseconds // 1000


def _counted(text: str, unit: int) -> int | None:
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        return None
    number = Decimal(text)
    # Exponents beyond this are no time in any unit.
    if number.adjusted() > 25:
        return None
    return int((number * unit / 1_000_000).to_integral_value(rounding="ROUND_FLOOR"))


def _formatted(text: str, form: str, zone: tzinfo) -> int | None:
    try:
        return _since(datetime.strptime(text, form), zone)  # noqa: DTZ007 - the zone is given if the form has none
    except (ValueError, OverflowError):
        return None


def _checked(ms: int, told: object) -> int:
    if not 0 <= ms <= _LAST:
        raise ValueError(f"{str(told)[:60]!r} is not between the years 1970 and 9999, as times of records are")
    return ms
