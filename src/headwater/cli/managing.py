"""Owns when `headwater up` manages connectors: from its start where there are any, else once somebody asks.

A server that only keeps topics loads nothing of what connectors need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
import structlog

from headwater.cli.beside import Serving, calm_collector, serve_beside
from headwater.control.journal import Journal
from headwater.control.place import SOCKET_NAME, local_socket
from headwater.control.store import Store
from headwater.core.callback import settle
from headwater.core.egress import Policy
from headwater.log import Log
from headwater.server.local import remove_socket

if TYPE_CHECKING:
    from headwater.engine import Engine

logger = structlog.get_logger("headwater")


class Managing(msgspec.Struct, frozen=True):
    """What `headwater up` was told about connectors. `grace` is in seconds; `api` is a host and a port.

    `egress` is where their requests may go, whatever their own configurations say.
    """

    journal: Journal
    grace: float
    watched: Path | None = None
    secrets: Path | None = None
    api: tuple[str, int] | None = None
    serving: Serving = Serving()
    egress: Policy = Policy("public")


class Management:
    """The connectors of a server: an asynchronous context manager. Entering raises ManagerError, ServerError, LogError.

    While there are none it only listens on the socket of the control API; whoever connects wakes it. `elsewhere` says
    which connectors other processes run.
    """

    def __init__(self, log: Log, told: Managing, *, elsewhere: Callable[[str], bool]) -> None:
        self._log = log
        self._elsewhere = elsewhere
        self._told = told
        self._cleanup = AsyncExitStack()
        self._engine: Engine | None = None
        self._waking: asyncio.Task[None] | None = None
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        told = self._told
        self._local = local_socket(self._log.directory)
        self._cleanup.callback(remove_socket, self._log.directory / SOCKET_NAME)
        self._cleanup.callback(self._local.close)
        try:
            if told.watched or told.api or told.serving != Serving() or Store(self._log.directory).any():
                await self._wake()
            else:
                asyncio.get_running_loop().add_reader(self._local, self._rouse)
        except BaseException:
            await self._cleanup.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._local)
        if self._waking is not None:
            await asyncio.wait((self._waking,))
        await self._cleanup.aclose()

    def busy(self) -> bool:
        """Return whether any connector runs."""
        return self._engine is not None and bool(self._engine.runs())

    def runs(self, connector: str) -> bool:
        """Return whether a connector runs here, or what is kept for several is used here."""
        engine = self._engine
        return engine is not None and (connector in engine.runs() or engine.credentials.holds(connector))

    async def until(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set. Raises what ended the managing meanwhile: a log that is beyond repair, a defect."""
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopped, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._failed.done() and not stop.is_set():
            raise self._failed.result()

    def _rouse(self) -> None:
        asyncio.get_running_loop().remove_reader(self._local)
        self._waking = self._watched_over(self._wake())

    async def _wake(self) -> None:
        """Load what connectors need, start those that are kept, and serve the API."""
        from headwater.control.api import Api, application  # noqa: PLC0415 - a server of topics does without it all
        from headwater.control.fleet import Fleet  # noqa: PLC0415 - the same
        from headwater.control.serving import serving  # noqa: PLC0415 - the same
        from headwater.engine import Engine  # noqa: PLC0415 - the same
        from headwater.fetch import CurlFetcher  # noqa: PLC0415 - the same

        told, log, cleanup = self._told, self._log, self._cleanup
        fetcher = await cleanup.enter_async_context(CurlFetcher(egress=told.egress))
        engine = self._engine = Engine(log, fetcher, grace=told.grace)
        engine.credentials.elsewhere = self._elsewhere
        engine.fatal.add_done_callback(lambda fatal: settle(self._failed, fatal.result()))
        fleet = Fleet(log, engine, told.journal, elsewhere=self._elsewhere)
        cleanup.push_async_callback(fleet.close)
        await serve_beside(cleanup, told.serving, engine, log.size, fleet.wanted, server=True)
        api = application(Api(fleet, log.reader.ledger, str(log.directory)))
        url = await cleanup.enter_async_context(serving(api, log.directory, self._local, told.api))
        # Whoever follows a log is told that it ends before the API waits for its requests.
        cleanup.callback(told.journal.close)
        if url is not None:
            logger.info("serving the control API", url=url, token=str(log.directory / "control.token"))
        count = await fleet.open(watched=told.watched is not None)
        if told.watched is not None:
            from headwater.control.watch import Watcher  # noqa: PLC0415 - the same

            watcher = Watcher(told.watched, told.secrets, fleet)
            await watcher.look()
            count = len(await fleet.list())
            cleanup.push_async_callback(_ended, self._watched_over(watcher.run()))
        calm_collector()
        if count:
            logger.info("running managed connectors", connectors=count)

    def _watched_over(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Return a task whose failure ends the server."""
        task = asyncio.create_task(work)

        def done(ended: asyncio.Task[None]) -> None:
            if not ended.cancelled() and (error := ended.exception()) is not None:
                settle(self._failed, error)

        task.add_done_callback(done)
        return task


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
