"""Times of items."""

from __future__ import annotations

import json

import pytest

from headwater.sources.times import reader

NOON = 1_714_564_800_000  # 2024-05-01T12:00:00Z


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        ("2024-05-01T12:00:00Z", NOON),
        ("2024-05-01T12:00:00.123456789Z", NOON + 123),
        ("2024-05-01T14:00:00+02:00", NOON),
        ("2024-05-01T14:00:00.5+0200", NOON + 500),
        ("2024-05-01 12:00:00", NOON),
        ("2024-05-01T12:00", NOON),
        ("2024-05-01", NOON - 12 * 3_600_000),
        ("Wed, 01 May 2024 12:00:00 GMT", NOON),
        ("Wed, 1 May 2024 14:00:00 +0200", NOON),
        (NOON // 1000, NOON),
        (str(NOON // 1000), NOON),
        (f"{NOON // 1000}.5", NOON + 500),
        (NOON, NOON),
        (NOON * 1000 + 999, NOON),
        (NOON * 1_000_000 + 999_999, NOON),
        (1.7145648e9, NOON),
        (0, 0),
        (None, None),
        ("", None),
        (" ", None),
    ],
)
def test_times_of_any_form(given: object, ms: int | None) -> None:
    """What a time is written like says how it is read."""
    assert reader("auto", "UTC")(json.dumps(given).encode()) == ms


@pytest.mark.parametrize(
    ("form", "zone", "given", "ms"),
    [
        ("auto", "Europe/Berlin", "2024-05-01T14:00:00", NOON),
        ("auto", "Europe/Berlin", "2024-05-01 14:00", NOON),
        ("auto", "Europe/Berlin", "2024-05-01", NOON - 14 * 3_600_000),
        ("auto", "Europe/Berlin", "2024-05-01T12:00:00Z", NOON),
        ("auto", "Europe/Berlin", "2024-05-01T12:00:00.5 +0000", NOON + 500),
        ("iso", "UTC", "2024-05-01T12:00:00Z", NOON),
        ("http", "UTC", "Wed, 01 May 2024 12:00:00 GMT", NOON),
        ("s", "UTC", 5, 5000),
        ("s", "UTC", "1714564800.25", NOON + 250),
        ("ms", "UTC", 5, 5),
        ("us", "UTC", 5999, 5),
        ("ns", "UTC", 5_999_999, 5),
        ("%d.%m.%Y %H:%M", "UTC", "01.05.2024 12:00", NOON),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "01.05.2024 14:00", NOON),
        ("%d.%m.%Y %H:%M %z", "Europe/Berlin", "01.05.2024 12:00 +0000", NOON),
    ],
)
def test_times_of_a_form(form: str, zone: str, given: object, ms: int) -> None:
    """A form says what a time is written like, a zone what it means without one."""
    assert reader(form, zone)(json.dumps(given).encode()) == ms


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("auto", "soon"),
        ("auto", "2024-13-01"),
        ("auto", True),
        ("auto", {}),
        ("auto", "1969-12-31T00:00:00Z"),
        ("auto", -1),
        ("auto", "1e400"),
        ("iso", NOON),
        ("iso", "Wed, 01 May 2024 12:00:00 GMT"),
        ("http", "2024-05-01T12:00:00Z"),
        ("s", "2024-05-01"),
        ("s", "1e99"),
        ("ns", "9" * 50),
        ("%d.%m.%Y", "2024-05-01"),
    ],
)
def test_what_is_no_time_says_so(form: str, given: object) -> None:
    """A sentence tells what was there."""
    with pytest.raises(ValueError, match=r"is no time|between the years|it is an object"):
        reader(form, "UTC")(json.dumps(given).encode())
