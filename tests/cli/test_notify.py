"""What systemd is told, and when: the datagrams, the addresses, the watchdog."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.cli.notify import address, announced, message, pause


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def test_datagrams() -> None:
    """States stand on lines of their own, and what people read on one."""
    assert message("READY=1", status="serving\n at  here") == b"READY=1\nSTATUS=serving at here"
    assert message("WATCHDOG=1") == b"WATCHDOG=1"
    assert message(status="x") == b"STATUS=x"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("/run/notify", "/run/notify"), ("@name", "\0name"), ("", None), ("vsock:2:1", None), ("relative", None)],
)
def test_addresses(given: str, meant: str | None) -> None:
    """Paths and names without files are what a Unix socket can send to; nothing else is tried."""
    assert address(given) == meant


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_pause(environment: dict[str, str], seconds: float | None) -> None:
    """Half of what is allowed, where this process is the one that is watched."""
    assert pause(environment, 7) == seconds


async def test_a_process_from_ready_to_stopping(manager: socket.socket) -> None:
    """READY on entering, signs of life in between, STOPPING once `stop` is set, and signs of life until the end."""
    stop = asyncio.Event()
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}

    async def told() -> bytes:
        return await asyncio.to_thread(manager.recv, 1000)

    async with announced("serving", stop, environment):
        assert await told() == b"READY=1\nSTATUS=serving"
        assert [await told(), await told()] == [b"WATCHDOG=1"] * 2
        stop.set()
        while (last := await told()) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1\nSTATUS=stopping"
        assert await told() == b"WATCHDOG=1"


@pytest.mark.parametrize("stopped", [True, False], ids=["by its event", "by an error"])
async def test_an_end_at_once(manager: socket.socket, *, stopped: bool) -> None:
    """STOPPING is told once, however the end comes, and nothing of a watchdog that is not asked for."""
    stop = asyncio.Event()
    async with announced("serving", stop, {"NOTIFY_SOCKET": manager.getsockname()}):
        if stopped:
            stop.set()
    assert manager.recv(1000).startswith(b"READY=1")
    assert manager.recv(1000).startswith(b"STOPPING=1")
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


async def test_a_name_without_a_file() -> None:
    """An abstract socket is reached by its name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0headwater-{os.getpid()}")
        listening.settimeout(30)
        async with announced("x", asyncio.Event(), {"NOTIFY_SOCKET": f"@headwater-{os.getpid()}"}):
            assert listening.recv(1000) == b"READY=1\nSTATUS=x"


async def test_a_manager_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be told is said once, and stops nothing."""
    async with announced("x", asyncio.Event(), {"NOTIFY_SOCKET": str(tmp_path / "nobody")}):
        pass
    assert capsys.readouterr().out.count("the service manager cannot be told") == 1


async def test_no_manager() -> None:
    """Without the variable nothing happens."""
    async with announced("x", asyncio.Event(), {}):
        assert len(asyncio.all_tasks()) == 1
