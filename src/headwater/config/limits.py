"""Owns the options of `limits:`: rate, requests at one time, quotas, breaker, budgets, and who shares them.

Whether a schedule fits into a budget is `budget`'s, keeping limits the engine's.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from headwater.config.fields import Duration, Options, plain_text, positive
from headwater.config.zone import Zone
from headwater.core.names import is_name, suggest_name
from headwater.core.units import format_duration, parse_duration

_RATE = re.compile(r"\s*(\d{1,9})\s*(?:/|per)\s*(.+)", re.IGNORECASE)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*")


class Rate(msgspec.Struct, frozen=True):
    """So many requests in so many seconds."""

    count: int
    period: float

    def __str__(self) -> str:
        return f"{self.count}/{format_duration(timedelta(seconds=self.period))}"


class Reserve(msgspec.Struct, frozen=True):
    """A number of requests, or a share of a limit."""

    count: int = 0
    share: float = 0.0

    def __str__(self) -> str:
        return f"{self.share * 100:g}%" if self.share else str(self.count)


def _rate(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, Rate) or value is None:
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{str(value)!r} is no rate; write 10/1s, 100/m or 5000/1h")
    period = match[2] if match[2][0].isdigit() else f"1{match[2]}"
    try:
        seconds = parse_duration(period).total_seconds()
    except ValueError as error:
        raise ValueError(f"{value!r} is no rate: {error}") from None
    if int(match[1]) < 1 or seconds < 0.001:
        raise ValueError(f"{value!r} lets nothing through; write 10/1s, 100/m or 5000/1h")
    return Rate(int(match[1]), seconds)


def _reserve(value: object) -> object:
    value = plain_text(value)
    if isinstance(value, Reserve):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000_000_000:
        return Reserve(value)
    if isinstance(value, str):
        if value.strip().isdecimal() and len(value.strip()) < 10:
            return Reserve(int(value))
        match = _PERCENT.fullmatch(value)
        if match is not None and float(match[1]) < 100:
            return Reserve(share=float(match[1]) / 100)
    raise ValueError(f"{str(value)!r} is neither a number of requests nor a share below 100%; write 5% or 100")


def _plain(value: object) -> object:
    return plain_text(value)


def _names(value: object) -> object:
    value = plain_text(value)
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("expected the name of a header, or a list of names")
    names = tuple(str(item).strip().lower() for item in items)
    for name in names:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header (RFC 9110)")
    return names


_Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}}),
]
_Count = Annotated[int | None, BeforeValidator(_plain)]


class QuotaHeaders(Options):
    """Headers that tell of a quota, where a server has names of its own."""

    limit: _Names = Field((), description="How many requests there are in all.", examples=["X-Calls-Allowed"])
    remaining: _Names = Field((), description="How many are left.", examples=["X-Calls-Left"])
    used: _Names = Field((), description="How many are used, where no header says how many are left.")
    reset: _Names = Field(
        (), description="When all are there again: seconds, a Unix time, a date, `1m30s`.", examples=["X-Calls-Reset"]
    )
    window: _Names = Field((), description="How long they are for, where nothing says when they are there again.")
    unit: Literal["auto", "s", "ms"] = Field(
        "auto", description="What a bare number of reset and window counts; auto tells Unix times by their size."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.limit or self.window) and not (self.remaining or self.used or self.reset):
            raise ValueError("name remaining, used or reset")
        if self.used and not self.limit and not self.remaining:
            raise ValueError("used says how many are left only beside limit")
        return self


class LimitsOptions(Options):
    """How often a server is asked at most, together with all connectors that share the limits."""

    share: Annotated[str, BeforeValidator(_plain)] = Field(
        "host",
        description="Who keeps these limits together: every connector with limits that asks the same host, or with the "
        "same credential; `connector` for this one alone; or a name of your own. Where they say different things the "
        "strictest counts.",
        examples=["credential"],
    )
    rate: Annotated[
        Rate | None, BeforeValidator(_rate), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
    ] = Field(None, description="So many requests in so much time, evenly spread.", examples=["10/1s"])
    burst: int = Field(
        1, ge=1, le=1_000_000, description="How many of them may come at once after a pause.", examples=[10]
    )
    concurrent: Annotated[_Count, Field(ge=1, le=100_000)] = Field(
        None, description="How many requests may be under way at one time.", examples=[4]
    )
    requests_per_hour: Annotated[_Count, Field(ge=1)] = Field(
        None, description="How many requests may be sent in an hour of the clock.", examples=[600]
    )
    requests_per_day: Annotated[_Count, Field(ge=1)] = Field(
        None, description="How many may be sent from midnight to midnight, restarts included.", examples=[5000]
    )
    requests_per_month: Annotated[_Count, Field(ge=1)] = Field(
        None, description="How many may be sent in a calendar month.", examples=[100_000]
    )
    timezone: Zone = Field("UTC", description="Whose hours, days and months these are.", examples=["Europe/Berlin"])
    quota: Literal["auto", "off"] = Field(
        "auto",
        description="auto: read what answers say of quotas (`X-RateLimit-*`, `RateLimit`, `Retry-After` and others), "
        "and wait when one is used up.",
        examples=["off"],
    )
    quota_reserve: Annotated[
        Reserve,
        BeforeValidator(_reserve),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": ["string", "integer"]}),
    ] = Field(
        default_factory=lambda: Reserve(share=0.05),
        description="How much of such a quota is left for others: a share or a number of requests.",
        examples=["10%"],
        json_schema_extra={"default": "5%"},
    )
    quota_longest: Duration = Field(
        timedelta(hours=1),
        description="The longest a server is believed that its quota is used up; then one request asks again.",
        examples=["1d"],
    )
    quota_headers: QuotaHeaders = Field(
        QuotaHeaders(),
        description="Further headers that tell of a quota: the options of the table below.",
        examples=[{"remaining": "X-Calls-Left", "reset": "X-Calls-Reset"}],
    )
    breaker_failures: int = Field(
        5,
        ge=0,
        le=1_000_000,
        description="After so many failures in a row (no answer, or 5xx) nothing is sent for a while; 0 never stops.",
        examples=[10],
    )
    breaker_pause: Duration = Field(
        timedelta(seconds=30),
        description="For how long at first; then one request tries, and the pause doubles when it fails.",
        examples=["1m"],
    )
    breaker_max: Duration = Field(timedelta(minutes=10), description="The longest such pause.", examples=["1h"])

    @field_validator("share")
    @classmethod
    def _check_share(cls, value: str) -> str:
        if not is_name(value):
            near = suggest_name(value)
            raise ValueError(
                f"{value!r} is no name; write host, credential, connector, or lower-case letters, digits and hyphens"
                + (f", such as {near!r}" if near else "")
            )
        return value

    @field_validator("quota_longest", "breaker_pause", "breaker_max")
    @classmethod
    def _check_positive(cls, value: timedelta) -> timedelta:
        return positive(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.burst > 1 and self.rate is None:
            raise ValueError("burst says how many of a rate may come at once; write rate as well")
        if self.quota == "off" and self.quota_headers != QuotaHeaders():
            raise ValueError("quota_headers name what quota: off does not read")
        if self.breaker_max < self.breaker_pause:
            raise ValueError("breaker_max is shorter than breaker_pause")
        return self

    @property
    def budgets(self) -> dict[str, int]:
        """The budgets that are given, by hour, day and month."""
        given = {"hour": self.requests_per_hour, "day": self.requests_per_day, "month": self.requests_per_month}
        return {kind: count for kind, count in given.items() if count is not None}
