"""Owns the way to the control API of a data directory's server: a `core.managed.Manager` for commands.

It waits in threads: a command asks one thing after another.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from headwater.config import InvalidConfigError
from headwater.control.messages import Connectors, Given, Refusal
from headwater.control.place import SOCKET_NAME
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
    HeadwaterError,
    LogError,
    ManagerError,
)
from headwater.core.managed import Definition, ManagedConnector, Plan
from headwater.server.local import SocketPlace

_Value = TypeVar("_Value")
# A change may wait for polls under way; whoever asks for more than this has a server that hangs (seconds).
_PATIENCE = 60.0
_ERRORS: Mapping[str, type[HeadwaterError]] = {
    "not-found": ConnectorNotFoundError,
    "exists": ConnectorExistsError,
    "owned": ConnectorOwnedError,
    "conflict": ConnectorError,
    "malformed": ConnectorError,
    "log": LogError,
}


class Client:
    """The connectors that the server of a data directory manages. Every call raises ManagerError when it is away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def list(self) -> list[ManagedConnector]:
        """Return every connector, sorted by name."""
        return (await self._ask("GET", "", Connectors)).connectors

    async def get(self, name: str) -> ManagedConnector:
        """Return one connector. Raises ConnectorNotFoundError."""
        return await self._ask("GET", f"/{name}", ManagedConnector)

    async def create(self, definition: Definition, *, dry_run: bool = False) -> Plan:
        """Make a connector and start it. Raises ConnectorExistsError, InvalidConfigError."""
        return await self._ask("POST", "", Plan, _given(definition), dry_run=dry_run)

    async def update(self, definition: Definition, *, dry_run: bool = False) -> Plan:
        """Run a connector by another definition from now on. Raises ConnectorNotFoundError, InvalidConfigError."""
        return await self._ask("PUT", f"/{definition.name}", Plan, _given(definition), dry_run=dry_run)

    async def delete(self, name: str, *, dry_run: bool = False) -> Plan:
        """End a connector and forget it. Raises ConnectorNotFoundError."""
        return await self._ask("DELETE", f"/{name}", Plan, dry_run=dry_run)

    async def config(self, name: str) -> str:
        """Return the connect.yml of a connector, without the values of secrets. Raises ConnectorNotFoundError."""
        return (await asyncio.to_thread(self._exchange, "GET", f"/{name}/config", None)).decode()

    async def pause(self, name: str) -> None:
        """Poll no more until `resume`. Raises ConnectorNotFoundError."""
        await asyncio.to_thread(self._exchange, "POST", f"/{name}/pause", None)

    async def resume(self, name: str) -> None:
        """Poll again. Raises ConnectorNotFoundError."""
        await asyncio.to_thread(self._exchange, "POST", f"/{name}/resume", None)

    async def restart(self, name: str) -> None:
        """End the connector and start it anew at once. Raises ConnectorNotFoundError."""
        await asyncio.to_thread(self._exchange, "POST", f"/{name}/restart", None)

    async def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of a connector's log, oldest first. Raises ConnectorNotFoundError."""
        query: dict[str, str] = {"follow": "true"} if follow else {}
        if tail is not None:
            query["tail"] = str(tail)
        path = f"/{name}/logs" + (f"?{urlencode(query)}" if query else "")
        with self._connected(None if follow else _PATIENCE) as connection:
            response = await asyncio.to_thread(_request, connection, "GET", path, None)
            try:
                while line := await asyncio.to_thread(response.readline):
                    yield line.decode(errors="replace").rstrip("\n")
            except (OSError, http.client.HTTPException) as error:
                raise self._away(error) from error
            finally:
                # Whoever waits for a line in a thread is woken by this.
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

    async def _ask(
        self, method: str, path: str, kind: type[_Value], body: bytes | None = None, *, dry_run: bool = False
    ) -> _Value:
        query = "?dry_run=true" if dry_run else ""
        data = await asyncio.to_thread(self._exchange, method, path + query, body)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise ManagerError(
                f"the server of {self._directory} answers what is not expected: {error}",
                hint="is it of another version?",
            ) from error

    def _exchange(self, method: str, path: str, body: bytes | None) -> bytes:
        with self._connected(_PATIENCE) as connection:
            return _request(connection, method, path, body).read()

    @contextmanager
    def _connected(self, patience: float | None) -> Iterator[_Connection]:
        connection = _Connection(self._directory, patience)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise self._away(error) from error
        finally:
            connection.close()

    def _away(self, error: Exception) -> ManagerError:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return ManagerError(
                f"there is no server of {self._directory} that manages connectors", hint="start it with: headwater up"
            )
        said = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return ManagerError(f"the server of {self._directory} broke off: {said}", hint="is 'headwater up' still there?")


class _Connection(http.client.HTTPConnection):
    """A connection to the socket in a data directory."""

    def __init__(self, directory: Path, patience: float | None) -> None:
        super().__init__("localhost", timeout=patience)
        self._directory = directory

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with SocketPlace(self._directory, SOCKET_NAME) as path:
            self.sock.connect(path)


def _given(definition: Definition) -> bytes:
    return msgspec.json.encode(Given(definition.text, definition.secrets, definition.file))


def _request(connection: _Connection, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
    headers = {} if body is None else {"content-type": "application/json"}
    connection.request(method, f"/v1/connectors{path}", body, headers)
    response = connection.getresponse()
    if response.status >= 400:
        raise _refusal(response.status, response.read())
    return response


def _refusal(status: int, data: bytes) -> HeadwaterError:
    try:
        refusal = msgspec.json.decode(data, type=Refusal)
    except msgspec.MsgspecError:
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return ManagerError("the server has too many requests under way", hint="do many follow logs? try again")
        return ManagerError(f"the server answers with status {status} and what is not expected")
    if refusal.problems:
        return InvalidConfigError(refusal.problems)
    kind: Any = _ERRORS.get(refusal.error, ManagerError)
    error: HeadwaterError = kind(refusal.message, hint=refusal.hint)
    return error
