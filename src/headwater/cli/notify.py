"""Owns what systemd is told of a process that it started: ready, stopping, alive, in the datagrams of sd_notify(3).

Who is not started by it, or not as `Type=notify`, has no `$NOTIFY_SOCKET`, and nothing of this costs anything then.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

# How long a full queue of the manager may hold the process up (seconds).
_PATIENCE = 1.0

logger = structlog.get_logger("headwater")


def message(*states: str, status: str = "") -> bytes:
    """Return a datagram: states such as `READY=1`, and a line for people."""
    lines = [*states, "STATUS=" + " ".join(status.split())] if status else states
    return "\n".join(lines).encode()


def address(given: str) -> str | None:
    """Return what to send to for a `$NOTIFY_SOCKET`: a path, or a name without a file (`@`). None for other sorts."""
    if given.startswith("@"):
        return "\0" + given[1:]
    return given if given.startswith("/") else None


def pause(environment: Mapping[str, str], process: int) -> float | None:
    """Return after how many seconds to tell again that the process is alive: twice in the time that is allowed.

    None where nobody wants to know it, or of another process.
    """
    given, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not given.isdecimal() or not int(given) or (whose and whose != str(process)):
        return None
    return int(given) / 2_000_000


class Manager:
    """The service manager behind a socket. What cannot be told is said once in the log, and stops nothing."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._failed = self._stopping = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE)

    def tell(self, *states: str, status: str = "") -> None:
        """Send a datagram."""
        try:
            self._socket.sendto(message(*states, status=status), self._where)
        except OSError as error:
            if not self._failed:
                logger.warning("the service manager cannot be told", socket=self._where, error=str(error))
            self._failed = True

    def tell_stopping(self) -> None:
        """Say that the process stops, once."""
        if not self._stopping:
            self.tell("STOPPING=1", status="stopping")
        self._stopping = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@asynccontextmanager
async def announced(
    status: str, stop: asyncio.Event, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[None]:
    """Tell systemd that the process is ready, then that its event loop turns, and that it stops once `stop` is set."""
    where = address(environment.get("NOTIFY_SOCKET", ""))
    if where is None:
        yield
        return
    manager = Manager(where)
    manager.tell("READY=1", status=status)
    reporting = asyncio.create_task(_report(manager, stop, pause(environment, os.getpid())))
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        # The task has had no turn yet when all ends as soon as `stop` is set.
        manager.tell_stopping()
        manager.close()


async def _report(manager: Manager, stop: asyncio.Event, interval: float | None) -> None:
    """Tell every `interval` that the loop turns, also while what is under way ends, and when that begins."""
    waiting = asyncio.create_task(stop.wait())
    try:
        while not (await asyncio.wait((waiting,), timeout=interval))[0]:
            manager.tell("WATCHDOG=1")
    finally:
        waiting.cancel()
    manager.tell_stopping()
    while interval is not None:
        await asyncio.sleep(interval)
        manager.tell("WATCHDOG=1")
