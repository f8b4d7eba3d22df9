"""Owns where the control API is served: a socket in the data directory, and a port of loopback when asked."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from starlette.types import ASGIApp

from headwater.control.guard import Guard
from headwater.control.messages import SOCKET_NAME, TOKEN_NAME
from headwater.core.disk import replace_file
from headwater.core.errors import ServerError
from headwater.engine.embedded import embedded
from headwater.server.local import SocketPlace

# Seconds that an answer may still take when the server stops, and connections at once.
_GRACE = 2
_MOST_CONNECTIONS = 500
_BACKLOG = 128


@asynccontextmanager
async def serving(app: ASGIApp, directory: Path, port: tuple[str, int] | None = None) -> AsyncIterator[str | None]:
    """Serve the API in a data directory while the block is entered; give the URL where `port` (host, port) serves it.

    Over the port every request needs the token that is in `control.token` of the directory. Raises ServerError.
    """
    async with AsyncExitStack() as cleanup:
        local = _local_socket(directory)
        cleanup.callback((directory / SOCKET_NAME).unlink, missing_ok=True)
        await cleanup.enter_async_context(embedded(app, local, connections=_MOST_CONNECTIONS, grace=_GRACE))
        url = None
        if port is not None:
            bound = _loopback_socket(*port)
            host, number = bound.getsockname()[:2]
            shown = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
            guard = Guard(_token(directory), [shown, f"localhost:{number}"])
            guarded = guard.before(app)
            await cleanup.enter_async_context(embedded(guarded, bound, connections=_MOST_CONNECTIONS, grace=_GRACE))
            url = f"http://{shown}"
        yield url


def _local_socket(directory: Path) -> socket.socket:
    """Return a socket in the data directory, for its owner alone: whoever holds the lock owns what stands there."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        with SocketPlace(directory, SOCKET_NAME) as path:
            Path(path).unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                bound.bind(path)
            finally:
                os.umask(before)
            bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ServerError(f"cannot listen in {directory}: {error.strerror or error}") from error
    return bound


def _loopback_socket(host: str, port: int) -> socket.socket:
    try:
        found = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        found = None
    if found is None or not found.is_loopback:
        raise ServerError(
            f"the control API is served on loopback only, not on {host}",
            hint="write --api PORT, and reach it from elsewhere through ssh -L or kubectl port-forward",
        )
    bound = socket.socket(socket.AF_INET6 if found.version == 6 else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((str(found), port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ServerError(
            f"cannot serve the control API on {found}:{port}: {error.strerror or error}",
            hint="name another port with --api, or 0 for any free one",
        ) from error
    return bound


def _token(directory: Path) -> str:
    """Return the token of a data directory, made when there is none."""
    path = directory / TOKEN_NAME
    try:
        token = path.read_text().strip() if path.exists() else ""
        if not token:
            token = secrets.token_urlsafe(32)
            replace_file(path, f"{token}\n".encode())
    except OSError as error:
        raise ServerError(f"the token cannot be kept in {path}: {error.strerror}") from error
    return token
