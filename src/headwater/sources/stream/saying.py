"""Owns what is said over a WebSocket: subscriptions, what goes on behind a checkpoint, answers to messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from headwater.config.match import Match
from headwater.config.websocket import WebsocketOptions
from headwater.core.empty import NO_NAMES
from headwater.core.expression import Number
from headwater.core.template import Template
from headwater.sources.requesting import body_of


class Sayings:
    """The messages of a connection; `secret`: one of them holds a secret. `spaces` are what their expressions see."""

    __slots__ = ("_answers", "_beat", "_needed", "_resuming", "_subscribing", "secret", "spaces")

    def __init__(self, options: WebsocketOptions) -> None:
        self._subscribing = _templates(options.subscriptions)
        self._resuming = _templates(options.resume_message)
        self._beat = () if options.keep_alive is None else _templates((options.keep_alive.message,))
        asked = (expression for template in self._resuming for expression in template.expressions)
        self._needed = frozenset(it.name for it in asked if it.space == "cursor") or NO_NAMES
        self._answers = [
            (answer.to, template) for answer in options.answers for template in _templates((answer.with_,))
        ]
        every = (*(template for _, template in self._answers), *self._subscribing, *self._resuming, *self._beat)
        self.secret = any(text.secret for _, text in options.texts())
        self.spaces = frozenset(it.space for template in every for it in template.expressions) or NO_NAMES

    def greeting(self, scope: Mapping[str, Any]) -> list[bytes]:
        """Return the messages, in their order. Raises RequestError for a value that is missing.

        Once every cursor in it has a value, what goes on is said instead of the subscriptions.
        """
        resumes = self._resuming and self._needed <= dict(scope.get("cursor", {})).keys()
        return _rendered(self._resuming if resumes else self._subscribing, scope)

    def replies(self, scope: Mapping[str, Any]) -> list[tuple[Match, Reply]]:
        """Return what messages are answered with, and what those look like."""
        return [(match, Reply(template, scope)) for match, template in self._answers]

    def beat(self, scope: Mapping[str, Any]) -> bytes:
        """Return the message that is sent from time to time, empty for none. Raises RequestError."""
        return b"".join(_rendered(self._beat, scope))


def _rendered(templates: Sequence[Template], scope: Mapping[str, Any]) -> list[bytes]:
    return [template.render(scope, "text").reveal().encode() for template in templates]


class Reply:
    """What a message is answered with: it is `item` in the expressions, the rest of what they see is `scope`."""

    __slots__ = ("_scope", "_template")

    def __init__(self, template: Template, scope: Mapping[str, Any]) -> None:
        self._template = template
        self._scope = scope

    def __call__(self, message: bytes) -> bytes:
        """Return the answer to a message. Raises RequestError for a value that is missing."""
        if self._template.static is not None:
            return self._template.static.reveal().encode()
        try:
            item: Any = _ITEM.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            item = None
        return self._template.render({**self._scope, "item": item}, "text").reveal().encode()


# Numbers keep their digits.
_ITEM = msgspec.json.Decoder(float_hook=Number)


def _templates(messages: Iterable[Any]) -> list[Template]:
    made = (body_of(message, "") for message in messages)
    return [template for template in made if template is not None]
