"""Owns durations and byte sizes as people write them. Knows no option and no file."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache

# The units of Rust's humantime, which Fluvio's own configurations use. Months and years are its averages.
_SECONDS: dict[str, Decimal] = {
    unit: Decimal(seconds)
    for names, seconds in (
        ("ns nsec nanos", "1e-9"),
        ("us µs usec micros", "1e-6"),
        ("ms msec millis", "1e-3"),
        ("s sec secs second seconds", "1"),
        ("m min mins minute minutes", "60"),
        ("h hr hrs hour hours", "3600"),
        ("d day days", "86400"),
        ("w week weeks", "604800"),
        ("M month months", "2630016"),
        ("y year years", "31557600"),
    )
    for unit in names.split()
}
_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]+)")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*")
_LONGEST_SECONDS = Decimal(10 * 31557600)

_BYTES: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{letter}{ending}": 1000**power for power, letter in enumerate("kmgt", start=1) for ending in ("", "b")},
    **{f"{letter}{ending}": 1024**power for power, letter in enumerate("kmgt", start=1) for ending in ("i", "ib")},
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_duration(value: str | float | timedelta) -> timedelta:
    """Read a duration: a bare number is seconds; text is humantime, such as `10s`, `150ms` or `1m 30s`.

    Resolution is one microsecond. Raises ValueError with a sentence for people; ten years is the most.
    """
    if isinstance(value, timedelta):
        seconds = Decimal(str(value.total_seconds()))
    elif isinstance(value, bool):
        raise ValueError("is true or false, not a duration such as 10s")
    elif isinstance(value, int | float):
        try:
            seconds = Decimal(str(value))
        except InvalidOperation:  # pragma: no cover - str() of a float is always a number
            raise ValueError(f"{value!r} is not a duration") from None
        if not seconds.is_finite():
            raise ValueError(f"{value!r} is not a finite duration")
    else:
        seconds = _parse_humantime(value)
    if seconds < 0:
        raise ValueError(f"{value!r} is negative")
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f"{value!r} is longer than ten years")
    return timedelta(microseconds=int((seconds * 1_000_000).to_integral_value()))


def _parse_humantime(text: str) -> Decimal:
    if plain := _NUMBER.fullmatch(text):
        return Decimal(plain[1])
    total, position = Decimal(0), 0
    while part := _DURATION_PART.match(text, position):
        unit = _SECONDS.get(part[2]) or _SECONDS.get(part[2].lower())
        if unit is None:
            raise ValueError(f"{text!r} has the unknown unit {part[2]!r}; use ms, s, m, h, d or w, such as 1m 30s")
        total += Decimal(part[1]) * unit
        position = part.end()
    if position == 0 or text[position:].strip():
        raise ValueError(f"{text!r} is not a duration; write 10s, 150ms, 1m 30s, or a number of seconds")
    return total


def format_duration(value: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, in the fewest units: `1m 30s`, `150ms`, `0s`."""
    microseconds = round(value / timedelta(microseconds=1))
    parts = []
    for name, size in (
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ):
        count, microseconds = divmod(microseconds, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts) or "0s"


def parse_size(value: str | float) -> int:
    """Read a number of bytes: `1048576`, `64 MiB`, `64Mi` (powers of 1024) or `44.0 MB`, `44M` (powers of 1000)."""
    if isinstance(value, bool):
        raise ValueError("is true or false, not a size such as 64 MiB")
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a size; write 64 MiB, 44 MB, or a number of bytes")
    unit = _BYTES.get(match[2].lower())
    if unit is None:
        raise ValueError(f"{value!r} has the unknown unit {match[2]!r}; use KB, MB, GB, KiB, MiB or GiB")
    return int(Decimal(match[1]) * unit)


@lru_cache(maxsize=1024)  # answers repeat their sizes
def format_size(size: int) -> str:
    """Write a number of bytes for people, in powers of 1024: `64 MiB`, `1.5 KiB`, `12 B`."""
    scaled, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if scaled < 1024 or unit == "TiB":
            break
        scaled /= 1024
    return f"{scaled:.1f}".rstrip("0").rstrip(".") + f" {unit}"
