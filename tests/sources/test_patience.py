"""How long a text asks to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.patience import Unit, patience

NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        (" 0.25 ", 0.25),
        ("1700000060", 60),
        ("1700000060.5", 60.5),
        ("1700000060123", 60.123),
        ("1699999999", 0),
        ("2023-11-14T22:14:20Z", 60),
        ("2023-11-14T23:14:20+01:00", 60),
        ("2023-11-14T22:14:20", 60),
        ("2023-11-15", 6400),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue Nov 14 2023 23:14:20 GMT+0100 (Central European Standard Time)", 60),
        ("1m30s", 90),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1e9", None),
        ("0x10", None),
        ("٣", None),
        ("2023-99-99", None),
        ("9" * 101, None),
    ],
)
def test_forms(text: str, seconds: float | None) -> None:
    """Seconds, Unix times in two units, dates of three kinds and durations are read; nonsense is nothing."""
    found = patience(text, now=NOON)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [("1500", "ms", 1.5), ("1500", "s", 1500), ("1700000060000", "ms", 60), ("1700000060", "s", 60)],
)
def test_units(text: str, unit: Unit, seconds: float) -> None:
    """What a bare number counts can be said; times since the epoch are still told by their size."""
    assert patience(text, now=NOON, unit=unit) == pytest.approx(seconds)


@given(st.text(max_size=120), st.floats(0, 4e9), st.sampled_from(["auto", "s", "ms"]))
def test_no_text_is_an_exception(text: str, now: float, unit: Unit) -> None:
    """Whatever comes, a wait is never negative and nothing is raised."""
    seconds = patience(text, now=now, unit=unit)
    assert seconds is None or seconds >= 0
