"""Owns a Fluvio cluster as callers see it: its topics, its SmartModules, and the way to its records."""

from __future__ import annotations

import random
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import msgspec

from headwater.cluster import consumeroffsets
from headwater.cluster.append import append
from headwater.cluster.consumer import BatchStream, Reading, offsets
from headwater.cluster.failure import refused
from headwater.cluster.follow import follow, read
from headwater.cluster.links import Links
from headwater.cluster.target import Target
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import SmartModuleError, TopicExistsError
from headwater.core.names import check_topic_name
from headwater.core.record import StoredRecord
from headwater.core.topic import Offset, Receipt, TopicSpec
from headwater.fluvio.admin import (
    CREATE,
    DELETE,
    Common,
    Create,
    DeleteKey,
    Filters,
    Status,
    encode_create,
    encode_request,
)
from headwater.fluvio.batch import EncodedBatch
from headwater.fluvio.objects import Module, Partition, Spu, Topic
from headwater.fluvio.records import ConsumerOffset, Isolation
from headwater.fluvio.topicspec import core_spec, wire_spec

_Kind = TypeVar("_Kind", Topic, Partition, Spu, Module)
# The largest SmartModule that is unpacked (bytes).
MOST_MODULE_BYTES = 64 * 1024 * 1024


class ClusterTopic(msgspec.Struct, frozen=True):
    """A topic of a cluster. `resolution` says how far it has got, in Fluvio's word; `replicas` who holds what."""

    name: str
    spec: TopicSpec
    resolution: str = "provisioned"
    reason: str = ""
    replicas: dict[int, tuple[int, ...]] = {}


class Cluster:
    """A Fluvio cluster: `async with Cluster(target) as cluster`. Entering connects to its SC, and raises ClusterError.

    Belongs to one event loop. Connections are opened when they are needed, and again when they broke: questions and
    appends are asked again until the target's patience ends, what creates or deletes is not.
    """

    def __init__(
        self, target: Target, *, clock: Clock | None = None, chance: Callable[[], float] = random.random
    ) -> None:
        self.target = target
        self._clock = clock or SystemClock()
        self._chance = chance

    async def __aenter__(self) -> Self:
        self.links = Links(self.target, self._clock, self._chance)
        try:
            self.platform = (await self.links.controller()).platform
        except BaseException:
            await self.links.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self.links.close()

    async def topics(self, names: Sequence[str] | None = None, *, system: bool = False) -> list[ClusterTopic]:
        """Return all topics, or those of these names that there are, by name; of the `system` those and no others."""
        found = await self._list(Topic, Filters(tuple(names or ()), system=system))
        return sorted((_topic(it) for it in found if not names or it.name in names), key=lambda it: it.name)

    async def topic(self, name: str) -> ClusterTopic:
        """Return a topic. Raises TopicNotFoundError."""
        return _topic(await self.links.persist(partial(self.links.topic, name)))

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> None:
        """Create a topic. Raises TopicNameError, TopicExistsError, and whatever the cluster refuses."""
        check_topic_name(name)
        made = wire_spec(spec or TopicSpec())
        connection = await self.links.controller()
        wait = max(1, int(self.target.request_timeout.total_seconds() * 500))
        request = Create(Topic.LABEL, Common(name, timeout=wait), made)
        body = encode_create(request, connection.version(CREATE))
        status = await connection.ask(CREATE, body, Status)
        if status.code:
            error = refused(status.code, f"cannot create topic {name}", status.message)
            raise TopicExistsError(f"topic already exists: {name}") if isinstance(error, TopicExistsError) else error

    async def delete_topic(self, name: str, *, force: bool = False) -> None:
        """Delete a topic and its records; `force` also one of the system. Raises TopicNotFoundError."""
        connection = await self.links.controller()
        body = encode_request(Topic.LABEL, DeleteKey(name, force), connection.version(DELETE))
        status = await connection.ask(DELETE, body, Status)
        if status.code:
            raise refused(status.code, f"cannot delete topic {name}", status.message)

    async def partitions(self) -> list[Partition]:
        """Return all partitions with their leaders and copies, by name."""
        return sorted(await self._list(Partition, Filters()), key=lambda it: it.name)

    async def spus(self) -> list[Spu]:
        """Return all SPUs, by number."""
        return sorted(await self._list(Spu, Filters()), key=lambda it: it.spec.id)

    async def modules(self) -> list[Module]:
        """Return the SmartModules of the cluster without their code, by name."""
        return sorted(await self._list(Module, Filters(summary=True)), key=lambda it: it.name)

    async def module(self, name: str) -> bytes:
        """Return the code of a SmartModule of the cluster. Raises SmartModuleError."""
        found = [it for it in await self._list(Module, Filters((name,))) if it.name == name]
        if not found:
            raise SmartModuleError(
                f"the cluster has no SmartModule {name}", hint="'fluvio smartmodule list' shows those it has"
            )
        return unpacked(found[0].spec.wasm, name)

    async def append(
        self,
        topic: str,
        partition: int,
        batches: Sequence[EncodedBatch],
        *,
        isolation: Isolation = Isolation.READ_UNCOMMITTED,
        patience: timedelta | None = None,
    ) -> Receipt:
        """Append encoded batches in one request; see `append.append`."""
        return await append(self.links, topic, partition, batches, isolation=isolation, patience=patience)

    async def offsets(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """Return the offset of a partition's first record, and the one behind the last."""
        return await offsets(self.links, topic, partition)

    def stream(
        self,
        topic: str,
        partition: int,
        start: Offset | int,
        *,
        until: int | None = None,
        consumer: str | None = None,
        **how: Unpack[Reading],
    ) -> BatchStream:
        """Return the batches of a partition, to be iterated; see `BatchStream`."""
        return BatchStream(self.links, topic, partition, start, until=until, consumer=consumer, **how)

    def follow(
        self, topic: str, start: Offset | None = None, *, partition: int | None = None, **how: Unpack[Reading]
    ) -> AsyncGenerator[StoredRecord, None]:
        """Yield the records of one partition, or of all, from `start` (or the end), then as they come."""
        return follow(self.links, topic, start, partition=partition, **how)

    async def read(
        self,
        topic: str,
        start: Offset | None = None,
        *,
        partition: int = 0,
        limit: int = 1000,
        **how: Unpack[Reading],
    ) -> list[StoredRecord]:
        """Return at most `limit` records that are there now, from the beginning unless `start` is given."""
        return await read(self.links, topic, start, partition=partition, limit=limit, **how)

    async def consumer_offsets(
        self, consumer: str | None = None, topic: str | None = None, partition: int = 0
    ) -> list[ConsumerOffset]:
        """Return how far consumers have got: one or all, in one partition or in all."""
        return await consumeroffsets.consumer_offsets(self.links, consumer, topic, partition)

    async def delete_consumer_offset(self, consumer: str, topic: str, partition: int = 0) -> None:
        """Forget how far a consumer has got in a partition."""
        await consumeroffsets.delete_consumer_offset(self.links, consumer, topic, partition)

    async def _list(self, kind: type[_Kind], filters: Filters) -> list[_Kind]:
        found = await self.links.persist(partial(self.links.list, kind.LABEL, filters))
        return [it for it in found if isinstance(it, kind)]


def _topic(it: Topic) -> ClusterTopic:
    status = it.status
    return ClusterTopic(it.name, core_spec(it.spec), status.resolution.name.lower(), status.reason, status.replica_map)


def unpacked(code: bytes, name: str) -> bytes:
    """Return the code of a SmartModule as it was before it was loaded. Raises SmartModuleError."""
    if code.startswith(b"\0asm"):
        return code
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(code, MOST_MODULE_BYTES)
    except zlib.error as error:
        raise SmartModuleError(f"the cluster's SmartModule {name} does not unpack: {error}") from error
    if not unpacker.eof:
        raise SmartModuleError(f"the cluster's SmartModule {name} is cut off, or larger than {MOST_MODULE_BYTES} bytes")
    return plain
