"""Owns what a consumer makes of an answer: which batches are new, where it goes on, what it asks for next. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headwater.core.errors import BatchError
from headwater.fluvio.batch import HEADER_BYTES, StoredBatch, decode_header
from headwater.fluvio.records import PartitionFetched


class Step(msgspec.Struct, frozen=True):
    """What an answer means.

    `batches` are those with something new. `next` is the offset behind all of it. `update` is what the server is told
    so that it goes on, None when it is told nothing. `needed` is how many bytes the first batch has when that is more
    than was asked for, else None.
    """

    batches: list[StoredBatch]
    next: int
    update: int | None
    needed: int | None = None


def step(fetched: PartitionFetched, position: int) -> Step:
    """Return what an answer means for a consumer that wants the records from `position` on. Raises BatchError.

    As stock clients do: the server is told where its filters have got when it says so, else the offset behind the last
    batch.
    """
    batches = list(whole_batches(fetched.batches))
    update = fetched.next_offset if fetched.next_offset > 0 else None
    if update is None and batches:
        update = batches[-1].base_offset + batches[-1].count
    needed = None
    if update is None and fetched.batches:
        needed = decode_header(fetched.batches).length if len(fetched.batches) >= HEADER_BYTES else HEADER_BYTES
    new = [batch for batch in batches if batch.base_offset + batch.count > position]
    return Step(new, max(position, update or 0), update, needed)


def whole_batches(data: bytes) -> Iterator[StoredBatch]:
    """Cut encoded batches that stand one behind the other. An SPU sends so many bytes, so the last may be cut off."""
    position, end = 0, len(data)
    while end - position >= HEADER_BYTES:
        header = decode_header(data[position : position + HEADER_BYTES])
        if header.length > end - position:
            return
        if header.base_offset < 0:
            raise BatchError(f"a stored batch has the base offset {header.base_offset}")
        part = data if header.length == end else data[position : position + header.length]
        yield StoredBatch(header.base_offset, header.count, part)
        position += header.length
