"""Owns the options of `window:`: spans of time that are asked for one after the other, without gaps.

Which span is next is `sources.window`'s to say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

import msgspec
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from headwater.config.fields import Duration, Options, plain_text
from headwater.core.instant import read_instant, read_unix
from headwater.core.units import format_duration, parse_duration


class Beginning(msgspec.Struct, frozen=True):
    """Where the first window begins: at `ms` since the Unix epoch, or `ago` ms before the first scheduled time."""

    text: str
    ms: int | None = None
    ago: int | None = None

    def __str__(self) -> str:
        return self.text


def _beginning(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    text = str(value).strip()
    instant = read_instant(text)
    if instant is None and text.lstrip("-").replace(".", "").isdigit():
        instant = read_unix(text)
    if instant is not None:
        if instant.ns < 0:
            raise ValueError(f"{text!r} is before 1970")
        return Beginning(text, ms=instant.ns // 1_000_000)
    try:
        ago = parse_duration(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time nor a duration; write 2024-01-01T00:00:00Z, or 30d for 30 days ago"
        ) from None
    return Beginning(format_duration(ago), ago=ago // timedelta(milliseconds=1))


def _end(value: object) -> object:
    found = _beginning(value)
    if isinstance(found, Beginning) and found.ms is None:
        raise ValueError(f"{found.text!r} is no time; write 2025-01-01T00:00:00Z")
    return found


class WindowOptions(Options):
    """The span of time that a request asks for: `${{ window.start }}` up to, but not including, `${{ window.end }}`."""

    size: Duration | None = Field(
        None, description="The longest span. Default: all there is since the last.", examples=["1h"]
    )
    lag: Duration = Field(
        timedelta(0),
        description="How long before the scheduled time the last window ends, for what appears late.",
        examples=["1m"],
    )
    look_back: Duration = Field(
        timedelta(0), description="How much earlier each window begins than the one before ended.", examples=["5m"]
    )
    initial: Annotated[
        Beginning | None,
        BeforeValidator(_beginning),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": ["string", "number"]}),
    ] = Field(
        None,
        description="Where the first window begins: a time, or how long ago. Default: one `size` ago.",
        examples=["2024-01-01T00:00:00Z"],
    )
    until: Annotated[
        Beginning | None,
        BeforeValidator(_end),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": ["string", "number"]}),
    ] = Field(
        None,
        description="Where the last window ends: nothing is asked for after that.",
        examples=["2025-01-01T00:00:00Z"],
    )
    whole: bool = Field(
        False,
        description="Wait until a window is as long as `size`, such as for reports of whole days.",
        examples=[True],
    )
    max_windows: int = Field(
        100, ge=1, le=10_000, description="How many windows one round asks for when it is behind.", examples=[1000]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and self.size < timedelta(seconds=1):
            raise ValueError("size must be 1s at least")
        if self.size is None and self.initial is None:
            raise ValueError("it needs a size, or an initial time for the first window to begin at")
        if self.whole and self.size is None:
            raise ValueError("whole windows need a size")
        first = None if self.initial is None else self.initial.ms
        if self.until is not None and first is not None and first >= (self.until.ms or 0):
            raise ValueError("until must be after the initial time")
        return self
