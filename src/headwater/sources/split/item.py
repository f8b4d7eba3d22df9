"""Owns what splitters have in common: the item, the bad item, the splitter's verbs, and items that are too large.

Knows no format.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol, TypeAlias

import msgspec
from msgspec import Raw

from headwater.core.extract import DocumentError, checked
from headwater.core.units import format_size

# How much of an item that is too large is kept to show it (bytes).
PREVIEW = 1024
# How much of a body is worked on at once (bytes): large enough that the work around it does not count.
WINDOW = 512 * 1024
# What may stand at the beginning of UTF-8.
MARK = b"\xef\xbb\xbf"
# What JSON takes for white space, and how much of it may stand in one place (bytes).
BLANK = b" \t\r\n"
MOST_BLANK = 1024 * 1024


class BrokenBodyError(ValueError):
    """The body is not what it should be, and nothing can be said of what follows. The sentence says where."""


class Bad(msgspec.Struct, frozen=True):
    """An item that is no record: why, its bytes or their beginning, and where it stood when that is not its number.

    `size` and `digest` (SHA-256, hexadecimal) are those of the whole item when `data` is only its beginning.
    """

    reason: str
    data: bytes
    slug: str = "bad-item"
    place: str = ""
    size: int | None = None
    digest: str = ""


class Formed(msgspec.Struct, frozen=True):
    """An item whose pointers lead into another form than its own bytes: an element of XML, as JSON."""

    value: bytes
    form: bytes


Item: TypeAlias = "bytes | Raw | Formed | Bad"


class Splitter(Protocol):
    """Whatever cuts a body into items.

    `what` is what an item is called in words.
    """

    what: str

    @property
    def rest(self) -> bytes | None:
        """What stands around the items, as JSON, once the body has ended; None for no such thing, or too much of it."""
        ...

    @property
    def missing(self) -> bool:
        """Whether what has the items was not there at all, or null."""
        ...

    def feed(self, chunk: bytes) -> Sequence[Item]:
        """Take the next bytes of the body; return the items that they complete. Raises BrokenBodyError."""
        ...

    def finish(self) -> Sequence[Item]:
        """Take the end of the body; return the items that are left. Raises BrokenBodyError."""
        ...


class Large:
    """An item that passes the bound while it arrives: its beginning and its digest are kept, its bytes are not.

    What is of `blank` behind it does not belong to it, and with `both` what is before it neither. `size` is what it has
    so far, up to the last byte that is not blank. `option` is the word of the bound.
    """

    __slots__ = ("_all", "_blank", "_both", "_digest", "_head", "_most", "_option", "_running", "size")

    def __init__(self, most: int, blank: bytes = b"", *, both: bool = True, option: str = "max_item") -> None:
        self.size = 0
        self._most = most
        self._blank = blank
        self._both = both
        self._option = option
        # Of all that came, blanks at its end included; the digest is the one of before them.
        self._all = 0
        self._running = self._digest = sha256()
        self._head = b""

    @property
    def blank(self) -> int:
        """How much stands behind it so far that does not belong to it."""
        return self._all - self.size

    def add(self, data: bytes | bytearray | Raw) -> None:
        """Take more of the item."""
        inner = len(data)
        if self._blank:
            data = bytes(data)
            if self._both and not self._all:
                data = data.lstrip(self._blank)
            inner = len(data.rstrip(self._blank))
        view = memoryview(data)
        if len(self._head) < PREVIEW:
            self._head += bytes(view[: PREVIEW - len(self._head)])
        if inner:
            self._running.update(view[:inner])
            self.size = self._all + inner
            self._digest = self._running.copy() if self._blank else self._running
        self._running.update(view[inner:])
        self._all += len(data)

    def end(self, place: str = "") -> Bad:
        """Return what is told of it."""
        digest = self._digest.hexdigest()
        reason = f"it has {format_size(self.size)}, more than {self._option} allows ({format_size(self._most)})"
        return Bad(reason, self._head[: self.size], "too-large", place, self.size, digest)


def too_large(data: bytes | Raw, most: int, place: str = "", option: str = "max_item") -> Bad:
    """Return what is told of an item that is here whole and larger than `most`."""
    large = Large(most, option=option)
    large.add(data)
    return large.end(place)


def bounded(items: Sequence[bytes | Raw], most: int, length: int, option: str = "max_item") -> list[Item]:
    """Return items that were cut out of `length` bytes, those larger than `most` bad."""
    if length <= most or not items or max(map(len, items)) <= most:
        return [*items]
    return [too_large(item, most, "", option) if len(item) > most else item for item in items]


_PLAIN = frozenset({bytes, Raw})


def all_plain(items: Sequence[Item]) -> bool:
    """Return whether all items are good ones that are their own document."""
    return _PLAIN.issuperset(map(type, items))


def is_text(data: bytes) -> bool:
    """Return whether bytes are UTF-8, which decoders do not look at where they only skip."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
    return True


def json_item(text: bytes, legacy: str = "", place: str = "") -> Item:
    """Return one JSON text as an item if it is one, in UTF-8 or else in the charset `legacy`."""
    if not is_text(text):
        if not legacy:
            return Bad("it is not UTF-8", shown(text), place=place)
        try:
            text = text.decode(legacy).encode()
        except UnicodeDecodeError as error:
            return Bad(f"it is neither UTF-8 nor {legacy}: {error.reason}", shown(text), place=place)
    try:
        checked(text)
    except DocumentError as error:
        return Bad(str(error), shown(text), place=place)
    return text


def shown(data: bytes) -> bytes:
    """Return the beginning of bytes that cannot be an item, to show them."""
    return data[:PREVIEW]
