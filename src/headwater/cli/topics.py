"""Owns topics as commands see them, wherever they are: listed, made, deleted, appended to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import msgspec

from headwater.cli.place import Place, cluster_of, writable
from headwater.core.record import Record
from headwater.core.topic import TopicSpec
from headwater.log import FILE_NAME, LogReader

if TYPE_CHECKING:
    from headwater.cluster import Cluster


class Listed(msgspec.Struct, frozen=True):
    """A topic with how far it has got: the resolution in Fluvio's word, and why."""

    name: str
    spec: TopicSpec
    resolution: str = "provisioned"
    reason: str = ""


class Topics(Protocol):
    """The topics of one place."""

    async def listed(self, *, system: bool = False) -> list[Listed]:
        """Return all topics, by name: those of the system, or all others."""
        ...

    async def described(self, name: str) -> tuple[Listed, list[tuple[int, int]]]:
        """Return a topic, and of each partition its first offset and the one behind its last. Raises TopicError."""
        ...

    async def create(self, name: str, spec: TopicSpec) -> None:
        """Create a topic. Raises TopicError."""
        ...

    async def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a topic and its records. Raises TopicError."""
        ...


class EmbeddedTopics:
    """The topics of a data directory. It is opened for writing only by what writes."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def listed(self, *, system: bool = False) -> list[Listed]:
        """Return all topics."""
        # Before anything has run there is no log, and no topic: that is no error.
        if not (self._place.directory / FILE_NAME).exists():
            return []
        with LogReader(self._place.directory) as reader:
            return [Listed(it.name, it.spec) for it in reader.topics() if it.spec.system == system]

    async def described(self, name: str) -> tuple[Listed, list[tuple[int, int]]]:
        """Return a topic and its offsets."""
        with LogReader(self._place.directory) as reader:
            spec = reader.topic(name).spec
            return Listed(name, spec), [reader.offsets(name, number) for number in range(spec.partitions)]

    async def create(self, name: str, spec: TopicSpec) -> None:
        """Create a topic."""
        async with writable(self._place.directory) as log:
            await log.create_topic(name, spec)

    async def delete(self, name: str, *, force: bool = False) -> None:  # noqa: ARG002 - what the user makes he may delete
        """Delete a topic."""
        async with writable(self._place.directory) as log:
            await log.delete_topic(name)


class ClusterTopics:
    """The topics of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def listed(self, *, system: bool = False) -> list[Listed]:
        """Return all topics."""
        return [Listed(it.name, it.spec, it.resolution, it.reason) for it in await self._cluster.topics(system=system)]

    async def described(self, name: str) -> tuple[Listed, list[tuple[int, int]]]:
        """Return a topic and its offsets."""
        it = await self._cluster.topic(name)
        offsets = [await self._cluster.offsets(name, number) for number in range(it.spec.partitions)]
        return Listed(it.name, it.spec, it.resolution, it.reason), offsets

    async def create(self, name: str, spec: TopicSpec) -> None:
        """Create a topic."""
        await self._cluster.create_topic(name, spec)

    async def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a topic."""
        await self._cluster.delete_topic(name, force=force)


Appending = Callable[[Sequence[Record], int | None], Awaitable[None]]


@asynccontextmanager
async def appending(place: Place, name: str) -> AsyncIterator[Appending]:
    """Open a topic to append to: what is given returns when the records are kept. Raises HeadwaterError."""
    if not place.on_cluster:
        async with writable(place.directory) as log:
            topic = await log.topic(name)

            async def append(records: Sequence[Record], partition: int | None) -> None:
                await topic.append(records, partition=partition)

            yield append
        return
    from headwater.cluster import Producer  # noqa: PLC0415 - only clusters pay for it

    async with cluster_of(place) as cluster, Producer(cluster, name) as producer:

        async def send(records: Sequence[Record], partition: int | None) -> None:
            await producer.send(records, partition)

        yield send


@asynccontextmanager
async def topics_of(place: Place) -> AsyncIterator[Topics]:
    """Open the topics of a place. Raises ClusterError or ProfileError."""
    if not place.on_cluster:
        yield EmbeddedTopics(place)
        return
    async with cluster_of(place) as cluster:
        yield ClusterTopics(cluster)
