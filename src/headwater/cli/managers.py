"""Owns which manager of connectors a command talks to: the server of this machine's data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headwater.cli.options import data_dir
from headwater.core.managed import Manager

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class Reach(msgspec.Struct, frozen=True):
    """What a command was told about where connectors are managed."""

    directory: Path


def reach_options(*, settings: bool = False) -> Callable[[_Decorated], _Decorated]:  # noqa: ARG001 - for clusters
    """Add the options that say where connectors are managed; the command gets them as one argument, `reach`."""

    def decorate(command: _Decorated) -> Any:
        @data_dir
        @wraps(command)
        def gathered(*, data_dir: Path, **others: Any) -> Any:
            return command(reach=Reach(data_dir), **others)

        return gathered

    return decorate


@asynccontextmanager
async def manager_of(reach: Reach) -> AsyncIterator[Manager]:
    """Open the manager of connectors that a command means. What it raises later is a ManagerError."""
    from headwater.control.client import Client  # noqa: PLC0415 - only what asks pays for it

    yield Client(reach.directory)
