"""Owns inflating what a server compressed (RFC 7692), a bounded piece at a time, and what was agreed about it.

Whether a message is too large is not decided here. What a client sends is not compressed, so nothing is deflated.
"""

from __future__ import annotations

import zlib

import msgspec

from headwater.sources.websocket.closing import INVALID_DATA, Violation

# What the sender leaves out at the end of each message (RFC 7692, 7.2.1).
TAIL = b"\x00\x00\xff\xff"
# How much of a long input is handed to zlib at once (bytes): it returns a copy of what it has not taken.
_INPUT = 16 * 1024
# zlib's own deflater writes for a window of 9 bits where one of 8 was asked for.
_LEAST_BITS = 9


class Deflate(msgspec.Struct, frozen=True):
    """What was agreed: for each side whether messages stand alone, and the bits of its window."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


class Inflater:
    """Inflates the messages of one connection. Its window takes memory (up to 40 KB) from the first message on.

    `more` says whether something may be left of what was fed. Behind a block that says that it is the last one
    (7.2.3.4) the window is empty, as it is where zlib wrote it.
    """

    __slots__ = ("_alone", "_at", "_bits", "_input", "_zlib", "more")

    def __init__(self, agreed: Deflate) -> None:
        self._alone = agreed.server_no_context_takeover
        self._bits = -max(agreed.server_max_window_bits, _LEAST_BITS)
        # Made when it is needed: a connection that is silent has none.
        self._zlib: zlib._Decompress | None = None
        # What was fed, and up to where zlib has taken it.
        self._input = b""
        self._at = 0
        self.more = False

    def feed(self, data: bytes, most: int) -> bytes:
        """Take the next bytes of a message, when nothing is left of those before; return at most `most` bytes of it.

        `most` is at least 1. Raises Violation for what is not deflated.
        """
        if len(data) <= _INPUT:
            stream = self._zlib or self._begin()
            try:
                found = stream.decompress(data, most)
            except zlib.error as error:
                raise _broken(error) from None
            if len(found) < most and not stream.eof:
                return found
            self._leave(stream, len(data))
        else:
            found = b""
            self._at = 0
        self._input = data
        self.more = True
        return found + self.rest(most - len(found)) if len(found) < most else found

    def rest(self, most: int) -> bytes:
        """Return at most `most` bytes more of what was fed. Raises Violation."""
        parts = []
        while most:
            piece = self._input[self._at : self._at + _INPUT]
            stream = self._zlib or self._begin()
            try:
                found = stream.decompress(piece, most)
            except zlib.error as error:
                raise _broken(error) from None
            most -= len(found)
            parts.append(found)
            self._leave(stream, self._at + len(piece))
            if self._at == len(self._input) and most:
                self._input = b""
                self.more = False
                break
        return b"".join(parts)

    def end(self) -> None:
        """Take the end of a message of which nothing is left."""
        if self._alone:
            self._zlib = None

    def _begin(self) -> zlib._Decompress:
        stream = self._zlib = zlib.decompressobj(self._bits)
        return stream

    def _leave(self, stream: zlib._Decompress, upto: int) -> None:
        """Note what zlib has not taken of the input up to a place, and begin anew behind a last block."""
        if stream.eof:
            self._at = upto - len(stream.unused_data)
            self._zlib = None
        else:
            self._at = upto - len(stream.unconsumed_tail)


def _broken(error: zlib.error) -> Violation:
    return Violation(f"a compressed message cannot be inflated: {error}", INVALID_DATA)
