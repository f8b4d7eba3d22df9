"""Owns what fields of options are made of: the group they stand in, and the types that several groups share.

What an option means, and that it exists, is said where its group is declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from headwater.core.secret import MASK, Text
from headwater.core.units import format_duration, parse_duration, parse_size


def kebab_and_snake(name: str) -> AliasChoices | str:
    """Return both spellings of an option's name; a word that tells groups apart may have only one."""
    return AliasChoices(name, name.replace("_", "-")) if "_" in name else name


class Options(BaseModel):
    """What every group of options shares: frozen, no unknown keys, both spellings of each name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        alias_generator=AliasGenerator(validation_alias=kebab_and_snake),
        populate_by_name=True,
        hide_input_in_errors=True,
    )


def plain_text(value: object) -> object:
    """Open a Text where an option is not shown with its secret: numbers, names and durations may come from one."""
    return value.reveal() if isinstance(value, Text) else value


def _duration(value: object) -> timedelta:
    value = plain_text(value)
    if isinstance(value, str | int | float | timedelta):
        return parse_duration(value)
    raise ValueError("expected a duration such as 10s, 150ms or 1m 30s")


def _size(value: object) -> int:
    value = plain_text(value)
    if isinstance(value, str | int | float):
        return parse_size(value)
    raise ValueError("expected a size such as 64 MiB or 1048576")


def as_text(value: object) -> Text:
    """Read a text that may hold secrets; scalars of other kinds become text, as in Fluvio."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, str | int | float):
        return Text(str(value))
    raise ValueError("expected a text")


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": ["string", "number"], "examples": ["10s", "1m 30s", 300]}),
]
Size = Annotated[
    int, BeforeValidator(_size), WithJsonSchema({"type": ["string", "integer"], "examples": ["64 MiB", 1048576]})
]
SecretText = Annotated[
    Text,
    BeforeValidator(as_text),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
_PAIRS_SCHEMA = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "array"]}},
        {"type": "array", "items": {"type": "string"}},
    ]
}


def _pairs(value: object) -> tuple[tuple[str, Text], ...]:
    """Read headers or parameters: a map of name to scalar or list, or a list of `name: value` or `name=value`."""
    pairs: list[tuple[str, Text]] = []
    if isinstance(value, dict):
        for name, given in value.items():
            items = given if isinstance(given, list | tuple) else [given]
            pairs += [(str(name), as_text(item)) for item in items]
    elif isinstance(value, list | tuple):
        for item in value:
            pairs.append(_pair(item))
    else:
        raise ValueError("expected a map, or a list of 'Name: value'")
    return tuple(pairs)


def _pair(item: object) -> tuple[str, Text]:
    if isinstance(item, list | tuple) and len(item) == 2:
        return str(item[0]), as_text(item[1])
    text = as_text(item)
    name, rest = _split(text.reveal())
    _, shown = _split(str(text)) if MASK not in str(text).split(":")[0].split("=")[0] else (name, MASK)
    return name, Text(rest, shown)


def _split(text: str) -> tuple[str, str]:
    # Fluvio's code wants `Name: value`, its own documentation says `Name=value`; no header name holds either sign.
    found = re.search(r"[:=]", text)
    if not found or not text[: found.start()].strip():
        raise ValueError("expected 'Name: value' or 'Name=value'")
    return text[: found.start()].strip(), text[found.end() :].strip()


Pairs = Annotated[tuple[tuple[str, SecretText], ...], BeforeValidator(_pairs), WithJsonSchema(_PAIRS_SCHEMA)]


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _types(inner)


def groups_of(field: FieldInfo) -> tuple[type[Options], ...]:
    """Return the groups of options that a field may hold: one, or several that a word tells apart, or none."""
    return tuple(kind for kind in _types(field.annotation) if isinstance(kind, type) and issubclass(kind, Options))


def word_of(group: type[Options]) -> str:
    """Return the word of `type:` that a group is for; empty for one that stands alone."""
    kind = group.model_fields.get("type")
    return "" if kind is None else "".join(map(str, getattr(kind.annotation, "__args__", ())))


def is_structured(group: type[Options], name: str) -> bool:
    """Return whether an option of a group may be a list or a map."""
    field = group.model_fields.get(name) or group.model_fields.get(f"{name}_")
    if field is None:
        return False
    structures = {tuple, list, dict}
    return any(
        kind in structures or getattr(kind, "__origin__", None) in structures or kind is Any
        for kind in _types(field.annotation)
    )


def holds_many(field: FieldInfo) -> bool:
    """Return whether a field holds a list or a map of groups instead of one."""
    return bool(groups_of(field)) and any(
        getattr(kind, "__origin__", kind) in {tuple, list, dict} for kind in _types(field.annotation)
    )
