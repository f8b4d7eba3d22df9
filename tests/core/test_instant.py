"""Times as APIs spell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.instant import NS, Instant, read_instant, read_unix

SECOND = NS


@pytest.mark.parametrize(
    ("text", "iso", "earlier"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2023-12-31T23:58:30Z"),
        ("2024-01-01T00:00:00.1234567Z", "2024-01-01T00:00:00.1234567Z", "2023-12-31T23:58:30.1234567Z"),
        ("2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z", "2024-01-01T01:58:30+02:00"),
        ("2024-01-01 02:00:00+0200", "2024-01-01T00:00:00Z", "2024-01-01 01:58:30+0200"),
        ("2023-12-31T19:00:00,5-05", "2024-01-01T00:00:00.500Z", "2023-12-31T18:58:30,5-05"),
        ("2024-01-01 00:00", "2024-01-01T00:00:00Z", "2023-12-31 23:58"),
        ("2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "2023-12-31T23:58:30"),
        ("2024-01-01 00:00:00 UTC", "2024-01-01T00:00:00Z", "2023-12-31 23:58:30 UTC"),
        ("2024-01-01", "2024-01-01T00:00:00Z", "2023-12-31"),
        ("2024-01-01T24:00:00Z", "2024-01-02T00:00:00Z", "2024-01-01T23:58:30Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2016-12-31T23:58:30Z"),
        ("Mon, 01 Jan 2024 00:00:00 GMT", "2024-01-01T00:00:00Z", "Sun, 31 Dec 2023 23:58:30 GMT"),
    ],
)
def test_times_keep_their_spelling(text: str, iso: str, earlier: str) -> None:
    """A time is read exactly, and moved in the zone, the precision and the form in which it was written."""
    instant = read_instant(text)
    assert instant is not None
    assert (instant.iso, instant.moved(-90 * SECOND).text) == (iso, earlier)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("1700000000.25", "2023-11-14T22:13:20.250Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"),
        ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
        ("1700000000123456789", "2023-11-14T22:13:20.123456789Z"),
        ("-1", "1969-12-31T23:59:59Z"),
    ],
)
def test_unix_times(text: str, iso: str) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds are told by their size, and written as they came."""
    instant = read_unix(text)
    assert instant is not None
    assert (instant.iso, instant.text) == (iso, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024-02-30",
        "2024-01-01T25:00Z",
        "2024-01-01T00:00+99:00",
        "20240101",
        "12:00",
        "Monday: the first of",
    ],
)
def test_what_is_no_time(text: str) -> None:
    """Nothing is guessed."""
    assert read_instant(text) is None


@pytest.mark.parametrize("text", ["", "x", "1e99", "9" * 41, "NaN", "0x10", "9999999999999999999999"])
def test_what_is_no_unix_time(text: str) -> None:
    """Neither other texts nor numbers beyond the year 9999 are times."""
    assert read_unix(text) is None


@given(st.integers(-60_000_000_000, 250_000_000_000), st.integers(0, NS - 1), st.integers(-14 * 60, 14 * 60))
def test_what_is_written_reads_back(seconds: int, fraction: int, minutes: int) -> None:
    """A time in any zone is the same when its text is read."""
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    instant = Instant(seconds * NS + fraction, digits=9, zone=zone, minutes=minutes)
    assert read_instant(instant.text) == instant
    read = read_instant(instant.iso)
    assert read is not None
    assert read.ns == instant.ns


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    """Hostile texts raise nothing."""
    for instant in (read_instant(text), read_unix(text)):
        if instant is not None:
            assert instant.moved(-(10**30)).text
            assert instant.moved(10**30).text
