"""How a record looks on standard output."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.display import Table, fast_lines, hex_dump, key_value, shown_time, template, value_text
from headwater.core.record import StoredRecord

RECORD = StoredRecord(value=b"hello", key=b"k", timestamp=1_700_000_000_123, partition=2, offset=7)
UNKEYED = StoredRecord(value=b"hello", key=None, timestamp=-1, partition=0, offset=0)


def test_template_fills_every_placeholder() -> None:
    """Key, value, offset, partition and time are filled in; escapes become what they name."""
    fill = template("{{offset}}/{{ partition }}\\t{{key}}={{value}} at {{time}} {{other}}")
    assert fill(RECORD, "dynamic") == b"7/2\tk=hello at 2023-11-14T22:13:20.123Z {{other}}"


def test_template_shows_missing_things_as_fluvio_does() -> None:
    """A null key is `null`, a record without a time has NA."""
    assert template("{{key}} {{time}}")(UNKEYED, "text") == b"null NA"


def test_key_value() -> None:
    """`-k` shows the key in brackets."""
    assert key_value(RECORD, "dynamic") == b"[k] hello"
    assert key_value(UNKEYED, "dynamic") == b"[null] hello"


def test_dynamic_dumps_what_is_not_text() -> None:
    """Binary values become a hex dump, text stays as it is."""
    assert value_text("é".encode(), "dynamic") == "é".encode()
    assert value_text(b"\xff\x00A", "dynamic") == hex_dump(b"\xff\x00A").encode()
    assert hex_dump(b"\xff\x00A").startswith("00000000  ff 00 41 ")
    assert hex_dump(b"\xff\x00A").endswith("|..A|")


def test_json_is_pretty_and_bad_json_is_told() -> None:
    """`-O json` prints parsed JSON; a value that is none becomes an object that says so."""
    assert value_text(b'{"a":1}', "json") == b'{\n  "a": 1\n}'
    assert "not JSON" in json.loads(value_text(b"{", "json"))["error"]


@given(st.binary())
def test_raw_is_raw(value: bytes) -> None:
    """`-O raw` hands the bytes on."""
    assert value_text(value, "raw") == value


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.sampled_from(["dynamic", "text", "raw"]))
def test_the_fast_way_prints_what_the_slow_one_does(values: list[bytes], form: str) -> None:
    """Printing a batch at once gives the bytes that printing one by one gives, or declines."""
    fast = fast_lines(values, form)
    slow = b"".join(value_text(value, form) + b"\n" for value in values)
    assert fast is None or fast == slow


@given(st.binary(), st.sampled_from(["dynamic", "text", "binary", "json", "raw"]))
def test_every_value_can_be_shown(value: bytes, form: str) -> None:
    """No value makes a format fail."""
    value_text(value, form)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_time_can_be_shown(timestamp: int) -> None:
    """A time from a hostile batch is NA at worst."""
    assert shown_time(timestamp)


def test_table_keeps_the_columns_of_its_first_row() -> None:
    """The header comes once; later rows stand under it; what is no object is one cell."""
    table = Table()
    assert table.lines(b'{"name":"a","n":1}') == b"name  n\na     1"
    assert table.lines(b'{"n":22,"name":"bb"}') == b"bb    22"
    assert Table().lines(b"plain") == b"value\nplain"


@pytest.mark.parametrize("value", [b"[]", b"{}", b"\xff", b'"x"'])
def test_table_takes_every_value(value: bytes) -> None:
    """Rows that are no objects, or empty ones, are rows all the same."""
    table = Table()
    table.lines(value)
    table.lines(value)
