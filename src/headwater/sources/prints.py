"""Owns the digests by which an item is compared: one of its bytes, one of what counts of it. Pure.

The mark is looked up first, and settles nearly all items: it is that of the bytes, which costs least, and that of what
counts where something is ignored, for then the bytes are never the same. The print is the other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Raw

from headwater.core.memory import Kept
from headwater.core.pointer import Pointer
from headwater.sources.canonical import Canon


class Prints:
    """Makes the marks and the prints of one connector's items. `ignored` are pointers to what does not count.

    Digests are 8 bytes under a salt of chance: nobody can make two items that look the same.
    """

    __slots__ = ("_canon", "_digest", "_ignores")

    def __init__(self, salt: bytes, ignored: Sequence[Pointer]) -> None:
        self._digest = blake2b(digest_size=8, salt=salt)
        self._canon = Canon(ignored)
        self._ignores = bool(ignored)

    def mark(self, document: bytes | Raw) -> bytes:
        """Return the mark of an item. Raises one of canonical.BROKEN."""
        digest = self._digest.copy()
        digest.update(self._canon(document) if self._ignores else document)
        return digest.digest()

    def print(self, document: bytes | Raw) -> bytes:
        """Return the print of an item. Raises one of canonical.BROKEN."""
        digest = self._digest.copy()
        digest.update(document if self._ignores else self._canon(document))
        return digest.digest()

    def same(self, mark: bytes, print_: bytes, kept: Kept, before: bytes | None, document: bytes | Raw) -> bool:
        """Return whether nothing that counts differs in an item that was kept with another mark."""
        if not {mark, print_}.isdisjoint({kept.mark, kept.print}):
            return True
        # What is ignored may be something else than when it was remembered.
        return before is not None and self._canon(before) == self._canon(document)

    def outdated(self, mark: bytes, print_: bytes, kept: Kept) -> bool:
        """Return whether what is kept of an item that has not changed does not tell so any more."""
        return (mark if self._ignores else print_) not in {kept.mark, kept.print}
