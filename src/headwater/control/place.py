"""Owns where the control API can be reached: its sockets and its token. Loads nothing of what serves it."""

from __future__ import annotations

import os
import secrets
import socket
from ipaddress import ip_address
from pathlib import Path

from headwater.core.disk import replace_file
from headwater.core.errors import ServerError
from headwater.server.local import SocketPlace

# What is in the data directory of a server: the socket of its control API, and the token for other ways to it.
SOCKET_NAME = "control.sock"
TOKEN_NAME = "control.token"  # noqa: S105 - the name of a file
_BACKLOG = 128


def local_socket(directory: Path) -> socket.socket:
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


def loopback_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket of loopback; port 0 takes a free one. Raises ServerError, for other hosts too."""
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


def token_of(directory: Path) -> str:
    """Return the token of a data directory, made when there is none."""
    path = directory / TOKEN_NAME
    try:
        token = path.read_bytes().decode("ascii").strip() if path.exists() else ""
        if not token:
            token = secrets.token_urlsafe(32)
            replace_file(path, f"{token}\n".encode())
    except OSError as error:
        raise ServerError(f"the token cannot be kept in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ServerError(f"{path} holds no token", hint="delete it; another one is made") from error
    return token
