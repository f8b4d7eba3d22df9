"""Owns cutting the elements out of a JSON array, anywhere in a body that arrives in chunks: each with its own bytes.

Finding the array is `path`'s, brackets and commas are `structure`'s. What is around the array is kept with the array
empty, up to a bound, so that pointers into it can still be followed.
"""

from __future__ import annotations

import re
from enum import Enum, auto

import msgspec
from msgspec import Raw

from headwater.core.extract import DocumentError, checked
from headwater.core.pointer import Pointer
from headwater.sources.split.item import (
    BLANK,
    MOST_BLANK,
    WINDOW,
    Bad,
    BrokenBodyError,
    Item,
    Large,
    bounded,
    is_text,
    json_item,
    too_large,
)
from headwater.sources.split.path import Finder, Found
from headwater.sources.split.structure import Scanner

# So much is kept of what is around the array (bytes).
MOST_REST = 1024 * 1024
# So much of the array is looked at to learn what stands between its elements, and so many guesses are made with that.
_LESSON = 64 * 1024
_GUESSES = 4
# After guessing in vain so many times in a row the structure is walked through to the end.
_PATIENCE = 8
_DECODE = msgspec.json.Decoder(list[Raw]).decode
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")


class _Phase(Enum):
    BEFORE = auto()
    INSIDE = auto()
    BEHIND = auto()


class ArraySplitter:
    """Cuts the array at a pointer into its elements. No such array, or null in its place, is no items: see `missing`.

    Where the array is large, a window of it is cut at a comma that is guessed from what stood around the commas before,
    and a decoder says whether the guess was right: what is valid JSON up to a comma, put into brackets, ends at a comma
    of the array's own level. Where guesses fail the structure is walked through, which takes ten times as long.

    An element that is no JSON is bad, and the others are not, as long as its brackets and quotes are balanced. With
    `legacy` an element that is not UTF-8 is read in that charset.
    """

    what = "item"

    def __init__(self, pointer: Pointer, max_item: int, *, window: int = WINDOW, legacy: str = "") -> None:
        self.rest: bytes | None = None
        self.missing = False
        self._pointer = pointer
        self._most = max_item
        self._window = window
        self._legacy = legacy
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._phase = _Phase.BEFORE
        self._data = b""
        self._finder = Finder(pointer)
        self._around: list[bytes] | None = []
        self._kept = 0
        # In the array: the walk through an element that is longer than a window, and what stands between elements.
        self._scanner = Scanner()
        self._slow = False
        self._large: Large | None = None
        self._mark: tuple[bytes, int] | None = None
        self._failures = 0
        # Whether what is left of the array begins behind a comma.
        self._behind_comma = False
        self._begun = self._ended = self._scalar = False

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body; return the items that they complete. Raises BrokenBodyError."""
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        return self._work(final=False) if self._waiting >= self._window else []

    def finish(self) -> list[Item]:
        """Take the end of the body; return the items that are left. Raises BrokenBodyError."""
        items = self._work(final=True)
        if not self._ended:
            raise BrokenBodyError("the body ends before it is a whole JSON document")
        if self._around is not None:
            self.rest = b"".join(self._around)
            try:
                checked(self.rest)
            except DocumentError as error:
                what = "the body" if self.missing else "the body, with its array left out"
                raise BrokenBodyError(f"{what}: {error}") from None
        return items

    def _work(self, *, final: bool) -> list[Item]:
        self._data = b"".join((self._data, *self._chunks))
        self._chunks.clear()
        self._waiting = 0
        items: list[Item] = []
        if self._phase is _Phase.BEFORE:
            self._before(final=final)
        if self._phase is _Phase.INSIDE:
            items = self._inside(final=final)
        if self._phase is _Phase.BEHIND:
            self._behind()
        return items

    # Around the array.

    def _before(self, *, final: bool) -> None:
        finder = self._finder
        if not self._begun:
            if len(self._data) < 3 and not final:
                return
            self._begun = True
            # A mark of UTF-8 at the beginning may be ignored (RFC 8259, section 8.1).
            self._data = self._data.removeprefix(b"\xef\xbb\xbf")
        found = finder.walk(self._data)
        self._keep(self._data[: finder.at])
        self._data = self._data[finder.at :]
        finder.at = 0
        if found is Found.ARRAY:
            self._phase = _Phase.INSIDE
            self._scanner = Scanner()
        elif found is Found.NOTHING:
            self.missing = True
            self._turn(finder.open - 1)

    def _turn(self, depth: int) -> None:
        """Go behind the array, where so many brackets are open beside the outermost one."""
        self._phase = _Phase.BEHIND
        # A document of one scalar has no bracket to end with; a decoder looks at it in the end.
        self._scalar = self._ended = depth < 0
        self._scanner = Scanner(max(depth, 0))

    def _behind(self) -> None:
        """Keep what is behind the array, and see it end."""
        data, self._data = self._data, b""
        if not self._ended:
            end = self._scanner.walk(data)
            at, self._scanner.at = self._scanner.at, 0
            if end is None:
                self._keep(data[:at])
                self._data = data[at:]
                return
            self._ended = True
            self._keep(data[: end + 1])
            data = data[end + 1 :]
        self._keep(data)
        if not self._scalar and data.strip(BLANK):
            raise BrokenBodyError("the body goes on behind the end of its JSON document")

    def _keep(self, data: bytes) -> None:
        self._kept += len(data)
        if self._kept > MOST_REST:
            self._around = None
        elif self._around is not None:
            self._around.append(data)

    # In the array.

    def _inside(self, *, final: bool) -> list[Item]:
        if not self._slow and self._failures < _PATIENCE:
            items = self._last() if final else self._guess()
            if items is not None:
                self._failures = 0
                return items
            self._failures += 1
            self._mark = None
        return self._walk()

    def _guess(self) -> list[Item] | None:
        """Cut the window at a comma that looks like one between elements; None when none of a few is one."""
        if self._mark is None:
            self._mark = _lesson(self._data[:_LESSON])
        if self._mark is None:
            return None
        mark, comma = self._mark
        data = self._data
        end = len(data)
        for _ in range(_GUESSES):
            start = data.rfind(mark, 0, end)
            if start < 0:
                return None
            content = data[: start + comma]
            try:
                raws = _DECODE(b"[%b]" % content)
            except (msgspec.DecodeError, RecursionError):
                end = start + len(mark) - 1
                continue
            if not raws or not is_text(content):
                return None
            self._cut(start + comma + 1)
            return bounded(raws, self._most, len(content))
        return None

    def _last(self) -> list[Item] | None:
        """Cut what is left of the array from all that follows it; None when that is not as simple as it should be."""
        data = self._data
        try:
            try:
                raws, end = _DECODE(b"[%b" % data), len(data)
            except msgspec.DecodeError as error:
                # One trial finds the end of the array, which no index tells.
                trailing = _TRAILING.search(str(error))
                if trailing is None:
                    return None
                # It counts from one, and from the bracket that was put before.
                end = int(trailing[1]) - 2
                raws = _DECODE(b"[%b" % data[:end])
        except (msgspec.DecodeError, RecursionError):
            return None
        bracket = len(data[:end].rstrip(BLANK)) - 1
        if (self._behind_comma and not raws) or not is_text(data[:bracket]):
            return None
        self._data = data[bracket:]
        self._turn(self._finder.open)
        return bounded(raws, self._most, bracket)

    def _walk(self) -> list[Item]:
        """Walk through the structure; return the elements that are complete."""
        commas: list[int] = []
        end = self._scanner.walk(self._data, commas)
        data = self._data
        if end is None and not commas:
            self._slow = True
            if self._large is None and len(data) > self._most:
                if len(data.strip(BLANK)) > self._most:
                    self._large = Large(self._most, BLANK)
                elif len(data) > self._most + MOST_BLANK:
                    raise BrokenBodyError("the body has nothing but white space for very long")
            if self._large is not None:
                self._large.add(data[: self._scanner.at])
                self._data = data[self._scanner.at :]
                self._scanner.at = 0
            return []
        if end is not None and data[end] != 0x5D:
            raise BrokenBodyError("the body is not JSON: its array ends with a brace")
        items: list[Item] = []
        cuts = [*commas] if end is None else [*commas, end]
        start = 0
        if self._large is not None:
            self._large.add(data[: cuts[0]])
            items.append(self._large.end())
            self._large = None
            start = cuts.pop(0) + 1
        if cuts and not (end is not None and len(cuts) == 1 and self._empty(data, start, end)):
            items += self._pieces(data, start, cuts)
        if end is None:
            self._cut(commas[-1] + 1)
        else:
            self._data = data[end:]
            self._turn(self._finder.open)
        return items

    def _empty(self, data: bytes, start: int, end: int) -> bool:
        """Return whether the array ends before it has begun."""
        return not self._behind_comma and start == 0 and not data[:end].strip(BLANK)

    def _cut(self, at: int) -> None:
        """Go on behind a comma between elements."""
        self._data = self._data[at:]
        self._behind_comma = True
        self._scanner = Scanner()
        self._slow = False

    def _pieces(self, data: bytes, start: int, cuts: list[int]) -> list[Item]:
        """Return the elements between places of `data`: all at once if all are good, else each by itself."""
        content = data[start : cuts[-1]]
        try:
            raws = _DECODE(b"[%b]" % content)
            if len(raws) == len(cuts) and is_text(content):
                return bounded(raws, self._most, len(content))
        except (msgspec.DecodeError, RecursionError):
            pass
        items: list[Item] = []
        for cut in cuts:
            items.append(self._one(data[start:cut].strip(BLANK)))
            start = cut + 1
        return items

    def _one(self, element: bytes) -> Item:
        if len(element) > self._most:
            return too_large(element, self._most)
        if not element:
            return Bad("there is nothing between two commas", b"")
        return json_item(element, self._legacy)


def _lesson(data: bytes) -> tuple[bytes, int] | None:
    """Return bytes that stand at boundaries of elements, and the place of the comma in them; None without any."""
    commas: list[int] = []
    Scanner().walk(data, commas, most=8)
    if not commas:
        return None
    heads = [data[at : at + 64].lstrip(BLANK) for at in (0, *(comma + 1 for comma in commas))]
    first, last = min(heads)[:24], max(heads)[:24]
    shared = first[
        : next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    ]
    gaps = set()
    for comma in commas:
        left = data[:comma].rstrip(BLANK)
        right = data[comma + 1 : comma + 65]
        gaps.add((left[-1:] + data[len(left) : comma], right[: len(right) - len(right.lstrip(BLANK))]))
    if len(gaps) > 1 or shared[:1] not in {b"{", b"[", b'"'}:
        return b",", 0
    left, right = gaps.pop()
    return left + b"," + right + shared, len(left)
