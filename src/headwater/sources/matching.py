"""Owns whether a text is what a MATCH wants: the `body` of a rule, or one of those of a WebSocket's messages. Pure.

How a MATCH is read is `config.match`'. A text is decoded once for all that are asked about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headwater.config.match import Match, Wanted
from headwater.core.extract import DocumentError, Extractor
from headwater.core.pattern import Pattern
from headwater.core.pointer import Pointer

# Some servers put a byte order mark before their JSON.
MARK = b"\xef\xbb\xbf"

# What a MATCH wants of values, with their places among those that were taken out.
Placed = tuple[tuple[int, Wanted], ...]
# The values at all pointers; none where the text is no JSON.
Found = tuple[msgspec.Raw | None, ...] | None

_DECODE = msgspec.json.Decoder().decode
# A value that is equal to none.
_NOTHING = object()


class Values:
    """Takes the values that some MATCHes ask for out of texts. `wanted` has what each asks for: a pattern nothing."""

    __slots__ = ("_extract", "wanted")

    def __init__(self, matches: Sequence[Match | None]) -> None:
        pointers: list[Pointer] = []
        wanted = []
        for match in matches:
            placed = []
            for pointer, want in match if isinstance(match, tuple) else ():
                if pointer not in pointers:
                    pointers.append(pointer)
                placed.append((pointers.index(pointer), want))
            wanted.append(tuple(placed))
        self.wanted: tuple[Placed, ...] = tuple(wanted)
        self._extract = Extractor(pointers)

    def of(self, text: bytes) -> Found:
        """Return the values in a text; None when it is not JSON."""
        try:
            return self._extract(text.removeprefix(MARK))
        except DocumentError:
            return None


def pattern(match: Match | None) -> Pattern | None:
    """Return the regular expression that a MATCH is, if it is one."""
    return match if isinstance(match, Pattern) else None


def meets(values: Found, wanted: Placed) -> bool:
    """Return whether all values are what is wanted of them."""
    return values is not None and all(_meets(values[place], want) for place, want in wanted)


def _meets(raw: msgspec.Raw | None, wanted: Wanted) -> bool:
    """Return whether a value is what a rule wants."""
    if wanted.present is not None:
        return wanted.present is (raw is not None and _some(bytes(raw)))
    if raw is None:
        return False
    value = _value(raw)
    if wanted.matches is not None:
        # What is no text is looked through as it is written.
        return wanted.matches.found(value.encode(errors="replace") if isinstance(value, str) else bytes(raw))
    # In Python true is 1.
    return any(value == it and isinstance(value, bool) is isinstance(it, bool) for it in wanted.equals)


def _some(data: bytes) -> bool:
    """Return whether a raw value is neither null nor empty."""
    return data not in {b"null", b'""'} and (data[:1] not in {b"[", b"{"} or bool(data[1:-1].strip()))


def _value(raw: msgspec.Raw) -> Any:
    """Return a scalar's value; a list or a map is equal to nothing."""
    try:
        value = _DECODE(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING
    return _NOTHING if isinstance(value, list | dict) else value
