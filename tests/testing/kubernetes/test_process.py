"""Containers without a cluster: what a process in a box sees, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import pytest

from headwater.testing.kubernetes.containerlog import Choice, ContainerLog
from headwater.testing.kubernetes.launcher import Mount
from headwater.testing.kubernetes.process import Box, ContainerProcess, StartError, lacks

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Return a box with a directory inside."""
    lack = lacks(tmp_path / "trial")
    if lack is not None:
        pytest.skip(lack)
    (tmp_path / "root").mkdir()
    (tmp_path / "data").mkdir()
    mount = Mount(source=str(tmp_path / "data"), path="/var/lib/new/data", read_only=False)
    return Box(ENVIRONMENT, "/made/for/it", "pod-1", "127.250.0.1", tmp_path / "root", (mount,))


async def run(box: Box, script: str, path: Path) -> tuple[int, str]:
    """Run a shell script to its end; return its exit status and what it wrote."""
    log = ContainerLog(path / "log")
    process = await ContainerProcess.start(["sh", "-c", script], box, log)
    status = await process.wait()
    return status, b"".join([part async for part in log.read(Choice())]).decode()


async def test_a_process_sees_its_box(box: Box, tmp_path: Path) -> None:
    """It is the first process of a host of its own, in a root of its own."""
    script = "echo $$; uname -n; pwd; echo 1 > /var/lib/new/data/kept; echo 2 > /etc/lost && cat /etc/lost; exit 7"
    assert await run(box, script, tmp_path) == (7, "1\npod-1\n/made/for/it\n2\n")
    assert (tmp_path / "data" / "kept").read_text() == "1\n"
    assert not any(map(os.path.exists, ("/etc/lost", "/made/for/it")))


async def test_a_root_that_is_only_read(box: Box, tmp_path: Path) -> None:
    """Nothing can be written but in what is mounted."""
    box = msgspec.structs.replace(box, read_only=True)
    script = "touch /etc/lost /tmp/lost 2>/dev/null || echo no; touch /var/lib/new/data/kept && echo yes"
    assert await run(box, script, tmp_path) == (0, "no\nyes\n")


async def test_another_user(box: Box, tmp_path: Path) -> None:
    """A process is who its Pod says, and reaches what its image brings."""
    box = msgspec.structs.replace(box, user=1234, group=1234, reach=(sys.prefix, sys.base_prefix))
    assert await run(box, f"id -u; {sys.executable} -S -c 'print(1)'", tmp_path) == (0, "1234\n1\n")


async def test_a_command_that_is_not_there(box: Box, tmp_path: Path) -> None:
    """What cannot be started says why."""
    with pytest.raises(StartError, match="No such file or directory"):
        await ContainerProcess.start(["/no/such/command"], box, ContainerLog(tmp_path / "log"))


async def test_the_end_of_the_first_process_is_the_end_of_all(box: Box, tmp_path: Path) -> None:
    """SIGKILL to the first process ends those that it has started, too."""
    log = ContainerLog(tmp_path / "log")
    process = await ContainerProcess.start(["sh", "-c", "sleep 1000 & echo up; wait"], box, log)
    assert await anext(log.read(Choice(follow=True))) == b"up\n"
    process.signal(signal.SIGKILL)
    assert await process.wait() == 137


async def test_commands_are_executed_inside(box: Box, tmp_path: Path) -> None:
    """A probe's command sees what the container sees; one that takes too long is killed."""
    log = ContainerLog(tmp_path / "log")
    process = await ContainerProcess.start(["sh", "-c", "echo 1 > /inside; echo up; exec sleep 1000"], box, log)
    assert await anext(log.read(Choice(follow=True))) == b"up\n"
    assert await process.execute(["sh", "-c", "cat /inside; uname -n; exit 3"], 30) == (3, b"1\npod-1\n")
    with pytest.raises(TimeoutError):
        await process.execute(["sleep", "1000"], 0.2)
    process.signal(signal.SIGKILL)
    await process.wait()


async def test_what_listens_on_all_addresses_listens_on_the_pods(box: Box, tmp_path: Path) -> None:
    """Of one port, several Pods have each their own; an address that is named is the one that is bound."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = (
            "import socket\n"
            f"for family, where in ((socket.AF_INET, ''), (socket.AF_INET6, '::'), (socket.AF_INET, '127.250.0.2')):\n"
            f"    with socket.socket(family) as s:\n"
            f"        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
            f"        s.bind((where, {port}))\n"
            f"        print(s.getsockname()[0])\n"
            "with socket.socket() as s:\n    s.bind(('', 0))\n    print(s.getsockname()[0])\n"
            "with socket.socket() as s:\n"
            f"    try:\n        s.bind(('127.0.0.1', {port}))\n"
            "    except OSError as error:\n        print(error.errno)\n"
        )
        python = f"{sys.executable} -S - <<'END'\n{code}END\n"
        box = msgspec.structs.replace(box, reach=(sys.prefix, sys.base_prefix))
        status, said = await run(box, python, tmp_path)
    assert (status, said.split()) == (0, ["127.250.0.1", "::ffff:127.250.0.1", "127.250.0.2", "0.0.0.0", "98"])
    assert os.strerror(98) == "Address already in use"
