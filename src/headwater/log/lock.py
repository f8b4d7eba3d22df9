"""Owns the lock that keeps two writers off one data directory. The kernel frees it, however the holder dies."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from headwater.core.errors import LogIOError, LogLockedError, LogReadOnlyError

# A line of /proc/locks for a lock like ours: the holder, the device and the file.
_LOCK = re.compile(r"FLOCK +ADVISORY +WRITE +(\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ")


def holder(directory: Path) -> str | None:
    """Return what is written of the process that holds the lock of a directory, None when none does.

    Takes no lock, not even for a moment: a process that starts just then would find the directory taken.
    """
    try:
        with (directory / "lock").open("rb") as file:
            status, said = os.fstat(file.fileno()), file.read(4096).decode("utf-8", errors="replace").strip()
    except OSError:
        return None
    found = re.match(r"process (\d+)", said)
    process = int(found[1]) if found else 0
    try:
        locks = Path("/proc/locks").read_text("ascii")
    except OSError:
        # Not all kernels tell; then that such a process runs has to do.
        return said if process and Path(f"/proc/{process}").exists() else None
    return said or "another process" if is_held(locks, status, process) else None


def is_held(locks: str, file: os.stat_result, process: int) -> bool:
    """Return whether a file is among the kernel's locks, by its device or, where that has two numbers, its holder."""
    return any(
        int(inode) == file.st_ino
        and (
            int(owner) == process or (int(major, 16), int(minor, 16)) == (os.major(file.st_dev), os.minor(file.st_dev))
        )
        for owner, major, minor, inode in _LOCK.findall(locks)
    )


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
        # Its name is enough: what follows may be an endpoint with a password.
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])[:200] if sys.argv else "python"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} ({command}) since {since}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back, once. The file stays: removing it could take it from under a newcomer."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
