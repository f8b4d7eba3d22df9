"""What a record's value looks like, in the four forms of Fluvio's http-source."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.http import Headers, Response
from headwater.sources.output import charset, decode_body, phrase, render


def response(body: bytes = b"hi", headers: Headers = (), status: int = 200, version: str = "HTTP/1.1") -> Response:
    return Response(status, version, headers, body, "http://x/", 0.1, len(body))


@given(st.binary())
def test_text_body_is_the_bytes_as_they_came(body: bytes) -> None:
    """Binary bodies survive unchanged, whatever charset is claimed."""
    answer = response(body, (("content-type", "text/plain; charset=latin-1"),))
    assert render(answer, json=False, full=False) == body


def test_text_full_is_status_headers_empty_line_body() -> None:
    """The parts are parted by a line feed, and repeats of a header stand together."""
    answer = response(b"Hello", (("a", "1"), ("b", "2"), ("a", "3")))
    assert render(answer, json=False, full=True) == b"HTTP/1.1 200 OK\na: 1\na: 3\nb: 2\n\nHello"


def test_text_full_without_headers_keeps_fluvios_empty_part() -> None:
    """A response without headers still has the empty header part that Fluvio joins in."""
    assert render(response(b"x"), json=False, full=True) == b"HTTP/1.1 200 OK\n\n\nx"


def test_text_full_brings_the_body_to_utf8() -> None:
    """A body in a declared charset other than UTF-8 is decoded, so that the record is one text."""
    answer = response("é".encode("latin-1"), (("content-type", "text/plain; charset=ISO-8859-1"),))
    assert render(answer, json=False, full=True).endswith("\n\né".encode())


def test_text_full_leaves_undeclared_bytes_alone() -> None:
    """Without a charset the body's bytes are not touched, even when they are no UTF-8."""
    assert render(response(b"\xff\xfe"), json=False, full=True).endswith(b"\n\xff\xfe")


def test_json_body_is_one_string() -> None:
    """The body becomes a JSON string, not parsed JSON, compact and unescaped, as in Fluvio."""
    answer = response('{"a":"é"}\n'.encode())
    assert render(answer, json=True, full=False) == b'{"body":"{\\"a\\":\\"\xc3\xa9\\"}\\n"}'


def test_json_full_has_status_header_body_in_order() -> None:
    """Names are sorted, and repeated headers become a list in the order received."""
    answer = response(b"B", (("x", "1"), ("a", "2"), ("x", "3")), status=201, version="HTTP/2.0")
    assert render(answer, json=True, full=True) == (
        b'{"status":{"version":"HTTP/2.0","code":201,"string":"Created"},"header":{"a":"2","x":["1","3"]},"body":"B"}'
    )


def test_json_full_leaves_out_the_phrase_of_an_unknown_status() -> None:
    """A status without a standard phrase has no `string`."""
    assert json.loads(render(response(status=299), json=True, full=True))["status"] == {
        "version": "HTTP/1.1",
        "code": 299,
    }


@given(st.text())
def test_json_survives_every_text(body: str) -> None:
    """Whatever text a body holds, the record is JSON that gives it back, less a leading byte order mark."""
    value = json.loads(render(response(body.encode("utf-8", "ignore")), json=True, full=False))
    assert value["body"] == body.encode("utf-8", "ignore").decode().removeprefix("\ufeff")


@given(st.binary(), st.text())
def test_every_body_and_charset_gives_a_record(body: bytes, label: str) -> None:
    """No bytes under no label make rendering fail."""
    answer = response(body, (("content-type", f"text/plain; charset={label}"),))
    for as_json in (False, True):
        for full in (False, True):
            render(answer, json=as_json, full=full)


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("text/plain", "utf-8"),
        ("text/plain; charset=ISO-8859-1", "iso8859-1"),
        ('text/html; a=b; charset="windows-1252"', "cp1252"),
        ("text/plain; charset=Shift_JIS", "shift_jis"),
        ("text/plain; charset=hex", "utf-8"),
        ("text/plain; charset=zlib", "utf-8"),
        ("text/plain; charset=idna", "utf-8"),
        ("text/plain; charset=no-such-thing", "utf-8"),
        ("text/plain; charset=\0", "utf-8"),
        ("text/plain; charset", "utf-8"),
    ],
)
def test_charset(content_type: str, codec: str) -> None:
    """The charset is a text encoding that Python knows, else UTF-8."""
    assert charset(response(headers=(("content-type", content_type),))) == codec


def test_undecodable_bytes_become_replacement_characters() -> None:
    """Text outputs never fail on bytes that are not text."""
    assert decode_body(response(b"a\xffb")) == "a\ufffdb"


def test_phrases_are_those_fluvio_prints() -> None:
    """The phrases follow Rust's http crate where Python's differ."""
    assert [phrase(status) for status in (200, 203, 413, 418, 599)] == [
        "OK",
        "Non Authoritative Information",
        "Payload Too Large",
        "I'm a teapot",
        "",
    ]
