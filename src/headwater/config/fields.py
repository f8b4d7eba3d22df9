"""Owns what fields of options are made of: the group they stand in, and the types that several groups share.

What an option means, and that it exists, is said where its group is declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from headwater.core.pointer import Pointer, parse_pointer
from headwater.core.secret import MASK, Text
from headwater.core.spot import Slot, Spot, parse_slot, parse_spot
from headwater.core.units import format_duration, parse_duration, parse_size

_Span = TypeVar("_Span", bound=timedelta | None)


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
        # Built as part of the whole that is validated, ConnectorConfig, and not for each group as well.
        defer_build=True,
    )


def share_names(options: Options) -> None:
    """Let options have one set of the names that were given, together with all in which the same were.

    Nobody changes it: options are frozen. Each would take 200 bytes, and a connector has half a dozen.
    """
    object.__setattr__(options, "__pydantic_fields_set__", _given(frozenset(options.model_fields_set)))


@lru_cache(maxsize=1024)
def _given(names: frozenset[str]) -> set[str]:
    return set(names)


def plain_text(value: object) -> object:
    """Open a Text where an option is not shown with its secret: numbers, names and durations may come from one."""
    return without_expressions(value).reveal() if isinstance(value, Text) else value


def without_expressions(value: Text) -> Text:
    """Return a text that is the same for every request. Raises ValueError for one with expressions."""
    if value.spans:
        start, end = value.spans[0]
        raise ValueError(f"{value.reveal()[start:end]} cannot stand here, for this is the same for every request")
    return value


def _duration(value: object) -> timedelta:
    value = plain_text(value)
    if isinstance(value, str | int | float | timedelta):
        return parse_duration(value)
    raise ValueError("expected a duration such as 10s, 150ms or 1m 30s")


def positive(value: _Span) -> _Span:
    """Return a span of time, or None. Raises ValueError for one that is shorter than a millisecond."""
    if value is not None and value < timedelta(milliseconds=1):
        raise ValueError("it must be 1ms at least")
    return value


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
    AfterValidator(without_expressions),
    BeforeValidator(as_text),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
# A text that may hold expressions, which get their values when the request is made.
TemplateText = Annotated[
    Text,
    BeforeValidator(as_text),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


def _pointer(value: object) -> object:
    value = plain_text(value)
    return parse_pointer(value) if isinstance(value, str) else value


def _spot(value: object) -> object:
    value = plain_text(value)
    return parse_spot(value) if isinstance(value, str) else value


def _slot(value: object) -> object:
    value = plain_text(value)
    return parse_slot(value) if isinstance(value, str) else value


# A pointer into JSON; a place in an answer, of its body or of its headers; a place in a request.
PointerOption = Annotated[
    Pointer, BeforeValidator(_pointer), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]
SpotOption = Annotated[
    Spot, BeforeValidator(_spot), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]
SlotOption = Annotated[
    Slot, BeforeValidator(_slot), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]


def _hidden(value: object) -> Text:
    text = without_expressions(as_text(value))
    return Text(text.reveal(), MASK, (*text.parts, text.reveal()))


# A text that is a secret as a whole, wherever it comes from.
Hidden = Annotated[
    Text,
    BeforeValidator(_hidden),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


def _path(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("expected the path of a file")
    return value


_IS_PATH = "a path of the machine that the connector runs on"
# A path, which is relative to the file that it stands in; `~` is the home directory.
FilePath = Annotated[str, BeforeValidator(_path), _IS_PATH]


def _listed(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[\s,]+", value) if part)
    if isinstance(value, list | tuple):
        return tuple(plain_text(item) for item in value)
    return value


# Words: a list, or one text with commas between them.
Listed = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}}),
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
    name, start = _split(text.reveal())
    said = str(text)
    if MASK not in said.split(":", maxsplit=1)[0].split("=", maxsplit=1)[0]:
        return name, text.behind(start, said[_split(said)[1] :].strip())
    return name, without_expressions(text).behind(start, MASK)


def _split(text: str) -> tuple[str, int]:
    """Return the name in a pair, and where its value begins."""
    # Fluvio's code wants `Name: value`, its own documentation says `Name=value`; no header name holds either sign.
    found = re.search(r"[:=]", text)
    if not found or not text[: found.start()].strip():
        raise ValueError("expected 'Name: value' or 'Name=value'")
    return text[: found.start()].strip(), found.end()


Pairs = Annotated[tuple[tuple[str, SecretText], ...], BeforeValidator(_pairs), WithJsonSchema(_PAIRS_SCHEMA)]
TemplatePairs = Annotated[tuple[tuple[str, TemplateText], ...], BeforeValidator(_pairs), WithJsonSchema(_PAIRS_SCHEMA)]


def _body(value: object) -> object:
    """Read a body: a text, or a map or list whose texts may hold expressions."""
    return _tree(value) if isinstance(value, dict | list) else as_text(value)


def _tree(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _tree(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_tree(inner) for inner in value]
    return value


def _shown_body(value: object) -> object:
    if isinstance(value, dict):
        return {name: _shown_body(inner) for name, inner in value.items()}
    return [_shown_body(inner) for inner in value] if isinstance(value, list) else _shown(value)


def _shown(value: object) -> object:
    return str(value) if isinstance(value, Text) else value


Body = Annotated[
    Any,
    BeforeValidator(_body),
    PlainSerializer(_shown_body),
    WithJsonSchema({"type": ["string", "number", "boolean", "object", "array"]}),
]


class OrText:
    """Says in the schema that a text may stand for a group."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of either."""
        return {"anyOf": [handler(core_schema), {"type": "string"}]}


def secrets_in(value: object) -> Iterator[str]:
    """Yield every secret in the texts of a group of options, and of the groups below it."""
    if isinstance(value, Text):
        yield from value.parts
    elif isinstance(value, Options):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from secrets_in(item)


def paths_in(options: Options, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every path that a group of options and the groups below it name: where, and as it is written."""
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Options):
                yield from paths_in(item, (*above, name))
            elif isinstance(item, str) and any(
                _IS_PATH in getattr(kind, "__metadata__", ()) for kind in _types(field.annotation)
            ):
                yield (*above, name), item


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
    return bool(groups_of(field)) or any(
        kind in structures or getattr(kind, "__origin__", None) in structures or kind is Any
        for kind in _types(field.annotation)
    )


def is_switch(field: FieldInfo) -> bool:
    """Return whether an option is true or false, and nothing else."""
    return not field.metadata and not set(_types(field.annotation)) - {bool, bool | None, type(None)}


def holds_many(field: FieldInfo) -> bool:
    """Return whether a field holds a list or a map of groups instead of one."""
    return bool(groups_of(field)) and any(
        getattr(kind, "__origin__", kind) in {tuple, list, dict} for kind in _types(field.annotation)
    )
