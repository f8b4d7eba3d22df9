"""Owns the parts of a request that may have expressions, as the configuration has them. Rendering is `sources`'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headwater.core.secret import Text

Pairs = tuple[tuple[str, Text], ...]


class Parts(msgspec.Struct, frozen=True):
    """What of a request may have expressions. `body` is a text, or a map or list; `form` is there instead of it."""

    endpoint: Text
    params: Pairs = ()
    headers: Pairs = ()
    body: Any = None
    form: Pairs | None = None

    def texts(self) -> Iterator[tuple[tuple[str | int, ...], Text]]:
        """Yield every text with the way to it below the options."""
        yield ("endpoint",), self.endpoint
        for option, pairs in (("params", self.params), ("headers", self.headers), ("form", self.form or ())):
            for name, text in pairs:
                yield (option, name), text
        yield from texts_of(self.body, ("body",))


def texts_of(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Text]]:
    """Yield every text in a body with the way to it."""
    if isinstance(value, Text):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from texts_of(inner, (*path, name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from texts_of(inner, (*path, index))


def expression_text(name: str) -> Text:
    """Return a text that is one expression."""
    source = f"${{{{ {name} }}}}"
    return Text(source, None, (), ((0, len(source)),))


def tree_of(body: Any) -> Any:
    """Return a body as a map: one that is written as a text of JSON is read. Raises ValueError for any other."""
    if body is None:
        return {}
    if isinstance(body, Text):
        if body.spans or body.secret:
            raise ValueError("a body that is a text with expressions or secrets takes no parameters; write it as a map")
        try:
            body = msgspec.json.decode(body.reveal())
        except msgspec.DecodeError:
            raise ValueError("a body that is no JSON takes no parameters; write it as a map") from None
    if not isinstance(body, dict):
        raise ValueError("a body that is no map takes no parameters")
    return body
