"""Owns the charset of a body: which one it is, and bringing it to UTF-8 before it is cut. Knows no format's own marks."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from headwater.sources.split.item import BrokenBodyError, Item, Splitter

# Marks at the beginning of a body say more than its Content-Type. The one of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ASCII = bytes(range(128))


def is_utf8(codec: str) -> bool:
    """Return whether text in this codec is UTF-8 as it is; no codec at all is that too."""
    return codec in {"", "utf-8", "ascii"}


def keeps_structure(codec: str) -> bool:
    """Return whether each byte of a codec is a character, the first half those of ASCII: JSON can be cut in it."""
    try:
        return (
            _ASCII.decode(codec) == _ASCII.decode("ascii")
            and all(len(bytes([byte]).decode(codec, "replace")) == 1 for byte in range(128, 256))
            and len(bytes(range(128, 256)).decode(codec, "replace")) == 128
        )
    except (LookupError, UnicodeError):
        return False


def marked(head: bytes) -> str:
    """Return the codec that the first bytes of a body are a mark of, or an empty text."""
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), "")


class Transcoding:
    """A splitter that is given UTF-8, whatever the body is in. Bytes that are no text stay, so that their item is bad."""

    def __init__(self, splitter: Splitter, codec: str) -> None:
        self.what = splitter.what
        self._splitter = splitter
        self._codec = codec
        self._head = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def rest(self) -> bytes | None:
        """What stands around the items."""
        return self._splitter.rest

    def feed(self, chunk: bytes) -> Sequence[Item]:
        """Take the next bytes of the body; return the items that they complete. Raises BrokenBodyError."""
        if self._decoder is None:
            self._head += chunk
            if len(self._head) < 4:
                return []
            chunk = self._begin()
        return self._splitter.feed(self._text(chunk))

    def finish(self) -> Sequence[Item]:
        """Take the end of the body; return the items that are left. Raises BrokenBodyError."""
        head = self._begin() if self._decoder is None else b""
        return [*self._splitter.feed(self._text(head, final=True)), *self._splitter.finish()]

    def _begin(self) -> bytes:
        codec = marked(self._head) or self._codec or "utf-8"
        self._codec = "utf-8-sig" if codec == "utf-8" else codec
        self._decoder = codecs.getincrementaldecoder(self._codec)("surrogateescape")
        return self._head

    def _text(self, data: bytes, *, final: bool = False) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decode(data, final).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise BrokenBodyError(f"the body is not in {self._codec}: {error}") from None
