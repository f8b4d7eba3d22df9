"""Makes what tests of WebSockets need: a server's frames, a session that was agreed on, heads of answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import cycle

from headwater.core.http import Response
from headwater.sources.split.item import Bad
from headwater.sources.websocket.closing import Ended
from headwater.sources.websocket.deflate import Deflate
from headwater.sources.websocket.handshake import Agreed
from headwater.sources.websocket.session import Session

PLAIN = Agreed()
DEFLATED = Agreed(deflate=Deflate())
FINAL = 0x80


def wire(first: int, payload: bytes = b"") -> bytes:
    """Return a frame as a server sends it, with this first byte."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2) + payload
    return bytes((first, 127)) + size.to_bytes(8) + payload


def session(agreed: Agreed = PLAIN, *, max_message: int = 1 << 24) -> Session:
    """Return a session with random keys."""
    return Session(agreed, max_message=max_message, mask=lambda: os.urandom(4))


def fed(one: Session, data: bytes, sizes: Iterable[int] = ()) -> list[bytes | Bad]:
    """Feed bytes in chunks of these sizes, again and again; without any, whole. Return the messages."""
    items: list[bytes | Bad] = []
    for chunk in chunks(data, sizes):
        if one.ended is not None:
            break
        items += one.feed(chunk)
    return items


def end_of(one: Session) -> Ended | None:
    """Return how a session ended, if it has: at this moment."""
    return one.ended


def chunks(data: bytes, sizes: Iterable[int] = ()) -> Iterator[bytes]:
    """Cut bytes into chunks of these sizes, again and again; without any, into one."""
    start = 0
    for size in cycle([*sizes] or [len(data) or 1]):
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def unmasked(frame: bytes) -> tuple[int, bytes]:
    """Return the first byte and the payload of a client's frame that is shorter than 126 bytes."""
    assert frame[1] & 0x80
    assert len(frame) == 6 + (frame[1] & 0x7F)
    return frame[0], bytes(byte ^ frame[2 + place % 4] for place, byte in enumerate(frame[6:]))


def head_of(raw: bytes) -> Response:
    """Return the head of an answer as the fetch engine gives it."""
    lines = raw.decode("latin-1").split("\r\n")
    version, status = lines[0].split(" ")[:2]
    pairs = [line.split(":", 1) for line in lines[1:] if line]
    headers = tuple((name.lower(), value.strip()) for name, value in pairs)
    return Response(int(status), version, headers, b"", "http://x/", 0.0, 0)
