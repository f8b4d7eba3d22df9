"""Owns which batches of a partition have had their time, by age and by size, and their deletion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from headwater.core.topic import TopicSpec
from headwater.log.schema import delete_batches, fetch
from headwater.log.values import TopicInfo

if TYPE_CHECKING:
    from headwater.log.writer import Transaction

# One transaction looks at no more, so that appends never wait long (partitions; batches of each).
PARTITIONS_AT_ONCE = 200
_BATCHES_AT_ONCE = 1000
# The file is shrunk, by no more than so many pages at once, when this share of it is unused.
_UNUSED_SHARE = 0.25
_PAGES_AT_ONCE = 1000


class Kept(msgspec.Struct, frozen=True):
    """What retention needs to know of one batch. `max_timestamp` is ms since the Unix epoch, `size` bytes."""

    base_offset: int
    max_timestamp: int
    size: int


def expired(oldest: Iterable[Kept], spec: TopicSpec, *, now_ms: int, size: int) -> int:
    """Return how many of a partition's oldest batches are to be deleted. `size` is the bytes of the whole partition."""
    cutoff = None if spec.retention is None else now_ms - round(spec.retention.total_seconds() * 1000)
    count = 0
    for batch in oldest:
        aged = cutoff is not None and batch.max_timestamp < cutoff
        too_large = spec.max_partition_bytes is not None and size > spec.max_partition_bytes
        if not (aged or too_large):
            break
        size -= batch.size
        count += 1
    return count


def retain(transaction: Transaction, places: Sequence[tuple[TopicInfo, int]], now_ms: int) -> bool:
    """Delete what has had its time in some partitions. Return whether there may be more to delete in them."""
    more = False
    for info, partition in places:
        if transaction.state.topics.get(info.name) == info:
            more |= _retain_partition(transaction, info, partition, now_ms)
    return more


def shrink(transaction: Transaction) -> bool:
    """Give unused pages back to the disk when there are many. Return whether there may be more to give."""
    connection = transaction.connection
    unused, pages = connection.pragma("freelist_count"), connection.pragma("page_count")
    if unused < max(_PAGES_AT_ONCE, pages * _UNUSED_SHARE):
        return False
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    return True


def _retain_partition(transaction: Transaction, info: TopicInfo, partition: int, now_ms: int) -> bool:
    connection, spec = transaction.connection, info.spec
    place = (info.id, partition)
    size = 0
    if spec.max_partition_bytes is not None:
        rows = fetch(
            connection, "SELECT ifnull(sum(length(data)), 0) FROM located WHERE topic=? AND partition=?", place
        )
        size = rows[0][0]

    def oldest(limit: int) -> list[Kept]:
        rows = fetch(
            connection,
            "SELECT base_offset, max_timestamp, length(data) FROM located WHERE topic=? AND partition=? "
            "ORDER BY base_offset LIMIT ?",
            (*place, limit),
        )
        return [Kept(*row) for row in rows]

    # Most of the time nothing has had its time: one row tells.
    if not expired(oldest(1), spec, now_ms=now_ms, size=size):
        return False
    batches = oldest(_BATCHES_AT_ONCE)
    count = expired(batches, spec, now_ms=now_ms, size=size)
    following = transaction.state.next_offset(info.id, partition)
    last = batches[count - 1].base_offset
    delete_batches(connection, "topic=?1 AND partition=?2 AND base_offset <= ?3", (*place, last))
    left = fetch(
        connection, "SELECT base_offset FROM located WHERE topic=? AND partition=? ORDER BY base_offset LIMIT 1", place
    )
    start = left[0][0] if left else following
    connection.execute("INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?)", (*place, start, following))
    return count == _BATCHES_AT_ONCE
