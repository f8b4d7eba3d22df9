"""Owns the values that go in and out of the log alone: a topic as it is there, and an append. Stores nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headwater.core.exchange import Exchange
from headwater.core.memory import MemoryChange
from headwater.core.topic import TopicSpec
from headwater.fluvio.batch import EncodedBatch


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic as it is. `created` is ms since the Unix epoch."""

    name: str
    id: int
    created: int
    spec: TopicSpec


class ConsumerOffset(msgspec.Struct, frozen=True):
    """How far a consumer has got in a partition. `modified` is ms since the Unix epoch."""

    consumer: str
    topic: str
    partition: int
    offset: int
    modified: int


class Beside(msgspec.Struct, frozen=True):
    """Batches for one partition of a topic that commit with others; `partition` None takes the partitions in turn."""

    topic: str
    batches: Sequence[EncodedBatch]
    partition: int | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """What commits in one step: batches to one partition, a connector's checkpoint, its memory, a ledger entry.

    `beside` are batches for other partitions or topics, which commit with the rest. Without a `topic` nothing is
    appended: the records went somewhere else, and this is what is kept of it.
    `partition` None takes the partitions in turn. `checkpoint` is the connector's name and its encoded checkpoint. The
    log fills partition and offset into `exchange` where they are not known yet. `linger` is for how many seconds it may
    wait for others to share its commit.
    """

    topic: str | None
    batches: Sequence[EncodedBatch]
    partition: int | None = None
    checkpoint: tuple[str, bytes] | None = None
    exchange: Exchange | None = None
    linger: float = 0.0
    beside: Sequence[Beside] = ()
    memory: MemoryChange | None = None
