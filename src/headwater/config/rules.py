"""Owns the options of `rules:`: what an answer means that looks like this. The first rule that matches counts.

Whether one matches, and what comes of it, is `sources.rules`' and the judge's.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from headwater.config.fields import Duration, Options, Size, plain_text
from headwater.config.match import Match, opened
from headwater.config.status import MediaTypes, Statuses, media_types
from headwater.core.pattern import Pattern
from headwater.core.pointer import Pointer, parse_pointer

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LONGEST_REASON = 500
# More than anybody writes by hand, and few enough to be looked through at every answer.
MOST_RULES = 100

# The kinds of failures before there was an answer, by the slugs of `core.errors`.
Failure = Literal[
    "dns",
    "connect",
    "connect-timeout",
    "tls",
    "reset",
    "truncated",
    "protocol",
    "timeout",
    "body-too-large",
    "redirect",
    "request",
]


def _headers(value: object) -> tuple[tuple[str, Pattern | bool], ...]:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, dict):
        raise ValueError("expected a map of a header's name to a regular expression, true or false")
    pairs: list[tuple[str, Pattern | bool]] = []
    for name, given in value.items():
        if not _TOKEN.fullmatch(str(name)):
            raise ValueError(f"{name!r} is no name of a header (RFC 9110)")
        wanted = plain_text(given)
        if isinstance(wanted, bool):
            pairs.append((str(name).lower(), wanted))
        elif isinstance(wanted, str | int | float):
            pairs.append((str(name).lower(), Pattern(str(wanted))))
        else:
            raise ValueError(f"{name}: expected a regular expression, true (it is there) or false (it is not)")
    return tuple(pairs)


def _types(value: object) -> tuple[str, ...]:
    types = media_types(opened(value))
    for item in types:
        if item.count("*") > 1:
            raise ValueError(f"{item!r} has more than one *; write text/* or application/*+json")
    return types


def _words(value: object) -> object:
    value = opened(value)
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def _pointer(value: object) -> object:
    value = plain_text(value)
    return parse_pointer(value) if isinstance(value, str) else value


def _wait(value: object) -> object:
    """Read a bare duration as the option that it stands for."""
    return value if isinstance(value, dict | Options) or value is None else {"after": value}


def _or_duration(schema: dict[str, Any]) -> None:
    """Let the schema allow what stands for the option `after`."""
    schema["anyOf"].append({"type": ["string", "number"]})


class WaitOptions(Options):
    """How long to wait: a duration, or where the answer says it."""

    after: Duration | None = Field(
        None, description="So long. A bare value stands for it: `wait: 10s`.", examples=["10s"]
    )
    header: str | None = Field(
        None, description="As this header says: seconds, a Unix time, a date, `1m30s`.", examples=["X-Retry-In"]
    )
    body: Annotated[Pointer | None, BeforeValidator(_pointer), WithJsonSchema({"type": "string"})] = Field(
        None, description="As the value at this pointer says, in the same forms.", examples=["/error/retry_after"]
    )
    unit: Literal["auto", "s", "ms"] = Field(
        "auto", description="What a bare number counts; auto tells Unix times by their size.", examples=["ms"]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(it is not None for it in (self.after, self.header, self.body)) != 1:
            raise ValueError("name one of after, header and body")
        if self.header is not None and not _TOKEN.fullmatch(self.header):
            raise ValueError(f"{self.header!r} is no name of a header (RFC 9110)")
        return self


class RuleOptions(Options):
    """What an answer means that looks like this. All that a rule names must be so; the first rule that matches counts.

    Rules come before what is judged without them.
    """

    status: Statuses = Field((), description="Statuses: numbers, ranges, `4xx`.", examples=[[404, "5xx"]])
    header: Annotated[
        tuple[tuple[str, Pattern | bool], ...],
        BeforeValidator(_headers),
        WithJsonSchema(
            {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        ),
    ] = Field(
        (),
        description="Headers: a regular expression that is found in the value, true (it is there), false (it is not).",
        examples=[{"X-Cache": "^stale"}],
    )
    content_type: Annotated[
        MediaTypes, BeforeValidator(_types), WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}})
    ] = Field((), description="Media types, of which `*` may stand for a part.", examples=["text/*"])
    body: Match | None = Field(
        None,
        description="Pointers into the JSON, each to a value, a list of values, `{matches: REGEX}` or "
        "`{present: true}` (there, and neither null nor empty); or a regular expression that is found in the text.",
        examples=[{"/error/code": "rate_limited"}],
    )
    failure: Annotated[
        tuple[Failure, ...],
        BeforeValidator(_words),
        WithJsonSchema({"type": ["array", "string"], "items": {"type": "string"}}),
    ] = Field(
        (),
        description="Kinds of failures before there was an answer: dns, connect, connect-timeout, tls, reset, "
        "truncated, protocol, timeout, body-too-large, redirect, request.",
        examples=[["timeout", "reset"]],
    )
    within: Size = Field(
        64 * 1024,
        ge=1,
        le=16 * 1024 * 1024,
        description="How much of a body is looked at: a text is looked for in its beginning, and JSON that is larger "
        "matches no pointer.",
        examples=["1 MiB"],
    )
    do: Literal["retry", "ignore", "fail", "record", "reauthenticate"] = Field(
        description="retry: again inside the interval, a POST as well. ignore: no record, and no failure. fail: a "
        "failed poll. record: a record, whatever the status. reauthenticate: renew the credentials and try once more.",
        examples=["retry"],
    )
    wait: Annotated[
        WaitOptions | None,
        BeforeValidator(_wait),
    ] = Field(
        None,
        description="Of retry: how long to wait for the next attempt; default: growing pauses. Of fail: how long the "
        "server is left alone. What an answer says is obeyed up to `retry.retry_after_max`.",
        json_schema_extra=_or_duration,
        examples=["10s"],
    )
    reason: str = Field(
        "", max_length=_LONGEST_REASON, description="Words for the ledger.", examples=["nothing there yet"]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        answers = bool(self.status or self.header or self.content_type or self.body)
        if not answers and not self.failure:
            raise ValueError("it matches everything; name one of status, header, content_type, body and failure")
        if answers and self.failure:
            raise ValueError("failure is about what has no answer, so it stands alone")
        if self.failure and self.do in {"record", "reauthenticate"}:
            raise ValueError(f"a failure has no answer that could be for {self.do}; write retry, ignore or fail")
        if self.wait is not None and self.do not in {"retry", "fail"}:
            raise ValueError("wait is for retry and fail")
        if self.wait is not None and self.failure and self.wait.after is None:
            raise ValueError("a failure has no answer that could say how long to wait; write a duration")
        return self


RuleList = Annotated[tuple[RuleOptions, ...], Field(max_length=MOST_RULES)]
