"""Owns cutting bytes at a delimiter in whatever chunks they come, and holding the part whose end has not come yet.

Each byte is copied a few times at most, however small the chunks are. What a part has to be is `lines`'.
"""

from __future__ import annotations

from headwater.sources.split.item import MARK, Large


class Growing:
    """An item that arrives piece by piece: held while it fits into `most` bytes, only digested when it does not.

    What is of `blank` behind it does not belong to it, and with `both` what is before it neither. Many pieces cost what
    one of their size does, and never is more held than `most` bytes and a piece.
    """

    __slots__ = ("_blank", "_both", "_held", "_large", "_most", "_option", "_passed")

    def __init__(self, most: int, blank: bytes = b"", *, both: bool = True, option: str = "max_item") -> None:
        self._most = most
        self._blank = blank
        self._both = both
        self._option = option
        self._held = bytearray()
        self._large: Large | None = None
        # How much of what came before the item was blank.
        self._passed = 0

    def __len__(self) -> int:
        """Return how many bytes are held."""
        return len(self._held)

    @property
    def size(self) -> int:
        """How many bytes the item has so far; blanks behind it may be among them."""
        return len(self._held) if self._large is None else self._large.size

    @property
    def none(self) -> bool:
        """Whether nothing of an item has come yet."""
        return not self._held and self._large is None

    @property
    def large(self) -> bool:
        """Whether the item is larger than it may be already."""
        return self._large is not None and self._large.size > self._most

    @property
    def blank(self) -> int:
        """How much has come that does not belong to the item, as far as is known and as it is not held."""
        return self._passed + (0 if self._large is None else self._large.blank)

    def behind(self, start: int) -> bytes:
        """Return what is held behind its first `start` bytes."""
        return bytes(memoryview(self._held)[start:])

    def add(self, data: bytes) -> None:
        """Take more of the item."""
        if self._large is None:
            if self._both and self._blank and not self._held:
                inner = data.lstrip(self._blank)
                self._passed += len(data) - len(inner)
                data = inner
            self._held += data
            if len(self._held) <= self._most:
                return
            self._large = Large(self._most, self._blank, both=self._both, option=self._option)
            self._large.add(self._held)
        else:
            self._large.add(data)
        # What passed the bound may be blank: then the item is what is before it, unless more comes of it.
        if self._large.size > self._most:
            self._held = bytearray()
        elif len(self._held) > self._large.size:
            del self._held[self._large.size :]

    def take(self) -> bytes | Large:
        """Return the item, which has ended, and begin with the next one. Blanks behind one that is held may stay."""
        large, held = self._large, bytes(self._held)
        self._large, self._held, self._passed = None, bytearray(), 0
        return held if large is None or large.size <= self._most else large


class Parts:
    """Cuts at a delimiter, from left to right. `blank` and `both` are those of `Growing`."""

    def __init__(
        self, delimiter: bytes, most: int, blank: bytes = b"", *, both: bool = True, option: str = "max_item"
    ) -> None:
        self._delimiter = delimiter
        self._part = Growing(most, blank, both=both, option=option)
        # The last bytes that came, in which a delimiter may have begun.
        self._edge = b""

    @property
    def blank(self) -> int:
        """How much has come of the part that is not complete and does not belong to its item."""
        return self._part.blank

    def feed(self, data: bytes) -> tuple[Large | None, list[bytes]]:
        """Take the next bytes; return the parts that they complete, a first one that grew too large on its own.

        Parts that come whole are not looked at, whatever their size.
        """
        parts = ((self._edge + data) if self._edge else data).split(self._delimiter)
        last = parts.pop()
        large = None
        if parts and not self._part.none:
            self._part.add(parts[0])
            first = self._part.take()
            if isinstance(first, Large):
                large = first
                del parts[0]
            else:
                parts[0] = first
        elif parts:
            self._part.take()
        known = len(last) - len(self._delimiter) + 1
        if known < len(last):
            known = max(0, known)
            self._edge, last = last[known:], last[:known]
        self._part.add(last)
        return large, parts

    def finish(self) -> tuple[Large | None, list[bytes]]:
        """Take the end; return what stands behind the last delimiter."""
        self._part.add(self._edge)
        self._edge = b""
        last = self._part.take()
        return (last, []) if isinstance(last, Large) else (None, [last])


class Unmarked:
    """Takes the mark of UTF-8 off the beginning, in whatever chunks it comes."""

    def __init__(self) -> None:
        self._head: bytes | None = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the next bytes without the mark; half of one is held back as long as it is all there is."""
        if self._head is None:
            return chunk
        head = self._head + chunk
        if len(head) < len(MARK) and MARK.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(MARK)

    def finish(self) -> bytes:
        """Return what is held back, which is no mark."""
        head, self._head = self._head, None
        return head or b""
