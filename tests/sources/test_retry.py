"""How long to wait before a failed request is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.retry import back_off, retry_after

NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_back_off_doubles_up_to_its_bound() -> None:
    """Without luck the pauses are the lower halves: initial, doubled, capped."""
    pauses = [back_off(n, initial=1, longest=10, chance=0) for n in range(1, 7)]
    assert pauses == [0.5, 1, 2, 4, 5, 5]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_back_off_stays_within_its_bounds(failures: int, chance: float) -> None:
    """However long a trouble lasts, the pause is positive and never longer than the bound."""
    assert 0 < back_off(failures, initial=0.5, longest=30, chance=chance) <= 30


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("-3", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:12:20 GMT", 0),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),
        ("Tue Nov 14 22:14:20 2023", 60),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
        ("9" * 50, 999_999_999_999),
        ("1700000060", 60),
        ("2023-11-14T22:14:20Z", 60),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds, all three date forms of RFC 9110 and what servers send besides are read; nonsense is as nothing."""
    assert retry_after(value, now=NOON) == seconds


@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    """A hostile header is nonsense, not an exception, and never asks for a negative wait."""
    seconds = retry_after(value, now=NOON)
    assert seconds is None or seconds >= 0
