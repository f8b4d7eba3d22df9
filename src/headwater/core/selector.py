"""Owns which elements of an XML document are meant: names and paths. Does not read XML."""

from __future__ import annotations

import re

import msgspec

_STEP = re.compile(r"/|((?:\{[^}]*\})?[^/{}]+)")


class Selector(msgspec.Struct, frozen=True):
    """Which elements are meant: names from the outside in, `rooted` when the first is the document's own element."""

    steps: tuple[str, ...]
    rooted: bool = False

    @property
    def namespaces(self) -> bool:
        """Whether a step names a namespace."""
        return any(step.startswith("{") for step in self.steps)

    def matches(self, path: list[str], spaces: list[str]) -> bool:
        """Return whether the innermost of open elements is one; `spaces` are their namespaces, where they matter."""
        if len(path) < len(self.steps) or (self.rooted and len(path) != len(self.steps)):
            return False
        return all(
            _is(step, path[-number], spaces[-number] if spaces else "")
            for number, step in enumerate(reversed(self.steps), start=1)
        )


def _is(step: str, name: str, space: str) -> bool:
    if step.startswith("{"):
        uri, _, local = step[1:].partition("}")
        return uri == space and name.rpartition(":")[2] == local
    return step in {"*", name} or (":" not in step and name.rpartition(":")[2] == step)


def parse_selector(text: str) -> Selector:
    """Read which elements are meant: `item`, `channel/item`, `/rss/channel/item`, `dc:date` or `{namespace}item`.

    A name without a prefix means the element whatever its prefix. Raises ValueError.
    """
    text = text.strip()
    steps, position = [], 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            break
        if step[1]:
            steps.append(step[1])
        position = step.end()
    if not steps or position < len(text) or re.search(r"[\s\[\]()@<>]|//", re.sub(r"\{[^}]*\}", "", text)):
        raise ValueError(f"{text!r} names no element; write item, channel/item or /rss/channel/item")
    return Selector(tuple(steps), text.startswith("/"))
