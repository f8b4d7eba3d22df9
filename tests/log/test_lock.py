"""Who holds a data directory, asked without taking it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from headwater.core.errors import LogLockedError
from headwater.log.lock import DirectoryLock, holder, is_held

LOCKS = """\
1: POSIX  ADVISORY  READ 20 fe:00:77 128 128
2: FLOCK  ADVISORY  WRITE 20 fe:01:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 21 fe:01:78 0 EOF
3: FLOCK  ADVISORY  READ 20 fe:01:79 0 EOF
"""


@pytest.mark.parametrize(
    ("inode", "minor", "process", "held"),
    [
        (77, 1, 99, True),  # by its device, whoever the file names: that may be a number in another container
        (77, 9, 20, True),  # by its holder, where the file system gives its files another device
        (77, 9, 99, False),
        (79, 1, 20, False),  # a lock to read
        (7, 1, 20, False),
    ],
)
def test_the_kernels_locks(inode: int, minor: int, process: int, *, held: bool) -> None:
    """A lock to write on the same file, and no other."""
    file = os.stat_result((0o600, inode, os.makedev(0xFE, minor), 1, 0, 0, 0, 0, 0, 0))
    assert is_held(LOCKS, file, process) is held


def test_from_taking_to_giving_back(tmp_path: Path) -> None:
    """The holder is named while it holds, and asking takes nothing from it or from the next one."""
    assert holder(tmp_path) is None
    for _ in range(2):
        lock = DirectoryLock(tmp_path)
        said = holder(tmp_path)
        assert said is not None
        assert said.startswith(f"process {os.getpid()} (")
        with pytest.raises(LogLockedError, match=f"process {os.getpid()} "):
            DirectoryLock(tmp_path)
        lock.release()
        assert holder(tmp_path) is None


def test_what_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder is named by its command, without options, in which there may be secrets."""
    monkeypatch.setattr(sys, "argv", ["/bin/headwater", "http", "--endpoint=http://me:secret@cats.test/"])
    lock = DirectoryLock(tmp_path)
    said = holder(tmp_path)
    lock.release()
    assert said is not None
    assert " (headwater http) since " in said


def test_what_is_no_lock(tmp_path: Path) -> None:
    """No directory, and a file that says nothing, are nobody's."""
    assert holder(tmp_path / "nowhere") is None
    (tmp_path / "lock").write_bytes(b"\xff\xfe")
    assert holder(tmp_path) is None
