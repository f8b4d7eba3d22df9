"""The container's entry point as a process: the page's arguments, any other command, and the signals of PID 1."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.cli.container import TERMINATED
from headwater.testing import Answer, ScriptedServer
from server.running import started

ENTRY = (sys.executable, "-P", "-m", "headwater.cli.container")


def start(headwater: CommandLine, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*before, *ENTRY, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=headwater.environment,
        cwd=headwater.directory,
    )
    headwater._started.append(process)
    return process


def test_the_pages_arguments(headwater: CommandLine, server: ScriptedServer) -> None:
    """The local connector runs from the page's arguments, the bare `--` before them, and ends in peace."""
    url = server.route("/fact", Answer(body=b"meow"))
    process = start(headwater, "--", f"--endpoint={url}", "--fluvio-topic=cat-facts")
    headwater.wait_for_topic("cat-facts")
    assert headwater.good("consume", "cat-facts", "-B", "--end", "0") == "meow\n"
    status, _, said = headwater.stop(process, signal.SIGTERM)
    # Before `docker stop` loses its patience.
    assert (status, '"grace": "8s"' in said) == (0, True)


def test_other_commands(headwater: CommandLine) -> None:
    """Commands and the flags of all are what they are without a container; mistakes are told as everywhere."""
    assert start(headwater, "--version").communicate(timeout=30)[0].startswith("headwater ")
    assert start(headwater, "topic", "list").communicate(timeout=30)[0] == "No topics found\n"
    process = start(headwater, "bash")
    assert "There is no command 'bash'" in process.communicate(timeout=30)[1]
    assert process.returncode == 2


@pytest.fixture
def first() -> tuple[str, ...]:
    """Return what makes a command the first process of a namespace of its own, as in a container."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare to make namespaces with")
    command = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    return command


def child(process: subprocess.Popen[str]) -> int:
    """Return the process that `unshare` has made."""
    (made,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(made)


def test_the_first_process_of_a_container_ends(headwater: CommandLine, first: tuple[str, ...]) -> None:
    """A command that asks for no signals is ended by SIGTERM nevertheless, so that `docker stop` does not wait."""
    headwater.good("topic", "create", "cats")
    headwater.good("produce", "cats", given="meow\n")
    process = start(headwater, "consume", "cats", "-B", before=first)
    assert process.stdout is not None
    assert process.stdout.readline() == "meow\n"
    os.kill(child(process), signal.SIGTERM)
    assert process.wait(30) == TERMINATED


def test_a_server_as_the_first_process(headwater: CommandLine, first: tuple[str, ...]) -> None:
    """A server ends in peace on SIGTERM, is at work before that, and not afterwards."""
    process = start(headwater, "up", "--sc-port", "0", "--spu-port", "0", before=first)
    started(process)
    assert headwater.good("health") == f"the server of {headwater.data} answers\n"
    os.kill(child(process), signal.SIGTERM)
    assert process.wait(30) == 0
    assert headwater.run("health").returncode == 1
