"""Owns the opening handshake of a WebSocket (RFC 6455, 4): the headers that ask, and what a 101 agrees to.

Answers that are no 101 are ordinary responses, and somebody else's.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha1

import msgspec

from headwater.core.errors import ProtocolError
from headwater.core.http import Headers, Response
from headwater.sources.websocket.deflate import Deflate

_VERSION = "13"
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFLATE = "permessage-deflate"
# What browsers offer, which every server knows. A server may bound our window as it likes: we do not compress.
_OFFER = f"{_DEFLATE}; client_max_window_bits"
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# The name of an extension or of a parameter, which may have a value (9.1), and what follows: a parameter, another
# extension - elements of a list may be empty - or the end.
_WORD = re.compile(rf'\s*({_NAME})\s*(?:=\s*({_NAME}|"(?:[^"\\]|\\.)*")\s*)?(;|(?:,\s*)+|$)')
_SPEAK = "write what the server speaks into websocket_config.subprotocols"
_PLAIN = "try websocket_config.compression: false"
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")
_BITS = re.compile(r"[89]|1[0-5]")


class Agreed(msgspec.Struct, frozen=True):
    """What a handshake came to: the subprotocol, empty for none, and how messages are compressed, None for not."""

    subprotocol: str = ""
    deflate: Deflate | None = None


def key_of(nonce: bytes) -> str:
    """Return the key for a handshake, from sixteen fresh random bytes."""
    assert len(nonce) == 16
    return b64encode(nonce).decode()


def offer(*, compression: bool, subprotocols: Sequence[str], key: str) -> Headers:
    """Return the headers that ask for a WebSocket, beside those of an ordinary GET."""
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", _VERSION),
        ("Sec-WebSocket-Key", key),
    ]
    if compression:
        headers.append(("Sec-WebSocket-Extensions", _OFFER))
    if subprotocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    return tuple(headers)


def accept_of(key: str) -> str:
    """Return what a server must answer to a key."""
    return b64encode(sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()


def agree(head: Response, *, key: str, compression: bool, subprotocols: Sequence[str]) -> Agreed:
    """Return what the head of a 101 agrees to, given what was offered. Raises ProtocolError (RFC 6455, 4.1)."""
    if head.status != 101:
        raise _refused(f"the status is {head.status} instead of 101")
    if (head.header("upgrade") or "").strip().lower() != "websocket":
        raise _refused("the header Upgrade is not websocket")
    if "upgrade" not in {word.lower() for word in _listed(head, "connection")}:
        raise _refused("the header Connection does not say Upgrade")
    accepts = [value.strip() for name, value in head.headers if name == "sec-websocket-accept"]
    if len(accepts) != 1 or accepts[0] != accept_of(key):
        raise _refused("Sec-WebSocket-Accept is not what the key of the request asks for, so something else answered")
    return Agreed(_subprotocol(head, subprotocols), _extension(head, offered=compression))


def _subprotocol(head: Response, offered: Sequence[str]) -> str:
    chosen = _listed(head, "sec-websocket-protocol")
    if not chosen:
        return ""
    if len(chosen) > 1:
        raise _refused("it chose more than one subprotocol")
    if chosen[0] not in offered:
        raise _refused(f"it chose the subprotocol {chosen[0]!r}, which was not offered", _SPEAK)
    return chosen[0]


def _extension(head: Response, *, offered: bool) -> Deflate | None:
    values = [value for name, value in head.headers if name == "sec-websocket-extensions"]
    found = [*_extensions(",".join(values).lstrip(", \t"))]
    for name, _ in found:
        if name != _DEFLATE or not offered:
            raise _refused(f"it uses the extension {name!r}, which was not offered", _PLAIN)
    if len(found) > 1:
        raise _refused(f"it uses {_DEFLATE} more than once")
    return _deflate(found[0][1]) if found else None


def _deflate(parameters: Sequence[tuple[str, str | None]]) -> Deflate:
    """Return what a server's parameters say (RFC 7692, 7.1)."""
    found: dict[str, int] = {}
    for name, value in parameters:
        if name in found:
            raise _refused(f"{_DEFLATE} has the parameter {name} twice", _PLAIN)
        if name in _FLAGS and value is None:
            found[name] = True
        elif name in _WINDOWS and value is not None and _BITS.fullmatch(value):
            found[name] = int(value)
        else:
            said = name if value is None else f"{name}={value}"
            raise _refused(f"{_DEFLATE} has the parameter {said!r}, which means nothing", _PLAIN)
    return msgspec.convert(found, Deflate)


def _extensions(value: str) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Yield the extensions of a header with their parameters; a parameter without a value has None."""
    words: list[tuple[str, str | None]] = []
    at = 0
    while at < len(value):
        found = _WORD.match(value, at)
        # The name of an extension has no value.
        if found is None or (not words and found[2] is not None):
            raise _unreadable(value)
        quoted = found[2]
        if quoted is not None and quoted.startswith('"'):
            quoted = re.sub(r"\\(.)", r"\1", quoted[1:-1])
        words.append((found[1], quoted))
        at = found.end()
        if found[3] != ";":
            yield words[0][0], words[1:]
            words = []
    if words:
        raise _unreadable(value)


def _unreadable(value: str) -> ProtocolError:
    return _refused(f"Sec-WebSocket-Extensions cannot be read: {value[:200]!r}")


def _listed(head: Response, name: str) -> list[str]:
    """Return the elements of a header that is a list."""
    values = ",".join(value for key, value in head.headers if key == name).split(",")
    return [word for value in values if (word := value.strip())]


def _refused(why: str, hint: str = "") -> ProtocolError:
    hint = hint or "the endpoint may be no WebSocket's, or a proxy on the way may have changed the answer"
    return ProtocolError(f"the answer to the WebSocket handshake is not one: {why}", hint=hint)
