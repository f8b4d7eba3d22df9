"""CSV cut into rows, in any chunks."""

from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.sources.split.item import Bad, BrokenBodyError
from headwater.sources.split.table import Layout, TableSplitter, unique
from sources.split.cutting import Cut, cut, outcome

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
MANY = settings(max_examples=200, deadline=None)
FIELDS = st.text(alphabet='ab é",;\n\r\t', max_size=6)
WHOLE = 1 << 20


def rows(body: bytes, layout: Layout | None = None) -> list[object]:
    """Return the rows of a table, decoded."""
    return [read(item) for item in cut(TableSplitter(layout or Layout(), WHOLE), body)]


def read(item: Cut) -> object:
    return json.loads(item) if isinstance(item, bytes) else item


@MANY
@given(
    st.lists(st.lists(FIELDS, min_size=2, max_size=2), max_size=8),
    st.sampled_from(["\r\n", "\n"]),
    SIZES,
    st.integers(1, 40),
)
def test_what_is_written_is_read(table: list[list[str]], end: str, sizes: list[int], window: int) -> None:
    """Whatever a writer of CSV writes comes out as it went in, in any chunks."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    body = text.getvalue().encode()
    wanted = [
        json.dumps(dict(zip("ab", row, strict=True)), separators=(",", ":"), ensure_ascii=False).encode()
        for row in table
    ]
    assert cut(TableSplitter(Layout(), WHOLE), body) == wanted
    assert cut(TableSplitter(Layout(), WHOLE, window=window), body, sizes) == wanted


@MANY
@given(
    st.lists(st.text(alphabet='ab",\n\r', max_size=12) | st.just("x" * 30), max_size=8),
    SIZES,
    st.integers(1, 40),
    st.integers(4, 30),
)
def test_damage_does_not_depend_on_chunks(pieces: list[str], sizes: list[int], window: int, most: int) -> None:
    """Whatever the bytes, the same rows are good and the same bad."""
    body = ("a,b\n" + "\n".join(pieces)).encode()
    whole = outcome(lambda: TableSplitter(Layout(), most), body)
    assert outcome(lambda: TableSplitter(Layout(), most, window=window), body, sizes) == whole


def test_bad_rows_do_not_harm_the_others() -> None:
    """A row with too few fields, wrong quotes or bytes that are no text is told by its line."""
    found = rows(b'a,b\n1,2\n3\n4,5,6\n"x"y,1\n\xff,1\n"two\nlines",7\n\n8,9\n')
    assert [
        it if isinstance(it, dict) else (it.place, it.reason.partition(":")[0], it.data)
        for it in found
        if isinstance(it, dict | Bad)
    ] == [
        {"a": "1", "b": "2"},
        ("line 3", "it has 1 field, where 2 are named", b"3"),
        ("line 4", "it has 3 fields, where 2 are named", b"4,5,6"),
        ("line 5", "its quotes are wrong", b'"x"y,1'),
        ("line 6", "it is not UTF-8", b"\xff,1"),
        {"a": "two\nlines", "b": "7"},
        {"a": "8", "b": "9"},
    ]


def test_a_quote_that_is_not_closed_costs_one_row() -> None:
    """The row with the quote is bad, and the next line is a row again; a few of them are borne."""
    found = rows(b'a,b\n"1,2\n3,4\n5,6')
    assert isinstance(found[0], Bad)
    assert "not closed" in found[0].reason
    assert found[1:] == [{"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    with pytest.raises(BrokenBodyError, match="not closed"):
        cut(TableSplitter(Layout(), 10), b"a,b\n" + (b'"2' + b"\n" * 12) * 4)


def test_layouts() -> None:
    """Separators, quotes, names of one's own, no header, and numbers on request."""
    assert rows(b"a;b\n1;'x;y'\n", Layout(delimiter=";", quote="'")) == [{"a": "1", "b": "x;y"}]
    assert rows(b'a\tb\n"1\t2"\n', Layout(delimiter="\t", quote=None)) == [{"a": '"1', "b": '2"'}]
    assert rows(b"a,b\n1,2\n", Layout(columns=("x", "y"))) == [{"x": "1", "y": "2"}]
    assert rows(b"a,b\n1,2\n", Layout(columns=("x", "y"), header=False)) == [{"x": "a", "y": "b"}, {"x": "1", "y": "2"}]
    assert rows(b"a,b\n1,2,3\n", Layout(header=False)) == [["a", "b"], ["1", "2", "3"]]
    (number,) = cut(TableSplitter(Layout(numbers=True), WHOLE), b"a,b,c,d,e\n12.50,0012,-1e5,1.,nan\n")
    assert number == b'{"a":12.50,"b":"0012","c":-1e5,"d":"1.","e":"nan"}'
    assert rows(b"") == []
    assert rows(b"a,b") == []
    assert rows(b"a\r1\r2\r") == [{"a": "1"}, {"a": "2"}]


def test_names_are_unique() -> None:
    """Repeated names get numbers, missing ones a name, and blanks around them go."""
    assert unique(["a", " a ", "", "a_2", "a"]) == ["a", "a_2", "column_3", "a_2_2", "a_3"]


def test_a_header_that_is_no_text_is_broken() -> None:
    """Names that cannot be read would be in every record."""
    with pytest.raises(BrokenBodyError, match="charset"):
        rows(b"\xff,b\n1,2\n")
