"""Owns what a text or a JSON document must look like, as people write it: of answers in rules, of messages in streams.

Whether one matches is `sources.rules`' to say.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import BeforeValidator, WithJsonSchema

from headwater.config.fields import plain_text
from headwater.core.pattern import Pattern
from headwater.core.pointer import Pointer, parse_pointer

Scalar = str | int | float | bool | None


class Wanted(msgspec.Struct, frozen=True):
    """What a value at a pointer must be: one of some scalars; a text in which a pattern is found; there, or not."""

    equals: tuple[Scalar, ...] = ()
    matches: Pattern | None = None
    present: bool | None = None


def opened(value: object) -> object:
    """Open the Texts of a value, which a secret may be in."""
    if isinstance(value, list | tuple):
        return [opened(item) for item in value]
    return plain_text(value)


def _wanted(pointer: str, given: object) -> Wanted:
    if isinstance(given, Wanted):
        return given
    if isinstance(given, dict):
        if len(given) == 1:
            ((word, value),) = given.items()
            value = plain_text(value)
            if word == "matches" and isinstance(value, str):
                return Wanted(matches=Pattern(value))
            if word == "present" and isinstance(value, bool):
                return Wanted(present=value)
        raise ValueError(f"{pointer}: expected a value, a list of values, {{matches: REGEX}} or {{present: true}}")
    values = opened(given)
    equals: list[Scalar] = []
    for item in values if isinstance(values, list) else [values]:
        if item is not None and not isinstance(item, str | int | float):
            raise ValueError(f"{pointer}: expected a value, or a list of texts, numbers, true, false and null")
        equals.append(item)
    if not equals:
        raise ValueError(f"{pointer}: the list is empty")
    return Wanted(equals=tuple(equals))


def _match(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, Pattern | tuple):
        return value
    if isinstance(value, str):
        if not value:
            raise ValueError("it is empty, and would be found in every text")
        return Pattern(value)
    if isinstance(value, dict):
        if not value:
            raise ValueError("it names no pointer")
        return tuple((parse_pointer(str(pointer)), _wanted(str(pointer), given)) for pointer, given in value.items())
    raise ValueError("expected a regular expression, or a map of pointers to values")


# Values that a JSON document has at pointers, all of them; or a regular expression that is found in a text.
Match = Annotated[
    tuple[tuple[Pointer, Wanted], ...] | Pattern,
    BeforeValidator(_match),
    WithJsonSchema({"type": ["object", "string"]}),
]
