"""Owns how a topic with deduplication drops repeats: before records get their offsets, by a window over its last ones.

What a window remembers is what is in the topic, so it is read from there after a restart or a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apsw

from headwater.core.record import Record
from headwater.core.topic import Deduplication
from headwater.core.window import MOST_REMEMBERED, Window
from headwater.fluvio.batch import EncodedBatch, decode_header, decode_records, encode_batch
from headwater.fluvio.compression import Compression
from headwater.log.schema import fetch

# The module whose work is done here; Fluvio's topics name it.
MODULE = "infinyon-labs/dedup-filter"
_ROWS = 64
_CODEC_BITS = 0x07


def is_known(deduplication: Deduplication) -> bool:
    """Return whether repeats are told by the module that is known here, in whatever version."""
    name = deduplication.uses.partition("@")[0]
    return name in {MODULE, MODULE.rpartition("/")[2]}


def window_of(connection: apsw.Connection, deduplication: Deduplication, place: tuple[int, int]) -> Window:
    """Return the window over the last records of a partition, which is a topic's id and a number."""
    age = 0 if deduplication.age is None else round(deduplication.age.total_seconds() * 1000)
    window = Window(deduplication.count, age)
    rows: list[bytes] = []
    count, newest = 0, 0
    for records, timestamp, data in _backwards(connection, place):
        newest = max(newest, timestamp)
        young = age > 0 and timestamp >= newest - age and count < MOST_REMEMBERED
        if count >= deduplication.count and not young:
            break
        rows.append(data)
        count += records
    for data in reversed(rows):
        for record in decode_records(data):
            window.new(record.key, record.value, record.timestamp)
    return window


def _backwards(connection: apsw.Connection, place: tuple[int, int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield the batches of a partition, the last one first: how many records, the newest time (ms), the bytes."""
    before = 2**63 - 1
    while found := fetch(
        connection,
        "SELECT base_offset, count, max_timestamp, data FROM located WHERE topic=? AND partition=? AND base_offset < ? "
        "ORDER BY base_offset DESC LIMIT ?",
        (*place, before, _ROWS),
    ):
        for _, count, timestamp, data in found:
            yield count, timestamp, data
        before = found[-1][0]


def check_readable(batches: Sequence[EncodedBatch]) -> None:
    """Raise BatchError for batches that `distinct` could not read."""
    for batch in batches:
        decode_records(batch.data)


def distinct(window: Window, batches: Sequence[EncodedBatch]) -> list[EncodedBatch]:
    """Return batches without the records that repeat what the window remembers; whole ones stay as they are.

    Raises BatchError for one that cannot be read, and remembers nothing of any then.
    """
    decoded = [decode_records(batch.data) for batch in batches]
    left = []
    for batch, records in zip(batches, decoded, strict=True):
        kept = [record for record in records if window.new(record.key, record.value, record.timestamp)]
        if len(kept) == len(records):
            left.append(batch)
        elif kept:
            codec = Compression(decode_header(batch.data).attributes & _CODEC_BITS)
            made = [Record(it.value, it.key, it.timestamp) for it in kept]
            left.append(encode_batch(made, kept[0].timestamp, codec))
    return left
