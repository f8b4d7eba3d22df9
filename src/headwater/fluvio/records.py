"""Owns the messages of Fluvio's SPU: produce, fetch, follow, and where consumers have got. Pure.

`batches` are encoded batches one behind the other, as `batch` writes them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from headwater.fluvio.errorcode import OK, ErrorCode, Replica
from headwater.fluvio.invocation import DerivedStream, Invocation, LegacyInvocation
from headwater.fluvio.wire import I16, I32, I64, U32, U64, Message, Since, Until

PRODUCE, FETCH = 0, 1
FETCH_OFFSETS, STREAM_FETCH, UPDATE_OFFSETS = 1002, 1003, 1005
UPDATE_CONSUMER_OFFSET, DELETE_CONSUMER_OFFSET, FETCH_CONSUMER_OFFSETS = 1006, 1007, 1008
# `acks` of a request to produce: what the reply waits for.
UNCOMMITTED, COMMITTED = 1, -1


class Isolation(IntEnum):
    """What a consumer may see: what the leader has, or what all copies have."""

    READ_UNCOMMITTED = 0
    READ_COMMITTED = 1


class PartitionData(Message, frozen=True):
    """Batches for a partition."""

    partition: U32
    batches: bytes


class TopicData(Message, frozen=True):
    """Batches for the partitions of a topic. A partition may come several times."""

    topic: str
    partitions: tuple[PartitionData, ...]


class Produce(Message, frozen=True):
    """A request to append. `acks` below 0 waits for all copies; `timeout` is milliseconds."""

    transaction: str | None
    acks: I16
    timeout: I32
    topics: tuple[TopicData, ...]
    modules: Annotated[tuple[Invocation, ...], Since(8)] = ()


class PartitionProduced(Message, frozen=True):
    """What became of one PartitionData: the offset of its first record. Times are ms since the Unix epoch, or -1."""

    partition: U32
    code: ErrorCode = OK
    base_offset: I64 = -1
    append_time: Annotated[I64, Since(2)] = -1
    log_start: Annotated[I64, Since(5)] = -1


class TopicProduced(Message, frozen=True):
    """What became of one TopicData, in the same order."""

    topic: str
    partitions: tuple[PartitionProduced, ...]


class Produced(Message, frozen=True):
    """The reply to Produce. `throttle` is milliseconds for which the client should wait."""

    topics: tuple[TopicProduced, ...]
    throttle: Annotated[I32, Since(1)] = 0


class OffsetsTopic(Message, frozen=True):
    """Partitions whose offsets are asked for."""

    topic: str
    partitions: tuple[U32, ...]


class FetchOffsets(Message, frozen=True):
    """A request for offsets. One version also named a consumer."""

    topics: tuple[OffsetsTopic, ...]
    consumer: Annotated[str | None, Since(23), Until(23)] = None


class PartitionOffsets(Message, frozen=True):
    """The offset of the first record, and the one behind the last that all copies have."""

    code: ErrorCode
    partition: U32
    start: I64
    end: I64


class TopicOffsets(Message, frozen=True):
    """The offsets of a topic's partitions."""

    topic: str
    partitions: tuple[PartitionOffsets, ...]


class Offsets(Message, frozen=True):
    """The reply to FetchOffsets."""

    topics: tuple[TopicOffsets, ...]


class StreamFetch(Message, frozen=True):
    """A request for the records of a partition from an offset on, for ever."""

    topic: str
    partition: U32
    offset: I64
    max_bytes: I32
    isolation: Isolation = Isolation.READ_UNCOMMITTED
    wasm: Annotated[bytes, Since(11), Until(18)] = b""
    legacy: Annotated[LegacyInvocation | None, Since(12), Until(18)] = None
    module: Annotated[Invocation | None, Since(16), Until(18)] = None
    derived: Annotated[DerivedStream | None, Since(16), Until(18)] = None
    modules: Annotated[tuple[Invocation, ...], Since(18)] = ()
    consumer: Annotated[str | None, Since(23)] = None


class Aborted(Message, frozen=True):
    """A transaction that was given up; Fluvio has none."""

    producer: I64
    first_offset: I64


class PartitionFetched(Message, frozen=True):
    """Records of a partition. `next_offset` is where the next fetch begins, 0 when the batches tell it."""

    partition: U32
    code: ErrorCode = OK
    high_watermark: I64 = -1
    next_offset: Annotated[I64, Since(11)] = 0
    log_start: I64 = -1
    aborted: tuple[Aborted, ...] | None = None
    batches: bytes = b""


class StreamFetched(Message, frozen=True):
    """One reply to StreamFetch. `stream` is what UpdateOffsets names it by."""

    topic: str
    stream: U32
    partition: PartitionFetched


class FetchPartition(Message, frozen=True):
    """A partition that is read once."""

    partition: U32
    epoch: Annotated[I32, Since(9)] = -1
    offset: I64 = 0
    log_start: Annotated[I64, Since(5)] = -1
    max_bytes: I32 = 0


class FetchTopic(Message, frozen=True):
    """Partitions of a topic that are read once."""

    topic: str
    partitions: tuple[FetchPartition, ...]


class Forgotten(Message, frozen=True):
    """Partitions that a fetch leaves out."""

    topic: str
    partitions: tuple[I32, ...]


class Fetch(Message, frozen=True):
    """A request for records that are there now. `max_wait` is milliseconds."""

    max_wait: I32
    min_bytes: I32
    max_bytes: Annotated[I32, Since(3)] = 0
    isolation: Annotated[Isolation, Since(4)] = Isolation.READ_UNCOMMITTED
    topics: tuple[FetchTopic, ...] = ()
    forgotten: Annotated[tuple[Forgotten, ...], Since(7)] = ()


class TopicFetched(Message, frozen=True):
    """Records of a topic's partitions."""

    topic: str
    partitions: tuple[PartitionFetched, ...]


class Fetched(Message, frozen=True):
    """The reply to Fetch."""

    throttle: I32
    code: ErrorCode
    session: I32
    topics: tuple[TopicFetched, ...]


class OffsetUpdate(Message, frozen=True):
    """How far a consumer has taken a stream in: where it wants to go on."""

    offset: I64
    stream: U32


class UpdateOffsets(Message, frozen=True):
    """A request that lets streams go on."""

    offsets: tuple[OffsetUpdate, ...]


class OffsetStatus(Message, frozen=True):
    """Whether a stream goes on."""

    stream: U32
    code: ErrorCode = OK


class OffsetsUpdated(Message, frozen=True):
    """The reply to UpdateOffsets."""

    statuses: tuple[OffsetStatus, ...]


class UpdateConsumerOffset(Message, frozen=True):
    """How far the consumer of a stream has got, to be kept under its name."""

    offset: I64
    stream: U32


class ConsumerOffsetUpdated(Message, frozen=True):
    """The reply to UpdateConsumerOffset."""

    offset: I64
    code: ErrorCode = OK


class DeleteConsumerOffset(Message, frozen=True):
    """A consumer whose offset is to be forgotten."""

    replica: Replica
    consumer: str


class ConsumerOffsetDeleted(Message, frozen=True):
    """The reply to DeleteConsumerOffset."""

    code: ErrorCode = OK


class ConsumerFilter(Message, frozen=True):
    """Which offsets are asked for."""

    replica: Replica | None = None
    consumer: str | None = None


class FetchConsumerOffsets(Message, frozen=True):
    """A request for the offsets that are kept for consumers."""

    filter: Annotated[ConsumerFilter | None, Since(24)] = None


class ConsumerOffset(Message, frozen=True):
    """How far a consumer has got. `modified` is seconds since the Unix epoch."""

    consumer: str
    replica: Replica
    offset: I64
    modified: U64


class ConsumerOffsets(Message, frozen=True):
    """The reply to FetchConsumerOffsets."""

    code: ErrorCode
    consumers: tuple[ConsumerOffset, ...]
