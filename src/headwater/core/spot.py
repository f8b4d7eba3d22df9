"""Owns places in answers and requests as a configuration names them: `/a/b`, `header:X-Next`, `body:/variables/after`.

Taking a value out of an answer, or putting one into a request, is done elsewhere.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headwater.core.pointer import Pointer, parse_pointer

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Spot(msgspec.Struct, frozen=True):
    """A place in an answer: a header (lower case), or with an empty one a pointer into the body."""

    pointer: Pointer = Pointer()
    header: str = ""

    def __str__(self) -> str:
        return f"header:{self.header}" if self.header else str(self.pointer) or "/"


class Slot(msgspec.Struct, frozen=True):
    """A place in a request: a parameter of the URL, a header, or with neither a pointer into the body."""

    param: str = ""
    header: str = ""
    pointer: Pointer = Pointer()

    def __str__(self) -> str:
        if self.param:
            return self.param
        return f"header:{self.header}" if self.header else f"body:{self.pointer}"


def parse_spot(text: str) -> Spot:
    """Read a place in an answer: a pointer, also as `body:/a/b`, or `header:NAME`. Raises ValueError."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "header":
        return Spot(header=_header(rest).lower())
    return Spot(parse_pointer(rest if colon and kind == "body" else text))


def parse_slot(text: str) -> Slot:
    """Read a place in a request: the name of a parameter, `header:NAME`, or `body:/pointer`. Raises ValueError."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "header":
        return Slot(header=_header(rest))
    if colon and kind == "body":
        pointer = parse_pointer(rest)
        if not pointer.steps:
            raise ValueError("the body as a whole cannot be a parameter; write body:/name")
        return Slot(pointer=pointer)
    if not text.strip() or text.startswith("/"):
        raise ValueError(f"{text!r} is no name of a parameter; for one in the body write body:{text or '/name'}")
    return Slot(param=text)


def _header(name: str) -> str:
    name = name.strip()
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header (RFC 9110)")
    return name
