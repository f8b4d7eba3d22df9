"""Owns finding the array at a pointer in JSON that arrives in chunks, up to its opening bracket.

What is in the array is `array`'s. Of a name that is repeated the first one counts.
"""

from __future__ import annotations

import re
from enum import Enum, auto

import msgspec

from headwater.core.extract import mended
from headwater.core.pointer import Pointer, kind_of
from headwater.sources.split.item import BrokenBodyError
from headwater.sources.split.structure import STRING, Scanner

_SPACE = re.compile(rb"[ \t\r\n]*+")
# Longer names of members are no names (bytes).
_LONGEST_NAME = 64 * 1024


class Found(Enum):
    """What came of the search."""

    ARRAY = auto()  # `at` is behind its opening bracket
    NOTHING = auto()  # there is no such value, or null: no items
    LATER = auto()  # more of the body is needed


class _Want(Enum):
    VALUE = auto()
    NAME = auto()
    COLON = auto()
    SKIP = auto()
    ELEMENT = auto()


class Finder:
    """Walks along a pointer. `at` is how far it has got in the data; what is before it may be cut off.

    `depth` is how many of its steps are taken.
    """

    __slots__ = ("_arrays", "_index", "_pointer", "_scanner", "_want", "_wanted", "at", "depth")

    def __init__(self, pointer: Pointer) -> None:
        self._pointer = pointer
        self._want = _Want.VALUE
        self._wanted = False
        self._index = 0
        self._scanner = Scanner()
        # Which of the brackets on the way open arrays.
        self._arrays: list[bool] = []
        self.at = 0
        self.depth = 0

    @property
    def open(self) -> int:
        """How many brackets are open around the place where it is, that of the array itself not counted."""
        return len(self._arrays)

    def walk(self, data: bytes) -> Found:
        """Walk on; return what is found so far. Raises BrokenBodyError when something else than an array is there."""
        while True:
            at = _space(data, self.at)
            if at >= len(data):
                self.at = at
                return Found.LATER
            if self._want is _Want.SKIP:
                if not self._skip(data):
                    return Found.LATER
                continue
            self.at = at
            if self._want is _Want.VALUE:
                step = self._value(data)
            elif self._want is _Want.NAME:
                step = self._name(data)
            elif self._want is _Want.COLON:
                step = self._colon(data)
            else:
                step = self._element(data)
            if step is not None:
                return step

    def _value(self, data: bytes) -> Found | None:
        """At the beginning of a value on the way."""
        steps = self._pointer.steps
        sign = data[self.at : self.at + 1]
        if self.depth == len(steps):
            if sign == b"[":
                self.at += 1
                return Found.ARRAY
            if sign == b"n":
                return Found.NOTHING
            raise BrokenBodyError(f"{self._where()} is {_kind(data, self.at)}, not an array")
        if sign == b"{":
            self._want = _Want.NAME
        elif sign == b"[" and steps[self.depth].isascii() and steps[self.depth].isdecimal():
            self._want = _Want.ELEMENT
            self._index = int(steps[self.depth][:9])
        elif self.depth == 0 and sign != b"n":
            # Nothing could ever be there: what came is something else altogether.
            raise BrokenBodyError(f"the body is {_kind(data, self.at)}, not an object with {self._pointer} in it")
        else:
            return Found.NOTHING
        self._arrays.append(sign == b"[")
        self.at += 1
        return None

    def _name(self, data: bytes) -> Found | None:
        """In an object on the way, before a name, a comma, or the end."""
        sign = data[self.at : self.at + 1]
        if sign == b",":
            self.at += 1
            return None
        if sign != b'"':
            if sign == b"}":
                return Found.NOTHING
            raise BrokenBodyError(f"the body is not JSON: a name is expected, and {sign!r} is there")
        name = STRING.match(data, self.at)
        if name is None:
            if len(data) - self.at > _LONGEST_NAME:
                raise BrokenBodyError(f"the body has a name of more than {_LONGEST_NAME:,} bytes")
            return Found.LATER
        self.at = name.end()
        try:
            decoded = msgspec.json.decode(mended(name[0]), type=str)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BrokenBodyError(f"the body is not JSON: a name is no text: {error}") from None
        self._wanted = decoded == self._pointer.steps[self.depth]
        self._want = _Want.COLON
        return None

    def _colon(self, data: bytes) -> Found | None:
        if data[self.at : self.at + 1] != b":":
            raise BrokenBodyError("the body is not JSON: a colon is missing behind a name")
        self.at += 1
        if self._wanted:
            self.depth += 1
            self._want = _Want.VALUE
        else:
            self._want = _Want.SKIP
        return None

    def _element(self, data: bytes) -> Found | None:
        """In an array on the way, before an element or the end."""
        if data[self.at : self.at + 1] == b"]":
            return Found.NOTHING
        if self._index == 0:
            self.depth += 1
            self._want = _Want.VALUE
        else:
            self._want = _Want.SKIP
        return None

    def _skip(self, data: bytes) -> bool:
        """Walk over a value that is not on the way, and the comma behind it; return whether that is done."""
        self._scanner.at = self.at
        commas: list[int] = []
        end = self._scanner.walk(data, commas, most=1)
        self.at = self._scanner.at
        if end is None and not commas:
            return False
        in_array = self._arrays[-1]
        if end is not None:
            self.at = end
            if data[end : end + 1] != (b"]" if in_array else b"}"):
                raise BrokenBodyError("the body is not JSON: a bracket closes what is not its own")
        self._want = _Want.ELEMENT if in_array else _Want.NAME
        self._index -= 1 if in_array and commas else 0
        self._scanner = Scanner()
        return True

    def _where(self) -> str:
        return str(self._pointer) if self._pointer.steps else "the body"


def _space(data: bytes, at: int) -> int:
    found = _SPACE.match(data, at)
    assert found is not None
    return found.end()


def _kind(data: bytes, at: int) -> str:
    sign = data[at : at + 1]
    if sign == b"<":
        return "HTML or XML"
    try:
        return {"null": "null", "bool": "true or false", "number": "a number", "text": "a text"}.get(
            kind := kind_of(sign), f"an {kind}"
        )
    except KeyError:
        return "something else than JSON"
