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

# Seconds in which a server must have ended beyond the grace of its requests.
_PATIENCE = 10.0


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to others."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def embedded(app: ASGIApp, listening: socket.socket, *, connections: int, grace: int = 1) -> AsyncIterator[None]:
    """Serve an application on a listening socket while the block is entered.

    More than so many `connections` at once are told to come later. Requests under way have `grace` seconds at the end.
    """
    # What is worth a line is said by the application.
    told = logging.getLogger("uvicorn.error")
    told.addHandler(logging.NullHandler())
    told.propagate = False
    config = uvicorn.Config(
        app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=30,
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
