"""Owns the server's ports: it listens, serves every connection, and ends all of them. What is said is the APIs'."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from headwater.core.errors import ServerError
from headwater.fluvio import objects
from headwater.log import Log
from headwater.server import describe
from headwater.server.connection import Apis, Connection, Limits, Shared
from headwater.server.controller import Controller
from headwater.server.dialogue import SOCKET_NAME
from headwater.server.local import Local, SocketPlace, remove_socket
from headwater.server.unit import Unit

if TYPE_CHECKING:
    from headwater.server.modules import Modules

# Fluvio's own ports.
SC_PORT, SPU_PORT = 9003, 9005
_BUFFER = 1024 * 1024
# All addresses of the machine, none of which clients can dial; and one of them that those on the machine can.
_EVERY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a person may say

logger = structlog.get_logger("headwater.server")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. A port of None is Fluvio's own when it is free and any other when it is not; 0 is any.

    `advertise` is the host that clients are told to dial, and `advertise_port` the port of the SPU there.
    """

    host: str = "127.0.0.1"
    sc_port: int | None = None
    spu_port: int | None = None
    advertise: str | None = None
    advertise_port: int | None = None
    tls: ssl.SSLContext | None = None

    @property
    def exposed(self) -> bool:
        """Whether others than this machine may connect."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    def dialled(self, met: str) -> str:
        """Return the host that a client is told to dial, who has met the server at the address `met`."""
        return self.advertise or (met if self.host in _EVERY else self.host)


class Server:
    """The embedded log over Fluvio's protocol. Use it as an asynchronous context manager; entering raises ServerError.

    `sc_port` and `spu_port` say where it listens once it is entered. `local` is the log for other processes of this
    machine.
    """

    def __init__(self, log: Log, listen: Listen | None = None, limits: Limits | None = None) -> None:
        self._log = log
        self._listen = listen or Listen()
        self.shared = Shared(limits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._modules: Modules | None = None
        self.local = Local(log)
        self.unit = Unit(log, self._get_modules)
        self._controller = Controller(log, self._get_modules, self._address)
        self.sc_port = self.spu_port = 0

    async def __aenter__(self) -> Self:
        listen = self._listen
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._end_connections)
            self.spu_port = await self._open(undo, self.unit.apis, listen.spu_port, SPU_PORT)
            self.sc_port = await self._open(undo, self._controller.apis, listen.sc_port, SC_PORT)
            await self._open_local(undo)
            self._undo = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._undo.aclose()

    @property
    def endpoint(self) -> str:
        """The address that a Fluvio profile names."""
        host = self._listen.dialled(_EVERY.get(self._listen.host, ""))
        return f"[{host}]:{self.sc_port}" if ":" in host else f"{host}:{self.sc_port}"

    def _get_modules(self) -> Modules:
        """Return the SmartModules: the machine for them takes long to load, and most servers need none."""
        if self._modules is None:
            from headwater.server.modules import Modules  # noqa: PLC0415 - only modules pay for the import

            self._modules = Modules(self._log.directory, self.shared.limits.call)
        return self._modules

    def _address(self, met: str) -> objects.Spu:
        listen = self._listen
        return describe.spu(
            listen.dialled(met), listen.advertise_port or self.spu_port, encrypted=listen.tls is not None
        )

    async def _open(self, undo: AsyncExitStack, apis: Apis, port: int | None, usual: int) -> int:
        try:
            server = await self._start(apis, usual if port is None else port)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise self._failed(usual if port is None else port, error) from error
            server = await self._start(apis, 0)
        undo.push_async_callback(_closed, server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def _open_local(self, undo: AsyncExitStack) -> None:
        """Listen on the socket in the data directory: whoever holds its lock owns what stands there."""
        with SocketPlace(self._log.directory) as path:
            try:
                _clear(path)
                server = await asyncio.start_unix_server(self._serving(self.local.apis), path, limit=_BUFFER)
                _keep_private(path)
            except OSError as error:
                raise ServerError(f"cannot listen in {self._log.directory}: {error.strerror or error}") from error
        undo.push_async_callback(_closed, server)
        undo.callback(remove_socket, self._log.directory / SOCKET_NAME)

    async def _start(self, apis: Apis, port: int) -> asyncio.Server:
        return await asyncio.start_server(
            self._serving(apis), self._listen.host, port, limit=_BUFFER, ssl=self._listen.tls, backlog=1024
        )

    def _serving(self, apis: Apis) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self.shared.connections) >= self.shared.limits.connections:
                writer.transport.abort()
                return
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            with suppress(asyncio.CancelledError):
                await Connection(reader, writer, apis, self.shared).run()

        return serve

    def _failed(self, port: int, error: OSError) -> ServerError:
        hint = "choose another with --sc-port and --spu-port" if error.errno == errno.EADDRINUSE else "check --listen"
        # asyncio puts a sentence of its own around what the system said.
        system = error.errno in errno.errorcode and not isinstance(error, socket.gaierror)
        said = os.strerror(error.errno) if system and error.errno else error.strerror or error
        return ServerError(f"cannot listen on {self._listen.host}:{port}: {said}", hint=hint)

    async def _end_connections(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _clear(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _keep_private(path: str) -> None:
    Path(path).chmod(0o600)


async def _closed(server: asyncio.Server) -> None:
    server.close()


def server_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return the TLS of a server. With `client_ca` nobody gets in without a certificate of it. Raises ServerError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"the certificate {certificate} with the key {key} cannot be used: {error}",
            hint="both must be PEM files, and the key that of the certificate, without a passphrase",
        ) from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ServerError(f"the certificates of {client_ca} cannot be used: {error}") from error
    return context
