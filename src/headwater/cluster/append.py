"""Owns one request to append encoded batches, and the reading of its answer. Keeps no order among calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from headwater.cluster.connection import Connection
from headwater.cluster.failure import MOVED, AgainError, refused
from headwater.cluster.links import Links
from headwater.core.errors import BatchError, RecordTooLargeError
from headwater.core.topic import Receipt
from headwater.fluvio.batch import EncodedBatch
from headwater.fluvio.records import (
    COMMITTED,
    PRODUCE,
    UNCOMMITTED,
    Isolation,
    PartitionData,
    PartitionProduced,
    Produce,
    Produced,
    TopicData,
)

# An SPU takes 32 MiB in a request, with what stands around the batches (bytes).
MOST_APPEND_BYTES = 32 * 1024 * 1024 - 64 * 1024


def acks_of(isolation: Isolation) -> int:
    """Return what a producer waits for that wants what consumers of this isolation see."""
    return COMMITTED if isolation is Isolation.READ_COMMITTED else UNCOMMITTED


def produce(topic: str, entries: Sequence[tuple[int, bytes]], acks: int, wait: timedelta) -> Produce:
    """Return the request to append to partitions of a topic.

    The server gets half of the time that we wait, so that its own answer comes before we give up.
    """
    data = tuple([PartitionData(partition, batches) for partition, batches in entries])
    return Produce(None, acks, max(1, int(wait.total_seconds() * 500)), (TopicData(topic, data),))


def results(
    connection: Connection, reply: Produced, topic: str, entries: Sequence[tuple[int, bytes]]
) -> list[PartitionProduced]:
    """Return what became of each entry of a request. Raises ClusterProtocolError when the answer is to another."""
    found = [it for made in reply.topics if made.topic == topic for it in made.partitions]
    if [it.partition for it in found] != [partition for partition, _ in entries]:
        raise connection.distrust(f"{connection.endpoint} answered to something else than it was asked to append")
    return found


async def append(
    links: Links,
    topic: str,
    partition: int,
    batches: Sequence[EncodedBatch],
    *,
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
    patience: timedelta | None = None,
) -> Receipt:
    """Append encoded batches to a partition in one request, and return where they are.

    It is sent again while it is not known to have arrived, until `patience` (that of the target) ends: at least once.
    Calls of the same time may overtake one another. Raises TopicError or ClusterError.
    """
    if not batches:
        raise BatchError(f"there is nothing to append to topic {topic}")
    data = batches[0].data if len(batches) == 1 else b"".join([batch.data for batch in batches])
    if len(data) > MOST_APPEND_BYTES:
        raise RecordTooLargeError(
            f"{len(data)} bytes of batches do not fit into a request to topic {topic}: at most {MOST_APPEND_BYTES}",
            hint="append them in parts",
        )
    entries = [(partition, data)]
    request = produce(topic, entries, acks_of(isolation), links.target.request_timeout)

    async def ask() -> Receipt:
        spu = await links.leader(topic, partition)
        connection = await links.asking(spu.spec.id)
        outcome = results(connection, await links.ask(connection, PRODUCE, request, Produced), topic, entries)[0]
        if outcome.code:
            error = refused(outcome.code, f"cannot append to partition {partition} of topic {topic}")
            raise AgainError(error) if outcome.code.number in MOVED else error
        return Receipt(partition, outcome.base_offset, sum(batch.count for batch in batches))

    return await links.persist(ask, patience)
