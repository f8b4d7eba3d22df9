"""Owns the target that is a Fluvio cluster: records go there, checkpoints and the ledger stay in the data directory.

Where the data directory may be gone tomorrow, checkpoints go to the cluster as well. A checkpoint is stored when the
cluster has acknowledged the records that it stands for. A crash in between has one exchange of a connector stored
again: at least once, where the embedded log has it exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from headwater.cluster import Cluster, Producer
from headwater.cluster.batching import MOST_RECORD_BYTES
from headwater.config import ConnectorConfig
from headwater.config.model import LINGER, ProducerOptions
from headwater.core.checkpoint import GAP_SUFFIX
from headwater.core.errors import ClusterUnreachableError, ConnectorError, HeadwaterError, SmartModuleError
from headwater.core.exchange import Exchange
from headwater.core.memory import Recall
from headwater.core.record import Record, StoredRecord, newest
from headwater.core.topic import Offset, Receipt, TopicSpec
from headwater.engine.checkpoints import Checkpoints
from headwater.engine.guard import Guard, Permit
from headwater.engine.target import Target
from headwater.fluvio.batch import EncodedBatch, decode_records
from headwater.log import Append, TopicInfo

# A topic, and how its records are put together: connectors that agree on both share batches.
_Way = tuple[str, ProducerOptions | None]
# What is kept for several connectors - a refresh token - begins so. No permit: theirs are asked when it is used.
SHARED = "@"
# How long an append is tried before the connector hears of it, says so, and tries again for as long as it takes.
_PATIENCE = timedelta(seconds=10)


class PermitEndedError(Exception):
    """What was to be stored may not be any more."""


def _check(permit: Permit | None) -> None:
    """Raise PermitEndedError unless work may go on."""
    if permit is not None and not permit.holds():
        raise PermitEndedError


def _producing(config: ConnectorConfig) -> ProducerOptions:
    """Return how the records of a connector are put together, with how long they wait for others."""
    return config.producer.model_copy(update={"linger": config.linger})


class OnCluster:
    """A cluster as the target of connectors: `async with OnCluster(cluster, keeper, configs)`.

    `keeper` is where their checkpoints and ledger entries are kept; with `checkpoints` those are kept there instead.
    `patience` is how long an append is tried before it is refused. With a `guard` nothing is sent but under a
    connector's permit; when that has ended, whoever has something to be stored is not called back.
    """

    def __init__(
        self,
        cluster: Cluster,
        keeper: Target,
        configs: Sequence[ConnectorConfig],
        *,
        patience: timedelta = _PATIENCE,
        checkpoints: Checkpoints | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.directory: Path = keeper.directory
        self._patience = patience
        self._cluster = cluster
        self._keeper = keeper
        self._checkpoints = checkpoints
        self._guard = guard
        # What has arrived of each connector's append whose end it has not heard of: it is not sent again with it.
        self._arrived: dict[str, tuple[Append, list[list[Receipt]]]] = {}
        self._options = {config.name: _producing(config) for config in configs}
        self._producers: dict[_Way, Producer] = {}
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._storing: dict[str, asyncio.Task[None]] = {}
        self._cleanup = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    def expect(self, config: ConnectorConfig) -> None:
        """Take in a connector that was not among the first ones, or that is another one now."""
        self._options[config.name] = _producing(config)

    async def abandon(self, connectors: Collection[str]) -> None:
        """End what is under way for connectors that have ended, and forget them: others may work on them now."""
        storing = [task for name in connectors if (task := self._storing.get(name)) is not None]
        for task in storing:
            task.cancel()
        await asyncio.gather(*storing, return_exceptions=True)
        for name in connectors:
            self._arrived.pop(name, None)
            self._options.pop(name, None)
            if self._checkpoints is not None:
                self._checkpoints.forget(name)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The producers are left as by an error, so that none waits for a cluster that is away: nobody is there any more
        # to keep a checkpoint, and what has none is asked for again.
        left = ClusterUnreachableError("the connectors have ended", "closed")
        await self._cleanup.__aexit__(ClusterUnreachableError, left, None)

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic of the cluster."""
        return [TopicInfo(it.name, 0, 0, it.spec) for it in await self._cluster.topics()]

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> TopicInfo:
        """Create a topic on the cluster. Raises TopicError or ClusterError."""
        made = spec or TopicSpec()
        await self._cluster.create_topic(name, made)
        return TopicInfo(name, 0, 0, made)

    async def modules(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the code of those of these SmartModules that the cluster has."""
        found = {}
        for name in names:
            # What the cluster has not is one of the data directory, or one that comes with Headwater.
            with suppress(SmartModuleError):
                found[name] = await self._cluster.module(name)
        return found

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Send the records, and keep checkpoint and entry once all of them are acknowledged."""
        connector = "" if append.checkpoint is None else append.checkpoint[0]
        if self._guard is None or connector.startswith(SHARED):
            self._later(self._store(append, connector, receive, None))
        elif (permit := self._guard(connector)) is not None and permit.holds():
            self._storing[connector] = self._later(self._store(append, connector, receive, permit))

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _store(
        self,
        append: Append,
        connector: str,
        receive: Callable[[Receipt | HeadwaterError], None],
        permit: Permit | None,
    ) -> None:
        try:
            receipts = await self._send_all(append, connector, permit)
            _check(permit)
            if self._checkpoints is not None and append.checkpoint is not None:
                await self._checkpoints.keep(*append.checkpoint)
        except PermitEndedError:
            return
        except HeadwaterError as error:
            receive(error)
            return
        entry = append.exchange
        if entry is not None and receipts and entry.offset is None:
            entry = msgspec.structs.replace(entry, partition=receipts[0].partition, offset=receipts[0].base_offset)
        if self._checkpoints is not None:
            if entry is not None:
                self._keeper.note(entry)
            self._heard(connector, receive, receipts[0] if receipts else Receipt(0, 0, 0))
            return
        kept = Append(None, (), None, append.checkpoint, entry, append.linger, memory=append.memory)
        self._keeper.store(kept, partial(self._heard, connector, receive))

    def _heard(
        self,
        connector: str,
        receive: Callable[[Receipt | HeadwaterError], None],
        outcome: Receipt | HeadwaterError,
    ) -> None:
        if isinstance(outcome, Receipt):
            self._arrived.pop(connector, None)
        receive(outcome)

    async def _send_all(self, append: Append, connector: str, permit: Permit | None) -> list[Receipt]:
        """Send what an append has for each topic, less what has arrived when it was tried before."""
        before, arrived = self._arrived.get(connector, (None, []))
        if before is not append:
            arrived = []
            if connector:
                self._arrived[connector] = (append, arrived)
        for topic, batches, partition in (
            (append.topic, append.batches, append.partition),
            *((beside.topic, beside.batches, beside.partition) for beside in append.beside),
        )[len(arrived) :]:
            arrived.append(await self._send(topic, connector, batches, partition, permit))
        return [receipt for some in arrived for receipt in some]

    async def _send(
        self,
        topic: str | None,
        connector: str,
        batches: Sequence[EncodedBatch],
        partition: int | None,
        permit: Permit | None,
    ) -> list[Receipt]:
        if topic is None or not batches:
            return []
        # The cluster's partitions are chosen record by record, as stock clients do it.
        records = [Record(it.value, it.key, it.timestamp) for batch in batches for it in decode_records(batch.data)]
        producer = await self._producer((topic, self._options.get(connector.removesuffix(GAP_SUFFIX))))
        # To have one may have taken long.
        _check(permit)
        return await producer.send(records, partition)

    async def _producer(self, way: _Way) -> Producer:
        producer = self._producers.get(way)
        if producer is not None:
            return producer
        async with self._opening:
            if way not in self._producers:
                topic, options = way
                chosen = options or ProducerOptions()
                made = Producer(
                    self._cluster,
                    topic,
                    linger=LINGER if chosen.linger is None else chosen.linger,
                    batch_size=chosen.batch_size,
                    compression=chosen.compression if options else None,
                    timeout=self._patience,
                )
                self._producers[way] = await self._cleanup.enter_async_context(made)
            return self._producers[way]

    def note(self, exchange: Exchange) -> None:
        """Enter an exchange that left no records into the ledger."""
        self._keeper.note(exchange)

    async def checkpoint(self, connector: str) -> bytes | None:
        """Return the encoded checkpoint of a connector."""
        keeper = self._checkpoints
        if keeper is None:
            return await self._keeper.checkpoint(connector)
        if connector.startswith(SHARED):
            # Whoever uses it next claims it, wherever: what counts is what was kept last, by whoever it was.
            keeper.forget(connector)
            return await keeper.load(connector)
        if self._guard is None:
            return await keeper.load(connector)
        permit = self._guard(connector)
        if permit is None or not permit.holds():
            raise ConnectorError(f"Connector {connector} is not this process's to work on any more")
        return await keeper.load(connector, permit.fence)

    @property
    def most_record(self) -> int | None:
        """The largest record that it takes (bytes of key and value)."""
        return MOST_RECORD_BYTES

    @property
    def remembers(self) -> bool:
        """Whether what connectors remember of items is kept: where the checkpoints are, unless that is the cluster."""
        return self._checkpoints is None and self._keeper.remembers

    def recall(self, connector: str) -> Recall:
        """Return what a connector remembers of items, as of its last append that was stored. Asked in a thread."""
        return self._keeper.recall(connector)

    async def last(self, topic: str, most: int) -> list[StoredRecord]:
        """Return at most so many of the newest records of a topic, of all partitions by time, oldest first."""
        found: list[StoredRecord] = []
        for partition in range((await self._cluster.topic(topic)).spec.partitions):
            found += await self._cluster.read(topic, Offset.end(most), partition=partition, limit=most)
        return newest(found, most)
