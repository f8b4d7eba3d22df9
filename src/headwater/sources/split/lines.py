"""Owns cutting a body at a separator: NDJSON, JSON text sequences (RFC 7464), and parts between any delimiter.

Checks of NDJSON and sequences that each part is one JSON text, and of other parts nothing.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from headwater.sources.split.item import (
    BLANK,
    MOST_BLANK,
    WINDOW,
    BrokenBodyError,
    Item,
    Large,
    bounded,
    is_text,
    json_item,
    too_large,
)

_DECODE = msgspec.json.Decoder(list[Raw]).decode
_MARK = b"\xef\xbb\xbf"


class DelimitedSplitter:
    """Cuts a body at a delimiter; parts without a byte are none. A line feed takes carriage returns before it along."""

    what = "part"
    rest: bytes | None = None
    missing = False

    def __init__(self, delimiter: bytes, max_item: int, *, window: int = WINDOW) -> None:
        self._delimiter = delimiter
        self._most = max_item
        self._window = window
        self._chunks: list[bytes] = []
        self._waiting = 0
        # What has come of the part that is not complete yet; its digest when it is too large already.
        self._left = b""
        self._large: Large | None = None
        self._place = ""

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body; return the parts that they complete. Raises BrokenBodyError."""
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        return self._work() if self._waiting >= self._window else []

    def finish(self) -> list[Item]:
        """Take the end of the body; return the parts that are left, the one behind the last delimiter included."""
        items = self._work()
        if self._large is not None:
            self._large.add(self._left)
            items.append(self._large.end(self._place))
        else:
            items += self._items([self._left])
        return items

    def _work(self) -> list[Item]:
        data = b"".join((self._left, *self._chunks))
        # A delimiter may have begun in what was left, but is not in it.
        end = data.rfind(self._delimiter, max(0, len(self._left) - len(self._delimiter) + 1))
        self._chunks.clear()
        self._waiting = 0
        items: list[Item] = []
        if end >= 0:
            parts = data[:end].split(self._delimiter)
            if self._large is not None:
                self._large.add(parts.pop(0))
                items.append(self._large.end(self._place))
                self._large = None
            items += self._items(parts)
            data = data[end + len(self._delimiter) :]
        self._keep(data)
        return items

    def _keep(self, data: bytes) -> None:
        if self._large is None and len(data) > self._most + len(self._delimiter):
            if len(self._core(data)) > self._most:
                self._large = self._begin()
            elif len(data) > self._most + MOST_BLANK:
                raise BrokenBodyError("the body has nothing but white space for very long")
        if self._large is None:
            self._left = data
            return
        # What it ends with may be the beginning of a delimiter.
        known = max(0, len(data) - len(self._delimiter) + 1)
        self._large.add(data[:known])
        self._left = data[known:]

    def _begin(self) -> Large:
        return Large(self._most, b"\r" if self._delimiter == b"\n" else b"", both=False)

    def _core(self, part: bytes) -> bytes:
        """Return what of a part is the item."""
        return part.rstrip(b"\r") if self._delimiter == b"\n" else part

    def _items(self, parts: list[bytes]) -> list[Item]:
        kept = [core for part in parts if (core := self._core(part))]
        return bounded(kept, self._most, sum(map(len, kept)))


class JsonLinesSplitter(DelimitedSplitter):
    """Cuts NDJSON: each line that is not blank is an item, if it is JSON. With `sequence` it is RFC 7464's form.

    With `legacy` a text that is not UTF-8 is read in that charset.
    """

    what = "item"

    def __init__(self, max_item: int, *, sequence: bool = False, window: int = WINDOW, legacy: str = "") -> None:
        super().__init__(b"\x1e" if sequence else b"\n", max_item, window=window)
        self._legacy = legacy
        self._word = "text" if sequence else "line"
        # How many parts have come; before the first separator of a sequence there is none.
        self._number = -1 if sequence else 0

    def _begin(self) -> Large:
        self._number += 1
        self._place = f"{self._word} {self._number}"
        return Large(self._most, BLANK)

    def _core(self, part: bytes) -> bytes:
        return part.strip(BLANK)

    def _items(self, parts: list[bytes]) -> list[Item]:
        first = self._number + 1
        self._number += len(parts)
        if first <= 1 and parts:
            parts[0] = parts[0].removeprefix(_MARK)
        lines = [*map(self._core, parts)]
        kept = [line for line in lines if line]
        if not kept:
            return []
        together = b",".join(kept)
        try:
            sizes = [*map(len, kept)]
            # What one line has too many another may have too few: each must end where it does.
            good = [*map(len, _DECODE(b"[%b]" % together))] == sizes and is_text(together)
            if good and max(sizes) <= self._most:
                return [*kept]
        except (msgspec.DecodeError, RecursionError):
            pass
        return [self._one(line, f"{self._word} {number}") for number, line in enumerate(lines, first) if line]

    def _one(self, line: bytes, place: str) -> Item:
        if len(line) > self._most:
            return too_large(line, self._most, place)
        return json_item(line, self._legacy, place)
