"""Owns the window in which repeats are told: what was seen last, bounded by count and by age. Pure."""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import blake2b

# What is remembered is read anew or written whole now and then, so it cannot be as much as one likes.
MOST_REMEMBERED = 100_000
_ENTRY = struct.Struct(">16sq")


class Window:
    """Remembers the last records by their keys, or by their values where they have none.

    At least the last `count` are remembered, and longer those that are not yet `age` old (ms); at most MOST_REMEMBERED.
    """

    __slots__ = ("_age", "_count", "_seen")

    def __init__(self, count: int, age: int = 0, packed: bytes = b"") -> None:
        """Take over what `packed` has. Raises ValueError when that is no such thing."""
        if len(packed) % _ENTRY.size:
            raise ValueError(f"{len(packed)} bytes are no whole number of entries")
        self._count = count
        self._age = age
        # Digest -> time in ms since the Unix epoch, oldest first.
        self._seen: OrderedDict[bytes, int] = OrderedDict(_ENTRY.iter_unpack(packed))

    def packed(self) -> bytes:
        """Return what is remembered, 24 bytes each."""
        return b"".join(_ENTRY.pack(digest, time) for digest, time in self._seen.items())

    def new(self, key: bytes | None, value: bytes, now: int) -> bool:
        """Remember a record of the time `now` (ms); return whether it was not there yet."""
        told = value if key is None else key
        digest = blake2b(told, digest_size=16, person=b"value" if key is None else b"key").digest()
        seen = self._seen
        while seen and len(seen) > self._count:
            oldest = next(iter(seen))
            if now - seen[oldest] <= self._age and len(seen) <= MOST_REMEMBERED:
                break
            del seen[oldest]
        if digest in seen:
            return False
        seen[digest] = now
        if len(seen) > self._count and not self._age:
            seen.popitem(last=False)
        return True
