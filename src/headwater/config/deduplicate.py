"""Owns the options of `deduplicate:`, which tell items that were seen before. Telling them is `sources.dedup`'s."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator

from headwater.config.fields import Duration, Options, plain_text
from headwater.core.pointer import Pointer, parse_pointer


def _by(value: object) -> str | Pointer:
    value = plain_text(value)
    if isinstance(value, Pointer) or value in {"key", "value"}:
        return value
    if not isinstance(value, str) or not (value.startswith(("/", "$", "[")) or "." in value):
        # A word alone is more likely a mistyped one of ours than a path of one step.
        more = f"; write /{value} for a member" if isinstance(value, str) else ""
        raise ValueError(f"expected key, value or a pointer such as /id{more}")
    return parse_pointer(value)


class DeduplicateOptions(Options):
    """Which items are not appended again, because they were seen before."""

    by: Annotated[
        str | Pointer,
        BeforeValidator(_by),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": "string", "examples": ["key", "value", "/id"]}),
    ] = Field(
        "key",
        description="What tells that an item was seen before: its key (its value, where it has none), its value, or "
        "what is at a pointer.",
        examples=["/id"],
    )
    count: int = Field(
        10_000,
        ge=1,
        le=100_000_000,
        description="How many items are remembered: those that were seen last. More than twice as many as one answer "
        "has is a good number.",
        examples=[100_000],
    )
    age: Duration | None = Field(
        None,
        description="An item that was in no answer for so long is new again, give or take an eighth. Default: never.",
        examples=["1d"],
    )

    @field_validator("age")
    @classmethod
    def _check_age(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError("it must be 1s at least")
        return value
