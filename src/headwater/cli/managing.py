"""Owns how `headwater up` manages connectors: engine, fleet, control API and the watched directory put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import structlog

from headwater.cli.beside import Serving, calm_collector, serve_beside
from headwater.control.api import Api, application
from headwater.control.fleet import Fleet
from headwater.control.journal import Journal
from headwater.control.serving import serving
from headwater.control.watch import Watcher
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log

logger = structlog.get_logger("headwater")


class Managing(msgspec.Struct, frozen=True):
    """What `headwater up` was told about connectors. `grace` is in seconds; `api` is a host and a port."""

    journal: Journal
    grace: float
    watched: Path | None = None
    secrets: Path | None = None
    api: tuple[str, int] | None = None
    serving: Serving = Serving()


class Managed:
    """The connectors while they are managed."""

    def __init__(self, engine: Engine, watching: asyncio.Task[None] | None) -> None:
        self._engine = engine
        self._watching = watching

    def busy(self) -> bool:
        """Return whether any connector runs."""
        return bool(self._engine.runs())

    async def until(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set. Raises LogError when the log is beyond repair meanwhile."""
        stopped = asyncio.create_task(stop.wait())
        waiting: set[asyncio.Future[object]] = {stopped, self._engine.fatal}  # type: ignore[arg-type]
        if self._watching is not None:
            waiting.add(self._watching)  # type: ignore[arg-type]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return
        stopped.cancel()
        if self._engine.fatal.done():
            raise self._engine.fatal.result()
        if self._watching is not None:
            await self._watching


@asynccontextmanager
async def managing_connectors(log: Log, told: Managing) -> AsyncIterator[Managed]:
    """Run the managed connectors of a log while the block is entered. Raises ManagerError, ServerError, LogError."""
    async with AsyncExitStack() as cleanup:
        fetcher = await cleanup.enter_async_context(CurlFetcher())
        engine = Engine(log, fetcher, grace=told.grace)
        fleet = Fleet(log, engine, told.journal)
        cleanup.push_async_callback(fleet.close)
        await serve_beside(cleanup, told.serving, engine, log.size, fleet.wanted)
        api = application(Api(fleet, log.reader.ledger, str(log.directory)))
        url = await cleanup.enter_async_context(serving(api, log.directory, told.api))
        # Whoever follows a log is told that it ends before the API waits for its requests.
        cleanup.callback(told.journal.close)
        if url is not None:
            logger.info("serving the control API", url=url, token=str(log.directory / "control.token"))
        count = await fleet.open(watched=told.watched is not None)
        watching = None
        if told.watched is not None:
            watcher = Watcher(told.watched, told.secrets, fleet)
            await watcher.look()
            count = len(await fleet.list())
            watching = asyncio.create_task(watcher.run())
            cleanup.push_async_callback(_ended, watching)
        calm_collector()
        if count:
            logger.info("running managed connectors", connectors=count)
        yield Managed(engine, watching)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
