"""Python modules as processes that are forked from one which has imported them, instead of started anew.

Python's start and its imports are most of what a short command costs, and tests run a thousand of them. So a keeper
imports Headwater, once for each process of tests, and is forked when a command is to run. Such a process has arguments,
environment, directory and descriptors of its own, and is a child of the test's: it is waited for, signalled and killed
as any other. Tests of the start itself - what is imported, what Python makes of its environment - take `subprocess`.
With HEADWATER_TEST_FRESH=1 every process is started anew.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, AnyStr, NamedTuple

FRESH = sys.platform != "linux" or os.environ.get("HEADWATER_TEST_FRESH") == "1"

_OF_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "GLIBC_", "MALLOC_", "OPENSSL_")
"""Beginnings of variables that have had their effect when a module is run: a fork has those of its keeper."""

_PARAMETERS = tuple(inspect.signature(subprocess.Popen._execute_child).parameters)[1:]  # type: ignore[attr-defined]
_UNUSUAL = {
    "executable": None,
    "preexec_fn": None,
    "close_fds": True,
    "pass_fds": (),
    "shell": False,
    "restore_signals": True,
    "gid": None,
    "gids": None,
    "uid": None,
    "umask": -1,
    "start_new_session": False,
}
"""What a fork has no other value of."""

_LARGEST = 1 << 16
_SET_CHILD_SUBREAPER = 36


class Popen(subprocess.Popen[AnyStr]):
    """`subprocess.Popen`, in which `[sys.executable, "-m", module, ...]` is forked where that comes to the same."""

    def _execute_child(self, *arguments: Any) -> None:
        given = dict(zip(_PARAMETERS, arguments, strict=True))
        order = _order(given)
        if order is None:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        pipes = ("p2cread", "c2pwrite", "errwrite")
        descriptors = [number if given[name] == -1 else given[name] for number, name in enumerate(pipes)]
        self.pid = _keeper().fork(order, descriptors)
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in ends))  # type: ignore[attr-defined]


class _Order(NamedTuple):
    """What a fork is to be."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    group: int


def _order(given: Mapping[str, Any]) -> _Order | None:
    """Return what a fork is to be that is as good as a process started anew, None where none is."""
    if FRESH or isinstance(given["args"], str | bytes | os.PathLike):
        return None
    command = [os.fspath(part) for part in given["args"]]
    environment = dict(os.environ if given["env"] is None else given["env"])
    directory = os.fspath(given["cwd"] or Path.cwd())
    usual = all(given[name] == value for name, value in _UNUSUAL.items())
    if command[:2] != [sys.executable, "-m"] or not usual or not os.access(directory, os.X_OK):
        return None
    if _of_the_start(environment) != _keeper().environment or len(str((command, environment))) > _LARGEST:
        return None
    return _Order(command[2], command[3:], environment, directory, given["process_group"])


def _of_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_OF_THE_START)}


@cache
def _keeper() -> _Keeper:
    return _Keeper()


class _Keeper:
    """The process that is forked, as the tests' process sees it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.environment = _of_the_start(os.environ)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
            )
        atexit.register(self._close)

    def fork(self, order: _Order, descriptors: Sequence[int]) -> int:
        """Have a child of this process with these standard descriptors; return its process number."""
        with self._lock, _adopting():
            socket.send_fds(self._socket, [json.dumps(order).encode()], descriptors)
            number = self._socket.recv(16)
            # It has been another's child until that has ended.
            adopted = self._socket.recv(16)
        if not adopted:
            raise RuntimeError(f"the keeper of forked processes has ended: {self._process.wait()}")
        return int(number)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


@contextmanager
def _adopting() -> Iterator[None]:
    """Become the parent of whoever among one's descendants loses his within a block."""
    kernel = ctypes.CDLL(None)
    kernel.prctl(_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        # Later ones are init's business, which does not leave them unburied.
        kernel.prctl(_SET_CHILD_SUBREAPER, 0)


def _import_everything() -> None:
    """Import all that a command of ours may import."""
    headwater = importlib.import_module("headwater")
    for module in pkgutil.walk_packages(headwater.__path__, "headwater."):
        if not module.name.startswith("headwater.testing") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _keep(tests: socket.socket) -> tuple[_Order, list[int]]:
    """Fork whenever it is asked for, until the tests' process has ended. In each fork, return what it is to be."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(tests, 2 * _LARGEST, 3)
        if not data:
            os._exit(0)
        adopted, adopt = os.pipe()
        between = os.fork()
        if not between:
            number = os.fork()
            if not number:
                tests.close()
                os.close(adopt)
                os.read(adopted, 1)
                return _Order(*json.loads(data)), descriptors
            tests.send(b"%d" % number)
            os._exit(0)
        os.waitpid(between, 0)
        tests.send(b"adopted")
        for descriptor in (*descriptors, adopted, adopt):
            os.close(descriptor)


def _become(order: _Order, descriptors: list[int]) -> None:
    """Be what a process started anew is when it begins to run a module."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    if order.group != -1:
        os.setpgid(0, order.group)
    os.chdir(order.directory)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    sys.path.insert(0, order.directory)
    sys.argv[:] = ["-m", *order.arguments]
    sys.orig_argv[:] = [sys.executable, "-m", order.module, *order.arguments]


def _forget(imported: Mapping[str, ModuleType]) -> None:
    """Leave modules out of what is taken apart at the end of a process."""
    for name, module in imported.items():
        if sys.modules.get(name) is module and name not in {"sys", "builtins", "__main__"}:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
            del sys.modules[name]


def main() -> None:
    """Import, fork, and in each fork run a module."""
    # The tests' directory, where this file is.
    del sys.path[0]
    tests = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    # A fork has one thread and knows nothing of others.
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, threads
    # What is never collected, and not taken apart at the end, is not touched: its pages stay shared.
    gc.collect()
    gc.freeze()
    atexit.register(_forget, dict(sys.modules))
    order, descriptors = _keep(tests)
    _become(order, descriptors)
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
