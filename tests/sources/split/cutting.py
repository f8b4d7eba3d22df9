"""Feeds splitters in chunks, for tests of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.sources.split.item import Bad, BrokenBodyError, Formed, Item, Splitter

Cut = bytes | Formed | Bad


def cut(splitter: Splitter, body: bytes, sizes: Sequence[int] = ()) -> list[Cut]:
    """Split a body in chunks of these sizes, again and again; without any, whole."""
    items: list[Item] = []
    start = number = 0
    while start < len(body):
        size = sizes[number % len(sizes)] if sizes else len(body)
        items += splitter.feed(body[start : start + size])
        start += size
        number += 1
    items += splitter.finish()
    return [item if isinstance(item, Bad | Formed) else bytes(item) for item in items]


def outcome(make: Callable[[], Splitter], body: bytes, sizes: Sequence[int] = ()) -> object:
    """Return what comes of a body, as far as chunks may not change it: items and what is around them, or `broken`."""
    splitter = make()
    try:
        return cut(splitter, body, sizes), splitter.rest
    except BrokenBodyError:
        return "broken"
