"""Owns the lock that keeps two writers off one data directory. The kernel frees it, however the holder dies."""

from __future__ import annotations

import fcntl
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from headwater.core.errors import LogIOError, LogLockedError, LogReadOnlyError


class DirectoryLock:
    """Holds `<directory>/lock` from construction until `release`. The file says who holds it."""

    def __init__(self, directory: Path) -> None:
        """Create the directory if need be and take the lock.

        Raises LogLockedError, naming the holder, LogReadOnlyError or LogIOError.
        """
        path = directory / "lock"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError as error:
            raise LogReadOnlyError(
                f"{directory} cannot be written: {error.strerror}", hint="check its owner, or name another --data-dir"
            ) from error
        except OSError as error:
            kind = LogReadOnlyError if "read-only" in str(error).lower() else LogIOError
            raise kind(
                f"{directory} cannot be used as data directory: {error.strerror}", hint="name another --data-dir"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 4096).decode("utf-8", errors="replace").strip() or "another process"
            os.close(self._file)
            raise LogLockedError(
                f"{directory} is being written by {holder}",
                hint="stop that process, or name another --data-dir; consume, ledger and topic list work meanwhile",
            ) from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:3]])[:200] if sys.argv else "python"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} ({command}) since {since}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back, once. The file stays: removing it could take it from under a newcomer."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
