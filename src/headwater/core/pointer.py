"""Owns pointers to values in JSON: their two spellings, finding one in a document, and the text of a raw scalar.

Does not decide what a missing value means. Taking values out of bytes is `core.extract`'s.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

import msgspec

# A pointer has at most so many steps, and so many characters: what a person writes has a dozen.
_MOST_STEPS = 64
_LONGEST = 4096
_INDEX = re.compile(r"0|[1-9]\d*")
# What follows a dot in the dotted form, an index in brackets, and a name in brackets or quotes.
_PLAIN = re.compile(r"""[^.\[\]"'\s\\/][^.\[\]\\/]*""")
_BRACKETS = re.compile(r"""\[\s*(?:(\*)|(\d+)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]""")
_QUOTED = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)\'""")


class _Missing:
    """The type of MISSING."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()
Missing: TypeAlias = _Missing


class Pointer(msgspec.Struct, frozen=True, gc=False):
    """The way to one value of a JSON document: the names of members and the indexes of elements, from the outside in.

    A step made of digits means a member of an object and an element of an array alike (RFC 6901, section 4). A pointer
    without steps means the whole document. `str()` gives the form of RFC 6901.
    """

    steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.steps == ("",):
            return "['']"  # alone, the slash means the whole document
        return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in self.steps)

    def find(self, document: Any) -> Any:
        """Return the value in a decoded document (dict, list and scalars), or MISSING."""
        for step in self.steps:
            if isinstance(document, dict):
                document = document.get(step, MISSING)
                if document is MISSING:
                    return MISSING
            elif isinstance(document, list):
                if not _INDEX.fullmatch(step) or len(step) > 9 or int(step) >= len(document):
                    return MISSING
                document = document[int(step)]
            else:
                return MISSING
        return document

    def __truediv__(self, other: Pointer) -> Pointer:
        """Return the pointer that goes on with the steps of another one."""
        return Pointer(self.steps + other.steps)


WHOLE: Final = Pointer()


def parse_pointer(text: str) -> Pointer:
    """Read a pointer: RFC 6901 (`/data/items`), or a dotted path (`data.items`, `$.data.items`, `items[0]['a.b']`).

    An empty text, `/`, `.` and `$` mean the whole document; a member with an empty name is written `['']`. A `[*]` at
    the end says what is meant anyway, "each element", and is dropped. Raises ValueError with a sentence for people.
    """
    text = text if text.startswith("/") else text.strip()
    if len(text) > _LONGEST:
        raise ValueError(f"a pointer of {len(text)} characters is too long; {_LONGEST} are allowed")
    if text in {"", "/", ".", "$", "#", "#/"}:
        return WHOLE
    if text.startswith("#"):
        raise ValueError(f"{text!r} is the URI form of a pointer; write it without the #, such as /data/items")
    steps = _slashed(text) if text.startswith("/") else _dotted(text)
    if len(steps) > _MOST_STEPS:
        raise ValueError(f"a pointer of {len(steps)} steps is too deep; {_MOST_STEPS} are allowed")
    return Pointer(tuple(steps))


def _slashed(text: str) -> list[str]:
    steps = text[1:].split("/")
    for step in steps:
        if step == "-":
            raise ValueError(f"{text!r} has the step '-', the place behind the last element, where nothing ever is")
        if re.search(r"~(?![01])", step):
            raise ValueError(f"{text!r} has a ~ that is neither ~0 (for ~) nor ~1 (for /)")
    return [step.replace("~1", "/").replace("~0", "~") for step in steps]


def _dotted(text: str) -> list[str]:
    steps: list[str] = []
    rest = text[1:] if text[0] in "$." and text != "$" else text
    # A name may begin the path without a dot; `$name` is a name that begins with a dollar sign, as in OData.
    if text[0] == "$" and rest[0] not in ".[":
        rest = text
    rest = rest if rest[0] in ".[" else "." + rest
    position = 0
    while position < len(rest):
        if rest[position] == "[":
            match = _BRACKETS.match(rest, position)
            if match is None:
                raise ValueError(f"{text!r} has brackets without an index or a quoted name, such as [0] or ['a name']")
            if match[1]:
                if match.end() < len(rest):
                    raise ValueError(
                        f"{text!r} has [*] in the middle; a pointer leads to one value: end it where the array is"
                    )
                return steps
            steps.append(str(int(match[2])) if match[2] else _unquoted(match[3] if match[3] is not None else match[4]))
        else:
            position += 1
            match = _QUOTED.match(rest, position)
            if match is not None:
                steps.append(_unquoted(match[1] if match[1] is not None else match[2]))
            else:
                match = _PLAIN.match(rest, position)
                if match is None:
                    raise ValueError(
                        f"{text!r} is no pointer; write /data/items or data.items, and quote odd names: data['a.b']"
                    )
                steps.append(match[0].rstrip())
        position = match.end()
        if position < len(rest) and rest[position] not in ".[":
            raise ValueError(f"{text!r} is no pointer: after {rest[:position].lstrip('.')!r} a dot or [ is expected")
    return steps


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


Kind = Literal["null", "bool", "number", "text", "array", "object"]
_KINDS: dict[int, Kind] = {
    **dict.fromkeys(b"-0123456789", "number"),
    ord('"'): "text",
    ord("{"): "object",
    ord("["): "array",
    ord("t"): "bool",
    ord("f"): "bool",
    ord("n"): "null",
}


def kind_of(raw: bytes | bytearray | memoryview) -> Kind:
    """Return what a raw JSON value without space around it is, by its first byte."""
    return _KINDS[raw[0]]


def scalar_text(raw: bytes) -> str | None:
    """Return a raw scalar as text: a text decoded, a number by its own digits, true or false; None for null.

    Raises ValueError for an object, an array, and a text that is not UTF-8.
    """
    first = raw[:1]
    if first == b'"':
        # A decoder checks what splitting does not: UTF-8, and surrogates that stand alone.
        try:
            return _TEXT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"it is no text: {error}") from None
    if first in {b"{", b"["}:
        raise ValueError(f"it is an {kind_of(raw)}, where a text or a number is expected")
    return None if raw == b"null" else raw.decode("ascii")


def scalar_bytes(raw: bytes) -> bytes | None:
    """Return `scalar_text` as UTF-8, without decoding what needs no decoding."""
    if raw[:1] == b'"':
        if b"\\" not in raw and raw.isascii():
            return raw[1:-1]
        text = scalar_text(raw)
        return None if text is None else text.encode()
    if raw[:1] in {b"{", b"["}:
        raise ValueError(f"it is an {kind_of(raw)}, where a text or a number is expected")
    return None if raw == b"null" else raw


_TEXT = msgspec.json.Decoder(str)
