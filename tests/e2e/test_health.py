"""`headwater health` beside a server, beside connectors, and alone."""

from __future__ import annotations

import os
import signal

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer
from server.running import started


def test_beside_a_server(headwater: CommandLine) -> None:
    """It answers; one that hangs does not; one that was killed leaves nothing that is at work."""
    process = headwater.start("up", "--sc-port", "0", "--spu-port", "0")
    started(process)
    assert headwater.good("health") == f"the server of {headwater.data} answers\n"
    os.kill(process.pid, signal.SIGSTOP)
    done = headwater.run("health", "--patience", "0.2")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the server of {headwater.data} does not answer: timed out" in done.stderr
    os.kill(process.pid, signal.SIGCONT)
    assert headwater.good("health")
    process.kill()
    process.wait(30)
    done = headwater.run("health")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing is at work on {headwater.data}" in done.stderr
    assert "hint: start 'headwater up'" in done.stderr


def test_beside_connectors(headwater: CommandLine, server: ScriptedServer) -> None:
    """Connectors are at work from the moment they have the directory until they end."""
    assert headwater.run("health").returncode == 1
    assert not headwater.data.exists()
    url = server.route("/x", Answer(body=b"meow"))
    process = headwater.start("http", "--endpoint", url, "--fluvio-topic", "x")
    server.wait_for(1)
    said = headwater.good("health")
    assert said.startswith(f"{headwater.data} is being written by process {process.pid} (")
    assert headwater.stop(process, signal.SIGTERM)[0] == 0
    assert headwater.run("health").returncode == 1
