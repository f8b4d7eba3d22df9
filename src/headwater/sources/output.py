"""Owns what a record's value looks like: `output_type` x `output_parts`, the four forms of Fluvio's http-source.

Does not decide whether there is a record at all: the judge does.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from headwater.core.charset import text_codec
from headwater.core.http import Headers, Response

# Fluvio prints the phrases of Rust's http crate, which differ from Python's in these.
_PHRASES: dict[int, str] = {
    **{status.value: status.phrase for status in HTTPStatus},
    203: "Non Authoritative Information",
    413: "Payload Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    418: "I'm a teapot",
    422: "Unprocessable Entity",
}


class _Status(msgspec.Struct, omit_defaults=True):
    version: str
    code: int
    string: str | None = None


class _Body(msgspec.Struct):
    body: str


class _Full(msgspec.Struct):
    status: _Status
    header: dict[str, str | list[str]]
    body: str


_JSON = msgspec.json.Encoder()


def phrase(status: int) -> str:
    """Return the standard phrase of a status, or an empty text for a status that has none (RFC 9110, section 15)."""
    return _PHRASES.get(status, "")


def charset(response: Response) -> str:
    """Return the Python codec that the response's Content-Type names; UTF-8 when it names none that can be used."""
    return named_charset(response) or "utf-8"


def named_charset(response: Response) -> str | None:
    """Return the Python codec that the response's Content-Type names; None when it names none that can be used."""
    for parameter in (response.header("content-type") or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return text_codec(value.strip().strip("\"'"))
    return None


def decode_body(response: Response) -> str:
    """Return the body as text by its charset; bytes that do not decode become U+FFFD, and a UTF-8 mark is dropped."""
    codec = charset(response)
    return response.body.decode("utf-8-sig" if codec == "utf-8" else codec, errors="replace")


def render(response: Response, *, json: bool, full: bool) -> bytes:
    """Return the value of the record for a response, in one of the four forms of Fluvio's http-source 0.5.0.

    text/body: the bytes as they came. text/full: status line, header lines, an empty line, the body, parted by line
    feeds; the body is brought to UTF-8 only when its Content-Type names another charset. json/body: `{"body":...}`.
    json/full: `{"status":{...},"header":{...},"body":...}` with sorted names and repeated headers as a list.
    """
    if json:
        if not full:
            return _JSON.encode(_Body(decode_body(response)))
        status = _Status(response.version, response.status, phrase(response.status) or None)
        return _JSON.encode(_Full(status, _header_object(response.headers), decode_body(response)))
    if not full:
        return response.body
    lines = [f"{response.version} {response.status} {phrase(response.status)}"]
    # Fluvio joins the header lines as one part, so a response without headers still has an empty one.
    lines.append("\n".join(f"{name}: {value}" for name, value in _grouped(response.headers)))
    lines.append("")
    body = response.body if charset(response) == "utf-8" else decode_body(response).encode()
    return "\n".join(lines).encode() + b"\n" + body


def framing(response: Response, *, json: bool, full: bool) -> Callable[[bytes], bytes] | None:
    """Return what makes the value of the record for each frame of a response, whose head alone is looked at.

    It is what `render` would return with the frame as the body. None: the frame as it came.
    """
    if not json and not full:
        return None
    codec = charset(response)
    head = render(msgspec.structs.replace(response, body=b""), json=json, full=full)
    if not json:
        if codec == "utf-8":
            return head.__add__
        return lambda frame: head + frame.decode(codec, errors="replace").encode()
    # Of either object the body is the last member, which is empty there.
    opening = head.removesuffix(b'""}')
    named = "utf-8-sig" if codec == "utf-8" else codec

    def framed(frame: bytes) -> bytes:
        return b"%b%b}" % (opening, _JSON.encode(frame.decode(named, errors="replace")))

    return framed


def _grouped(headers: Headers) -> list[tuple[str, str]]:
    """Bring repeats of a header to where it first stood, as Rust's header map lists them."""
    order: dict[str, list[str]] = {}
    for name, value in headers:
        order.setdefault(name, []).append(value)
    return [(name, value) for name, values in order.items() for value in values]


def _header_object(headers: Headers) -> dict[str, str | list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return {name: values[name][0] if len(values[name]) == 1 else values[name] for name in sorted(values)}
