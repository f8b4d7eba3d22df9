"""Owns one message while it arrives in pieces: put together, inflated, bounded, and checked to be text where it is.

Which pieces belong to it is the session's to know.
"""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder

import msgspec

from headwater.core.units import format_size
from headwater.sources.split.item import WINDOW, Bad, Large, is_text
from headwater.sources.websocket.closing import INVALID_DATA, Violation
from headwater.sources.websocket.deflate import TAIL, Inflater

_decoder = getincrementaldecoder("utf-8")
# A text that is longer is decoded in steps (bytes): decoded it may take four times as much.
_STEP = 64 * 1024


class Assembly:
    """The message that is arriving, if there is one (`open`). It holds at most `most` bytes, and a window of inflating.

    A larger one is looked through to its end, so that its digest, its text and the inflater's window are right.
    """

    __slots__ = ("_compressed", "_decoder", "_held", "_inflater", "_large", "_most", "_text", "open")

    def __init__(self, most: int, inflater: Inflater | None) -> None:
        self._most = most
        self._inflater = inflater
        self.open = False
        self._held = bytearray()
        self._text = False
        self._compressed = False
        self._large: Large | None = None
        self._decoder: IncrementalDecoder | None = None

    def inflated(self, payload: bytes, *, text: bool) -> bytes | Bad:
        """Return a compressed message that came whole: bad when it is too large. Raises Violation."""
        inflater = self._inflater
        assert inflater is not None
        message = inflater.feed(payload + TAIL, self._most + 1)
        if inflater.more or len(message) > self._most:
            self.begin(text=text, compressed=False)
            self._take(message)
            while inflater.more:
                self._take(inflater.rest(WINDOW))
            inflater.end()
            return self.end()
        inflater.end()
        if text and not message.isascii():
            check(message)
        return message

    def begin(self, *, text: bool, compressed: bool) -> None:
        """Begin a message."""
        self.open = True
        self._text = text
        self._compressed = compressed

    def add(self, data: bytes) -> None:
        """Take the next bytes of its payload. Raises Violation."""
        inflater = self._inflater
        if not self._compressed or inflater is None:
            self._take(data)
            return
        self._take(inflater.feed(data, self._room()))
        while inflater.more:
            self._take(inflater.rest(self._room()))

    def end(self) -> bytes | Bad:
        """Return the message, all of which is there: bad when it is too large. Raises Violation."""
        if self._compressed and self._inflater is not None:
            self.add(TAIL)
            self._inflater.end()
        self.open = False
        if self._large is not None:
            large, self._large = self._large, None
            if self._decoder is not None:
                _decode(self._decoder, b"", final=True)
                self._decoder = None
            bad = large.end()
            said = f"it has {format_size(bad.size or 0)}, more than max_record allows ({format_size(self._most)})"
            return msgspec.structs.replace(bad, reason=said)
        message = bytes(self._held)
        self._held = bytearray()
        if self._text:
            check(message)
        return message

    def _room(self) -> int:
        """Return how many bytes at once are inflated: one more than there may be."""
        return WINDOW if self._large is not None else self._most + 1 - len(self._held)

    def _take(self, data: bytes) -> None:
        if self._large is None:
            if len(self._held) + len(data) <= self._most:
                self._held += data
                return
            self._large = Large(self._most)
            self._decoder = _decoder() if self._text else None
            held, self._held = bytes(self._held), bytearray()
            self._take(held)
        self._large.add(data)
        if self._decoder is not None:
            for start in range(0, len(data), _STEP):
                _decode(self._decoder, data[start : start + _STEP])


def check(message: bytes) -> None:
    """Raise Violation if a text is not UTF-8 (RFC 6455, 8.1)."""
    if len(message) <= _STEP:
        if not is_text(message):
            raise Violation("a text is not UTF-8", INVALID_DATA)
    elif not message.isascii():
        decoder = _decoder()
        for start in range(0, len(message), _STEP):
            _decode(decoder, message[start : start + _STEP])
        _decode(decoder, b"", final=True)


def _decode(decoder: IncrementalDecoder, data: bytes, *, final: bool = False) -> None:
    try:
        decoder.decode(data, final)
    except UnicodeDecodeError:
        raise Violation("a text is not UTF-8", INVALID_DATA) from None
