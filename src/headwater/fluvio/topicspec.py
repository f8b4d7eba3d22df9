"""Owns how what a topic is made with is said in Fluvio's words, and the other way round. Pure."""

from __future__ import annotations

from datetime import timedelta

from headwater.core.topic import DEFAULT_RETENTION, Deduplication, TopicSpec
from headwater.fluvio import objects

# Fluvio has no word for records that stay for ever; this is its longest time (seconds), 136 years.
_FOR_EVER = 0xFFFFFFFF


def wire_spec(spec: TopicSpec) -> objects.TopicSpec:
    """Return a topic's settings as they go over the wire."""
    seconds = _FOR_EVER if spec.retention is None else min(_FOR_EVER, max(1, round(spec.retention.total_seconds())))
    bounds = (spec.segment_bytes, spec.max_partition_bytes)
    return objects.TopicSpec(
        objects.Computed(spec.partitions, spec.replication, spec.ignore_rack),
        objects.Retention(seconds),
        None if bounds == (None, None) else objects.Storage(*bounds),
        objects.Algorithm[spec.compression.upper()],
        None if spec.deduplication is None else _wire_deduplication(spec.deduplication),
        spec.system,
    )


def core_spec(spec: objects.TopicSpec) -> TopicSpec:
    """Return a topic's settings from the wire. Who holds which partition is in its status."""
    storage = spec.storage or objects.Storage()
    replication, ignore_rack = _placement(spec.replicas)
    return TopicSpec(
        partitions=spec.partitions,
        retention=_retention(spec.cleanup),
        max_partition_bytes=storage.max_partition_size,
        compression=spec.compression.name.lower(),
        segment_bytes=storage.segment_size,
        replication=replication,
        ignore_rack=ignore_rack,
        deduplication=None if spec.deduplication is None else _core_deduplication(spec.deduplication),
        system=spec.system,
    )


def _placement(replicas: objects.Assigned | objects.Computed | objects.Mirrored) -> tuple[int, bool]:
    """Return how many copies there are, and whether racks do not matter."""
    if isinstance(replicas, objects.Computed):
        return replicas.replication, replicas.ignore_rack
    if isinstance(replicas, objects.Assigned):
        return max((len(it.replicas) for it in replicas.maps), default=1), False
    return 1, False


def _retention(cleanup: objects.Retention | None) -> timedelta | None:
    if cleanup is None:
        return DEFAULT_RETENTION
    return None if cleanup.seconds == _FOR_EVER else timedelta(seconds=cleanup.seconds)


def _wire_deduplication(it: Deduplication) -> objects.Deduplication:
    return objects.Deduplication(objects.Bounds(it.count, it.age), objects.Transform(it.uses, it.parameters))


def _core_deduplication(it: objects.Deduplication) -> Deduplication:
    return Deduplication(it.transform.uses, it.bounds.count, it.bounds.age, it.transform.with_)
