"""Owns the options of `cursor:`: what is remembered of the answers, for the requests of the rounds to come.

Gathering and comparing is `sources.cursors`'.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from headwater.config.fields import Options, OrText, SpotOption, plain_text
from headwater.core.instant import read_instant, read_unix
from headwater.core.units import format_duration, parse_duration

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


class LookBack(msgspec.Struct, frozen=True):
    """How much is taken off a cursor: `ns` of a time, or `number` of a number. One of both may be missing."""

    ns: int | None
    number: str | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.text


def _look_back(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    text = str(value)
    number = text if _NUMBER.fullmatch(text) and not text.startswith("-") else None
    duration = parse_duration(value)
    return LookBack(round(duration.total_seconds() * 1_000_000) * 1000, number, number or format_duration(duration))


def _initial(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected a text, a number or a time")
    if value == "":
        raise ValueError("it is empty; leave it out when there is nothing to begin with")
    return value


class CursorOptions(Options):
    """One value that is remembered, and stands in requests as `${{ cursor.NAME }}`."""

    from_: SpotOption = Field(
        validation_alias="from",
        description="Where the value is: a pointer into each item or into the body, or `header:NAME`.",
        examples=["/updated_at"],
    )
    take: Literal["max", "min", "last", "first"] | None = Field(
        None,
        description="Which of a round's values is kept: the largest, the smallest, the last, the first. "
        "Default: max of items, else last.",
        examples=["max"],
    )
    source: Literal["item", "body", "header"] | None = Field(
        None, description="What `from` points into: each item, or the whole answer. Default: item.", examples=["body"]
    )
    type: Literal["auto", "number", "time", "text"] = Field(
        "auto",
        description="How values are compared. auto: JSON's numbers and texts of digits as numbers, texts that are "
        "times as times, others as texts.",
        examples=["time"],
    )
    initial: Annotated[
        str | int | float | None, BeforeValidator(_initial), WithJsonSchema({"type": ["string", "number"]})
    ] = Field(None, description="The value before there is one.", examples=["2024-01-01T00:00:00Z"])
    look_back: Annotated[
        LookBack | None,
        BeforeValidator(_look_back),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": ["string", "number"]}),
    ] = Field(
        None,
        description="What is taken off when the value stands in a request, for what came late: a duration off a time, "
        "a number off a number.",
        examples=["5m"],
    )
    until: Annotated[
        str | int | float | None, BeforeValidator(_initial), WithJsonSchema({"type": ["string", "number"]})
    ] = Field(
        None,
        description="Items whose value is not below this are left out.",
        examples=["2025-01-01T00:00:00Z"],
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.from_.header and self.source in {"item", "body"}:
            raise ValueError(f"{self.from_} is a header, so source is header, not {self.source}")
        if self.source == "header" and not self.from_.header:
            raise ValueError(f"source is header, so write from: header:{str(self.from_).strip('/') or 'NAME'}")
        if self.look_back is not None:
            if self.type == "text":
                raise ValueError("look_back cannot be taken off a text; say type: time or type: number")
            if self.type == "number" and self.look_back.number is None:
                raise ValueError(f"look_back of a number is a number, not {self.look_back}; or say type: time")
        for name, value in (("initial", self.initial), ("until", self.until)):
            if value is not None:
                self._check_value(name, str(value))
        if self.until is not None and self.where != "item":
            raise ValueError("until leaves items out, and this is no cursor of items")
        return self

    def _check_value(self, name: str, text: str) -> None:
        if self.type == "time" and read_instant(text) is None and read_unix(text) is None:
            raise ValueError(f"the {name} {text!r} is no time; write 2024-01-01T00:00:00Z, or a Unix time")
        if self.type == "number" and not _NUMBER.fullmatch(text):
            raise ValueError(f"the {name} {text!r} is no number")

    @property
    def where(self) -> Literal["item", "body", "header"]:
        """What `from` points into."""
        return self.source or ("header" if self.from_.header else "item")

    @property
    def taken(self) -> Literal["max", "min", "last", "first"]:
        """Which of a round's values is kept."""
        return self.take or ("max" if self.where == "item" else "last")


def _one(value: object) -> object:
    """Read a text as the one option that must be there."""
    opened = plain_text(value)
    return {"from": opened} if isinstance(opened, str) else opened


def _cursors(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("expected a map of names to cursors, such as updated: {from: /updated_at}")
    for name in value:
        if not _NAME.fullmatch(str(name)):
            raise ValueError(f"{name!r} is no name of a cursor; use letters, digits and _")
    return value


Cursors = Annotated[
    dict[str, Annotated[CursorOptions, BeforeValidator(_one), OrText()]],
    BeforeValidator(_cursors),
]
