"""Owns the ledger entry: what became of one exchange. Storing and showing it is done elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec


class Decision(StrEnum):
    """What was decided about one scheduled poll, or became of a stream."""

    ACCEPTED = "accepted"  # its records are in the topic
    EMPTY = "empty"  # a good answer without content: no record
    UNCHANGED = "unchanged"  # 304: no record
    FAILED = "failed"  # every attempt failed, or none was worth repeating
    SKIPPED = "skipped"  # its time came while another was at work; the next entry tells of it
    CONNECTED = "connected"  # a stream is there: its records are in the topic group by group
    ENDED = "ended"  # a stream that was there was ended properly


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of the ledger: one scheduled poll with all its attempts.

    Times are ms since the Unix epoch, `duration` is microseconds from the first request to the decision. `status` is
    the HTTP status of the last attempt, None when there was no response. `bytes` counts the last body as received.
    `reason` is a sentence, free of secrets. `partition` and `offset` say where the first of `records` went; the log
    fills `offset` in. `skipped` counts the polls between the last one and this that were left out, `rejected` the
    records that a transform refused. `gap` is how long a stream was without a connection before this one, ms.
    """

    connector: str
    scheduled: int
    started: int
    duration: int
    decision: Decision
    reason: str
    status: int | None = None
    bytes: int = 0
    attempts: int = 0
    records: int = 0
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    skipped: int = 0
    rejected: int = 0
    gap: int = 0


# Encodes an entry as JSON; unknown fields of later versions are ignored when it is read. As it is: every poll has one,
# and a function of ours around it would cost a third of it.
encode_exchange: Callable[[Exchange], bytes] = msgspec.json.Encoder().encode


def with_place(encoded: bytes, partition: int, offset: int) -> bytes:
    """Return an encoded entry with the place of its records filled in, which nobody knew before."""
    return b'%b,"partition":%d,"offset":%d}' % (encoded[:-1], partition, offset)
