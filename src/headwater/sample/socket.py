"""Owns a WebSocket of the sample API, at the server's side: who subscribes is told the facts.

It knows as much of RFC 6455 as that takes: whole messages of text, pings, and the close.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from email.message import Message

from headwater.sample.feed import Feed
from headwater.sources.websocket.handshake import accept_of

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
# The longest message that is read (bytes), and how long nobody needs to say anything (seconds).
_LONGEST = 64 * 1024
_IDLE = 3600.0
_GOING_AWAY, _PROTOCOL_ERROR, _TOO_BIG = 1001, 1002, 1009
# How soon a conversation ends when the server does (seconds).
_LOOK = 0.2


def accepted(headers: Message) -> str | None:
    """Return what a handshake is answered with, None when it is none."""
    key = headers.get("Sec-WebSocket-Key")
    wants = (headers.get("Upgrade") or "").lower() == "websocket"
    return accept_of(key) if wants and key and headers.get("Sec-WebSocket-Version") == "13" else None


class Conversation:
    """One connection behind its handshake. A message `{"subscribe": "facts"}` begins the facts.

    `"since"` beside it is the number of the last one that the other side has had; without it they begin with the next.
    """

    def __init__(self, connection: socket.socket, feed: Feed, closing: threading.Event) -> None:
        self._connection = connection
        self._feed = feed
        self._closing = closing
        self._read = bytearray()
        # The number of the next fact; None before somebody has subscribed.
        self._next: int | None = None

    def run(self) -> None:
        """Talk until either side ends it. Raises OSError when the connection breaks."""
        heard = time.monotonic()
        while time.monotonic() - heard < _IDLE:
            while (found := self._frame()) is not None:
                heard = time.monotonic()
                if not self._answer(*found):
                    return
            if self._closing.is_set():
                self._close(_GOING_AWAY)
                return
            readable, _, _ = select.select([self._connection], [], [], min(self._tell(), _LOOK))
            if readable:
                chunk = self._connection.recv(65536)
                if not chunk:
                    return
                self._read += chunk

    def _tell(self) -> float:
        """Tell the facts that are due; return for how long there is nothing to tell (seconds)."""
        if self._next is None:
            return _IDLE
        now = time.time()
        while self._next <= self._feed.last(now):
            self._send(_TEXT, self._feed.text(self._next).encode())
            self._next += 1
        return max(0.0, self._feed.time(self._next) - now)

    def _answer(self, opcode: int, payload: bytes) -> bool:
        """Take a frame; return whether the conversation goes on."""
        if opcode == _CLOSE:
            self._send(_CLOSE, payload[:2])
            return False
        if opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _TEXT:
            self._subscribe(payload)
        elif opcode != _PONG:
            self._close(_PROTOCOL_ERROR)
            return False
        return True

    def _subscribe(self, payload: bytes) -> None:
        try:
            wish = json.loads(payload)
            named, since = wish["subscribe"] == "facts", wish.get("since")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            named, since = False, None
        if not named or not (since is None or (type(since) is int and since >= 0)):
            self._send(
                _TEXT, b'{"error":"say {\\"subscribe\\":\\"facts\\"}, and \\"since\\" with a number if you like"}'
            )
            return
        now = time.time()
        self._next = self._feed.following(since, now)
        self._send(_TEXT, b'{"subscribed":"facts"}')

    def _frame(self) -> tuple[int, bytes] | None:
        """Return the next frame that has come whole: its opcode and its payload."""
        read = self._read
        if len(read) < 2:
            return None
        size, at = read[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(read[2:4]), 4
        elif size == 127:
            size = _LONGEST + 1
        if read[0] & 0x70 or not read[1] & 0x80:
            return self._refused(_PROTOCOL_ERROR)
        if size > _LONGEST:
            return self._refused(_TOO_BIG)
        if len(read) < at + 4 + size:
            return None
        mask, payload = read[at : at + 4], read[at + 4 : at + 4 + size]
        opcode = read[0] & 0x0F if read[0] & 0x80 else 0
        del read[: at + 4 + size]
        return opcode, bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))

    def _refused(self, code: int) -> tuple[int, bytes]:
        self._read.clear()
        return _CLOSE, code.to_bytes(2)

    def _close(self, code: int) -> None:
        self._send(_CLOSE, code.to_bytes(2))

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes((0x80 | opcode, size)) if size < 126 else bytes((0x80 | opcode, 126)) + size.to_bytes(2)
        self._connection.sendall(head + payload)
