"""Owns the options that say how one long response is cut into frames: `format:` and the groups that belong to one.

Cutting is `sources.stream`'s.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from headwater.config.fields import Listed, Options, plain_text
from headwater.core.units import format_duration, parse_duration

Format = Literal["delimited", "ndjson", "json-seq", "length-prefixed", "sse"]
# Which options say how frames of one format are cut.
OF_FORMATS: Final[dict[str, Format]] = {"delimiter": "delimited", "length_prefix": "length-prefixed", "sse": "sse"}


def _plain(value: object) -> object:
    return plain_text(value)


def _size(value: object) -> object:
    value = plain_text(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else value


def _idle(value: object) -> object:
    value = plain_text(value)
    if value == "none":
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float | timedelta):
        raise ValueError("expected a duration such as 5m, or none")
    found = parse_duration(value)
    if found < timedelta(milliseconds=1):
        raise ValueError("it must be 1ms at least; write none to wait for ever")
    return found


# A duration, or none at all.
IdleTimeout = Annotated[
    timedelta | Literal["none"],
    BeforeValidator(_idle),
    PlainSerializer(lambda it: it if isinstance(it, str) else format_duration(it), return_type=str),
    WithJsonSchema({"type": ["string", "number"], "examples": ["5m", "none"]}),
]


class LengthPrefixOptions(Options):
    """How the length of a frame is written in front of it."""

    size: Annotated[Literal[1, 2, 4, 8, "varint"], BeforeValidator(_size)] = Field(
        4,
        description="How many bytes a length has: 1, 2, 4 or 8; or varint: seven bits in each byte, the lowest first, "
        "as Protocol Buffers have them.",
        examples=["varint"],
    )
    byte_order: Literal["big", "little"] = Field(
        "big", description="Which byte of a length comes first: the highest, or the lowest.", examples=["little"]
    )
    includes_itself: bool = Field(False, description="Whether a length counts its own bytes as well.", examples=[True])

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "byte_order" in self.model_fields_set and self.size in {1, "varint"}:
            raise ValueError(f"byte_order says nothing to size: {self.size}; leave it out")
        return self


class SseOptions(Options):
    """What of Server-Sent Events becomes records, and their keys."""

    events: Listed = Field(
        (),
        description="The events that become records, by their names; one without a name is `message`. Default: all.",
        examples=[["message", "update"]],
    )
    key: Annotated[Literal["id", "event"] | None, BeforeValidator(_plain)] = Field(
        None,
        description="What the key of a record is: the id of the last event that had one, or the name of its event. "
        "Default: none.",
        examples=["id"],
    )

    @field_validator("events")
    @classmethod
    def _check_events(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("it names no event; leave it out to have all of them")
        return value
