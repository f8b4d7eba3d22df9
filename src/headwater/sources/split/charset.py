"""Owns the charset of a body, and bringing it to UTF-8 before it is cut. Knows no format's own ways to say it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from headwater.core.charset import text_codec
from headwater.sources.split.item import BrokenBodyError, Item, Splitter

# Marks at the beginning of a body say more than its Content-Type. The one of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ASCII, _OTHERS = bytes(range(128)), bytes(range(128, 256))


def is_utf8(codec: str) -> bool:
    """Return whether text in this codec is UTF-8 as it is; no codec at all is that too."""
    return codec in {"", "utf-8", "ascii"}


def keeps_structure(codec: str) -> bool:
    """Return whether each byte of a codec is a character, the first half those of ASCII: JSON can be cut in it."""
    try:
        return _ASCII.decode(codec) == _ASCII.decode("ascii") and len(_OTHERS.decode(codec, "replace")) == len(_OTHERS)
    except (LookupError, UnicodeError):
        return False


def marked(head: bytes) -> str:
    """Return the codec that the first bytes of a body are a mark of, or an empty text."""
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), "")


class Transcoding:
    """A splitter that is given UTF-8, whatever the body is in. What is no text stays, so that its item is bad.

    A mark at the beginning says what the body is in, else `told` does, by the first `look` bytes.
    """

    def __init__(self, splitter: Splitter, told: Callable[[bytes], str], look: int = 4) -> None:
        self.what = splitter.what
        self._splitter = splitter
        self._told = told
        self._look = look
        self._head: bytes | None = b""
        self._codec = ""
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def rest(self) -> bytes | None:
        """What stands around the items."""
        return self._splitter.rest

    @property
    def missing(self) -> bool:
        """Whether what has the items was not there."""
        return self._splitter.missing

    def feed(self, chunk: bytes) -> Sequence[Item]:
        """Take the next bytes of the body; return the items that they complete. Raises BrokenBodyError."""
        if self._head is not None:
            self._head += chunk
            if len(self._head) < self._look:
                return []
            chunk = self._begin(self._head)
        return self._splitter.feed(chunk if self._decoder is None else self._text(self._decoder, chunk))

    def finish(self) -> Sequence[Item]:
        """Take the end of the body; return the items that are left. Raises BrokenBodyError."""
        left = b"" if self._head is None else self._begin(self._head)
        if self._decoder is not None:
            left = self._text(self._decoder, left, final=True)
        return [*self._splitter.feed(left), *self._splitter.finish()]

    def _begin(self, head: bytes) -> bytes:
        self._head = None
        told = marked(head) or self._told(head)
        codec = text_codec(told) if told else ""
        if codec is None:
            raise BrokenBodyError(f"the body says that it is in {told}, which is not known")
        self._codec = codec
        if not is_utf8(codec):
            self._decoder = codecs.getincrementaldecoder(codec)("surrogateescape")
        return head

    def _text(self, decoder: codecs.IncrementalDecoder, data: bytes, *, final: bool = False) -> bytes:
        try:
            return decoder.decode(data, final).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise BrokenBodyError(f"the body is not in {self._codec}: {error}") from None
