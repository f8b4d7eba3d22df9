"""Owns what a cluster keeps of its consumers: how far each has got. Streams keep it there; see `BatchStream.commit`."""

from __future__ import annotations

from headwater.cluster.connection import Connection
from headwater.cluster.failure import MOVED, AgainError, refused
from headwater.cluster.links import Links
from headwater.fluvio.errorcode import ErrorCode, Replica
from headwater.fluvio.records import (
    DELETE_CONSUMER_OFFSET,
    FETCH_CONSUMER_OFFSETS,
    ConsumerFilter,
    ConsumerOffset,
    ConsumerOffsetDeleted,
    ConsumerOffsets,
    DeleteConsumerOffset,
    FetchConsumerOffsets,
)

# The topic of the system in whose one partition a cluster keeps them; who leads it is asked.
KEPT_IN = "consumer-offset"


async def consumer_offsets(
    links: Links, consumer: str | None = None, topic: str | None = None, partition: int = 0
) -> list[ConsumerOffset]:
    """Return what is kept, of one consumer or of all, of one partition of a topic or of all. Raises HeadwaterError."""
    replica = None if topic is None else Replica(topic, partition)

    async def ask() -> ConsumerOffsets:
        connection = await _keeper(links)
        request = FetchConsumerOffsets(ConsumerFilter(replica, consumer))
        reply = await links.ask(connection, FETCH_CONSUMER_OFFSETS, request, ConsumerOffsets)
        _check(reply.code, "cannot get the offsets of consumers")
        return reply

    # Old clusters know no filter, and answer with all.
    return [
        it
        for it in (await links.persist(ask)).consumers
        if consumer in {None, it.consumer} and replica in {None, it.replica}
    ]


async def delete_consumer_offset(links: Links, consumer: str, topic: str, partition: int) -> None:
    """Have a cluster forget how far a consumer has got in a partition. Raises HeadwaterError."""

    async def ask() -> None:
        connection = await _keeper(links)
        request = DeleteConsumerOffset(Replica(topic, partition), consumer)
        reply = await links.ask(connection, DELETE_CONSUMER_OFFSET, request, ConsumerOffsetDeleted)
        _check(reply.code, f"cannot delete the offset of consumer {consumer} in partition {partition} of topic {topic}")

    await links.persist(ask)


async def _keeper(links: Links) -> Connection:
    spu = await links.leader(KEPT_IN, 0)
    return await links.asking(spu.spec.id)


def _check(code: ErrorCode, tried: str) -> None:
    if code:
        error = refused(code, tried)
        raise AgainError(error) if code.number in MOVED else error
