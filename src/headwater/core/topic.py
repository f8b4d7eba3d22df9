"""Owns what a topic is made with, and the places in it, wherever it is kept. Stores nothing."""

from __future__ import annotations

from datetime import timedelta

import msgspec

# Fluvio's own default.
DEFAULT_RETENTION = timedelta(days=7)


class Deduplication(msgspec.Struct, frozen=True):
    """How a topic drops repeats: the module that tells them, its parameters, and how many it remembers, how long."""

    uses: str
    count: int
    age: timedelta | None = None
    parameters: dict[str, str] = {}


class TopicSpec(msgspec.Struct, frozen=True):
    """What a topic is made with. `retention` None keeps records for ever; `max_partition_bytes` None sets no bound.

    `compression` is `any` or the one codec that it allows. `segment_bytes`, `replication` and `ignore_rack` mean
    something in a Fluvio cluster only. A topic of the `system` is not listed unless asked for.
    """

    partitions: int = 1
    retention: timedelta | None = DEFAULT_RETENTION
    max_partition_bytes: int | None = None
    compression: str = "any"
    segment_bytes: int | None = None
    replication: int = 1
    ignore_rack: bool = False
    deduplication: Deduplication | None = None
    system: bool = False


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where an append went: `count` records from `base_offset` on."""

    partition: int
    base_offset: int
    count: int


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
