"""Durations and sizes as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (10, 10),
        (0.5, 0.5),
        ("10", 10),
        ("10s", 10),
        ("150ms", 0.15),
        ("1m 30s", 90),
        ("1m30s", 90),
        ("2 hours", 7200),
        ("1M", 2630016),
        ("1us", 0.000001),
        ("1.5 Min", 90),
        (timedelta(minutes=1), 60),
    ],
)
def test_durations(text: str | float | timedelta, seconds: float) -> None:
    """Numbers are seconds, texts are humantime, in any case but for M(onths) and m(inutes)."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a duration"),
        ("ten", "is not a duration"),
        ("10 parsecs", "unknown unit 'parsecs'"),
        ("1s later", "is not a duration"),
        (-1, "negative"),
        (True, "true or false"),
        (float("inf"), "finite"),
        (float("nan"), "finite"),
        ("11y", "longer than ten years"),
    ],
)
def test_what_is_no_duration(text: str | float, said: str) -> None:
    """The error is a sentence that a person can act on."""
    with pytest.raises(ValueError, match=said):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_a_written_duration_reads_back(value: timedelta) -> None:
    """What is written is read as the same."""
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (5, 5),
        ("64 MiB", 64 << 20),
        ("64Mi", 64 << 20),
        ("44.0 MB", 44_000_000),
        ("44M", 44_000_000),
        ("1k", 1000),
        ("0", 0),
        ("12 B", 12),
    ],
)
def test_sizes(text: str | float, size: int) -> None:
    """Powers of 1000 and of 1024, as in Fluvio's ByteSize."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1", "1 XB", "1.2.3"])
def test_what_is_no_size(text: str) -> None:
    """Anything else is an error."""
    with pytest.raises(ValueError, match=r"size|unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (5 << 50, "5120 TiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    """Three digits and a unit."""
    assert format_size(size) == text
