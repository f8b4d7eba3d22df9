"""Owns what a connector remembers of items, as values: how much is known, what an append changes, what may be asked.

Keeping it is the log's work; what becomes of an item that is known is the sources'.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Protocol

import msgspec

# A longer key is none: keys stand in an index.
LONGEST_KEY = 1024
# Rows are packed by so many, or by so many bytes of what they hold.
_ROWS, _BYTES = 1024, 1024 * 1024

# An item as it is remembered: its number, its key, a mark and a print that are compared, and its value. A row without a
# key is a number that is free again.
Row = tuple[int, bytes, bytes | int, bytes, bytes | None]


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What is kept of an item; see Row."""

    key: bytes
    mark: bytes | int
    print: bytes
    data: bytes | None


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How much a connector remembers. It is part of the checkpoint, and belongs to the rows that the log has.

    `of` says what is remembered, for which purpose: what was remembered for another one is of no use. `salt` goes into
    every digest. `following` is the number of the next item, `known` how many there are. Of a round with several
    exchanges that is under way `round` is the scheduled time (ms; 0 when there is none), `part` how many of them are
    stored, and `unfit` whether one of them had items that could not be read. `missing` is how many items were missing
    in the last round and are not gone yet. `last` is the scheduled time of the last round.
    """

    of: str
    salt: bytes
    following: int = 0
    known: int = 0
    round: int = 0
    part: int = 0
    unfit: bool = False
    missing: int = 0
    last: int = 0


class MemoryChange(msgspec.Struct, frozen=True, gc=False):
    """What an append changes in what a connector remembers of items.

    In this order: with `anew` all is forgotten; so are the items with the numbers of `gone`; `rows` are put in, each in
    the place of what had its number; the `drop` lowest numbers are forgotten. `seen` has the numbers of the items that
    the `part`-th exchange of a round had; with `settled` those of a round that is over are forgotten. `missed` has the
    items that were missing in the last rounds, unless it is None and nothing changes in that.
    """

    connector: str
    anew: bool = False
    gone: bytes = b""
    rows: tuple[bytes, ...] = ()
    drop: int = 0
    part: int = 0
    seen: bytes = b""
    settled: bool = False
    missed: bytes | None = None

    @property
    def size(self) -> int:
        """Return about how many bytes it holds."""
        return len(self.gone) + len(self.seen) + len(self.missed or b"") + sum(map(len, self.rows))


class Recall(Protocol):
    """What is asked of a connector's memory, as of its last commit. It may be asked in any thread, and may block.

    Raises LogError.
    """

    def salt(self) -> bytes:
        """Return 16 bytes of chance, for a memory that begins."""
        ...

    def compare(self, sightings: Sequence[bytes]) -> list[int | None]:
        """Return for each mark (8 bytes) and key its number: N when both are known, -1-N when the mark is another one.

        None is a key that is not known.
        """
        ...

    def find(self, keys: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """Return for each key its number and its mark, which is a number as well; None when it is not known."""
        ...

    def rows(self, numbers: Sequence[int]) -> dict[int, Kept]:
        """Return what is kept of those items, by number."""
        ...

    def unseen(self, marks: bytes | bytearray, most: int) -> list[int]:
        """Return at most so many numbers of items at whose place in `marks` there is a zero byte."""
        ...

    def vacant(self, after: int, most: int) -> list[int]:
        """Return at most so many numbers above `after` that are free again, the lowest first."""
        ...

    def seen(self) -> list[bytes]:
        """Return what the exchanges of the round under way have seen, packed."""
        ...

    def missed(self) -> bytes:
        """Return what was missing in the last rounds, packed; nothing when nothing was."""
        ...

    def older(self, than: int) -> int:
        """Return how many of the lowest numbers have a mark below `than`, in a memory whose marks grow with them."""
        ...


class Nothing:
    """A memory without anything in it: what `headwater test` begins with, which remembers nothing."""

    def salt(self) -> bytes:
        """Return no chance, of which there is no need."""
        return bytes(16)

    def compare(self, sightings: Sequence[bytes]) -> list[int | None]:
        """Know none of them."""
        return [None] * len(sightings)

    def find(self, keys: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """Know none of them."""
        return [None] * len(keys)

    def rows(self, numbers: Sequence[int]) -> dict[int, Kept]:  # noqa: ARG002 - see Recall
        """Know none of them."""
        return {}

    def unseen(self, marks: bytes | bytearray, most: int) -> list[int]:  # noqa: ARG002 - see Recall
        """Miss none."""
        return []

    def vacant(self, after: int, most: int) -> list[int]:  # noqa: ARG002 - see Recall
        """Have none."""
        return []

    def seen(self) -> list[bytes]:
        """Have seen nothing."""
        return []

    def missed(self) -> bytes:
        """Miss none."""
        return b""

    def older(self, than: int) -> int:  # noqa: ARG002 - see Recall
        """Have none."""
        return 0


class RowPacker:
    """Packs rows by the thousand, so that a million of them are no million objects."""

    __slots__ = ("_packed", "_rows", "_size")

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._packed: list[bytes] = []
        self._size = 0

    def add(self, row: Row) -> None:
        """Take one in."""
        self._rows.append(row)
        self._size += len(row[1]) + len(row[4] or b"")
        if len(self._rows) >= _ROWS or self._size >= _BYTES:
            self._pack()

    def _pack(self) -> None:
        self._packed.append(_ENCODER.encode(self._rows))
        self._rows, self._size = [], 0

    def packed(self) -> tuple[bytes, ...]:
        """Return what was taken in."""
        if self._rows:
            self._pack()
        return tuple(self._packed)


_ENCODER = msgspec.msgpack.Encoder()
_ROWS_DECODER = msgspec.msgpack.Decoder(list[Row])
_COUNTS_DECODER = msgspec.msgpack.Decoder(dict[int, int])
_CHANGE_DECODER = msgspec.msgpack.Decoder(MemoryChange)


def unpack_rows(packed: bytes) -> list[Row]:
    """Return the rows that a RowPacker has packed. Raises msgspec.DecodeError."""
    return _ROWS_DECODER.decode(packed)


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Pack numbers, not negative and each once, for which their order does not matter."""
    ordered = sorted(numbers)
    steps = [high - low for low, high in pairwise((0, *ordered))]
    return zlib.compress(struct.pack(f"<{len(steps)}Q", *steps), 1) if steps else b""


def unpack_numbers(packed: bytes) -> list[int]:
    """Return the numbers that were packed, in their order."""
    if not packed:
        return []
    steps = zlib.decompress(packed)
    return list(accumulate(struct.unpack(f"<{len(steps) // 8}Q", steps)))


def pack_counts(counts: Mapping[int, int]) -> bytes:
    """Pack small counts by their numbers."""
    return zlib.compress(_ENCODER.encode(counts), 1) if counts else b""


def unpack_counts(packed: bytes) -> dict[int, int]:
    """Return the counts that were packed."""
    return _COUNTS_DECODER.decode(zlib.decompress(packed)) if packed else {}


def encode_change(change: MemoryChange) -> bytes:
    """Encode a change for another process."""
    return _ENCODER.encode(change)


def decode_change(data: bytes) -> MemoryChange:
    """Decode what `encode_change` wrote. Raises msgspec.DecodeError."""
    return _CHANGE_DECODER.decode(data)
