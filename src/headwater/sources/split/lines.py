"""Owns cutting a body at a separator: NDJSON, JSON text sequences (RFC 7464), and parts between any delimiter.

Checks of NDJSON and sequences that each part is one JSON text, and of other parts nothing. Cutting is `parts`'.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from headwater.sources.split.parts import Parts, Unmarked

_DECODE = msgspec.json.Decoder(list[Raw]).decode


def blank_before(delimiter: bytes) -> bytes:
    """Return what belongs to a delimiter when it stands before it: a line feed takes carriage returns along."""
    return b"\r" if delimiter == b"\n" else b""


def plain_items(
    large: Large | None, parts: Sequence[bytes], most: int, blank: bytes, option: str = "max_item"
) -> list[Item]:
    """Return parts as items, without what is `blank` at their ends; parts without a byte are none."""
    kept = [*filter(None, [part.rstrip(blank) for part in parts] if blank else parts)]
    items = bounded(kept, most, sum(map(len, kept)), option)
    return items if large is None else [large.end(), *items]


def are_json(texts: Sequence[bytes], most: int) -> bool:
    """Return whether each of some texts, which are not blank, is one JSON text of at most `most` bytes."""
    together = b",".join(texts)
    try:
        sizes = [*map(len, texts)]
        # What one line has too many another may have too few: each must end where it does.
        good = [*map(len, _DECODE(b"[%b]" % together))] == sizes and is_text(together)
        return good and max(sizes, default=0) <= most
    except (msgspec.DecodeError, RecursionError):
        return False


class JsonTexts:
    """Makes items of parts that are to be JSON texts each, and numbers them: `word` and number are a bad one's place.

    With `legacy` a text that is not UTF-8 is read in that charset.
    """

    def __init__(self, most: int, word: str, *, before: int = 0, legacy: str = "", option: str = "max_item") -> None:
        self._most = most
        self._word = word
        self._number = before
        self._legacy = legacy
        self._option = option

    def items(self, large: Large | None, parts: Sequence[bytes]) -> list[Item]:
        """Return the items of the next parts; blank ones are none."""
        items: list[Item] = []
        if large is not None:
            self._number += 1
            items.append(large.end(f"{self._word} {self._number}"))
        first = self._number + 1
        self._number += len(parts)
        lines = [part.strip(BLANK) for part in parts]
        kept = [*filter(None, lines)]
        if kept and are_json(kept, self._most):
            return [*items, *kept] if items else [*kept]
        items += (self._one(line, f"{self._word} {number}") for number, line in enumerate(lines, first) if line)
        return items

    def _one(self, line: bytes, place: str) -> Item:
        if len(line) > self._most:
            return too_large(line, self._most, place, self._option)
        return json_item(line, self._legacy, place)


class DelimitedSplitter:
    """Cuts a body at a delimiter; parts without a byte are none. A line feed takes carriage returns before it along."""

    what = "part"
    rest: bytes | None = None
    missing = False

    def __init__(self, delimiter: bytes, max_item: int, *, window: int = WINDOW) -> None:
        self._most = max_item
        self._blank = blank_before(delimiter)
        self._parts = Parts(delimiter, max_item, self._blank, both=False)
        self._window = window
        self._chunks: list[bytes] = []
        self._waiting = 0

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body; return the parts that they complete. Raises BrokenBodyError."""
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        return self._work() if self._waiting >= self._window else []

    def finish(self) -> list[Item]:
        """Take the end of the body; return the parts that are left, the one behind the last delimiter included."""
        return [*self._work(), *self._items(*self._parts.finish())]

    def _work(self) -> list[Item]:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        items = self._items(*self._parts.feed(data))
        if self._parts.blank > MOST_BLANK:
            raise BrokenBodyError("the body has nothing but white space for very long")
        return items

    def _items(self, large: Large | None, parts: list[bytes]) -> list[Item]:
        return plain_items(large, parts, self._most, self._blank)


class JsonLinesSplitter(DelimitedSplitter):
    """Cuts NDJSON: each line that is not blank is an item, if it is JSON. With `sequence` it is RFC 7464's form.

    With `legacy` a text that is not UTF-8 is read in that charset.
    """

    what = "item"

    def __init__(self, max_item: int, *, sequence: bool = False, window: int = WINDOW, legacy: str = "") -> None:
        delimiter = b"\x1e" if sequence else b"\n"
        super().__init__(delimiter, max_item, window=window)
        self._parts = Parts(delimiter, max_item, BLANK)
        self._mark = Unmarked()
        # Before the first separator of a sequence there is no text.
        word, before = ("text", -1) if sequence else ("line", 0)
        self._texts = JsonTexts(max_item, word, before=before, legacy=legacy)

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body; return the items that they complete. Raises BrokenBodyError."""
        return super().feed(self._mark.feed(chunk))

    def finish(self) -> list[Item]:
        """Take the end of the body; return the items that are left, the one behind the last separator included."""
        return [*super().feed(self._mark.finish()), *super().finish()]

    def _items(self, large: Large | None, parts: list[bytes]) -> list[Item]:
        return self._texts.items(large, parts)
