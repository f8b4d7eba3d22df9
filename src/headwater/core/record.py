"""Owns the record, before and after it has a place in a topic. Knows nothing of how it is encoded or stored."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record that is to be appended.

    `value` and `key` are bytes; a `key` of None is Fluvio's null key. `timestamp` is milliseconds since the Unix epoch;
    None means the time of the append.
    """

    value: bytes
    key: bytes | None = None
    timestamp: int | None = None


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a topic: what was appended, and its place. `timestamp` is milliseconds since the Unix epoch."""

    value: bytes
    key: bytes | None
    timestamp: int
    partition: int
    offset: int


def newest(records: Iterable[StoredRecord], most: int) -> list[StoredRecord]:
    """Return at most so many of the newest records of several partitions, by time, oldest first."""
    return sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))[-most:]
