"""Commands as a service manager starts them: told when they serve, that they live, and that they stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer


@pytest.fixture
def manager(headwater: CommandLine, tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket of a service manager that watches what the command line starts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        headwater.environment |= {"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "200000"}
        yield listening


def told(manager: socket.socket, word: bytes) -> bytes:
    """Wait until something is told other than that the process lives."""
    while (said := manager.recv(1000)) == b"WATCHDOG=1":
        pass
    assert said.startswith(word), said
    return said


def test_up(headwater: CommandLine, manager: socket.socket) -> None:
    """READY comes when the port is open, not before; then signs of life; SIGTERM ends it in peace."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = headwater.start("up", "--sc-port", port, "--spu-port", 0)
    assert told(manager, b"READY=1") == f"READY=1\nSTATUS=serving at 127.0.0.1:{port}".encode()
    with socket.create_connection(("127.0.0.1", port)):
        assert [manager.recv(1000), manager.recv(1000)] == [b"WATCHDOG=1"] * 2
    process.send_signal(signal.SIGTERM)
    told(manager, b"STOPPING=1")
    assert process.wait(30) == 0


def test_a_start_that_fails(headwater: CommandLine, manager: socket.socket) -> None:
    """A server that cannot listen is never ready."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert headwater.run("up", "--sc-port", taken.getsockname()[1], "--spu-port", 0).returncode == 1
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


def test_run(headwater: CommandLine, manager: socket.socket, server: ScriptedServer) -> None:
    """Connectors say STOPPING when they begin to stop, and live on until what is under way has ended."""
    go_on = threading.Event()
    url = server.route("/x", Answer(body=b"meow", wait=lambda: asyncio.to_thread(go_on.wait, 30)))
    config = headwater.config(f"name: x\ntopic: x\nparameters:\n  endpoint: {url}\n  interval: 1h\n")
    process = headwater.start("run", config)
    assert told(manager, b"READY=1") == b"READY=1\nSTATUS=connectors running: 1"
    server.wait_for(1)
    process.send_signal(signal.SIGTERM)
    told(manager, b"STOPPING=1")
    assert manager.recv(1000) == b"WATCHDOG=1"
    go_on.set()
    assert process.wait(30) == 0
    assert headwater.good("consume", "x", "-B", "-d") == "meow\n"


def test_a_process_that_hangs(headwater: CommandLine, manager: socket.socket) -> None:
    """A process whose loop does not turn gives no sign of life."""
    process = headwater.start("up", "--sc-port", 0, "--spu-port", 0)
    told(manager, b"READY=1")
    assert manager.recv(1000) == b"WATCHDOG=1"
    os.kill(process.pid, signal.SIGSTOP)
    manager.settimeout(0.5)
    with pytest.raises(TimeoutError):
        told(manager, b"")
    process.kill()


def test_a_user_without_a_home(headwater: CommandLine) -> None:
    """A user whom nothing names, as systemd makes them, has no profile of his own, and may be given one."""
    stranger = ("unshare", "--user", "--map-user=64279", "--map-group=64279")
    probe = subprocess.run([*stranger, "true"], capture_output=True, text=True, check=False, timeout=30)
    if probe.returncode:
        pytest.skip(f"no namespaces here: {probe.stderr.strip()}")
    del headwater.environment["HOME"]

    def listed(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*stranger, sys.executable, "-m", "headwater", "topic", "list"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**headwater.environment, **environment},
        )

    headwater.good("topic", "create", "cats")
    assert "cats" in listed().stdout
    nowhere = listed(HEADWATER_PROFILE="cloud")
    assert nowhere.returncode == 3
    assert "Traceback" not in nowhere.stderr
    assert listed(HEADWATER_DATA="").stdout == "No topics found\n"
