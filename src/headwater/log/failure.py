"""Owns the mapping of SQLite's errors into the tree. Every call into SQLite goes through `mapped`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from headwater.core.errors import (
    LogClosedError,
    LogCorruptError,
    LogError,
    LogFullError,
    LogIOError,
    LogReadOnlyError,
)


def translate(error: apsw.Error, path: Path) -> LogError:
    """Return the error of the tree for one of SQLite's."""
    said = str(error).removeprefix("SQLITE_") or type(error).__name__
    if isinstance(error, apsw.FullError):
        return LogFullError(f"no space left for {path}", hint="free some space; the log goes on by itself")
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError | apsw.AuthError):
        return LogReadOnlyError(f"{path} cannot be written: {said}", hint="check the permissions and the mount")
    if isinstance(error, apsw.CorruptError):
        return LogCorruptError(
            f"{path} is damaged: {said}", hint="move the directory away to begin anew, and keep it for a repair"
        )
    if isinstance(error, apsw.NotADBError):
        return LogCorruptError(f"{path} is not a Headwater log", hint="name another --data-dir")
    if isinstance(error, apsw.CantOpenError):
        return LogIOError(f"{path} cannot be opened: {said}", hint="check that the directory exists and is yours")
    if isinstance(error, apsw.ConnectionClosedError):
        return LogClosedError(f"the log in {path.parent} was used after it was closed")
    return LogIOError(f"{path}: {said}", hint="the disk may be failing or full")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into those of the tree."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error
