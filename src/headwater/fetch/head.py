"""Owns the lines before a body: the status, the version and the headers of the final response among all that came."""

from __future__ import annotations

from headwater.core.errors import ProtocolError
from headwater.core.http import Headers, Request

_MOST_HEADERS = 1000
_VERSIONS = {b"HTTP/1.1": "HTTP/1.1", b"HTTP/1.0": "HTTP/1.0", b"HTTP/2": "HTTP/2.0", b"HTTP/3": "HTTP/3.0"}
# Header lines repeat from answer to answer: so many are remembered with what they say, if they are no longer than this.
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 4096, 200
# What the other protocol begins behind, where it was asked for.
SWITCHED = b"101"
BLANK = (b"\r\n", b"\n")

_remembered: dict[bytes, tuple[str, str]] = {}


def read_head(lines: list[bytes], request: Request) -> tuple[int, str, Headers]:
    """Return status, version and headers of the last response among lines; those before it were no answer yet.

    Interim ones (1xx) come first, and challenges that libcurl has met. Raises ProtocolError when they make no sense.
    """
    if not lines:
        raise ProtocolError(f"{request.method} {request.shown_url}: the answer has no status line")
    first = last_status(lines)
    version, _, rest = lines[first].partition(b" ")
    if rest[:1] == b"1" and not (request.upgrade and rest[:3] == SWITCHED):
        what = "it changes to a protocol that nobody asked for" if rest[:3] == SWITCHED else "only 1xx responses came"
        raise ProtocolError(f"{request.method} {request.shown_url}: {what}")
    if len(lines) > _MOST_HEADERS:
        raise ProtocolError(f"{request.method} {request.shown_url}: the answer has {len(lines)} headers")
    if not rest[:3].isdigit():
        raise ProtocolError(f"{request.method} {request.shown_url}: the status line makes no sense")
    return int(rest[:3]), _VERSIONS.get(version) or version.decode("latin-1"), parse_headers(lines[first + 1 :])


def last_status(lines: list[bytes]) -> int:
    """Return where the last status line stands: at the beginning, or behind a blank line."""
    for index in range(len(lines) - 1, 0, -1):
        if lines[index - 1] in BLANK and lines[index][:5] == b"HTTP/":
            return index
    return 0


def parse_headers(lines: list[bytes]) -> Headers:
    """Turn raw header lines into pairs: names in lower case, values as UTF-8 or else Latin-1; folded lines joined."""
    headers: list[tuple[str, str]] = []
    for line in lines:
        known = _remembered.get(line)
        if known is not None:
            headers.append(known)
            continue
        text = line.strip(b"\r\n")
        if not text:
            continue
        if text[:1] in b" \t" and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {_text(text.strip())}")
            continue
        raw, _, rest = text.partition(b":")
        pair = (raw.strip().decode("latin-1").lower(), _text(rest.strip()))
        headers.append(pair)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(_remembered) >= _MOST_REMEMBERED:
                _remembered.clear()
            _remembered[line] = pair
    return tuple(headers)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
