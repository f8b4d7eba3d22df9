"""What a configuration is for a backfill."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headwater.config import ConnectorConfig, load_text
from headwater.config.backfill import backfilled, name_of, stamp
from headwater.core.errors import ConfigError

START, END = 1_704_067_200_000, 1_704_153_600_000
HEAD = "apiVersion: 0.1.0\nmeta: {name: orders, topic: b}\nhttp:\n  endpoint: https://x.test/\n  cron: '0 5 * * *'\n"
WINDOW = "  params: {from: '${{ window.start }}'}\n  window: {size: 1h, lag: 5m}\n"


def config(lines: str) -> ConnectorConfig:
    return load_text(HEAD + lines).connectors[0]


def test_a_window_is_that_stretch() -> None:
    """Without a lag, as many at once as there are, tried again soon, and under a name of its own."""
    made = backfilled(config(WINDOW), START, END, size=timedelta(hours=6))
    window = made.http.window
    assert window is not None
    assert window.initial is not None
    assert window.until is not None
    assert (window.initial.ms, window.until.ms, window.lag, window.size) == (
        START,
        END,
        timedelta(0),
        timedelta(hours=6),
    )
    assert made.name == "orders@backfill-20240101T000000Z-20240102T000000Z" == name_of("orders", START, END)
    assert (made.http.cron, made.interval, made.http.conditional) == (None, timedelta(seconds=10), False)
    assert stamp(START + 1) == "20240101T000000Z"


@pytest.mark.parametrize(
    ("initial", "first", "last"),
    [
        ('"2020-01-01T00:00:00Z"', "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ('"2020-01-01 02:00:00+02:00"', "2024-01-01 02:00:00+02:00", "2024-01-02 02:00:00+02:00"),
        ('"2020-01-01"', "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("1577836800", 1_704_067_200, 1_704_153_600),
        ("1577836800000", 1_704_067_200_000, 1_704_153_600_000),
    ],
)
def test_a_cursor_of_times_will_do(initial: str, first: object, last: object) -> None:
    """Its times are spelt as the initial one; what is looked back, and where a list is left, is of no use here."""
    lines = (
        "  params: {since: '${{ cursor.at }}'}\n  records: {split: /}\n"
        f"  cursor: {{at: {{from: /at, type: time, initial: {initial}, look_back: 5m}}}}\n"
        "  pagination: {type: link, stop_at: at}\n"
    )
    made = backfilled(config(lines), START, END)
    options = made.http.cursor["at"]
    assert (options.initial, options.until, options.look_back) == (first, last, None)
    assert made.http.pagination is not None
    assert made.http.pagination.stop_at is None


@pytest.mark.parametrize(
    ("lines", "cursor", "said"),
    [
        ("", None, "nothing in its requests says which time is meant; declare a window"),
        ("  cursor: {id: {from: /id, initial: 0}}\n", None, "or say that a cursor is of type: time"),
        ("  window: {size: 1h}\n", None, "nothing in its requests says which time is meant"),
        (WINDOW, "at", "it has no cursor 'at' of the times of its items"),
        ("  cursor: {a: {from: /a, type: time}, b: {from: /b, type: time}}\n", None, "name one with --cursor: a, b"),
        ("  cursor: {a: {from: /a, type: time, source: body}}\n", None, "nothing in its requests"),
    ],
)
def test_what_cannot_be_backfilled(lines: str, cursor: str | None, said: str) -> None:
    """Says what is missing."""
    with pytest.raises(ConfigError, match="the connector orders cannot be backfilled") as raised:
        backfilled(config(lines), START, END, cursor=cursor)
    assert said in str(raised.value)
