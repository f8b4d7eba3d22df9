"""The command line while `headwater up` holds the data directory: everything works through the server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from e2e.upcluster import Up
from headwater.testing import Answer, ScriptedServer, background


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Return a command line whose data directory, a deep one, is held by a server."""
    made = CommandLine(tmp_path_factory.mktemp("beside"))
    made.data = made.directory.joinpath(*["a-directory-with-a-long-name"] * 6)
    made.environment["HEADWATER_DATA"] = str(made.data)
    up = Up(made, made.data)
    yield made
    made.close()
    up.close()


def test_topics_and_records(line: CommandLine) -> None:
    """topic, produce and consume say and do what they do without a server."""
    assert line.good("topic", "create", "cats", "-p", "2") == 'topic "cats" created\n'
    again = line.run("topic", "create", "cats")
    assert (again.returncode, again.stderr) == (1, "headwater: topic already exists: cats\n")
    line.good("produce", "cats", "-k", ":", given="".join(f"{number}:{number}\n" for number in range(20)))
    assert sorted(map(int, line.good("consume", "cats", "-B", "-d").split())) == list(range(20))
    away = line.run("produce", "cats", "-p", "7", given="x\n")
    assert (away.returncode, "partition not found: cats-7" in away.stderr) == (1, True)
    nowhere = line.run("produce", "dogs", given="x\n")
    assert (nowhere.returncode, "topic not found: dogs" in nowhere.stderr) == (1, True)
    assert line.good("topic", "delete", "cats") == 'topic "cats" deleted\n'
    gone = line.run("topic", "delete", "cats")
    assert (gone.returncode, "topic not found: cats" in gone.stderr) == (1, True)
    assert line.good("topic", "list") == "No topics found\n"


def test_connectors(line: CommandLine) -> None:
    """Run and http beside each other, with their ledger, and a follower that sees it all."""
    with background(ScriptedServer()) as server:
        url = server.route("/x", Answer(body=b"meow"))
        line.good("topic", "create", "mews")
        following = line.start("consume", "mews", "-B")
        config = line.config(f"name: mews\ntopic: mews\nparameters:\n  endpoint: {url}\n  interval: 50ms\n")
        first = line.start("run", config)
        second = line.start("http", "--endpoint", url, "--fluvio-topic", "others", "--interval", "50ms")
        assert following.stdout is not None
        assert [following.stdout.readline() for _ in range(3)] == ["meow\n"] * 3
        server.wait_for(8)
        assert line.stop(first)[0] == 130
        assert line.stop(second, signal.SIGTERM)[0] == 0
        assert line.stop(following)[0] == 130
    assert "accepted" in line.good("ledger", "mews")
    assert line.good("consume", "others", "-B", "-d").startswith("meow\n")


def test_a_server_that_is_gone(line: CommandLine, tmp_path: Path) -> None:
    """Whoever comes next opens the directory itself, the dead server's socket or not."""
    up = Up(line, tmp_path / "mortal")
    up.kill()
    here = ("--data-dir", tmp_path / "mortal")
    assert line.good("topic", "create", "cats", *here) == 'topic "cats" created\n'
    line.good("produce", "cats", *here, given="a\n")
    up.start()
    line.good("produce", "cats", *here, given="b\n")
    assert line.good("consume", "cats", "-B", "-d", *here) == "a\nb\n"
    second = line.run("up", *here)
    assert (second.returncode, "is being written by process" in second.stderr) == (4, True)
    up.close()
