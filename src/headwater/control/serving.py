"""Owns the serving of the control API at its places."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.types import ASGIApp

from headwater.control.guard import Guard
from headwater.control.place import loopback_socket, token_of
from headwater.engine.embedded import embedded

# Seconds that an answer may still take when the server stops, and connections at once.
_GRACE = 2
_MOST_CONNECTIONS = 500


@asynccontextmanager
async def serving(
    app: ASGIApp, directory: Path, local: socket.socket, port: tuple[str, int] | None = None
) -> AsyncIterator[str | None]:
    """Serve the API on the data directory's socket while the block is entered; give the URL of `port` (host, port).

    Over the port every request needs the token that is in `control.token` of the directory. Raises ServerError.
    """
    async with AsyncExitStack() as cleanup:
        await cleanup.enter_async_context(embedded(app, local, connections=_MOST_CONNECTIONS, grace=_GRACE))
        url = None
        if port is not None:
            bound = loopback_socket(*port)
            host, number = bound.getsockname()[:2]
            shown = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
            guarded = Guard(token_of(directory), [shown, f"localhost:{number}"]).before(app)
            await cleanup.enter_async_context(embedded(guarded, bound, connections=_MOST_CONNECTIONS, grace=_GRACE))
            url = f"http://{shown}"
        yield url
