"""What the tests of limits share: an engine whose virtual time goes on only while nothing real is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from headwater.config import ConnectorConfig, load_text
from headwater.core.errors import ConnectorError, HeadwaterError, LogServerGoneError
from headwater.core.exchange import Exchange
from headwater.core.http import Deliver, Fetching, Request
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Append, Log, LogReader, Receipt
from headwater.testing import Answer, Received, ScriptedServer, VirtualClock

# What is woken by the last thing that came needs so many turns of the event loop at most.
_TURNS = 25


class Busy:
    """How many real things are under way: requests, and appends to the log."""

    def __init__(self) -> None:
        self.count = 0

    def done(self, receive: Callable[[Any], None], outcome: object) -> None:
        """Give an outcome to whoever waits for it."""
        self.count -= 1
        receive(outcome)


class _Fetcher:
    """A fetcher that counts what is under way."""

    def __init__(self, fetcher: CurlFetcher, busy: Busy) -> None:
        self._fetcher = fetcher
        self._busy = busy

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        self._busy.count += 1
        return self._fetcher.begin(request, partial(self._busy.done, deliver))


class _Log:
    """A log that counts appends under way. With `refusing` it takes none; what is `foreign` is kept by others."""

    def __init__(self, log: Log, busy: Busy) -> None:
        self._log = log
        self._busy = busy
        self.refusing: HeadwaterError | None = None
        self.foreign = "nothing"
        self.unreadable = ""
        self.held: asyncio.Event | None = None
        self.waiting: list[asyncio.Future[None]] = []
        self.appends: list[Append] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def hold(self) -> asyncio.Event:
        """Keep all appends back until the event is set."""
        self.held = asyncio.Event()
        return self.held

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        self.appends.append(append)
        if self.refusing is not None:
            asyncio.get_running_loop().call_soon(receive, self.refusing)
            return
        self._busy.count += 1
        if self.held is not None and not self.held.is_set():
            self.waiting.append(asyncio.ensure_future(self._later(append, receive)))
            return
        self._log.store(append, partial(self._busy.done, receive))

    async def _later(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        assert self.held is not None
        await self.held.wait()
        self._log.store(append, partial(self._busy.done, receive))

    async def checkpoint(self, connector: str) -> bytes | None:
        if connector.startswith(self.foreign):
            raise ConnectorError(f"Connector {connector} is not this process's to work on any more")
        if self.unreadable and connector.startswith(self.unreadable):
            raise LogServerGoneError("the server is away")
        self._busy.count += 1
        try:
            return await self._log.checkpoint(connector)
        finally:
            self._busy.count -= 1


class LimitedBench:
    """What one test works with. `asked` has the paths that were asked for and when, in virtual seconds."""

    def __init__(
        self, directory: Path, server: ScriptedServer, log: Log, fetcher: CurlFetcher, clock: VirtualClock
    ) -> None:
        self.directory = directory
        self.server = server
        self.clock = clock
        self.busy = Busy()
        self.log = _Log(log, self.busy)
        self.engine = Engine(self.log, _Fetcher(fetcher, self.busy), clock=clock, chance=lambda: 0.5, grace=5)
        self.asked: list[tuple[float, str]] = []
        self.stop = asyncio.Event()

    def answer(self, path: str, answer: Callable[[Received], Answer] | Answer) -> None:
        """Answer a path, and note when it is asked for."""

        def handle(received: Received) -> Answer:
            self.asked.append((round(self.clock.monotonic(), 3), received.path))
            return answer if isinstance(answer, Answer) else answer(received)

        self.server.route(path, handle)

    def times(self, path: str = "/x") -> list[float]:
        """Return when a path was asked for."""
        return [at for at, asked in self.asked if asked == path]

    def config(self, more: str, path: str = "/x", name: str = "cats", interval: str = "10s") -> ConnectorConfig:
        """Return a connector of the server's path, with further options, indented by two blanks."""
        url = path if path.startswith("http") else self.server.url + path
        text = f"name: {name}\ntopic: {name}\nparameters:\n  endpoint: {url}\n  interval: {interval}\n"
        return load_text(text + more + "\n").connectors[0]

    def ledger(self, connector: str = "cats") -> list[Exchange]:
        """Return a connector's entries."""
        with LogReader(self.directory) as reader:
            return reader.ledger(connector, 1000)

    @asynccontextmanager
    async def running(self, *configs: ConnectorConfig) -> AsyncIterator[None]:
        """Run connectors until the block is left."""
        self.stop.clear()
        task = asyncio.create_task(self.engine.run(configs, self.stop))
        try:
            yield
        finally:
            self.stop.set()
            await task

    async def calm(self) -> None:
        """Wait until nothing real is under way and nobody has anything to do but to wait for the clock."""
        turns = 0
        async with asyncio.timeout(30):
            while turns < _TURNS:
                turns = 0 if self.busy.count else turns + 1
                # What is real takes its time; turns meanwhile would only take the processor from it.
                await asyncio.sleep(0.0005 if self.busy.count else 0)

    async def pass_time(self, seconds: float) -> None:
        """Let so much virtual time go by, from one timer to the next."""
        end = self.clock.monotonic() + seconds
        while True:
            # At the start nobody may be there yet.
            await self.clock.sleeping()
            await self.calm()
            step = await self.clock.sleeping()
            if self.clock.monotonic() + step > end:
                break
            self.clock.advance(max(step, 0.0))
        self.clock.advance(max(0.0, end - self.clock.monotonic()))
        await self.calm()


@asynccontextmanager
async def limited(directory: Path, servers: Sequence[ScriptedServer] = ()) -> AsyncIterator[LimitedBench]:
    """Give what a test of limits works with."""
    clock = VirtualClock()
    async with AsyncExitStack() as stack:
        server = servers[0] if servers else await stack.enter_async_context(ScriptedServer())
        log = await stack.enter_async_context(Log.open(directory, now_ms=clock.time_ms))
        fetcher = await stack.enter_async_context(CurlFetcher())
        yield LimitedBench(directory, server, log, fetcher, clock)
