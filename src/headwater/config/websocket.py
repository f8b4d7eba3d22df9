"""Owns the options of `websocket_config:`: what is said over a WebSocket, and how it is known to be alive.

Framing is `sources.websocket`'s, saying things in time the engine's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator

from headwater.config.fields import Body, Duration, Listed, Options, plain_text, positive
from headwater.config.match import Match
from headwater.config.parts import texts_of
from headwater.core.secret import Text

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# More than anybody writes by hand, and few enough to be sent, or looked through at every message.
MOST_MESSAGES = 1000
MOST_MATCHES = 100


def _message(value: Any) -> Any:
    if isinstance(value, Text) and not value.reveal():
        raise ValueError("the message is empty")
    return value


def _several(value: object) -> object:
    """Read one of something as a list of it."""
    return value if isinstance(value, list | tuple) else (value,)


def _plain(value: object) -> object:
    return plain_text(value)


# What is sent as one message: a text as it is, a map or a list as JSON.
Message = Annotated[Body, AfterValidator(_message)]
_ONE = {"type": ["string", "number", "boolean", "object", "array"]}
Messages = Annotated[
    tuple[Message, ...],
    BeforeValidator(_several),
    Field(max_length=MOST_MESSAGES),
    WithJsonSchema({"type": ["array", "string", "object"], "items": _ONE}),
]
Matches = Annotated[
    tuple[Match, ...],
    BeforeValidator(_several),
    Field(max_length=MOST_MATCHES),
    WithJsonSchema({"type": ["array", "string", "object"], "items": {"type": ["string", "object"]}}),
]


class KeepAliveOptions(Options):
    """A message that is sent from time to time, for servers that want to hear one."""

    message: Message = Field(
        description="What is sent: a text, or a map or list that is sent as JSON.", examples=['{"op":"ping"}']
    )
    interval: Duration = Field(
        timedelta(seconds=30), description="How long after the last one it is sent.", examples=["15s"]
    )

    @field_validator("interval")
    @classmethod
    def _check_interval(cls, value: timedelta) -> timedelta:
        return positive(value)


class AnswerOptions(Options):
    """A message that is sent whenever one comes that looks like this."""

    to: Match = Field(
        description="What a message looks like that is answered, in the language of `body` in rules: a regular "
        "expression that is found in it, or a map of pointers to values. It is no record.",
        examples=[{"/type": "ping"}],
    )
    with_: Message = Field(
        validation_alias="with",
        description="The message that answers it; `${{ item./pointer }}` is a value of the one that has come.",
        examples=['{"type":"pong"}'],
    )


class WebsocketOptions(Options):
    """What is said over a WebSocket, and how it is known to be alive. Messages may hold expressions."""

    subscription_messages: Messages = Field(
        (),
        description="Messages that are sent when a connection is begun, one after the other: texts, or maps and lists "
        "that are sent as JSON.",
        examples=[['{"op":"subscribe","channel":"trades"}']],
    )
    subscription_message: Message | None = Field(
        None,
        description="One that is sent before these; Fluvio keeps it for older configurations.",
        examples=['{"op":"subscribe"}'],
    )
    resume_message: Messages = Field(
        (),
        description="What is sent instead of the subscription messages once every cursor in it has a value: a message, "
        "or a list of them.",
        examples=['{"op":"subscribe","since":"${{ cursor.id }}"}'],
    )
    ping_interval_ms: Annotated[int, BeforeValidator(_plain)] = Field(
        10_000,
        ge=0,
        le=86_400_000,
        description="How often a ping is sent, in milliseconds; 0 sends none.",
        examples=[5000],
    )
    pong_timeout: Duration = Field(
        timedelta(seconds=10),
        description="A connection on which nothing has come for so long after a ping is dead.",
        examples=["3s"],
    )
    keep_alive: KeepAliveOptions | None = Field(
        None,
        description="A message of the application's own that keeps the connection alive: the options of the table "
        "below.",
        examples=[{"message": "ping", "interval": "15s"}],
    )
    answers: Annotated[tuple[AnswerOptions, ...], Field(max_length=MOST_MATCHES)] = Field(
        (),
        description="Messages that want an answer, such as an application's own pings: a list of the options of the "
        "table below; the first that matches counts.",
        examples=[[{"to": {"/type": "ping"}, "with": '{"type":"pong"}'}]],
    )
    ignore: Matches = Field(
        (),
        description="What messages look like that are no records, such as acknowledgements: regular expressions, or "
        "maps of pointers to values, as `body` in rules.",
        examples=[[{"/type": ["ack", "heartbeat"]}, "^pong$"]],
    )
    compression: bool = Field(
        True, description="Offer compressed messages (permessage-deflate, RFC 7692).", examples=[False]
    )
    subprotocols: Listed = Field(
        (), description="Subprotocols to offer, the best first.", examples=[["graphql-transport-ws"]]
    )

    @field_validator("pong_timeout")
    @classmethod
    def _check_positive(cls, value: timedelta) -> timedelta:
        if value < timedelta(milliseconds=1):
            raise ValueError("it must be 1ms at least; ping_interval_ms: 0 sends no pings")
        return value

    @field_validator("subprotocols")
    @classmethod
    def _check_subprotocols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a subprotocol (RFC 6455)")
        if len(set(value)) < len(value):
            raise ValueError("each subprotocol is offered once")
        return value

    @property
    def subscriptions(self) -> tuple[Any, ...]:
        """The messages that begin a connection, in their order."""
        first = () if self.subscription_message is None else (self.subscription_message,)
        return (*first, *self.subscription_messages)

    def texts(self) -> Iterator[tuple[tuple[str | int, ...], Text]]:
        """Yield every text of the messages with the way to it."""
        for name in ("subscription_messages", "subscription_message", "resume_message"):
            yield from texts_of(getattr(self, name), (name,))
        if self.keep_alive is not None:
            yield from texts_of(self.keep_alive.message, ("keep_alive", "message"))
        for number, answer in enumerate(self.answers):
            yield from texts_of(answer.with_, ("answers", number, "with"))
