"""Owns the disguises of a text within other texts: percent-encoded, escaped, in base64 and hexadecimal. Pure.

What is looked for, and what stands in its place, is the Masker's to say.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

# Encodings in one another, such as JSON in a URL in JSON, and readings of one text in all.
_DEEPEST: Final = 3
_MOST_READINGS: Final = 16
# What begins a word decides whether the rest is compared (characters).
_BEGINNING: Final = 4
# So many words are looked for one by one, which is faster than any pattern.
_FEW: Final = 32
# A pattern takes long to be made, and words may change with each request: a text up to this length needs none.
_SHORT: Final = 4096
# The least of a base64 text that tells it from chance (characters).
_LEAST_BASE64: Final = 4

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
# In a form a blank is a plus sign, and a plus sign is encoded (WHATWG URL, 5.2).
_FORM = re.compile(r"(?:%[0-9A-Fa-f]{2})+|\+")
_BACKSLASH = re.compile(
    r"(?:\\x[0-9A-Fa-f]{2})+"
    r"|\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
    r"|\\u[0-9A-Fa-f]{4}|\\U00[01][0-9A-Fa-f]{5}|\\[\\\"'/bfnrt]"
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_STANDARD = str.maketrans("-_", "+/")
_LOWER = str.maketrans("ABCDEF", "abcdef")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Reading:
    """A text as it reads with one kind of escapes undone, and where each of its characters came from."""

    __slots__ = ("ends", "places", "text", "under")

    def __init__(self, text: str, under: Reading | None = None) -> None:
        self.text = text
        self.under = under
        # Of each escape: the index of its character here, and where it ended in the text below.
        self.places: list[int] = []
        self.ends: list[int] = []

    def source(self, index: int) -> int:
        """Return where a character of this reading begins in the original, which is where the one before it ends."""
        reading: Reading | None = self
        while reading is not None:
            before = bisect_left(reading.places, index)
            if before:
                index += reading.ends[before - 1] - reading.places[before - 1] - 1
            reading = reading.under
        return index

    def without(self, escapes: re.Pattern[str], opened: Callable[[str], Sequence[tuple[str, int]]]) -> Reading | None:
        """Return the reading with these escapes undone, None when there are none.

        `opened` gives the characters of an escape, each with the length of what it was written as.
        """
        pieces: list[str] = []
        places: list[int] = []
        ends: list[int] = []
        position = length = 0
        for found in escapes.finditer(self.text):
            start = found.start()
            pieces.append(self.text[position:start])
            length += start - position
            position = start
            for character, width in opened(found[0]):
                position += width
                pieces.append(character)
                places.append(length)
                ends.append(position)
                length += 1
        if not places:
            return None
        pieces.append(self.text[position:])
        reading = Reading("".join(pieces), self)
        reading.places, reading.ends = places, ends
        return reading


def _bytes_of(data: bytes, width: int) -> list[tuple[str, int]]:
    """Return the characters of UTF-8 bytes that were written with `width` characters each."""
    text = data.decode("utf-8", "surrogateescape")
    return [(it, width * len(it.encode("utf-8", "surrogateescape"))) for it in text]


def _percent(escape: str) -> Sequence[tuple[str, int]]:
    return _bytes_of(bytes.fromhex(escape.replace("%", "")), 3)


def _form(escape: str) -> Sequence[tuple[str, int]]:
    return [(" ", 1)] if escape == "+" else _percent(escape)


def _backslash(escape: str) -> Sequence[tuple[str, int]]:
    if escape[1] == "x":
        data = bytes.fromhex(escape.replace("\\x", ""))
        try:
            data.decode()
        except UnicodeDecodeError:
            return [(chr(byte), 4) for byte in data]
        return _bytes_of(data, 4)
    if escape[1] == "U":
        point = int(escape.removeprefix("\\U"), 16)
        return [(chr(point) if point < 0x110000 else "\ufffd", len(escape))]
    if escape[1] != "u":
        return [(_LETTERS.get(escape[1], escape[1]), 2)]
    units = [int(unit, 16) for unit in escape.split("\\u")[1:]]
    point = units[0] if len(units) == 1 else 0x10000 + ((units[0] - 0xD800) << 10) + units[1] - 0xDC00
    return [(chr(point), len(escape))]


def _entity(escape: str) -> Sequence[tuple[str, int]]:
    from html import unescape  # noqa: PLC0415 - its table is large, and texts with an entity are rare

    opened = unescape(escape)
    return [(opened, len(escape))] if len(opened) == 1 else [(it, 1) for it in escape]


_ESCAPES: Final = (("%", _PERCENT, _percent), ("\\", _BACKSLASH, _backslash), ("&", _ENTITY, _entity))
_WITH_FORMS: Final = (*_ESCAPES, ("+", _FORM, _form))


def readings(text: str, *, forms: bool = False) -> list[Reading]:
    """Return every way to read a text: as it is, and with escapes undone, also those in one another, within bounds.

    With `forms` also as a form, where a plus sign is a blank: only who looks for blanks needs that.
    """
    found = [Reading(text)]
    escaping = _WITH_FORMS if forms else _ESCAPES
    if not any(sign in text for sign, _, _ in escaping):
        return found
    known = {text}
    first = 0
    for _ in range(_DEEPEST):
        before, first = found[first:], len(found)
        for reading in before:
            for sign, escapes, opened in escaping:
                if sign in reading.text and len(found) < _MOST_READINGS:
                    below = reading.without(escapes, opened)
                    if below is not None and below.text not in known:
                        known.add(below.text)
                        found.append(below)
    return found


class Words:
    """Many words that are looked for at once, in time that hardly grows with their number."""

    __slots__ = ("_all", "_beginnings", "_by_beginning")

    def __init__(self, words: Iterable[str]) -> None:
        self._all = tuple(sorted(set(words), key=len, reverse=True))
        self._by_beginning: dict[str, list[str]] = {}
        self._beginnings: re.Pattern[str] | None = None
        if len(self._all) > _FEW:
            for word in self._all:
                self._by_beginning.setdefault(word[:_BEGINNING], []).append(word)

    def __bool__(self) -> bool:
        return bool(self._all)

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Return where words stand in a text, the longest one of those that begin in the same place."""
        if not self._by_beginning:
            return self._few(text)
        return self._begun(text) if self._beginnings is None and len(text) <= _SHORT else self._many(text)

    def _few(self, text: str) -> Iterator[tuple[int, int]]:
        for word in self._all:
            start = text.find(word)
            while start >= 0:
                yield start, start + len(word)
                start = text.find(word, start + 1)

    def _begun(self, text: str) -> Iterator[tuple[int, int]]:
        for start in range(len(text) - _BEGINNING + 1):
            for word in self._by_beginning.get(text[start : start + _BEGINNING], ()):
                if text.startswith(word, start):
                    yield start, start + len(word)
                    break

    def _many(self, text: str) -> Iterator[tuple[int, int]]:
        if self._beginnings is None:
            self._beginnings = re.compile(_pattern(sorted(self._by_beginning)))
        found = self._beginnings.search(text)
        while found is not None:
            start = found.start()
            for word in self._by_beginning[found[0]]:
                if text.startswith(word, start):
                    yield start, start + len(word)
                    break
            found = self._beginnings.search(text, start + 1)


def _pattern(words: Sequence[str]) -> str:
    """Return a pattern for sorted words of one length: a tree, so that each character is compared once."""
    heads: dict[str, list[str]] = {}
    for word in words:
        heads.setdefault(word[0], []).append(word[1:])
    if all(rest == [""] for rest in heads.values()):
        return f"[{''.join(map(re.escape, heads))}]"
    return f"(?:{'|'.join(re.escape(head) + _pattern(rest) for head, rest in heads.items())})"


def base64_words(data: bytes) -> Iterator[str]:
    """Yield what bytes are in a longer text in base64: one of three, by where in it they begin.

    The first and the last character mix with the neighbours' bits and are left out.
    """
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + data).decode()
        core = encoded[(0, 2, 3)[shift] : len(encoded) - (0, 3, 2)[(len(data) + shift) % 3]]
        if len(core) >= _LEAST_BASE64:
            yield core


def standard_base64(text: str) -> str:
    """Return a text of the same length in which base64 for URLs is that of the standard."""
    return text.translate(_STANDARD) if "-" in text or "_" in text else text


def lower_hexadecimal(text: str) -> str:
    """Return a text of the same length with the letters of hexadecimal numbers in lower case."""
    return text.translate(_LOWER)


def around_base64(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a place by the characters that hold bits of its first and last byte, and by the padding."""
    if start and text[start - 1] in _BASE64:
        start -= 1
    if end < len(text) and text[end] in _BASE64:
        end += 1
    while end < len(text) and text[end] == "=":
        end += 1
    return start, end
