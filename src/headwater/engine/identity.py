"""Owns the keys by which a topic with deduplication knows the records of an exchange that was stored twice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from headwater.core.record import Record


def identified(records: Sequence[Record], connector: str, exchange: int, first: int = 0) -> Sequence[Record]:
    """Return records with a key each; one that has a key keeps it.

    `exchange` counts the connector's exchanges that left records, so that it is the same when a crash has one done
    again; `first` counts the records of this one that are before these. The value is in the key as well: an answer that
    is another one the second time is not lost.
    """
    return [
        record
        if record.key is not None
        else Record(record.value, _key(connector, exchange, place, record.value), record.timestamp)
        for place, record in enumerate(records, first)
    ]


def _key(connector: str, exchange: int, place: int, value: bytes) -> bytes:
    told = blake2b(f"{connector}\0{exchange}\0{place}\0".encode(), digest_size=16)
    told.update(value)
    return told.hexdigest().encode()
