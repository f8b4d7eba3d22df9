"""Owns the connections to a cluster: one to its SC, two to each SPU, and what its watches tell. Asks for no records.

Of the two to an SPU one is for questions and one for streams, which is closed with the last of them: the protocol has
no word for giving up a stream, so the server learns of it by that alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TypeVar

from headwater.cluster.backoff import Backoff
from headwater.cluster.connection import Connection, Endpoint, Sink
from headwater.cluster.directory import KINDS, Directory
from headwater.cluster.failure import AgainError
from headwater.cluster.target import Target
from headwater.cluster.versions import SC_VERSIONS, SPU_VERSIONS
from headwater.core.clock import Clock
from headwater.core.errors import (
    ClusterError,
    ClusterProtocolError,
    ClusterRefusedError,
    ClusterUnreachableError,
    HeadwaterError,
    PartitionNotFoundError,
    TopicNotFoundError,
)
from headwater.fluvio.admin import LIST, WATCH, Filters, Watch, decode_objects, decode_update, encode_request
from headwater.fluvio.errorcode import NAMES
from headwater.fluvio.objects import Object, Spu, Topic
from headwater.fluvio.wire import Message, Reader

_Result = TypeVar("_Result")
_Reply = TypeVar("_Reply")
# A connection on which so many streams were given up gets no new ones: the server still keeps something for each.
MOST_GIVEN_UP = 64
# How long the first word of a watch is waited for: a cluster need not say that it has nothing of a kind (seconds).
_FIRST_WORD = 2.0


class Links:
    """The connections to one cluster, opened when they are needed and again when they broke. Close it at the end."""

    def __init__(self, target: Target, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self.target = target
        self.clock = clock
        self.directory = Directory()
        self.backoff = Backoff()
        self._chance = chance
        self._sc: Connection | None = None
        self._asking: dict[int, Connection] = {}
        self._streaming: dict[int, Connection] = {}
        self._retired: set[Connection] = set()
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Close every connection."""
        connections = {*self._asking.values(), *self._streaming.values(), *self._retired}
        if self._sc is not None:
            connections.add(self._sc)
        await asyncio.gather(*(connection.close() for connection in connections))

    async def controller(self) -> Connection:
        """Return the connection to the SC, with its watches. Raises ClusterError."""
        if self._sc is not None and self._sc.live:
            return self._sc
        async with self._lock("sc", 0):
            if self._sc is None or not self._sc.live:
                target = self.target
                endpoint = Endpoint("the SC", target.host, target.port, target.server_name(None), SC_VERSIONS)
                connection = await Connection.open(endpoint, target)
                try:
                    await self._watch(connection)
                except BaseException:
                    await connection.close()
                    raise
                self._sc = connection
            return self._sc

    async def _watch(self, connection: Connection) -> None:
        """Open a watch of every kind, and wait until each has told what there is."""
        firsts = []
        try:
            version = connection.version(WATCH)
        except ClusterProtocolError as error:
            hint = "a profile names the port of the SC, often 9003, not that of an SPU; or Fluvio is too old or too new"
            raise ClusterProtocolError(error.message, hint=hint) from error
        for kind in KINDS:
            first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            take = partial(self._learn, connection, kind.LABEL, first)
            sink = Sink(take, partial(_settle, first))
            connection.stream(WATCH, encode_request(kind.LABEL, Watch(), version), sink)
            firsts.append(first)
        await asyncio.wait(firsts, timeout=_FIRST_WORD)
        for first in firsts:
            if first.done():
                first.result()

    def _learn(self, connection: Connection, label: str, first: asyncio.Future[None], reader: Reader) -> None:
        try:
            update = connection.read(lambda version: decode_update(reader, version), WATCH)
            if not first.done():
                self.directory.forget(label)
            self.directory.apply(label, update)
        except ClusterError as error:
            connection.distrust(error.message)
            return
        _settle(first)
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    async def list(self, label: str, filters: Filters) -> tuple[Object, ...]:
        """Return objects of a kind as the SC has them now. Raises ClusterError."""
        connection = await self.controller()
        body = encode_request(label, filters, connection.version(LIST))
        reader = await connection.call(LIST, body)
        return connection.read(lambda version: decode_objects(reader, version), LIST)

    async def topic(self, name: str) -> Topic:
        """Return a topic as the SC has it now. Raises TopicNotFoundError or ClusterError."""
        for found in await self.list(Topic.LABEL, Filters((name,))):
            if isinstance(found, Topic) and found.name == name:
                self.directory.add(found)
                return found
        raise TopicNotFoundError(f"topic not found: {name}", hint="'headwater topic list' shows those there are")

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises TopicNotFoundError or ClusterError."""
        known = self.directory.partitions(topic)
        return (await self.topic(topic)).spec.partitions if known is None else known

    async def leader(self, topic: str, partition: int) -> Spu:
        """Return who leads a partition. Raises AgainError when nobody does, else as `partitions`, and TopicError."""
        found = self.directory.leader(topic, partition)
        if found is not None:
            return found
        await self.controller()
        found = self.directory.leader(topic, partition)
        if found is not None:
            return found
        made = (await self.topic(topic)).spec.partitions
        if not 0 <= partition < made:
            raise PartitionNotFoundError(f"topic {topic} has no partition {partition}; it has {made}")
        raise AgainError(
            ClusterRefusedError(
                f"partition {partition} of topic {topic} has no leader now",
                NAMES["NotLeaderForPartition"],
                retryable=True,
                hint="'fluvio cluster spu list' shows which SPUs are online",
            )
        )

    async def asking(self, number: int) -> Connection:
        """Return the connection to the SPU with this number for questions. Raises ClusterError."""
        return await self._open(self._asking, "asking", number)

    def asking_now(self, number: int) -> Connection | None:
        """Return the connection to an SPU for questions, None when it must be opened first."""
        found = self._asking.get(number)
        return found if found is not None and found.live else None

    async def streaming(self, number: int) -> Connection:
        """Return a connection to the SPU with this number for a stream. Raises ClusterError."""
        found = self._streaming.get(number)
        if found is not None and found.ended >= MOST_GIVEN_UP and found.live:
            del self._streaming[number]
            self._retired.add(found)
        return await self._open(self._streaming, "streaming", number)

    def end_stream(self, connection: Connection, number: int) -> None:
        """Give up a stream; its connection goes with the last one."""
        connection.give_up(number)
        if not connection.streaming and connection is not self._sc:
            connection.cut()
            self._retired.discard(connection)

    async def _open(self, connections: dict[int, Connection], use: str, number: int) -> Connection:
        found = connections.get(number)
        if found is not None and found.live:
            return found
        async with self._lock(use, number):
            found = connections.get(number)
            if found is None or not found.live:
                found = connections[number] = await Connection.open(self._endpoint(number), self.target)
            return found

    def _endpoint(self, number: int) -> Endpoint:
        spu = self.directory.spu(number)
        name = f"SPU {number}"
        if spu is None:
            raise ClusterUnreachableError(f"{name} is not part of the cluster any more", "unknown")
        local = spu.spec.public_local
        if local is not None and self.target.use_spu_local_address:
            host, port = local.host, local.port
        else:
            host, port = spu.spec.public.host, spu.spec.public.port
        if not host:
            raise ClusterUnreachableError(
                f"the cluster tells no address of {name}", "unknown", hint="give the SPU a public address"
            )
        return Endpoint(name, host, port, self.target.server_name(spu.name), SPU_VERSIONS)

    async def refresh(self) -> None:
        """Make sure that the watches run, if that can be done now."""
        with suppress(ClusterError):
            await self.controller()

    async def rest(self, attempt: int, until: float, *, news: bool = False) -> None:
        """Wait before something is tried again, no longer than `until`; with `news` only until a watch tells some."""
        pause = self.backoff.pause(attempt, self._chance())
        deadline = min(until, self.clock.monotonic() + pause)
        if not news:
            await self.clock.sleep_until(deadline)
            return
        sleeping = asyncio.ensure_future(self.clock.sleep_until(deadline))
        try:
            await asyncio.wait({sleeping, self._news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()

    async def persist(self, work: Callable[[], Awaitable[_Result]], patience: timedelta | None = None) -> _Result:
        """Do something, again and again while that may help, until patience ends. Raises the last error then."""
        patience = self.target.patience if patience is None else patience
        until = self.clock.monotonic() + patience.total_seconds()
        for attempt in count():
            try:
                return await work()
            except AgainError as again:
                error: HeadwaterError = again.error
            except ClusterUnreachableError as unreachable:
                if not unreachable.retryable:
                    raise
                error = unreachable
            if self.clock.monotonic() >= until:
                raise error
            await self.rest(attempt, until, news=isinstance(error, ClusterRefusedError))
            await self.refresh()
        raise AssertionError  # pragma: no cover - count() never ends

    async def ask(
        self, connection: Connection, api: int, message: Message, kind: type[_Reply], wait: timedelta | None = None
    ) -> _Reply:
        """Ask something that may be asked again. Raises AgainError when no answer came, else as `Connection.ask`."""
        try:
            return await connection.ask(api, message, kind, wait)
        except ClusterError as error:
            if error.retryable:
                raise AgainError(error) from error
            raise

    def _lock(self, use: str, number: int) -> asyncio.Lock:
        return self._locks.setdefault((use, number), asyncio.Lock())


def _settle(first: asyncio.Future[None], error: HeadwaterError | None = None) -> None:
    if first.done():
        return
    if error is None:
        first.set_result(None)
    else:
        first.set_exception(error)
