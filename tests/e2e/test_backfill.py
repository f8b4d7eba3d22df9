"""`headwater backfill`: a stretch of the past, beside the connector that runs, until it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from e2e.upcluster import Up
from headwater.testing import Answer, Received, ScriptedServer

HOURS = ("--from", "2024-01-01", "--to", "2024-01-01T06:00:00Z")


def hour(request: Received) -> Answer:
    """Answer with the span that is asked for."""
    return Answer.json([request.query["from"], request.query["to"]])


def connector(url: str, more: str = "") -> str:
    """Return the configuration of a connector with windows."""
    return f"""
apiVersion: 0.1.0
meta: {{name: hours, topic: hours}}
http:
  endpoint: {url}
  interval: 1h
  params: {{from: "${{{{ window.start | date('%H:%M') }}}}", to: "${{{{ window.end | date('%H:%M') }}}}"}}
  window: {{size: 2h}}
{more}"""


@pytest.fixture
def config(headwater: CommandLine, server: ScriptedServer) -> Path:
    """Return the file of a connector of the server."""
    return headwater.config(connector(server.route("/x", hour)))


def values(headwater: CommandLine) -> list[list[str]]:
    """Return what is in the topic."""
    return [json.loads(line) for line in headwater.good("consume", "hours", "-B", "-d").splitlines()]


def test_it_asks_for_all_that_lies_between_and_ends(headwater: CommandLine, config: Path) -> None:
    """Window after window, at once; how far it is stands apart; done is done unless it is asked for again."""
    done = headwater.run("backfill", config, *HOURS)
    assert done.returncode == 0
    said = r"2024-01-01T00:00:00Z to 2024-01-01T06:00:00Z is done: 3 records in \S+ to topic hours\n"
    assert re.fullmatch(said, done.stdout)
    assert values(headwater) == [["00:00", "02:00"], ["02:00", "04:00"], ["04:00", "06:00"]]
    shown = json.loads(headwater.good("checkpoint", "show", "-O", "json"))
    assert list(shown) == ["hours@backfill-20240101T000000Z-20240101T060000Z"]
    again = headwater.run("backfill", config, *HOURS)
    assert (again.returncode, again.stdout) == (0, "")
    assert "is done already: 3 records; --again begins anew" in again.stderr
    assert "is done: 6 records" in headwater.good("backfill", config, *HOURS, "--again", "--size", "1h")
    assert len(values(headwater)) == 9


def test_a_kill_and_a_stop_go_on_where_they_were(headwater: CommandLine, server: ScriptedServer) -> None:
    """Nothing that was stored is asked for again."""

    def hanging(request: Received) -> Answer:
        return Answer(hang=True) if len(server.received) in {3, 4} else hour(request)

    config = headwater.config(connector(server.route("/x", hanging)))
    process = headwater.start("backfill", config, *HOURS)
    server.wait_for(3)
    process.kill()
    process.wait()
    process = headwater.start("backfill", config, *HOURS, "--grace", "0s")
    server.wait_for(4)
    status, _, said = headwater.stop(process)
    assert status == 130
    assert "stopped at 66 %, at 2024-01-01T04:00:00Z, after 0 records; the same command goes on there" in said
    assert "is done: 1 record in" in headwater.good("backfill", config, *HOURS)
    assert [request.query["from"] for request in server.received] == ["00:00", "02:00", "04:00", "04:00", "04:00"]
    assert len(values(headwater)) == 3


@pytest.fixture
def up(headwater: CommandLine) -> Iterator[Up]:
    """Return a server over the data directory."""
    running = Up(headwater, headwater.data, "--egress", "open")
    yield running
    running.close()


def test_beside_the_connector_that_the_server_runs(
    headwater: CommandLine, server: ScriptedServer, config: Path, up: Up
) -> None:
    """By its name; the connector goes on, and its checkpoint is its own."""
    headwater.good("connector", "create", "-c", config, "--wait")
    server.wait_for(1)
    live = headwater.good("checkpoint", "show", "hours", "-O", "json")
    assert "is done: 3 records" in headwater.good("backfill", "hours", *HOURS)
    assert "Running" in headwater.good("connector", "list")
    assert headwater.good("checkpoint", "show", "hours", "-O", "json") == live
    missing = headwater.run("backfill", "days", *HOURS)
    assert (missing.returncode, "there is no connector 'days'" in missing.stderr) == (1, True)


def test_without_an_end_it_goes_up_to_now_and_is_found_again(headwater: CommandLine, server: ScriptedServer) -> None:
    """A second start without --to means the one that was begun."""
    failing = [False, True, False, False]

    def serve(request: Received) -> Answer:
        return Answer(hang=True) if failing.pop(0) else hour(request)

    config = headwater.config(connector(server.route("/x", serve)).replace("{size: 2h}", "{size: 3650d, initial: 1d}"))
    process = headwater.start("backfill", config, "--from", "2016-01-01")
    server.wait_for(2)
    process.kill()
    process.wait()
    assert "is done: 1 record in" in headwater.good("backfill", config, "--from", "2016-01-01")
    assert len(json.loads(headwater.good("checkpoint", "show", "-O", "json"))) == 1


def test_what_cannot_be_backfilled_says_what_is_missing(headwater: CommandLine, server: ScriptedServer) -> None:
    """A window that is asked for, or a cursor of times."""
    url = server.route("/x", hour)
    plain = f"name: a\ntopic: a\nparameters:\n  endpoint: {url}\n"
    config = headwater.config(plain)
    refused = headwater.run("backfill", config, *HOURS)
    assert refused.returncode == 3
    assert "the connector a cannot be backfilled: nothing in its requests says which time is meant" in refused.stderr
    assert "declare a window" in refused.stderr
    two = headwater.config(plain + "---\n" + plain.replace("name: a", "name: b"), "two.yml")
    assert "has 2 connectors: a, b" in headwater.run("backfill", two, *HOURS).stderr
    for times, said in (
        (("--from", "2024-01-01", "--to", "2224-01-01"), "is still to come"),
        (("--from", "2024-01-02", "--to", "2024-01-01"), "--from must be before --to"),
        (("--from", "yesterday"), "'yesterday' is no time"),
    ):
        wrong = headwater.run("backfill", config, *times)
        assert (wrong.returncode, said in wrong.stderr) == (2, True), wrong.stderr


def test_failures_are_told_and_it_goes_on(headwater: CommandLine, server: ScriptedServer) -> None:
    """As every connector does; the end is only when all is stored."""
    answers = iter([hour, lambda _: Answer(503), hour, hour])
    text = connector(server.route("/x", lambda request: next(answers)(request)))  # noqa: PLW0108 - each its own
    config = headwater.config(text + "  retry: {attempts: 3, initial: 10ms}\n")
    assert "is done: 3 records" in headwater.good("backfill", config, *HOURS)
    assert len(values(headwater)) == 3


def test_a_cursor_of_times_will_do(headwater: CommandLine, server: ScriptedServer) -> None:
    """One round from the first time on; what is not below the second one is left out, and the end is remembered."""
    moments = [f"2024-01-{day:02}T12:00:00Z" for day in range(1, 21)]

    def serve(request: Received) -> Answer:
        newest_first = [it for it in reversed(moments) if it >= request.query["since"]]
        start = int(request.query["offset"])
        return Answer.json([{"at": it} for it in newest_first[start : start + 3]])

    config = headwater.config(f"""
apiVersion: 0.1.0
meta: {{name: hours, topic: hours}}
http:
  endpoint: {server.route("/x", serve)}
  interval: 1h
  params: {{since: "${{{{ cursor.at }}}}"}}
  records: {{split: /}}
  cursor: {{at: {{from: /at, initial: "2020-01-01T00:00:00Z", look_back: 1h}}}}
  pagination: {{type: offset, stop_at: at}}
""")
    times = ("--from", "2024-01-05", "--to", "2024-01-15")
    assert "is done: 10 records" in headwater.good("backfill", config, *times)
    stored = [json.loads(line)["at"] for line in headwater.good("consume", "hours", "-B", "-d").splitlines()]
    assert sorted(stored) == moments[4:14]
    assert server.received[0].query["since"] == "2024-01-05T00:00:00Z"
    again = headwater.run("backfill", config, *times)
    assert "is done already: 10 records" in again.stderr
    wrong = headwater.run("backfill", config, *times, "--cursor", "id")
    assert "it has no cursor 'id' of the times of its items" in wrong.stderr
