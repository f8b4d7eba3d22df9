"""Owns how the log's topics look as Fluvio's objects, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headwater.core.errors import TopicError
from headwater.core.topic import TopicSpec
from headwater.core.window import MOST_REMEMBERED
from headwater.fluvio import objects
from headwater.fluvio.topicspec import core_spec, wire_spec
from headwater.log import TopicInfo

# Fluvio numbers the first SPU of a cluster so.
SPU_ID = 5001
SPU_NAME = "spu-5001"
# Where Fluvio's clients look for the offsets of consumers: they ask who leads it, and never read it here.
CONSUMER_TOPIC = "consumer-offset"
MOST_PARTITIONS = 10_000


def topic_spec(spec: objects.TopicSpec) -> TopicSpec:
    """Return the topic that a client wants. Raises TopicError when there can be none such here."""
    if isinstance(spec.replicas, objects.Mirrored):
        raise TopicError("mirrored topics are not available here")
    if not 1 <= spec.partitions <= MOST_PARTITIONS:
        raise TopicError(f"a topic has 1 to {MOST_PARTITIONS} partitions, not {spec.partitions}")
    if isinstance(spec.replicas, objects.Computed) and spec.replicas.replication != 1:
        raise TopicError(f"replication factor {spec.replicas.replication} needs as many SPUs, and there is one")
    if isinstance(spec.replicas, objects.Assigned):
        for number, placed in enumerate(sorted(spec.replicas.maps, key=lambda it: it.id)):
            if placed.id != number or placed.replicas != (SPU_ID,):
                raise TopicError(f"partitions must be 0, 1, 2 and so on, each on SPU {SPU_ID}, which is all there is")
    made = core_spec(spec)
    drops = made.deduplication
    if drops is not None and not 1 <= drops.count <= MOST_REMEMBERED:
        raise TopicError(f"deduplication remembers 1 to {MOST_REMEMBERED} records, not {drops.count}")
    return made


def topic(info: TopicInfo) -> objects.Topic:
    """Return a topic as clients see it."""
    status = objects.TopicStatus(
        objects.TopicResolution.PROVISIONED, dict.fromkeys(range(info.spec.partitions), (SPU_ID,))
    )
    return objects.Topic(info.name, wire_spec(info.spec), status)


def partition(info: TopicInfo, number: int, start: int, end: int, size: int) -> objects.Partition:
    """Return a partition as clients see it: it holds offsets from `start` up to `end`, in `size` bytes."""
    spec = wire_spec(info.spec)
    replica = objects.ReplicaStatus(SPU_ID, end, end)
    return objects.Partition(
        f"{info.name}-{number}",
        objects.PartitionSpec(
            leader=SPU_ID,
            replicas=(SPU_ID,),
            cleanup=spec.cleanup,
            storage=spec.storage,
            compression=spec.compression,
            deduplication=spec.deduplication,
            system=spec.system,
        ),
        objects.PartitionStatus(
            resolution=objects.PartitionResolution.ONLINE,
            leader=replica,
            in_sync=1,
            replicas=(),
            size=size,
            base_offset=start,
        ),
    )


def spu(host: str, port: int, *, encrypted: bool, label: str = "SPU") -> objects.Spu:
    """Return the one SPU that there is, at the address that clients are to dial."""
    assert label == objects.Spu.LABEL
    encryption = objects.Encryption.SSL if encrypted else objects.Encryption.PLAINTEXT
    return objects.Spu(
        SPU_NAME,
        objects.SpuSpec(
            id=SPU_ID,
            kind=1,
            public=objects.Ingress(port, (objects.Address(host),), encryption),
            private=objects.Endpoint(port, host),
            public_local=objects.Endpoint(port, host, encryption),
        ),
        objects.SpuStatus(objects.SpuResolution.ONLINE),
    )


def consumer_topic() -> TopicInfo:
    """Return the topic of consumers' offsets, which is there for clients to find its leader."""
    return TopicInfo(CONSUMER_TOPIC, 0, 0, TopicSpec(system=True))


def matching(infos: Iterable[TopicInfo], names: Sequence[str], *, system: bool) -> list[TopicInfo]:
    """Return the topics that a list asks for: those of the system, or all others; any of the names, if there are."""
    return [info for info in infos if info.spec.system == system and named(info.name, names)]


def named(name: str, filters: Sequence[str]) -> bool:
    """Return whether a name is one of those that a list asks for."""
    # As in Fluvio's controller: a filter is a part of the name, and without one all are meant.
    return not filters or any(part in name for part in filters)
