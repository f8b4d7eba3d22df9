"""Owns runs of batches: taking apart what a client has sent, and encoding records that have their places. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.core.errors import BatchError, RecordTooLargeError
from headwater.core.record import Record, StoredRecord
from headwater.fluvio.batch import (
    HEADER_BYTES,
    MOST_BATCH_BYTES,
    MOST_RECORDS,
    EncodedBatch,
    StoredBatch,
    check_batch,
    decode_header,
    encode_batch,
    stated_count,
    with_base_offset,
)


def split_batches(data: bytes, *, most: int) -> list[EncodedBatch]:
    """Return the batches that stand one behind the other, each as it is. Raises BatchError or RecordTooLargeError.

    Each must be whole, of at most `most` bytes, match its checksum, and hold as many records as its offsets say; what
    is compressed is not looked into. None holds more than MOST_RECORDS.
    """
    batches = []
    position = 0
    while position < len(data):
        header = decode_header(data[position : position + HEADER_BYTES])
        if header.count > MOST_RECORDS:
            raise BatchError(f"a batch of {header.count} records, where {MOST_RECORDS} are allowed")
        if header.length > most:
            raise RecordTooLargeError(f"a batch of {header.length} bytes is larger than {most}")
        batch = data[position : position + header.length]
        check_batch(batch)
        count = stated_count(batch, header)
        if count not in {None, header.count}:
            raise BatchError(f"a batch says it holds {count} records, and its offsets say {header.count}")
        batches.append(EncodedBatch(batch, header.count, header.first_timestamp, header.max_timestamp))
        position += header.length
    return batches


def encode_stored(records: Sequence[StoredRecord]) -> list[StoredBatch]:
    """Encode records at their offsets, which may have gaps but never fall."""
    batches: list[StoredBatch] = []
    start = size = 0
    for index, record in enumerate(records):
        # 32 bytes hold every fixed part and number of a record at its longest.
        needed = len(record.value) + (0 if record.key is None else len(record.key)) + 32
        if size and size + needed > MOST_BATCH_BYTES - HEADER_BYTES:
            batches.append(_encode(records[start:index]))
            start, size = index, 0
        size += needed
    if records:
        batches.append(_encode(records[start:]))
    return batches


def trimmed(batch: StoredBatch, records: Sequence[StoredRecord], position: int) -> StoredBatch:
    """Return a batch without its records before `position`. `records` are all that it holds."""
    left = [record for record in records if record.offset >= position]
    return _encode(left) if left else batch


def _encode(records: Sequence[StoredRecord]) -> StoredBatch:
    base = records[0].offset
    made = encode_batch(
        [Record(it.value, it.key, it.timestamp) for it in records],
        records[0].timestamp,
        deltas=[it.offset - base for it in records],
    )
    return StoredBatch(base, records[-1].offset + 1 - base, with_base_offset(made.data, base))
