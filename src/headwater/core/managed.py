"""Owns what a managed connector is to people: its definition, its state, and what may be asked of whoever manages it.

Who that is - the server of one machine, a Kubernetes cluster - is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import msgspec


class Phase(StrEnum):
    """The state of a managed connector, in Fluvio's words and one of our own.

    Init: it is about to start. Running: it polls and all is well. Pending: it waits to be started again, or for a place
    to run. Failed: it runs but what it asks for fails, or it cannot be kept running. Invalid: what is written in it
    cannot run here. Paused: somebody said so.
    """

    INIT = "Init"
    RUNNING = "Running"
    PENDING = "Pending"
    FAILED = "Failed"
    INVALID = "Invalid"
    PAUSED = "Paused"


class Definition(msgspec.Struct, frozen=True):
    """One connector as somebody wrote it.

    `text` is its connect.yml: one document, without the values of secrets. `secrets` are the values that it uses, by
    their names. `file` is the absolute path that it was read from, where its relative paths begin; "" if there is none.
    """

    name: str
    text: str
    secrets: dict[str, str] = {}
    file: str = ""

    def __repr__(self) -> str:
        return f"Definition({self.name!r}, secrets={sorted(self.secrets)})"


class ManagedConnector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A managed connector as it is now. Times are ms since the Unix epoch, None where there has been or will be none.

    `reason` is one sentence on why it is not running, "" while it is; `since` is when that began. `origin` is the file
    it is kept in when a directory is watched, "" when it was created. `restarts` counts crashes since the last start.
    `where` is whatever runs it: a process, a pod; "" when that is the server itself.
    """

    name: str
    type: str
    version: str
    status: Phase
    topic: str
    reason: str = ""
    since: int | None = None
    paused: bool = False
    origin: str = ""
    created: int | None = None
    updated: int | None = None
    last_record: int | None = None
    next_poll: int | None = None
    records: int = 0
    restarts: int = 0
    where: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What a change did, or would do. `action` is created, updated, unchanged or deleted.

    `difference` are the lines of a unified diff, without the values of secrets; names of secrets that change come last.
    """

    name: str
    action: str
    difference: tuple[str, ...] = ()


class Manager(Protocol):
    """Whoever manages connectors. Every call raises ConnectorError, ManagerError, or InvalidConfigError."""

    async def list(self) -> list[ManagedConnector]:
        """Return every connector, sorted by name."""
        ...

    async def get(self, name: str) -> ManagedConnector:
        """Return one connector. Raises ConnectorNotFoundError."""
        ...

    async def create(self, definition: Definition, *, dry_run: bool = False) -> Plan:
        """Make a connector and its topic, and start it. Raises ConnectorExistsError. `dry_run` changes nothing."""
        ...

    async def update(self, definition: Definition, *, dry_run: bool = False) -> Plan:
        """Run a connector by another definition from now on; its checkpoint stays. Raises ConnectorNotFoundError."""
        ...

    async def delete(self, name: str, *, dry_run: bool = False) -> Plan:
        """End a connector and forget it; its topic and its records stay. Raises ConnectorNotFoundError."""
        ...

    async def config(self, name: str) -> str:
        """Return the connect.yml of a connector, without the values of secrets. Raises ConnectorNotFoundError."""
        ...

    async def pause(self, name: str) -> None:
        """Poll no more until `resume`, over restarts too. Raises ConnectorNotFoundError."""
        ...

    async def resume(self, name: str) -> None:
        """Poll again. Raises ConnectorNotFoundError."""
        ...

    async def restart(self, name: str) -> None:
        """End the connector and start it anew at once. Raises ConnectorNotFoundError."""
        ...

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of a connector's log, oldest first; `tail` are the last ones only, `follow` goes on."""
        ...
