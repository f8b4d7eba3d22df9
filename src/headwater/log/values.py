"""Owns the values that go in and out of the log: topics, appends, receipts, offsets. Stores nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from headwater.core.exchange import Exchange
from headwater.fluvio.batch import EncodedBatch

# Fluvio's own default.
DEFAULT_RETENTION = timedelta(days=7)


class TopicSpec(msgspec.Struct, frozen=True):
    """What a topic is made with. `retention` None keeps records for ever; `max_partition_bytes` None sets no bound."""

    partitions: int = 1
    retention: timedelta | None = DEFAULT_RETENTION
    max_partition_bytes: int | None = None
    compression: str = "any"


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic as it is. `created` is ms since the Unix epoch."""

    name: str
    id: int
    created: int
    spec: TopicSpec


class Append(msgspec.Struct, frozen=True):
    """What commits in one step: batches to one partition, a connector's checkpoint, a ledger entry.

    `beside` are batches for other topics, which commit with the rest; each goes to one partition of its topic.
    `partition` None takes the partitions in turn. `checkpoint` is the connector's name and its encoded checkpoint. The
    log fills partition and offset into `exchange`. `linger` is for how many seconds it may wait for others to share its
    commit.
    """

    topic: str
    batches: Sequence[EncodedBatch]
    partition: int | None = None
    checkpoint: tuple[str, bytes] | None = None
    exchange: Exchange | None = None
    linger: float = 0.0
    beside: Sequence[tuple[str, Sequence[EncodedBatch]]] = ()


class Receipt(msgspec.Struct, frozen=True):
    """Where an append went: `count` records from `base_offset` on."""

    partition: int
    base_offset: int
    count: int


class StoredBatch(msgspec.Struct, frozen=True):
    """A batch of the log: `data` is as it goes over Fluvio's wire, with its base offset."""

    base_offset: int
    count: int
    data: bytes


class Offset(msgspec.Struct, frozen=True):
    """A place in a partition: from the beginning or from the end, or absolute."""

    kind: str
    distance: int

    @classmethod
    def beginning(cls, distance: int = 0) -> Offset:
        """Return the place `distance` records after the first."""
        return cls("beginning", distance)

    @classmethod
    def end(cls, distance: int = 0) -> Offset:
        """Return the place `distance` records before the end; 0 is where the next record will be."""
        return cls("end", distance)

    @classmethod
    def at(cls, offset: int) -> Offset:
        """Return the place of an absolute offset."""
        return cls("at", offset)

    def resolve(self, start: int, end: int) -> int:
        """Return the absolute offset in a partition that holds `start` up to `end`, never before its start."""
        if self.kind == "beginning":
            return min(start + self.distance, end)
        if self.kind == "end":
            return max(start, end - self.distance)
        return max(start, self.distance)
