"""Owns where a command's topics are: the embedded log, a server that has it open, or a cluster; and the way there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from headwater.cli.options import data_dir, profile_option
from headwater.core.errors import LogLockedError, LogServerGoneError, SmartModuleError
from headwater.core.home import home
from headwater.log import Log

if TYPE_CHECKING:
    from headwater.cluster import Cluster
    from headwater.profile.choice import Choice
    from headwater.server.remote import RemoteLog

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class Place(msgspec.Struct, frozen=True):
    """Where the topics are. `choice` is None for the embedded log when there was nothing to choose."""

    directory: Path
    choice: Choice | None

    @property
    def on_cluster(self) -> bool:
        """Whether the topics are in a cluster."""
        return self.choice is not None and self.choice.cluster is not None

    def sentence(self) -> str:
        """Return the line that says where the topics are."""
        from headwater.profile.choice import Choice  # noqa: PLC0415 - only what says it pays for it
        from headwater.profile.file import shown  # noqa: PLC0415 - the same

        return (self.choice or Choice("local")).sentence(shown(self.directory))

    def say(self) -> Place:
        """Say on standard error where the topics are, unless there was nothing to choose; return this place."""
        if self.choice is not None and (self.on_cluster or self.choice.origin):
            click.echo(self.sentence(), err=True)
        return self


def place_options(command: _Decorated) -> _Decorated:
    """Add what every command takes that reads or writes topics: `--profile` and `--data-dir`."""
    return profile_option(data_dir(command))


def find_place(profile: str | None, directory: Path) -> Place:
    """Return where the topics are. Raises ProfileError."""
    if profile is None and not _may_choose():
        # The usual case costs no import.
        return Place(directory, None)
    from headwater.profile.file import chosen  # noqa: PLC0415 - only profiles pay for it

    return Place(directory, chosen(profile))


def _may_choose() -> bool:
    environment = os.environ
    if environment.get("HEADWATER_PROFILE") or environment.get("FLV_PROFILE_PATH"):
        return True
    return (home() / ".fluvio" / "config").exists()


@asynccontextmanager
async def writable(directory: Path) -> AsyncIterator[Log | RemoteLog]:
    """Open the log of a data directory, or speak to the server that has it open. Raises LogError."""
    log = Log.open(directory)
    try:
        await log.__aenter__()
    except LogLockedError as locked:
        remote = await _served(directory, locked)
        try:
            yield remote
        finally:
            await remote.close()
        return
    try:
        yield log
    finally:
        await log.close()


async def _served(directory: Path, locked: LogLockedError) -> RemoteLog:
    """Speak to the server of a data directory. Raises what was `locked` when whoever holds it is no server."""
    from headwater.server.dialogue import SOCKET_NAME  # noqa: PLC0415 - only a locked log pays for it
    from headwater.server.remote import RemoteLog  # noqa: PLC0415 - the same

    if not (directory / SOCKET_NAME).is_socket():
        raise locked
    try:
        return await RemoteLog(directory).__aenter__()
    except LogServerGoneError as gone:
        # A server that was killed leaves its socket behind.
        raise locked from gone


def cluster_of(place: Place) -> Cluster:
    """Return the cluster of a place, to be entered. Raises ProfileError."""
    from headwater.cluster import Cluster, Target  # noqa: PLC0415 - only clusters pay for it
    from headwater.profile.tls import client_context, server_name  # noqa: PLC0415 - the same

    assert place.choice is not None
    profile = place.choice.cluster
    assert profile is not None
    target = Target(
        profile.host,
        profile.port,
        tls=client_context(profile.tls),
        server_name=lambda key: server_name(profile.tls, key),
        use_spu_local_address=profile.use_spu_local_address,
        client_id=profile.client_id or "headwater",
    )
    return Cluster(target)


async def modules_of(place: Place, names: Iterable[str]) -> dict[str, bytes]:
    """Return the code of those of these SmartModules that are kept in the cluster of a place, by their names."""
    found: dict[str, bytes] = {}
    if place.on_cluster:
        async with cluster_of(place) as cluster:
            for name in names:
                # What the cluster has not is one of the data directory, or one that comes with Headwater.
                with suppress(SmartModuleError):
                    found[name] = await cluster.module(name)
    return found
