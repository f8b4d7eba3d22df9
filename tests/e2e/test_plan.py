"""`headwater plan` and recordings as a person uses them: what would be sent, what was, and the same again offline."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.testing import Answer, Received, ScriptedServer, background

CONFIG = """\
apiVersion: 0.1.0
meta:
  name: orders
  type: http-source
  topic: orders
  secrets:
    - name: API_TOKEN
http:
  endpoint: {url}/orders
  params: {{since: "${{{{ cursor.newest }}}}"}}
  headers: {{X-Token: "${{{{ secrets.API_TOKEN }}}}"}}
  interval: 1s
  cursor: {{newest: {{from: /newest, source: body, initial: "0"}}}}
"""


def orders(request: Received) -> Answer:
    """Answer with what is newer, and an echo of the token."""
    newest = int(request.query["since"]) + 1
    return Answer.json({"newest": newest, "echo": request.header("x-token")})


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return a command line that knows the secret."""
    line = CommandLine(tmp_path)
    line.environment["API_TOKEN"] = "t0ps3cret-token"
    yield line
    line.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a server with orders."""
    with background(ScriptedServer()) as running:
        running.route("/orders", orders)
        yield running


def test_a_plan_sends_nothing(headwater: CommandLine, server: ScriptedServer) -> None:
    """Times and the masked request are shown, first from initial values, then from the checkpoint."""
    config = headwater.config(CONFIG.format(url=server.url))
    fresh = headwater.good("plan", config, "-n", "2")
    assert f"  > GET {server.url}/orders?since=0\n" in fresh
    assert "  > X-Token: ***\n" in fresh
    assert "it has not run yet: initial values" in fresh
    assert "a day     86400 rounds, each of one request" in fresh
    assert not server.received
    assert not headwater.data.exists()
    running = headwater.start("run", config)
    server.wait_for(2)
    headwater.stop(running, signal.SIGTERM)
    asked = len(server.received)
    begun = headwater.good("plan", config, "-n", "1")
    assert "from the checkpoint" in begun
    assert f"/orders?since={asked}" in begun or f"/orders?since={asked - 1}" in begun
    assert "since=0" in headwater.good("plan", config, "-n", "1", "--fresh")
    assert len(server.received) == asked
    (told,) = json.loads(headwater.good("plan", config, "-n", "3", "-O", "json"))
    assert (told["name"], len(told["fires"]), told["rounds"]) == ("orders", 3, 86400)
    assert "t0ps3cret" not in fresh + begun + str(told)


def test_a_recording_and_its_replay(headwater: CommandLine, server: ScriptedServer, tmp_path: Path) -> None:
    """What was recorded comes to the same offline, without the secret, and a change is shown as a diff."""
    config = headwater.config(CONFIG.format(url=server.url))
    done = headwater.run("record", config, "-o", "orders.recording.yml", "--rounds", "3")
    assert done.returncode == 0, done.stderr
    assert "orders.recording.yml: 3 exchanges, 3 records" in done.stderr
    recording = (tmp_path / "orders.recording.yml").read_text()
    assert "t0ps3cret" not in recording
    assert '"echo":"***"' in recording
    assert not headwater.data.exists()
    refused = headwater.run("record", config, "-o", "orders.recording.yml")
    assert (refused.returncode, "--force writes over it" in refused.stderr) == (2, True)
    del headwater.environment["API_TOKEN"]
    asked = len(server.received)
    replay = ("test", "--replay", "orders.recording.yml", config)
    shown = headwater.good(*replay)
    assert shown.splitlines() == [
        *['{"exchange":"accepted","status":200,"records":1}'] * 3,
        *(f'{{"topic":"orders","key":null,"value":{{"newest":{number},"echo":"***"}}}}' for number in (1, 2, 3)),
    ]
    expect = (*replay, "--expect", "orders.expected.jsonl")
    headwater.good(*expect, "--update")
    again = headwater.run(*expect, "--interrupted")
    assert (again.returncode, again.stderr) == (0, "orders: as expected: 3 exchanges, 3 records\n")
    path = tmp_path / "orders.recording.yml"
    path.write_text(recording.replace('"newest":3', '"newest":4'))
    differs = headwater.run(*expect)
    assert differs.returncode == 1
    assert '-{"topic":"orders","key":null,"value":{"newest":3,"echo":"***"}}' in differs.stdout
    assert '+{"topic":"orders","key":null,"value":{"newest":4,"echo":"***"}}' in differs.stdout
    assert "--update writes what is now" in differs.stderr
    other = headwater.run(*replay, "--set", "method=PUT")
    assert other.returncode == 1
    assert "! not in the recording: PUT" in other.stderr
    assert "! 3 exchanges of the recording were not asked for:" in other.stderr
    assert len(server.received) == asked


def test_what_belongs_to_replays(headwater: CommandLine, server: ScriptedServer) -> None:
    """Options of a replay alone are wrong usage, and a file that is none is told."""
    config = headwater.config(CONFIG.format(url=server.url))
    alone = headwater.run("test", config, "--expect", "x")
    assert (alone.returncode, "are for --replay" in alone.stderr) == (2, True)
    none = headwater.run("test", config, "--replay", config)
    assert none.returncode == 3
    assert "no recording of version 1" in none.stderr
    missing = headwater.run("test", config, "--replay", "missing.yml")
    assert (missing.returncode, "missing.yml cannot be read: No such file" in missing.stderr) == (3, True)


def test_a_directory_of_recordings(headwater: CommandLine, server: ScriptedServer, tmp_path: Path) -> None:
    """Several connectors have a file each, named as they are."""
    text = CONFIG.format(url=server.url)
    config = headwater.config(f"{text}---\n{text.replace('name: orders', 'name: others')}")
    (tmp_path / "tapes").mkdir()
    headwater.good("record", config, "-o", "tapes")
    assert sorted(path.name for path in (tmp_path / "tapes").iterdir()) == ["orders.yml", "others.yml"]
    shown = headwater.good("test", "--replay", "tapes/others.yml", config)
    assert shown.count('"exchange"') == 1
