"""Running connectors from the command line, as a user does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.testing import Answer, Received, ScriptedServer

ROOT = Path(__file__).parents[2]
FACT = b'{"fact":"Cats sleep.","length":11}'


def counting(body: bytes = b"%d") -> Callable[[Received], Answer]:
    numbers = count()
    return lambda _: Answer(body=body % next(numbers))


def lines_of(process: subprocess.Popen[str], number: int) -> list[str]:
    """Return the next lines of a process's standard output."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(number)]


def page(server: ScriptedServer, path: str = "/fact", interval: str = "50ms", name: str = "cat-facts") -> str:
    return f"""\
api_version: v1
name: {name}
type: http
topic: {name}
create_topic: true
direction: source
parameters:
  endpoint: {server.url}{path}
  interval: {interval}
"""


def test_the_page_as_printed(headwater: CommandLine, server: ScriptedServer) -> None:
    """The page's text runs as it is printed, with a warning that shows the corrected lines; its records are read."""
    server.route("/fact", Answer(body=FACT))
    text = (ROOT / "examples" / "page-verbatim.yml").read_text()
    printed = (ROOT / "examples" / "connect.yml").read_text().replace("parameters:\n", "")
    assert text == printed
    config = headwater.config(text.replace("https://catfact.ninja", server.url).replace("10\n", "0.05\n"))
    running = headwater.start("run", config)
    headwater.wait_for_topic("cat-facts")
    following = headwater.start("consume", "cat-facts", "-B")
    assert lines_of(following, 3) == [FACT.decode()] * 3
    status, _, said = headwater.stop(running)
    assert status == 130
    assert f"{config}:7:1: warning: direction: a line `parameters:` is missing below it; read as" in said
    assert "    direction: source\n    parameters:\n      endpoint: http" in said
    assert headwater.good("consume", "cat-facts", "-B", "-d").splitlines()[:2] == [FACT.decode()] * 2


def test_many_files_and_one_that_is_wrong(headwater: CommandLine, server: ScriptedServer) -> None:
    """A directory runs whole or not at all: every problem of every file comes at once, and nothing is polled."""
    server.route("/fact", counting())
    directory = headwater.directory / "connectors"
    directory.mkdir()
    for number in range(5):
        (directory / f"{number}.yml").write_text(page(server, name=f"cats-{number}"))
    (directory / "bad.yaml").write_text("name: a\ntype: http\ntopic: b\nparameters:\n  endpont: x\n  interval: soon\n")
    (directory / "worse.yml").write_text("name: [\n")
    done = headwater.run("run", directory)
    assert (done.returncode, done.stdout) == (3, "")
    said = done.stderr.splitlines()
    assert f"{directory}/bad.yaml:5:3: error: parameters.endpont: unknown key; did you mean 'endpoint'?" in said
    assert any(line.startswith(f"{directory}/bad.yaml:6:3: error: parameters.interval: 'soon' is not") for line in said)
    assert any(line.startswith(f"{directory}/worse.yml:2:1: error: this is not YAML") for line in said)
    assert server.received == []
    assert not headwater.data.exists()
    for name in ("bad.yaml", "worse.yml"):
        (directory / name).unlink()
    running = headwater.start("run", directory)
    for number in range(5):
        headwater.wait_for_topic(f"cats-{number}")
    assert headwater.stop(running)[0] == 130
    assert len(headwater.good("topic", "list").splitlines()) == 6


def test_restarts_go_on_where_they_ended(headwater: CommandLine, server: ScriptedServer) -> None:
    """Three runs of one connector leave one sequence without gap or repeat; SIGTERM ends with 0."""
    server.route("/fact", counting())
    config = headwater.config(page(server, interval="20ms"))
    for _ in range(3):
        running = headwater.start("run", config)
        server.wait_for(len(server.received) + 3)
        assert headwater.stop(running, signal.SIGTERM)[0] == 0
    values = headwater.good("consume", "cat-facts", "-B", "-d").splitlines()
    assert values == [str(number) for number in range(len(server.received))]


def test_a_second_writer_is_told_who_writes(headwater: CommandLine, server: ScriptedServer) -> None:
    """Two runs never share a data directory; reading goes on beside the first."""
    server.route("/fact", counting())
    config = headwater.config(page(server))
    running = headwater.start("run", config)
    headwater.wait_for_topic("cat-facts")
    second = headwater.run("run", config)
    assert second.returncode == 4
    assert f"is being written by process {running.pid} (" in second.stderr
    assert "hint: stop that process" in second.stderr
    assert headwater.run("produce", "cat-facts", given="x\n").returncode == 4
    assert headwater.good("topic", "describe", "cat-facts").startswith("Name")
    assert headwater.stop(running)[0] == 130


def test_the_local_connector_of_the_page(headwater: CommandLine, server: ScriptedServer) -> None:
    """`headwater http` takes the page's flags, with and without the bare `--` that the container passes."""
    server.route("/fact", Answer(body=FACT))
    running = headwater.start(
        *("http", "--", f"--endpoint={server.url}/fact", "--fluvio-topic=cat-facts", "--interval=0.05"),
        *(
            "--method=POST",
            "--body={}",
            "--header",
            "X-A: b",
            "--header=X-C=d",
            "--param",
            "q=a b",
            "--output_type=json",
        ),
    )
    headwater.wait_for_topic("cat-facts")
    following = headwater.start("consume", "cat-facts", "-B")
    assert lines_of(following, 2) == [json.dumps({"body": FACT.decode()}, separators=(",", ":"))] * 2
    assert headwater.stop(running)[0] == 130
    request = server.received[0]
    assert (request.method, request.body, request.query) == ("POST", b"{}", {"q": "a b"})
    assert (request.header("x-a"), request.header("x-c")) == ("b", "d")
    wrong = headwater.run("http", "--endpoint=ftp://x/", "--fluvio-topic=T", "--retry-attempts=0")
    assert wrong.returncode == 3
    assert "command line: error: --endpoint: 'ftp://x/' does not begin with http://, https://, ws:// or" in wrong.stderr
    assert "command line: error: --retry-attempts: it must be at least 1; got '0'" in wrong.stderr
    assert headwater.run("http", "--endpoint=http://x/").returncode == 2


def test_trouble_and_recovery_in_the_log(headwater: CommandLine, server: ScriptedServer) -> None:
    """The log is JSON where it is no terminal: one line when trouble begins and one when it ends."""
    server.route("/fact", Answer(404), Answer(404), Answer(404), Answer(body=FACT))
    running = headwater.start("run", headwater.config(page(server)))
    headwater.wait_for_topic("cat-facts")
    following = headwater.start("consume", "cat-facts", "-B")
    assert lines_of(following, 1) == [FACT.decode()]
    status, out, said = headwater.stop(running)
    assert (status, out) == (130, "")
    events = [json.loads(line) for line in said.splitlines()]
    told = [event["event"] for event in events]
    assert told[:3] == ["running", "connector is failing", "connector recovered"]
    assert events[1]["reason"] == "404 Not Found"
    assert events[1]["endpoint"] == f"{server.url}/fact"
    assert events[2]["failures"] == 3


def test_metrics(headwater: CommandLine, server: ScriptedServer) -> None:
    """`--metrics 0` serves Prometheus's text on loopback; a taken port is a clear error."""
    server.route("/fact", Answer(body=FACT))
    running = headwater.start("run", headwater.config(page(server)), "--metrics", "0")
    assert running.stderr is not None
    serving = json.loads(running.stderr.readline())
    assert serving["event"] == "serving metrics"
    headwater.wait_for_topic("cat-facts")
    accepted = r'headwater_polls_total\{connector="cat-facts",outcome="accepted"\} [1-9]'
    text, deadline = "", time.monotonic() + 30
    # What is stored is counted a moment later.
    while not re.search(accepted, text) and time.monotonic() < deadline:
        with urllib.request.urlopen(serving["url"], timeout=10) as answer:
            text = answer.read().decode()
    assert re.search(accepted, text)
    assert "headwater_schedule_lag_seconds_bucket" in text
    assert headwater.stop(running)[0] == 130
    taken = server.url.rpartition(":")[2]
    done = headwater.run("run", "connect.yml", "--metrics", taken, "--data-dir", headwater.directory / "other")
    assert done.returncode == 1
    assert f"cannot serve metrics on 127.0.0.1:{taken}: Address already in use" in done.stderr


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait(headwater: CommandLine, server: ScriptedServer, second: signal.Signals) -> None:
    """A hanging poll holds the first stop for the grace period; a second signal ends at once."""
    server.route("/fact", Answer(hang=True))
    running = headwater.start("run", headwater.config(page(server)), "--grace", "1h")
    server.wait_for(1)
    assert running.stderr is not None
    running.send_signal(signal.SIGINT)
    assert "running" in running.stderr.readline()
    assert "stopping" in running.stderr.readline()
    assert headwater.stop(running, second)[0] == 130


def test_one_exchange_is_tried(headwater: CommandLine, server: ScriptedServer) -> None:
    """`headwater test` shows request, response and records, masks secrets, and appends nothing."""
    server.route("/fact", Answer(body=FACT, headers=(("content-type", "application/json"),)), Answer(404))
    text = page(server, "/fact?k=${{ secrets.API_TOKEN }}") + "  headers: {Authorization: Bearer abc}\n"
    config = headwater.config(text)
    headwater.environment["API_TOKEN"] = "t0ps3cret"
    shown = headwater.good("test", config)
    assert f"> GET {server.url}/fact?k=***" in shown
    assert "> Authorization: ***" in shown
    assert "< HTTP/1.1 200 OK" in shown
    assert f"record 1: key null, {len(FACT)} B\n{FACT.decode()}" in shown
    assert "t0ps3cret" not in shown
    assert not headwater.data.exists()
    refused = headwater.run("test", config)
    assert (refused.returncode, "= fail: 404 Not Found" in refused.stdout) == (1, True)


def test_linting(headwater: CommandLine, server: ScriptedServer) -> None:
    """`headwater lint` says what `run` would say, and runs nothing; the schema is JSON."""
    good = headwater.run("lint", headwater.config(page(server)))
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "1 connector ok\n")
    bad = headwater.run("lint", headwater.config("name: x\n", "bad.yml"), "missing.yml")
    assert bad.returncode == 3
    assert "missing.yml: error: the file cannot be read: No such file or directory" in bad.stderr
    assert "bad.yml:1:1: error: topic: it is required" in bad.stderr
    assert json.loads(headwater.good("schema"))["$defs"]["HttpOptions"]["properties"]["endpoint"]
    for path in sorted((ROOT / "examples").glob("*.yml")):
        headwater.environment["API_TOKEN"] = "x"
        assert headwater.run("lint", path).returncode == 0, path


def test_the_ledger_answers_why(headwater: CommandLine, server: ScriptedServer) -> None:
    """Each poll has its line: what was decided, why, and which record it left."""
    server.route("/fact", Answer(204), Answer(403), Answer(body=FACT))
    running = headwater.start("run", headwater.config(page(server)))
    headwater.wait_for_topic("cat-facts")
    following = headwater.start("consume", "cat-facts", "-B")
    lines_of(following, 1)
    headwater.stop(running)
    rows = headwater.good("ledger", "cat-facts").splitlines()
    assert re.split(r"\s{2,}", rows[0])[0] == "SCHEDULED"
    entries = [json.loads(line) for line in headwater.good("ledger", "-O", "json", "-n", "1000").splitlines()]
    polls = entries[:3]
    assert [(entry["decision"], entry["reason"].partition("; ")[0]) for entry in polls] == [
        ("empty", "204 No Content, without content: no record"), ("failed", "403 Forbidden"),
        ("accepted", f"200 OK, {len(FACT)} B"),
    ]  # fmt: skip
    assert (polls[2]["topic"], polls[2]["partition"], polls[2]["offset"], polls[2]["records"]) == ("cat-facts", 0, 0, 1)
    nobody = headwater.run("ledger", "nobody")
    assert (nobody.returncode, nobody.stdout) == (0, "")
    assert "No entries of connector 'nobody'" in nobody.stderr


def test_the_demo(headwater: CommandLine) -> None:
    """The demo prints facts as records, and says how to go on; nothing of it is left."""
    done = headwater.run("demo", "-n", "2")
    assert done.returncode == 0
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(fact) for fact in facts] == [{"fact", "length"}] * 2
    assert "endpoint: https://catfact.ninja/fact" in done.stderr
    assert "run connect.yml" in done.stderr
    assert "http --endpoint=https://catfact.ninja/fact --fluvio-topic=cat-facts" in done.stderr
    assert not headwater.data.exists()
