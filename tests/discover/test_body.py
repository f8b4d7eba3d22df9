"""Bodies of every kind, the hostile ones included: what they are, and that a look at them ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.discover.body import look, mended
from headwater.discover.items import find_items
from headwater.discover.openapi import OpenApiError

BOMB = b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 100 + b'"><!ENTITY z "&x;&x;&x;">]><a><b>&z;</b></a>'


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"", "", "empty"),
        (b" \n", "application/json", "empty"),
        (b'{"a": 1}', "text/plain", "json"),
        (b'\xef\xbb\xbf{"a": 1}', "", "json"),
        (b'"\\ud800"', "application/json", "json"),
        (b'{"a": 1', "application/json", "broken"),
        (b"[" * 100_000, "application/json", "broken"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json", "broken"),
        (b'{"a": 1}\n\n{"a": 2}\n{"a": 3', "", "ndjson"),
        (b'\x1e{"a": 1}\n', "", "json-seq"),
        (b"a,b\n1,2\n3,4\n", "text/csv; charset=utf-8", "csv"),
        (b"a;b\n1;2\n", "text/plain", "csv"),
        (b"a\tb\n1\t2\n", "text/tab-separated-values", "csv"),
        ("Müll;Öl\n1;2\n".encode("cp1252"), "text/csv", "csv"),
        (b"just one line", "text/plain", "text"),
        (b"two\nlines", "", "text"),
        (b"<!DOCTYPE html><p>Sign in", "application/json", "html"),
        (b"<p>x", "text/html", "html"),
        (b"<a><b/><b/></a>", "", "xml"),
        (b"<a><b></a>", "text/xml", "broken"),
        (b"<a>" * 1000, "text/xml", "broken"),
        (BOMB, "text/xml", "broken"),
        (b"data: x\n\n", "text/event-stream", "stream"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "image/png", "binary"),
        (b"\xff\xfe" + bytes(range(256)), "", "binary"),
    ],
)
def test_formats(body: bytes, kind: str, expected: str) -> None:
    """What a body is, is told by what it has, and by its type where that helps."""
    assert look(body, kind).format == expected


def test_a_huge_body_is_looked_at_in_bounded_time() -> None:
    """So many rows are kept, whatever there are."""
    body = b"\n".join(b'{"id": %d}' % number for number in range(200_000))
    sample = look(body, "application/x-ndjson")
    assert sample.format == "ndjson"
    assert len(sample.rows) == 200
    wide = json.dumps({f"k{number}": [{"id": number}] for number in range(50_000)}).encode()
    assert find_items(look(wide, "application/json")).findings


@given(st.binary(max_size=2000), st.sampled_from(["", "application/json", "text/csv", "text/xml", "text/plain"]))
def test_any_bytes_are_something(body: bytes, kind: str) -> None:
    """A look at any bytes ends with an answer."""
    find_items(look(body, kind))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=40,
)


@given(JSON)
def test_any_json_is_looked_at(value: object) -> None:
    """Whatever shape an answer has, what is said of it leads somewhere."""
    sample = look(json.dumps(value).encode(), "application/json")
    items = find_items(sample)
    if items.split is not None:
        assert isinstance(items.split.find(sample.document), list)


def test_an_error_of_a_document_is_a_value_error() -> None:
    """Whoever calls catches one kind."""
    assert issubclass(OpenApiError, ValueError)


@pytest.mark.parametrize(
    ("whole", "kept"),
    [
        ('[{"id": 1}, {"id": 2}, {"id"', [{"id": 1}, {"id": 2}]),
        (
            '{"a": "}],[", "items": [{"id": 1, "b": [1, 2]}, {"id": 2}, {',
            {"a": "}],[", "items": [{"id": 1, "b": [1, 2]}, {"id": 2}]},
        ),
        ('{"a": [[1, 2], [3', {"a": [[1, 2]]}),
        ("[1, 2, 3", [1, 2]),
    ],
)
def test_the_beginning_of_a_body(whole: str, kept: object) -> None:
    """What is cut somewhere is looked at as far as its items are whole."""
    assert json.loads(mended(whole.encode())) == kept


def test_the_beginning_of_lines() -> None:
    """Lines are kept that are whole; what cannot be mended stays as it is."""
    assert mended(b"a,b\n1,2\n3") == b"a,b\n1,2\n"
    assert mended(b'{"a": 1}\n{"a": 2}\n{"a"') == b'{"a": 1}\n{"a": 2}'
    assert mended(b'{"a": "xxx') == b'{"a": "xxx'
    assert mended(b"no line") == b"no line"


@given(JSON, st.integers(0, 200))
def test_any_beginning_is_mended(value: object, length: int) -> None:
    """Whatever is cut wherever, a look at it ends."""
    find_items(look(mended(json.dumps(value).encode()[:length]), "application/json"))
