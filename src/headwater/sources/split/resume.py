"""Owns going on in a body that was broken off: which of its items are stored already, and whether it is still the same.

Pure: what the position is stored with, and asking again, is others' business.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import cast

from msgspec import Raw

from headwater.core.checkpoint import BodyPosition
from headwater.sources.split.item import Formed, Item, all_plain


class AnotherBodyError(Exception):
    """The body that came is not the one that was broken off: it is to be taken from its beginning."""


class Resumption:
    """One pass over the items of a body, from its first on.

    `before` is the position that was stored with what was taken of it in an earlier pass; `request` returns what tells
    the request that it answers, and is asked only when that matters. A position of another request counts for nothing.
    `skipped` is how many items are stored already.
    """

    __slots__ = ("_bytes", "_count", "_expected", "_lengths", "_request", "_scheduled", "_skip", "skipped")

    def __init__(self, request: Callable[[], str], scheduled: int, before: BodyPosition | None) -> None:
        self._request = request
        # Of all bytes, and of where they part: two calls for many items.
        self._bytes, self._lengths = blake2b(digest_size=16), blake2b(digest_size=16)
        self._count = self._skip = self.skipped = 0
        self._expected = ""
        self._scheduled = scheduled
        if before is not None and before.request == request():
            self._skip = self.skipped = before.items
            self._expected = before.digest
            self._scheduled = before.scheduled

    @property
    def resuming(self) -> bool:
        """Whether something of the body is stored already, or a step of it was."""
        return self.skipped > 0 or self._count > 0

    @property
    def count(self) -> int:
        """How many items have come."""
        return self._count

    def take(self, items: Sequence[Item]) -> int:
        """Take the next items; return how many of them, from the first, are stored already. Raises AnotherBodyError."""
        known = min(self._skip, len(items))
        if known:
            self._add(items[:known])
            self._skip -= known
            if not self._skip and self._digest() != self._expected:
                raise AnotherBodyError
            items = items[known:]
        self._add(items)
        return known

    def _add(self, items: Sequence[Item]) -> None:
        if items:
            self._count += len(items)
            told = cast("Sequence[bytes]", items if all_plain(items) else [*map(_told, items)])
            self._bytes.update(b"".join(told))
            self._lengths.update(array("Q", map(len, told)))

    def _digest(self) -> str:
        return blake2b(self._bytes.digest() + self._lengths.digest(), digest_size=16).hexdigest()

    def position(self) -> BodyPosition:
        """Return what is to be stored with what was taken so far."""
        return BodyPosition(self._count, self._digest(), self._request(), self._scheduled)

    def finish(self) -> None:
        """End the pass. Raises AnotherBodyError when the body was shorter than what is stored of it."""
        if self._skip:
            raise AnotherBodyError


def _told(item: Item) -> bytes | Raw:
    """Return what tells an item from another."""
    if isinstance(item, bytes | Raw):
        return item
    if isinstance(item, Formed):
        return item.value
    return b"%b %b" % (item.digest.encode(), item.data)
