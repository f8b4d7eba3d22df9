"""What the tests of connectors on a cluster share: a cluster, which is a server of ours over a log in the same loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

from headwater.cluster import Cluster
from headwater.cluster import Target as Whither
from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.core.exchange import Exchange
from headwater.core.record import StoredRecord
from headwater.engine import Engine
from headwater.engine.oncluster import OnCluster
from headwater.engine.target import Target
from headwater.fetch import CurlFetcher
from headwater.fluvio.batch import StoredBatch, decode_header
from headwater.fluvio.compression import Compression
from headwater.log import Log, LogReader, Offset
from headwater.server.server import Listen, Server
from headwater.testing import Answer, ScriptedServer, VirtualClock
from headwater.transforms.store import Entry, Store

_PATIENCE = 30.0


class Faraway:
    """What one test works with. `log` is what the cluster keeps; checkpoints and the ledger are in `keeper`."""

    def __init__(self, directory: Path, server: ScriptedServer, keeper: Log, fetcher: CurlFetcher) -> None:
        self.theirs = directory / "theirs"
        self.server = server
        self.keeper = keeper
        self.fetcher = fetcher
        self.clock = VirtualClock()
        self.patience = timedelta(seconds=10)
        self.ports = (0, 0)
        self._cluster = AsyncExitStack()

    async def open(self) -> None:
        """Start the cluster, on the ports that it had."""
        self.log = await self._cluster.enter_async_context(Log.open(self.theirs))
        listen = Listen(sc_port=self.ports[0], spu_port=self.ports[1])
        serving = await self._cluster.enter_async_context(Server(self.log, listen))
        self.ports = (serving.sc_port, serving.spu_port)

    async def close(self) -> None:
        """Stop the cluster."""
        await self._cluster.aclose()

    def config(
        self, path: str = "/x", name: str = "cats", more: str = "", *, topic: str = "", text: str = ""
    ) -> ConnectorConfig:
        """Return a connector of the scripted server's path, in the page's form with more lines below, or of a text."""
        page = (
            f"name: {name}\ntopic: {topic or name}\nparameters:\n  endpoint: {self.server.url}{path}\n  interval: 10s\n"
        )
        return load_text(text or page + more).connectors[0]

    def numbers(self, path: str) -> None:
        """Answer a path with numbers from 0 on."""
        numbers = count()
        self.server.route(path, lambda _: Answer(body=b"%d" % next(numbers)))

    @asynccontextmanager
    async def target(self, *configs: ConnectorConfig, keeper: Target | None = None) -> AsyncIterator[OnCluster]:
        """Connect to the cluster."""
        whither = Whither("127.0.0.1", self.ports[0], patience=self.patience)
        async with (
            Cluster(whither) as cluster,
            OnCluster(cluster, keeper or self.keeper, configs, patience=self.patience) as target,
        ):
            yield target

    def engine(self, target: Target, grace: float = 5) -> Engine:
        """Return an engine that runs into a target."""
        return Engine(target, self.fetcher, clock=self.clock, chance=lambda: 0.5, grace=grace)

    @asynccontextmanager
    async def running(self, *configs: ConnectorConfig, keeper: Target | None = None) -> AsyncIterator[None]:
        """Run connectors until the block is left."""
        stop = asyncio.Event()
        async with self.target(*configs, keeper=keeper) as target:
            task = asyncio.create_task(self.engine(target).run(configs, stop))
            try:
                yield
            finally:
                stop.set()
                await task

    async def polls(self, more: int, *, connectors: int = 1) -> None:
        """Let the connectors end so many polls, the first of them the one that is due now."""
        for _ in range(more - 1):
            await self.clock.sleeping(connectors)
            await self.clock.next_wake(connectors)
        await self.clock.sleeping(connectors)

    async def records(self, topic: str = "cats", *, partition: int | None = None) -> list[StoredRecord]:
        """Return the records of a topic of the cluster, partition by partition."""
        reading = await self.log.topic(topic)
        numbers = range(reading.info.spec.partitions) if partition is None else (partition,)
        return [record for number in numbers for record in await reading.read(Offset.beginning(), partition=number)]

    async def values(self, topic: str = "cats") -> list[bytes]:
        """Return the values in a topic of the cluster."""
        return [record.value for record in await self.records(topic)]

    def batches(self, topic: str = "cats") -> Sequence[StoredBatch]:
        """Return the batches of a topic of the cluster as they are stored."""
        with LogReader(self.theirs) as reader:
            partitions = reader.topic(topic).spec.partitions
            return [batch for number in range(partitions) for batch in reader.read(topic, number, 0, 1 << 24)]

    def codecs(self, topic: str = "cats") -> set[Compression]:
        """Return how the batches of a topic are compressed."""
        return {Compression(decode_header(batch.data).attributes & 0x07) for batch in self.batches(topic)}

    async def checkpoint(self, connector: str = "cats") -> Checkpoint:
        """Return the checkpoint that is kept here."""
        stored = await self.keeper.checkpoint(connector)
        return Checkpoint() if stored is None else decode_checkpoint(stored)

    def ledger(self, connector: str = "cats") -> list[Exchange]:
        """Return the entries that are kept here."""
        with LogReader(self.keeper.directory) as reader:
            return reader.ledger(connector, 1000)

    def load(self, name: str, code: bytes) -> None:
        """Give the cluster a SmartModule."""
        entry = Entry(name=name, digest=hashlib.sha256(code).hexdigest(), size=len(code), kind="", loaded=0)
        Store(self.theirs / "smartmodules").save(entry, code)

    @staticmethod
    async def until(reached: Callable[[], bool]) -> None:
        """Wait until something is so, and fail when that takes too long."""
        async with asyncio.timeout(_PATIENCE):
            while not reached():  # noqa: ASYNC110 - what is waited for happens in a file or in another task
                await asyncio.sleep(0.005)


@asynccontextmanager
async def faraway(directory: Path) -> AsyncIterator[Faraway]:
    """Open a cluster, a scripted server, and a log for what is kept here."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ScriptedServer())
        keeper = await stack.enter_async_context(Log.open(directory / "mine"))
        it = Faraway(directory, server, keeper, await stack.enter_async_context(CurlFetcher()))
        stack.push_async_callback(it.close)
        await it.open()
        yield it
