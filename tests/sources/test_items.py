"""What of an answer becomes records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.config import RecordsOptions
from headwater.core.http import Response
from headwater.core.record import Record
from headwater.sources.items import MOST_BAD, About, Items
from headwater.sources.reaped import BadItem
from headwater.sources.split.item import BrokenBodyError
from sources.shapes.corpus import SHAPES, Shape

ABOUT = About("https://example.test/", 200, 1_714_557_600_000)


def answer(body: bytes, content_type: str = "application/json") -> Response:
    return Response(200, "HTTP/1.1", (("content-type", content_type),), body, "https://example.test/", 0.0, len(body))


def made(options: dict[str, Any], response: Response, size: int = 1 << 20) -> tuple[list[Record], list[BadItem]]:
    """Return what an answer comes to that arrives in chunks of a size."""
    items = Items(RecordsOptions(**options))
    splitter, making = items.splitter(response), items.making(ABOUT)
    records: list[Record] = []
    bad: list[BadItem] = []
    pieces = [response.body[at : at + size] for at in range(0, len(response.body), size)]
    for found in (*(splitter.feed(piece) for piece in pieces), splitter.finish()):
        batch = making.take(found, splitter.what)
        records += batch.records()
        bad += batch.bad
    return records, bad


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_real_answers(shape: Shape, size: int) -> None:
    """Of each page of the corpus come the records that are expected, each with bytes of its own."""
    for page, response in zip(shape.pages, shape.responses, strict=True):
        records, bad = made(shape.records, response, size)
        assert not bad
        assert [(None if it.key is None else it.key.decode(), it.timestamp) for it in records] == [
            (item.key, item.time_ms) for item in page.items
        ]
        form = shape.records.get("format", "json")
        for record in records:
            if form in {"json", "ndjson", "json-seq", "delimited"}:
                assert record.value in response.body
            if form in {"json", "ndjson", "json-seq", "csv"}:
                json.loads(record.value)


def test_numbers_keep_their_digits() -> None:
    """What is in an item is never read as a float."""
    (record,), _ = made({"split": "/"}, answer(b'[ {"n": 12345678901234567890.10 } ]'))
    assert record.value == b'{"n": 12345678901234567890.10 }'


def test_items_without_their_key_or_with_a_bad_one() -> None:
    """A missing key is no key unless it is required; a key that is no scalar, and a time that is none, are bad."""
    body = b'[{"id":1,"t":0},{"id":null},{},{"id":{}},{"id":2,"t":"soon"},{"id":"x","t":""},7,{"id":true,"t":null}]'
    records, bad = made({"split": "/", "key": "/id", "timestamp": "/t"}, answer(body))
    assert [(it.key, it.timestamp) for it in records] == [
        (b"1", 0),
        (None, None),
        (None, None),
        (b"x", None),
        (None, None),
        (b"true", None),
    ]
    assert [(it.position, it.reason) for it in bad] == [
        ("item 4", "its key at /id: it is an object, where a text or a number is expected"),
        ("item 5", "its time at /t: 'soon' is no time"),
    ]
    records, bad = made({"split": "/", "key": "/id", "key_required": True}, answer(body))
    assert len(records) == 4
    assert {it.reason for it in bad[:2]} == {"it has no key at /id"}


def test_metadata() -> None:
    """On request each item is wrapped, its bytes unchanged."""
    response = Response(
        203, "HTTP/1.1", (("etag", '"x"'), ("a", "1"), ("a", "2")), b'{"items":[ {"id": 1.0} ,2]}', "https://x/", 0.0, 0
    )
    about = About("https://example.test/?token=***", 203, 1_714_557_600_123, 4, dict(response.headers))
    items = Items(RecordsOptions(split="/items", metadata=True, metadata_headers=["ETag", "X-None", "A"]))
    splitter = items.splitter(response)
    found = [*splitter.feed(response.body), *splitter.finish()]
    first, second = items.making(about).take(found, splitter.what).records()
    assert first.value == (
        b'{"meta":{"url":"https://example.test/?token=***","status":203,"fetched":"2024-05-01T10:00:00.123Z","page":4,'
        b'"headers":{"etag":"\\"x\\"","a":"2"},"item":0},"record":{"id": 1.0}}'
    )
    assert json.loads(second.value)["meta"]["item"] == 1
    assert json.loads(second.value)["record"] == 2


@pytest.mark.parametrize(
    ("options", "body", "wrapped"),
    [
        ({"format": "delimited"}, b'a "b"\n', 'a "b"'),
        ({"format": "text"}, b"\xff", {"base64": "/w=="}),
        ({"format": "csv"}, b"a\n1\n", {"a": "1"}),
        ({"format": "xml", "element": "a"}, b"<a>1</a>", "<a>1</a>"),
        ({"format": "xml", "element": "a", "as_json": True}, b"<a><b>1</b></a>", {"b": "1"}),
        ({}, b'{"a":1}', {"a": 1}),
    ],
)
def test_what_is_wrapped(options: dict[str, Any], body: bytes, wrapped: object) -> None:
    """What is JSON is put in as it is, what is text as a text, and what is neither in base64."""
    (record,), _ = made({**options, "metadata": True}, answer(body, ""))
    assert json.loads(record.value)["record"] == wrapped


@pytest.mark.parametrize(
    ("options", "body", "content_type", "value"),
    [
        ({"format": "csv"}, "a\né\n".encode("latin-1"), "text/csv; charset=ISO-8859-1", '{"a":"é"}'),
        ({"format": "csv"}, "\ufeffa\né\n".encode("utf-16-le"), "text/csv", '{"a":"é"}'),
        ({"format": "csv", "charset": "cp1252"}, "a\n€\n".encode("cp1252"), "text/csv; charset=utf-8", '{"a":"€"}'),
        ({"format": "delimited"}, "é\n".encode("latin-1"), "text/plain; charset=latin1", "é"),
        ({"format": "text"}, "日本".encode("shift_jis"), "text/plain; charset=shift_jis", "日本"),
        ({"split": "/"}, '["日本"]'.encode("shift_jis"), "application/json; charset=shift_jis", '"日本"'),
        ({"split": "/"}, '["é"]'.encode(), "application/json; charset=iso-8859-1", '"é"'),
        ({"split": "/"}, '["é"]'.encode("latin-1"), "application/json; charset=iso-8859-1", '"é"'),
        ({"split": "/"}, '["é"]'.encode("utf-16"), "application/json", '"é"'),
        ({}, '["é"]'.encode("utf-16-be"), "application/json; charset=utf-16be", '["é"]'),
        ({"format": "ndjson"}, '"é"\n'.encode("latin-1"), "application/x-ndjson; charset=latin-1", '"é"'),
        (
            {"format": "xml", "element": "a"},
            '<?xml version="1.0" encoding="windows-1252"?><a>€</a>'.encode("cp1252"),
            "text/xml",
            "<a>€</a>",
        ),
        (
            {"format": "xml", "element": "a"},
            '<?xml version="1.0" encoding="us-ascii"?><a>é</a>'.encode("latin-1"),
            "text/xml; charset=iso-8859-1",
            "<a>é</a>",
        ),
        ({"format": "xml", "element": "a"}, "\ufeff<a>é</a>".encode("utf-16-be"), "text/xml", "<a>é</a>"),
        ({"format": "xml", "element": "a"}, "\ufeff<a>é</a>".encode(), "text/xml", "<a>é</a>"),
        ({"format": "text"}, b"\xff\xfe", "application/octet-stream", None),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_charsets(options: dict[str, Any], body: bytes, content_type: str, value: str | None, size: int) -> None:
    """A text is in what its mark, the options, its Content-Type or it itself say; records are UTF-8."""
    (record,), bad = made(options, answer(body, content_type), size)
    assert not bad
    assert record.value == (body if value is None else value.encode())


@pytest.mark.parametrize(
    ("options", "body", "content_type", "words"),
    [
        ({"format": "csv"}, b"a\n\xd8\x00", "text/csv; charset=utf-16-be", "is not in utf-16-be"),
        (
            {"format": "xml", "element": "a"},
            b'<?xml version="1.0" encoding="x-none"?><a/>',
            "",
            "x-none, which is not known",
        ),
        (
            {"format": "xml", "element": "a"},
            b'<?xml version="1.0" encoding="zlib"?><a/>',
            "",
            "zlib, which is not known",
        ),
        ({}, b"<html>", "", "the body: it is not JSON"),
    ],
)
def test_bodies_that_cannot_be_read(options: dict[str, Any], body: bytes, content_type: str, words: str) -> None:
    """An error says what is wrong with the whole."""
    with pytest.raises(BrokenBodyError, match=words):
        made(options, answer(body, content_type))


@pytest.mark.parametrize(("written", "real"), [(r"\xff\0", b"\xff\0"), ("§", "§".encode()), ("ab", b"ab")])
def test_any_bytes_are_a_delimiter(written: str, real: bytes) -> None:
    """Escapes are bytes, and characters are those of UTF-8."""
    records, _ = made({"format": "delimited", "delimiter": written}, answer(b"1" + real + b"\xfe" + real, ""))
    assert [record.value for record in records] == [b"1", b"\xfe"]


def test_many_bad_items_are_a_bad_body() -> None:
    """Dead letters of one body are bounded."""
    with pytest.raises(BrokenBodyError, match="items are bad"):
        made({"split": "/"}, answer(b"[" + b"NaN," * (MOST_BAD + 1) + b"1]"))


def test_a_large_bad_item_is_shown_by_its_beginning() -> None:
    """A dead letter has the size and the digest of what it does not show whole."""
    body = b'[{"x":"' + b"y" * 2000 + b'"}]'
    _, (bad,) = made({"split": "/", "key": "/id", "key_required": True}, answer(body))
    assert (len(bad.data), bad.size) == (1024, 2008)
    assert bad.digest
