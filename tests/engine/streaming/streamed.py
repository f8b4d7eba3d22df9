"""What the tests of streams share: an engine on a clock turned by hand, and servers that say what they are told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve

from engine.limited import Busy, _Log
from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import Checkpoint, StreamPosition, decode_checkpoint
from headwater.core.errors import TopicNotFoundError
from headwater.core.exchange import Decision, Exchange
from headwater.core.record import StoredRecord
from headwater.engine import Engine
from headwater.engine.streaming.flow import Flow
from headwater.engine.streaming.stream import Stream
from headwater.fetch import CurlFetcher
from headwater.log import Log, LogReader
from headwater.testing import Answer, Received, ScriptedServer, VirtualClock
from headwater.testing.server import chunks, reset

SSE = (("content-type", "text/event-stream"),)
PATIENCE = 30.0


class Line:
    """One connection at the server's side, behind the head of its answer."""

    def __init__(self, request: Received, *, chunked: bool) -> None:
        self.request = request
        self._chunked = chunked
        self._over = asyncio.Event()
        self._there = asyncio.Event()
        self.gone = asyncio.Event()
        # How many bytes the kernel has, or a buffer of moderate size.
        self.sent = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep the connection until it is over, or the other side has gone."""
        self.writer = writer
        self._there.set()
        ended = asyncio.ensure_future(self._over.wait())
        left = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.gone.set()
            ended.cancel()
            left.cancel()
            await asyncio.gather(ended, left, return_exceptions=True)

    async def say(self, data: bytes, most: int | None = None) -> None:
        """Send bytes, in chunks of at most so many where the answer has chunks."""
        await self._there.wait()
        self.writer.write(chunks(data, most) if self._chunked else data)
        await self.writer.drain()
        self.sent += len(data)

    async def end(self, *, clean: bool = True) -> None:
        """End the response; without its last chunk it was none."""
        await self._there.wait()
        if self._chunked and clean:
            self.writer.write(b"0\r\n\r\n")
            await self.writer.drain()
        self._over.set()

    async def reset(self) -> None:
        """End the connection by a RST."""
        await self._there.wait()
        reset(self.writer)
        self._over.set()


class Outlet:
    """A path of the server at which each request has a connection that lasts, one after the other."""

    def __init__(self, headers: tuple[tuple[str, str], ...] = (), *, chunked: bool = True, status: int = 200) -> None:
        self.lines: list[Line] = []
        self.headers = headers
        self._chunked = chunked
        self._status = status
        self._taken = 0
        self._came = asyncio.Event()

    def __call__(self, request: Received) -> Answer:
        """Answer a request."""
        line = Line(request, chunked=self._chunked)
        self.lines.append(line)
        self._came.set()
        return Answer(self._status, headers=self.headers, chunked=self._chunked, talk=line.talk)

    async def next(self) -> Line:
        """Return the next connection, once it is there."""
        async with asyncio.timeout(PATIENCE):
            while len(self.lines) <= self._taken:
                self._came.clear()
                await self._came.wait()
        self._taken += 1
        return self.lines[self._taken - 1]


class Streamed:
    """What one test works with. `chance` is what is drawn for each pause."""

    def __init__(self, directory: Path, server: ScriptedServer, log: Log, fetcher: CurlFetcher) -> None:
        self.directory = directory
        self.server = server
        self.clock = VirtualClock()
        self.busy = Busy()
        self.log = _Log(log, self.busy)
        self.fetcher = fetcher
        self.chance = 0.5
        self.grace = 5.0
        self.engine = self.new_engine()

    def new_engine(self) -> Engine:
        """Return an engine as a new process would have it."""
        self.engine = Engine(self.log, self.fetcher, clock=self.clock, chance=lambda: self.chance, grace=self.grace)
        return self.engine

    def outlet(self, path: str = "/x", *args: Any, **settings: Any) -> Outlet:
        """Answer a path with connections that last."""
        outlet = Outlet(*args, **settings)
        self.server.route(path, outlet)
        return outlet

    def config(
        self,
        http: Mapping[str, Any] | None = None,
        name: str = "cats",
        *,
        meta: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> ConnectorConfig:
        """Return a connector with these options of `http:`; without an endpoint that of the server's path /x."""
        given = {"stream": True, **(http or {})} if "ws" not in str((http or {}).get("endpoint", ""))[:2] else http
        document = {
            "apiVersion": "0.1.0",
            "meta": {"name": name, "type": "http-source", "topic": name, **(meta or {})},
            "http": {"endpoint": f"{self.server.url}/x", **(given or {})},
            **more,
        }
        return load_text(json.dumps(document)).connectors[0]

    @asynccontextmanager
    async def running(self, *configs: ConnectorConfig) -> AsyncIterator[asyncio.Event]:
        """Run connectors until the block is left."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.engine.run(configs, stop))
        connecting = asyncio.create_task(self._begin(configs))
        await self.until(lambda: task.done() or len(self.engine.runs()) == len(configs))
        try:
            yield stop
        finally:
            connecting.cancel()
            stop.set()
            # Who has to be waited for has a second: that of a peer that does not answer that we close.
            await asyncio.wait((task,), timeout=0.2)
            self.clock.advance(0.0 if task.done() else 1.0)
            await task

    async def _begin(self, configs: Sequence[ConnectorConfig]) -> None:
        # Each has a moment of its own within the first milliseconds.
        while len(self.engine.runs()) < len(configs):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)
        await self.clock.sleeping()
        self.clock.advance(0.001 * len(configs))

    async def cut_off(self, *configs: ConnectorConfig) -> Callable[[], Any]:
        """Run connectors; return what ends them as a kill does: nothing more is stored."""
        task = asyncio.create_task(self.engine.run(configs, asyncio.Event()))
        connecting = asyncio.create_task(self._begin(configs))

        async def kill() -> None:
            connecting.cancel()
            for run in self.engine.runs().values():
                run.task.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        return kill

    def stream(self, name: str = "cats") -> Stream:
        """Return the stream of a connector that runs."""
        worker = self.engine.runs()[name].connector
        assert isinstance(worker, Stream)
        return worker

    async def flow(self, name: str = "cats") -> Flow:
        """Return the connection of a stream, once there is one."""
        await self.until(lambda: self.stream(name)._flow is not None)
        flow = self.stream(name)._flow
        assert flow is not None
        return flow

    async def until(self, true: Callable[[], bool]) -> None:
        """Let everybody go on until something is true."""
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    async def records(self, topic: str = "cats", partition: int = 0) -> list[StoredRecord]:
        """Return the records in a topic; none before there is one."""
        with suppress(TopicNotFoundError):
            found: list[StoredRecord] = await (await self.log.topic(topic)).read(partition=partition, limit=1_000_000)
            return found
        return []

    async def values(self, topic: str = "cats", count: int | None = None) -> list[bytes]:
        """Return the values in a topic, once there are so many."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = [record.value for record in await self.records(topic)]
                if count is None or len(found) >= count:
                    return found
                await asyncio.sleep(0.002)

    async def checkpoint(self, name: str = "cats") -> Checkpoint:
        """Return what is stored of a connector."""
        stored = await self.log.checkpoint(name)
        return Checkpoint() if stored is None else decode_checkpoint(stored)

    async def position(self, name: str = "cats") -> StreamPosition:
        """Return how far a stream is, as it is stored."""
        return (await self.checkpoint(name)).stream or StreamPosition()

    def ledger(self, name: str = "cats") -> list[Exchange]:
        """Return the entries of a connector."""
        with LogReader(self.directory) as reader:
            return reader.ledger(name, 1000)

    async def entries(self, count: int, name: str = "cats") -> list[Exchange]:
        """Return the entries of a connector, once there are so many."""
        async with asyncio.timeout(PATIENCE):
            # What was only noted goes with the next commit, or within a second.
            while len(found := self.ledger(name)) < count:  # noqa: ASYNC110 - the log says nothing to readers
                await asyncio.sleep(0.02)
        return found

    async def reconnect(self, most: float = 60.0) -> float:
        """Turn the clock to the next connection, once the last one is over; return for how long the stream waited."""
        await self.until(lambda: self.stream().next_poll() is not None)
        due = self.stream().next_poll()
        assert due is not None
        step = max(0.0, (due - self.clock.time_ms()) / 1000) + 0.001
        assert step <= most
        self.clock.advance(step)
        return step

    async def calm(self) -> None:
        """Let everybody do what can be done now."""
        turns = 0
        async with asyncio.timeout(PATIENCE):
            while turns < 25:
                turns = 0 if self.busy.count else turns + 1
                await asyncio.sleep(0)

    async def calm_network(self) -> None:
        """Let everybody do what can be done now, the kernel too."""
        await asyncio.sleep(0.005)


def decisions(entries: Sequence[Exchange]) -> list[str]:
    """Return what was decided, entry by entry."""
    return [Decision(entry.decision).value for entry in entries]


@asynccontextmanager
async def streamed(directory: Path) -> AsyncIterator[Streamed]:
    """Give what a test of streams works with."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(ScriptedServer())
        fetcher = await stack.enter_async_context(CurlFetcher())
        log = await stack.enter_async_context(Log.open(directory))
        yield Streamed(directory, server, log, fetcher)


@asynccontextmanager
async def socket_server(talk: Callable[[ServerConnection], Any], **settings: Any) -> AsyncIterator[tuple[str, Server]]:
    """Serve WebSockets by the library; give their URL and the server."""
    settings = {"ping_interval": None, "close_timeout": 1, **settings}
    async with serve(talk, "127.0.0.1", 0, **settings) as server:
        scheme = "wss" if "ssl" in settings else "ws"
        yield f"{scheme}://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws", server
