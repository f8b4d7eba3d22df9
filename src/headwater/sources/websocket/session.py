"""Owns one connection of a WebSocket client behind its handshake: bytes in, messages and what is to be sent out.

Does no I/O, keeps no time, and opens nothing: who reads feeds it, and sends what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.sources.split.item import Bad
from headwater.sources.websocket import closing
from headwater.sources.websocket.assembly import Assembly, check
from headwater.sources.websocket.closing import Ended, Violation
from headwater.sources.websocket.deflate import Inflater
from headwater.sources.websocket.frames import (
    BEGINS,
    BINARY,
    CLOSE,
    COMPRESSED,
    CONTINUATION,
    CONTROL,
    ENDS,
    FINAL,
    OPCODE,
    PING,
    PONG,
    TEXT,
    WHOLE,
    Frames,
    Piece,
    frame,
)
from headwater.sources.websocket.handshake import Agreed

# Whole messages of one frame, which most are.
_TEXT = WHOLE | FINAL | TEXT
_MESSAGES = frozenset({_TEXT, WHOLE | FINAL | BINARY})
_DEFLATED = frozenset(mark | COMPRESSED for mark in _MESSAGES)
# How many pings may wait for their pongs: of more, the latest are answered (RFC 6455, 5.5.3 asks for one).
_MOST_PONGS = 64


class Session:
    """A connection. `max_message` bounds a message (bytes, inflated); `mask` returns four fresh random bytes each time.

    `ended` says how it ended, once it has: then nothing more is to be fed, and what `outgoing` returns is the last to
    be sent. `heard` counts the pieces of frames that came, of whatever kind, and `pongs` the pongs among them.
    """

    __slots__ = ("_assembly", "_closed", "_frames", "_mask", "_most", "_owed", "_pongs", "ended", "heard", "pongs")

    def __init__(self, agreed: Agreed, *, max_message: int, mask: Callable[[], bytes]) -> None:
        self._most = max_message
        self._mask = mask
        self._frames = Frames(compression=agreed.deflate is not None)
        self._assembly = Assembly(max_message, None if agreed.deflate is None else Inflater(agreed.deflate))
        self._pongs: list[bytes] = []
        # What goes out behind the pongs: our close frame. Once there is one, nothing follows it.
        self._owed = b""
        self._closed = False
        self.ended: Ended | None = None
        self.heard = 0
        self.pongs = 0

    def feed(self, data: bytes) -> Sequence[bytes | Bad]:
        """Take what was read; return the messages that it completes, unchanged, too large ones bad.

        What is wrong is told by `ended`; messages before it are returned.
        """
        items: list[bytes | Bad] = []
        if self.ended is not None:
            return items
        try:
            self._take(self._frames.feed(data), items)
        except Violation as violation:
            self._end(Ended(violation.code, str(violation), failure=True))
        return items

    def outgoing(self) -> bytes:
        """Return the frames that are to be sent now, each once: pongs, the answer to a close.

        What is asked for rarely does not grow: of many pings only the latest are answered.
        """
        frames = [frame(PONG, payload, self._mask()) for payload in self._pongs]
        self._pongs.clear()
        frames.append(self._owed)
        self._owed = b""
        return b"".join(frames)

    def text(self, data: bytes) -> bytes:
        """Return the frame of a text in UTF-8. This and the others return nothing once the connection is closing."""
        return self._data(TEXT, data)

    def binary(self, data: bytes) -> bytes:
        """Return the frame of a binary message."""
        return self._data(BINARY, data)

    def ping(self, payload: bytes = b"") -> bytes:
        """Return the frame of a ping, which has at most 125 bytes."""
        assert len(payload) <= 125
        return self._data(PING, payload)

    def close(self, code: int = closing.NORMAL, reason: str = "") -> bytes:
        """Return the frame that closes the connection, after which the peer may still send messages, and closes too."""
        self._pongs.clear()
        return self._close(code, reason)

    def _close(self, code: int, reason: str) -> bytes:
        if self._closed:
            return b""
        self._closed = True
        return frame(CLOSE, closing.payload(code, reason), self._mask())

    def _data(self, opcode: int, data: bytes) -> bytes:
        return b"" if self._closed else frame(opcode, data, self._mask())

    def _take(self, pieces: list[Piece], items: list[bytes | Bad]) -> None:
        """Take pieces of frames, and add the messages that they complete to others. Raises Violation."""
        self.heard += len(pieces)
        most = self._most
        assembly = self._assembly
        for mark, payload in pieces:
            # Nearly all there is: whole messages. What is in ASCII is UTF-8.
            if mark in _MESSAGES and len(payload) <= most and not assembly.open:
                if mark == _TEXT and not payload.isascii():
                    check(payload)
                items.append(payload)
            elif mark & CONTROL:
                if self._control(mark & OPCODE, payload):
                    return
            elif (item := self._piece(mark, payload)) is not None:
                items.append(item)
        if self._frames.fault:
            raise Violation(self._frames.fault)

    def _piece(self, mark: int, payload: bytes) -> bytes | Bad | None:
        """Take a piece of a message; return the message if it is its end. Raises Violation."""
        assembly = self._assembly
        opcode = mark & OPCODE
        if mark & BEGINS:
            if opcode == CONTINUATION:
                if not assembly.open:
                    raise Violation("a frame continues a message where there is none")
            elif assembly.open:
                raise Violation("a message begins within another")
            elif mark in _DEFLATED:
                return assembly.inflated(payload, text=opcode == TEXT)
            else:
                assembly.begin(text=opcode == TEXT, compressed=bool(mark & COMPRESSED))
        assembly.add(payload)
        return assembly.end() if mark & ENDS and mark & FINAL else None

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Take a control frame; return whether nothing follows it. Raises Violation."""
        if opcode == PONG:
            self.pongs += 1
        elif opcode == PING:
            if not self._closed:
                self._pongs.append(payload)
                if len(self._pongs) > _MOST_PONGS:
                    del self._pongs[0]
        else:
            self._end(closing.read(payload))
        return opcode == CLOSE

    def _end(self, ended: Ended) -> None:
        """Note the end; owe the peer our close frame, unless it has it: its own code again, or why it failed."""
        self._owed = self._close(ended.code, ended.reason if ended.failure else "")
        self.ended = ended
