"""Owns HTTP servers inside of a process that has its own loop, signals and logs. What they serve is others' business.

Imported only where something is served.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds in which a server must have ended beyond the grace of its requests.
_PATIENCE = 10.0


class _Protocol(H11Protocol):
    """A connection that is closed when its next request is not begun, and its head not sent, in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._forget()
        elif self._deadline is None and getattr(self.cycle, "response_complete", True):
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to others."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def embedded(
    app: ASGIApp, listening: socket.socket, *, connections: int, grace: int = 1, idle: int = 30
) -> AsyncIterator[None]:
    """Serve an application on a listening socket while the block is entered.

    More than so many `connections` at once are told to come later; one that asks nothing for `idle` seconds is closed.
    Requests under way have `grace` seconds at the end.
    """
    # What is worth a line is said by the application.
    told = logging.getLogger("uvicorn.error")
    told.addHandler(logging.NullHandler())
    told.propagate = False
    config = uvicorn.Config(
        app,
        loop="none",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=idle,
        timeout_graceful_shutdown=grace,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait((serving,), timeout=grace + _PATIENCE)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()
