"""`headwater checkpoint`: how far connectors are, and setting them back or ahead, wherever that is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from commandline import CommandLine
from e2e.upcluster import Up
from headwater.testing import Answer, Received, ScriptedServer


def since(request: Received) -> Answer:
    """Answer with what follows the number that is asked for."""
    last = int(request.query["since"])
    return Answer.json({"items": [last + 1, last + 2], "last": last + 2})


def connector(url: str, interval: str = "1h") -> str:
    """Return the configuration of a connector with a cursor."""
    return f"""
apiVersion: 0.1.0
meta: {{name: numbers, topic: numbers}}
http:
  endpoint: {url}
  interval: {interval}
  params: {{since: "${{{{ cursor.last }}}}"}}
  cursor: {{last: {{from: /last, source: body, initial: 0}}}}
"""


def run_once(headwater: CommandLine, config: Path, server: ScriptedServer, *options: str) -> None:
    """Run a connector until one more request has been answered and stored."""
    before = len(server.received)
    process = headwater.start("run", config, *options)
    server.wait_for(before + 1)
    assert headwater.stop(process)[0] == 130


@pytest.fixture
def config(headwater: CommandLine, server: ScriptedServer) -> Path:
    """Return the file of a connector of the server."""
    return headwater.config(connector(server.route("/x", since)))


def test_a_checkpoint_is_shown_set_and_reset(headwater: CommandLine, server: ScriptedServer, config: Path) -> None:
    """The next run begins with what was set; after a reset it begins anew, and the counts go on."""
    run_once(headwater, config, server)
    shown = headwater.good("checkpoint", "show", "numbers")
    assert "cursor.last  2\n" in shown
    assert "stored       1 record of 1 exchange" in shown
    assert headwater.good("checkpoint", "set", "numbers", "cursor.last=40") == "cursor.last: 2 -> 40\n"
    as_json = json.loads(headwater.good("checkpoint", "show", "numbers", "-O", "json"))
    assert as_json["cursors"] == {"last": 40}
    assert yaml.safe_load(headwater.good("checkpoint", "show", "-O", "yaml"))["numbers"] == as_json
    run_once(headwater, config, server)
    assert server.received[-1].query["since"] == "40"
    assert "cursor.last 42" in headwater.good("checkpoint", "show")
    asked = headwater.run("checkpoint", "reset", "numbers", given="n\n")
    assert (asked.returncode, "Let numbers begin anew?" in asked.stdout) == (130, True)
    assert headwater.good("checkpoint", "reset", "numbers", "--yes") == 'checkpoint of connector "numbers" reset\n'
    shown = headwater.good("checkpoint", "show", "numbers")
    assert "cursor" not in shown
    assert "2 records of 2 exchanges" in shown
    run_once(headwater, config, server)
    assert server.received[-1].query["since"] == "0"


def test_windows_and_texts_are_set_too(headwater: CommandLine, server: ScriptedServer, config: Path) -> None:
    """Values keep their kinds unless JSON says otherwise; what cannot be meant is refused."""
    run_once(headwater, config, server)
    said = headwater.good("checkpoint", "set", "numbers", "window=2024-01-01", "cursor.at=2024-01-01T00:00:00+02:00")
    assert said == "cursor.at: none -> 2024-01-01T00:00:00+02:00\nwindow: none -> up to 2024-01-01T00:00:00Z\n"
    headwater.good("checkpoint", "set", "--json", "numbers", 'cursor.last="007"', "cursor.at=1.50")
    shown = json.loads(headwater.good("checkpoint", "show", "numbers", "-O", "json"))
    assert shown["cursors"] == {"last": "007", "at": "1.50"}
    for wrong, sentence in (
        ("page=2", "'page' cannot be set; there are cursor.NAME and window."),
        ("window=soon", "'soon' is no time after 1970"),
        ("nothing", "is not of the form KEY=VALUE"),
    ):
        refused = headwater.run("checkpoint", "set", "numbers", wrong)
        assert refused.returncode == 2
        assert sentence in refused.stderr
    bad = headwater.run("checkpoint", "set", "--json", "numbers", "cursor.last=x")
    assert (bad.returncode, "it is not JSON" in bad.stderr) == (2, True)


def test_what_is_not_there_is_told(headwater: CommandLine, server: ScriptedServer, config: Path) -> None:
    """With the nearest name; --new begins one."""
    run_once(headwater, config, server)
    for words in (("show", "number"), ("set", "number", "cursor.x=1"), ("reset", "-y", "number")):
        refused = headwater.run("checkpoint", *words)
        assert refused.returncode == 1
        assert "there is no checkpoint of a connector 'number'" in refused.stderr
        assert "did you mean 'numbers'?" in refused.stderr
    headwater.good("checkpoint", "set", "--new", "others", "cursor.x=1")
    assert "cursor.x 1" in headwater.good("checkpoint", "show").replace('"1"', "1")


def test_a_connector_that_runs_is_not_changed_under_its_feet(
    headwater: CommandLine, server: ScriptedServer, config: Path
) -> None:
    """It would go on with what it knows; showing is always possible."""
    process = headwater.start("run", config)
    server.wait_for(1)
    refused = headwater.run("checkpoint", "set", "numbers", "cursor.last=40")
    assert refused.returncode == 1
    assert "the checkpoint of numbers cannot be changed" in refused.stderr
    assert "stop the connector first" in refused.stderr
    headwater.good("checkpoint", "show")
    assert headwater.stop(process)[0] == 130


@pytest.fixture
def up(headwater: CommandLine) -> Iterator[Up]:
    """Return a server over the data directory."""
    running = Up(headwater, headwater.data)
    yield running
    running.close()


def test_beside_a_server(headwater: CommandLine, server: ScriptedServer, config: Path, up: Up) -> None:
    """Over its socket; a connector that it manages is paused meanwhile when that is asked for, and goes on."""
    headwater.good("connector", "create", "-c", config, "--wait")
    server.wait_for(1)
    refused = headwater.run("checkpoint", "set", "numbers", "cursor.last=40")
    assert refused.returncode == 1
    assert "--pause" in refused.stderr
    assert "cursor.last: 2 -> 40" in headwater.good("checkpoint", "set", "numbers", "cursor.last=40", "--pause")
    server.wait_for(2)
    assert server.received[1].query["since"] == "40"
    assert "Running" in headwater.good("connector", "list")
    headwater.good("connector", "pause", "numbers")
    headwater.good("checkpoint", "reset", "-y", "numbers", "--pause")
    assert "Paused" in headwater.good("connector", "list")
    headwater.good("connector", "resume", "numbers", "--wait")
    assert server.received[-1].query["since"] == "0"


def test_in_a_cluster(headwater: CommandLine, server: ScriptedServer, config: Path, tmp_path: Path) -> None:
    """Where checkpoints are kept in the cluster, whoever changes one has to say that nobody uses it."""
    cluster = Up(headwater, tmp_path / "cluster")
    try:
        headwater.good("profile", "add", "far", cluster.endpoint)
        where = ("--profile", "far", "--checkpoints", "cluster")
        run_once(headwater, config, server, *where)
        assert "cursor.last  2\n" in headwater.good("checkpoint", "show", "numbers", *where)
        refused = headwater.run("checkpoint", "set", "numbers", "cursor.last=40", *where)
        assert (refused.returncode, "--stopped" in refused.stderr) == (1, True)
        headwater.good("checkpoint", "set", "numbers", "cursor.last=40", "--stopped", *where)
        run_once(headwater, config, server, *where)
        assert server.received[-1].query["since"] == "40"
        headwater.good("checkpoint", "reset", "-y", "numbers", "--stopped", *where)
        run_once(headwater, config, server, *where)
        assert server.received[-1].query["since"] == "0"
        assert headwater.run("checkpoint", "show", "nobody", *where).returncode == 1
        assert headwater.run("checkpoint", "show", *where).returncode == 2
    finally:
        cluster.close()


def test_a_round_in_its_middle_is_shown_and_given_up(headwater: CommandLine, server: ScriptedServer) -> None:
    """Where its pages are, without what looks like a credential."""

    def page(request: Received) -> Answer:
        if "p" in request.query:
            return Answer(500)
        return Answer.json({"items": [1], "next": "?p=2&api_key=abcdef"})

    text = connector(server.route("/x", page)).replace('  params: {since: "${{ cursor.last }}"}\n', "")
    config = headwater.config(text + "  pagination: {type: next-url, next: /next}\n  retry: {attempts: 1}\n")
    process = headwater.start("run", config)
    server.wait_for(2)
    assert headwater.stop(process)[0] == 130
    shown = headwater.good("checkpoint", "show", "numbers")
    assert "is under way: page 2 is next, at http" in shown
    assert "abcdef" not in shown + headwater.good("checkpoint", "show", "-O", "json")
    said = headwater.run("checkpoint", "set", "numbers", "cursor.last=7")
    assert "the round under way was given up" in said.stderr
    assert "under way" not in headwater.good("checkpoint", "show", "numbers")


def test_a_trial_says_what_would_follow(headwater: CommandLine, server: ScriptedServer) -> None:
    """The request as it is made, the records, and that there are more pages and children."""
    server.route("/x", Answer.json({"items": [{"id": 1}, {"id": {}}], "next_cursor": "t"}))
    config = headwater.config(f"""
apiVersion: 0.1.0
meta: {{name: items, topic: items}}
http:
  endpoint: {server.url}/x
  headers: {{X-At: "at ${{{{ scheduled | date('%Y') }}}}"}}
  records: {{split: /items, key: /id, key_required: true}}
  pagination: auto
  children: {{endpoint: "/x/${{{{ item./id }}}}"}}
""")
    shown = headwater.good("test", config)
    assert "> X-At: at 20" in shown
    assert "record 1: key b'1', 8 B" in shown
    assert "! item 2: " in shown
    assert "  children would be asked for, about each of 1\n" in shown
    assert "  page 1; pagination: cursor, for there is a token at /next_cursor; more follow" in shown
