"""What cursors take of answers, how values are compared, and what requests see of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from headwater.config.cursor import CursorOptions
from headwater.core.errors import RequestError
from headwater.core.expression import Number, json_of, text_of
from headwater.sources.cursors import Cursors
from headwater.sources.values import LONGEST, alive, kind_of, rank_of, shown, stored


def cursors(**options: Any) -> Cursors:
    return Cursors({"x": CursorOptions.model_validate({"from": "/x", **options})})


def column(*texts: str | None) -> list[Raw | None]:
    return [None if text is None else Raw(text.encode()) for text in texts]


def gathered(it: Cursors, values: list[Raw | None], before: Any = None, pending: Any = None) -> Any:
    known = {} if before is None else {"x": before}
    return it.gather_items({} if pending is None else {"x": pending}, known, [values]).get("x")


@pytest.mark.parametrize(
    ("options", "values", "kept"),
    [
        ({}, ["1", "30", "4"], 30),
        ({}, ["9007199254740993", "9007199254740992"], 9007199254740993),
        ({}, ["12345678901234567890123", "12345678901234567890124"], {"json": "12345678901234567890124"}),
        ({}, ["1.10", "1.1", "1.09"], {"json": "1.10"}),
        ({}, ["1", "1.5", "1e1"], {"json": "1e1"}),
        ({}, ["-5", "-10"], -5),
        ({"take": "min"}, ["-5", "-10", "3"], -10),
        ({}, ['"999"', '"1000"'], "1000"),
        ({}, ['"1512085950.000216"', '"1512085950.000215"'], "1512085950.000216"),
        ({"type": "text"}, ['"999"', '"1000"'], "999"),
        ({"type": "text"}, ["999", "1000"], 999),
        ({}, ['"b"', '"a"', '"é"', '"\\u00e8"'], "é"),
        ({}, ['"2024-01-01T00:00:00Z"', '"2024-01-02T00:00:00Z"'], "2024-01-02T00:00:00Z"),
        ({}, ['"2024-01-01T05:00:00+09:00"', '"2023-12-31T21:00:00Z"'], "2023-12-31T21:00:00Z"),
        ({}, ['"2024-01-01T00:00:00.5Z"', '"2024-01-01T00:00:00.25Z"'], "2024-01-01T00:00:00.5Z"),
        ({}, ['"2024-01-01T00:00:00Z"', '"n/a"', "null", None, "true", "[]"], "2024-01-01T00:00:00Z"),
        ({}, ['"Mon, 01 Jan 2024 00:00:00 GMT"', '"Tue, 02 Jan 2024 00:00:00 GMT"'], "Tue, 02 Jan 2024 00:00:00 GMT"),
        ({"type": "time"}, ["1700000000", "1700000000123"], 1700000000123),
        ({"type": "time"}, ["1700000001", "1700000000123"], 1700000001),
        ({"type": "number"}, ['"x"', '"7"', "5"], "7"),
        ({"take": "last"}, ["3", '"x"', "[1,2.50]"], {"json": "[1,2.50]"}),
        ({"take": "last"}, ["3", "null", None], 3),
        ({"take": "first"}, ["null", '"x"', "3"], "x"),
        ({}, ["null", None], None),
        ({}, ["5", "1e999999999", "7"], 7),
        ({}, ["1e999999999"], None),
        ({}, ["true", "{}"], None),
        ({}, [], None),
    ],
)
def test_what_is_taken(options: Any, values: list[str | None], kept: Any) -> None:
    """Numbers exactly, times as instants, texts as texts; what cannot be compared is passed over."""
    assert gathered(cursors(**options), column(*values)) == kept


def test_what_was_there_says_what_the_values_are_like() -> None:
    """One odd value cannot take a cursor over that has been a time."""
    it = cursors(initial="2024-01-01T00:00:00Z")
    assert gathered(it, column('"zzzz"')) is None
    assert gathered(it, column('"zzzz"', '"2023-05-05"')) == "2023-05-05"
    assert gathered(cursors(), column('"zzzz"'), before="2024-01-01") is None


def test_cursors_never_go_back() -> None:
    """A round with older values, because it looked back, leaves the cursor where it was; `last` follows the answers."""
    it = cursors()
    assert it.promote({"x": 5}, {"x": 3}) == {"x": 5}
    assert it.promote({"x": 5}, {"x": 7}) == {"x": 7}
    assert it.promote({"x": 5, "gone": 1}, {"other": 2}) == {"x": 5}
    assert cursors(take="last").promote({"x": 5}, {"x": 3}) == {"x": 3}


@given(
    st.lists(st.lists(st.integers(-(10**25), 10**25) | st.decimals(allow_nan=False, allow_infinity=False), max_size=5)),
    st.sampled_from(["max", "min"]),
)
def test_numbers_are_compared_exactly(pages: list[list[Any]], take: str) -> None:
    """Whatever the digits, the pages and the exponents, the kept one is the largest or smallest of all."""
    it = cursors(take=take)
    pending: Any = None
    everything = []
    for page in pages:
        texts = [str(number).replace("E+", "e").replace("E", "e") for number in page]
        texts = [text if text[0] != "." else f"0{text}" for text in texts]
        everything += [Decimal(text) for text in texts]
        pending = gathered(it, column(*texts), pending=pending)
    if not everything:
        assert pending is None
        return
    kept = rank_of(alive(pending), "number")
    assert kept == (max(everything) if take == "max" else min(everything))


@given(st.lists(st.datetimes(), min_size=1), st.lists(st.sampled_from(["Z", "+02:00", "-05:30"]), min_size=1))
def test_times_are_compared_as_instants(times: list[Any], zones: list[str]) -> None:
    """Zones may be mixed."""
    texts = [f"{moment.isoformat()}{zones[place % len(zones)]}" for place, moment in enumerate(times)]
    known = [(rank_of(text, "time"), text) for text in texts if rank_of(text, "time") is not None]
    kept = gathered(cursors(), column(*(f'"{text}"' for text in texts)))
    if known and kind_of(texts[0]) == "time":
        assert rank_of(kept, "time") == max(known)[0]


@pytest.mark.parametrize(
    ("options", "value", "seen"),
    [
        ({"look_back": "5m"}, "2024-01-01T00:00:00Z", '"2023-12-31T23:55:00Z"'),
        ({"look_back": "5m"}, "2024-01-01T00:00:00+02:00", '"2023-12-31T23:55:00+02:00"'),
        ({"look_back": "1d"}, "2024-01-01", '"2023-12-31"'),
        ({"look_back": "1h"}, "2024-01-01", '"2023-12-31"'),
        ({"look_back": "5m"}, 1700000000, "1699999700"),
        ({"look_back": "5m"}, 1700000000123, "1699999700123"),
        ({"look_back": "5m"}, {"json": "1700000000.25"}, "1699999700.25"),
        ({"look_back": "5m"}, "1700000000", '"1699999700"'),
        ({"look_back": 10}, 25, "15"),
        ({"look_back": 10, "type": "number"}, "25", '"15"'),
        ({"look_back": 0.5}, {"json": "25.25"}, "24.75"),
        ({"look_back": 1}, {"json": "123456789012345678901234567890.5"}, "123456789012345678901234567889.5"),
        ({"look_back": 60}, "2024-01-01T00:01:00Z", '"2024-01-01T00:00:00Z"'),
    ],
)
def test_looking_back_keeps_the_spelling(options: Any, value: Any, seen: str) -> None:
    """A duration is taken off a time, a number off a number; kind, digits and zone stay."""
    assert json_of(cursors(**options).scope({"x": value})["x"]) == seen


def test_a_text_cannot_be_looked_back_from() -> None:
    """The error says what to do."""
    with pytest.raises(RequestError, match="the cursor x is 'abc', which is no time to look back from"):
        cursors(look_back="5m").scope({"x": "abc"})


def test_a_number_that_nothing_can_be_taken_off() -> None:
    """Of the last item any value is kept: the error says so, and the connector goes on."""
    with pytest.raises(RequestError, match="the cursor x is '1e999999999', which is no time to look back from"):
        cursors(take="last", look_back=5).scope({"x": {"json": "1e999999999"}})


def test_before_there_is_a_value_the_initial_one_is_seen() -> None:
    """As it is: nothing is taken off it."""
    assert cursors(initial="2024-01-01", look_back="1d").scope({}) == {"x": "2024-01-01"}
    assert cursors(initial=1.5).scope({}) == {"x": Number("1.5")}
    assert cursors().scope({}) == {}


@pytest.mark.parametrize(
    ("options", "document", "headers", "kept"),
    [
        ({"source": "body", "from": "/meta/next"}, b'{"meta":{"next":"t"}}', (), "t"),
        ({"source": "body", "from": "/meta/next"}, b'{"meta":{"next":null}}', (), None),
        ({"source": "body", "from": "/meta/next"}, b'{"meta":{"next":""}}', (), None),
        ({"source": "body", "from": "/meta/next"}, b"no json", (), None),
        ({"source": "body", "from": "/meta/next"}, None, (), None),
        ({"from": "header:X-Next"}, None, (("x-next", "a"), ("x-next", "b")), "b"),
        ({"from": "header:X-Next"}, None, (), None),
        ({"source": "body", "from": "/n", "take": "max"}, b'{"n":true}', (), None),
    ],
)
def test_answers_have_values_too(options: Any, document: bytes | None, headers: Any, kept: Any) -> None:
    """The body around the items, and the headers; what is not there leaves the cursor as it was."""
    it = cursors(**options)
    assert it.gather_answer({"x": "old"} if kept is None else {}, document, headers).get("x") == (kept or "old")


def test_a_column_without_a_value_is_told() -> None:
    """A pointer that leads nowhere would ask for everything again and again."""
    it = cursors()
    assert it.missed([column(None, None)]) == ["no item has /x for the cursor x"]
    assert it.missed([column(None, "1")]) == []
    assert it.missed([column()]) == []


def test_a_cursor_that_nothing_can_move_is_told() -> None:
    """As when it was taken of another field before: it would stay what it is, in silence."""
    it = cursors()
    texts = column('"2024-01-01T00:00:00Z"', None, "null")
    said = "the cursor x stays 2, which nothing at /x can be compared with: see headwater checkpoint set"
    assert it.missed([texts], {"x": 2}) == [said]
    assert it.missed([texts], {"x": "2023-01-01"}) == []
    assert it.missed([column("null")], {"x": 2}) == []
    assert it.missed([column('"n/a"', "1")], {"x": 2}) == []
    assert cursors(take="last").missed([texts], {"x": 2}) == []


@pytest.mark.parametrize("raw", ["1", "-0", "1.50", '"a"', "true", "null", "[1.0]", '{"a":1e5}', "1e400", '"\\u00e9"'])
def test_stored_values_come_back_as_they_were(raw: str) -> None:
    """Through a checkpoint, to the digit."""
    value = msgspec.json.decode(msgspec.json.encode(stored(raw.encode())))
    back = json_of(alive(value))
    assert Decimal(back) == Decimal(raw) if raw[-1].isdigit() else msgspec.json.decode(back) == msgspec.json.decode(raw)
    if "." in raw or "e" in raw:
        assert back == raw or raw[0] in '"tn'


def test_values_without_bounds_are_refused() -> None:
    """A checkpoint does not grow as an answer likes."""
    with pytest.raises(ValueError, match="too long to be remembered"):
        stored(b'"' + b"x" * LONGEST + b'"')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", "abc"),
        ("5", '"5"'),
        (5, "5"),
        ({"json": "1.50"}, "1.50"),
        ("", '""'),
        ("a\nb", '"a\\nb"'),
        (True, "true"),
    ],
)
def test_values_for_people(value: Any, text: str) -> None:
    """A text that could be taken for a number stands in quotes."""
    assert shown(value) == text
    assert text_of(alive(value)) is not None


def test_items_may_be_left_out() -> None:
    """Those that are not below a bound: times and numbers, exactly; what cannot be compared stays."""
    it = cursors(until="2024-01-02T00:00:00Z")
    values = column('"2024-01-01T23:59:59Z"', '"2024-01-02T00:00:00Z"', '"2024-01-02T01:00:00+02:00"', None, '"x"')
    assert it.kept([values]) == [True, False, True, True, True]
    assert it.kept([column('"2024-01-01"')]) is None
    assert cursors(until=10).kept([column("9.99", "10", '"9"')]) == [True, False, True]
    assert cursors().kept([values]) is None
