"""Feeds framers in chunks, for tests of all of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol

from hypothesis import strategies as st

from headwater.sources.split.item import Bad

SIZES = st.lists(st.integers(1, 30), max_size=5)


class Fed(Protocol):
    """What all framers have, whatever their frames are."""

    def feed(self, chunk: bytes) -> Sequence[Any]:
        """Take bytes."""
        ...

    def finish(self) -> Sequence[Any]:
        """Take the end."""
        ...


def chunks(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut a body in chunks of these sizes, again and again; without any, whole."""
    cut: list[bytes] = []
    start = 0
    while start < len(body):
        size = sizes[len(cut) % len(sizes)] if sizes else len(body)
        cut.append(body[start : start + size])
        start += size
    return cut


def framed(framer: Fed, body: bytes, sizes: Sequence[int] = ()) -> list[Any]:
    """Return all frames of a stream that comes in chunks."""
    items: list[Any] = []
    for chunk in chunks(body, sizes):
        items += framer.feed(chunk)
    return [*items, *framer.finish()]


def good(items: Sequence[Any]) -> list[Any]:
    """Return the frames that are no bad ones."""
    return [item for item in items if not isinstance(item, Bad)]


def large(data: bytes) -> tuple[str, bytes, int, str]:
    """Return what is told of a frame that is too large."""
    return "too-large", data[:1024], len(data), sha256(data).hexdigest()


def told(item: object) -> tuple[str, bytes, int | None, str]:
    """Return what a bad frame tells, but for its sentence."""
    assert isinstance(item, Bad)
    return item.slug, item.data, item.size, item.digest


def work(make: Callable[[], Fed], body: bytes) -> int:
    """Return how many bytes are allocated by a framer that gets a body byte by byte, those that are free again too."""
    framer = make()
    parts = chunks(body, [1])
    allocated = 0
    tracemalloc.start()
    try:
        for part in parts:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            framer.feed(part)
            _, peak = tracemalloc.get_traced_memory()
            allocated += peak - before
    finally:
        tracemalloc.stop()
    return allocated


def held(framer: Fed, parts: Sequence[bytes]) -> int:
    """Return the most memory that a framer holds between two chunks, when its frames are forgotten."""
    most = 0
    tracemalloc.start()
    try:
        for part in parts:
            framer.feed(part)
            most = max(most, tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return most
