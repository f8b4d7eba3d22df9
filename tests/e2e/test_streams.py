"""Streams from the command line: tried, run, told of, set back - against the sample API and servers that are worse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.sample import SampleApi
from headwater.testing import Answer, ScriptedServer
from server.running import started

FREE = ("--sc-port", 0, "--spu-port", 0)
EVENTS = (("content-type", "text/event-stream"),)
SOURCES = {
    "stream": "  endpoint: {http}/stream\n  format: ndjson\n",
    "events": "  endpoint: {http}/events\n  format: sse\n  sse: {{key: id}}\n",
    "ws": """\
  endpoint: {ws}/ws
  websocket_config:
    subscription_messages: [{{subscribe: facts}}]
    ignore: [{{/subscribed: facts}}]
""",
}


@pytest.fixture(scope="module")
def api() -> Iterator[SampleApi]:
    """Return a sample API that is in a hurry."""
    with SampleApi(every=0.01) as running:
        yield running


def config(headwater: CommandLine, url: str, options: str, more: str = "", *, name: str = "facts") -> Path:
    """Write the configuration of a stream."""
    options = options.format(http=url, ws=url.replace("http", "ws", 1))
    secrets = ", secrets: [{name: API_TOKEN}]" if "secrets." in more else ""
    head = f"apiVersion: 0.1.0\nmeta: {{name: {name}, type: http-source, topic: {name}{secrets}}}\n"
    return headwater.config(f"{head}http:\n{options}{more}", f"{name}.yml")


def values(headwater: CommandLine, topic: str = "facts") -> list[str]:
    return headwater.good("consume", topic, "-B", "-d").splitlines()


def run_for(headwater: CommandLine, path: Path, count: int, topic: str = "facts") -> str:
    """Run a connector until its topic has so many records; return what it said."""
    running = headwater.start("run", path)
    headwater.wait_for_topic(topic)
    following = headwater.start("consume", topic, "-B")
    assert following.stdout is not None
    for _ in range(count):
        assert following.stdout.readline()
    status, _, said = headwater.stop(running)
    headwater.stop(following)
    assert status == 130
    return said


@pytest.mark.parametrize(("kind", "what"), [("stream", "a stream: 200"), ("events", "a stream: 200"), ("ws", "a WebS")])
def test_a_trial_shows_what_comes(headwater: CommandLine, api: SampleApi, kind: str, what: str) -> None:
    """Request and head, then twenty records; nothing is stored."""
    said = headwater.good("test", config(headwater, api.url, SOURCES[kind]))
    assert f"\n= {what}" in said
    assert re.search(r"^< \(the head in \d+ ms\)$", said, re.MULTILINE)
    keys = re.findall(r"^record (\d+): key (\S+), \d+ B$", said, re.MULTILINE)
    assert [number for number, _ in keys] == [str(number) for number in range(1, 21)]
    assert all((key == "null") == (kind != "events") for _, key in keys)
    assert re.search(r"^  \d\d records; a trial ends after 20$", said, re.MULTILINE)
    assert not headwater.data.exists()


@pytest.mark.parametrize(
    ("answer", "options", "status", "said"),
    [
        (Answer(404), SOURCES["events"], 1, "= fail: 404 Not Found"),
        (Answer(204), SOURCES["events"], 1, "= fail: 204 No Content: the server says that the stream is over"),
        (Answer(body=b"{}"), SOURCES["events"], 1, "= fail: 200 OK"),
        (Answer(body=b"{}"), SOURCES["ws"], 1, "= fail: 200 OK instead of 101 Switching Protocols: it is no WebSocket"),
        (Answer(chunked=True), SOURCES["stream"], 0, "  0 records; the server ended it"),
        (Answer(body=b"{}\n{}", chunked=True), SOURCES["stream"], 0, "  2 records; the server ended it"),
        (Answer(body=b"{}\n" * 9, chunked=True, chunk=3, cut=30), SOURCES["stream"], 1, "; GET http"),
        (Answer(body=b"{}\nno\n", chunked=True), SOURCES["stream"], 0, "! 1 bad: would go to facts-dead-letter"),
    ],
    ids=["404", "over", "no events", "no WebSocket", "empty", "ended", "broken", "a bad line"],
)
def test_a_trial_of_what_is_none(
    headwater: CommandLine, server: ScriptedServer, answer: Answer, options: str, status: int, said: str
) -> None:
    """A refusal, a server that ends at once, one that breaks off: what came is told, and whether it is any good."""
    for path in ("/stream", "/events", "/ws"):
        server.route(path, answer)
    done = headwater.run("test", config(headwater, server.url, options))
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout


def test_a_trial_is_masked_and_goes_through_transforms(headwater: CommandLine, server: ScriptedServer) -> None:
    """A secret that the server sends back is none; each stage shows its records; a refusal has status 1."""
    headwater.environment["API_TOKEN"] = "t0ps3cret"
    server.route("/events", Answer(body=b'data: {"n":1,"t":"t0ps3cret"}\n\ndata: no\n\n', headers=EVENTS, chunked=True))
    more = """\
  headers: {Authorization: "Bearer ${{ secrets.API_TOKEN }}"}
transforms:
  - uses: infinyon/jolt@0.2.0
    with: {spec: [{operation: default, spec: {seen: true}}]}
"""
    done = headwater.run("test", config(headwater, server.url, SOURCES["events"], more))
    assert done.returncode == 1
    assert "t0ps3cret" not in done.stdout + done.stderr
    assert server.received[0].header("authorization") == "Bearer t0ps3cret"
    assert '"t":"***"' in done.stdout
    assert "| stage 1: infinyon/jolt" in done.stdout
    assert "! 1 refused: would go to facts-dead-letter" in done.stdout


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_run_stores_what_comes(headwater: CommandLine, api: SampleApi, kind: str) -> None:
    """One fact after the other, in their order; the ledger says when it was connected, and how it ended."""
    run_for(headwater, config(headwater, api.url, SOURCES[kind]), 5)
    numbers = [json.loads(value)["id"] for value in values(headwater)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    entries = [json.loads(line) for line in headwater.good("ledger", "facts", "-O", "json").splitlines()]
    assert (entries[0]["decision"], entries[-1]["decision"]) == ("connected", "ended")
    assert sum(entry["records"] for entry in entries) == len(numbers)
    table = headwater.good("ledger").splitlines()
    assert "GAP" not in table[0]
    assert re.search(rf"  stopped, after .*and {len(numbers):,} records$", table[-1])


def test_it_goes_on_where_it_was_and_is_set_back(headwater: CommandLine, api: SampleApi) -> None:
    """With event ids nothing is missed over a restart; who sets the id back has the events again."""
    path = config(headwater, api.url, SOURCES["events"])
    run_for(headwater, path, 5)
    run_for(headwater, path, len(values(headwater)) + 5)
    numbers = [json.loads(value)["id"] for value in values(headwater)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    rows = headwater.good("ledger").splitlines()
    assert "  GAP  " in rows[0]
    assert any(re.search(r" connected again, after \d\S* .*without a connection$", row) for row in rows)
    shown = headwater.good("checkpoint", "show", "facts")
    assert f"event_id    {numbers[-1]}\n" in shown
    assert "until       20" in shown
    assert "retry       1s, as the server asks\n" in shown
    assert f"stored      {len(numbers)} records of 2 connections\n" in shown
    assert f"event_id {numbers[-1]}" in headwater.good("checkpoint", "show")
    back = ("checkpoint", "set", "facts", f"event_id={numbers[2]}")
    assert headwater.good(*back) == f"event_id: {numbers[-1]} -> {numbers[2]}\n"
    run_for(headwater, path, len(numbers) + 3)
    again = [json.loads(value)["id"] for value in values(headwater)[len(numbers) :]]
    assert again[:3] == numbers[3:6]
    headwater.good("checkpoint", "reset", "facts", "-y")
    assert "event_id" not in headwater.good("checkpoint", "show", "facts")


def test_an_id_before_the_first_start(headwater: CommandLine, server: ScriptedServer) -> None:
    """Who knows where to begin says so before anything runs."""
    server.route("/events", Answer(body=b"data: 1\n\n", headers=EVENTS, chunked=True))
    headwater.good("checkpoint", "set", "facts", "event_id=abc-7", "--new")
    run_for(headwater, config(headwater, server.url, SOURCES["events"]), 1)
    assert server.received[0].header("last-event-id") == "abc-7"


def test_a_gap_is_asked_for_again(headwater: CommandLine, api: SampleApi) -> None:
    """`until` set back is a gap since then, also when it was asked for before."""
    more = """\
  gap:
    shortest: 0ms
    backfill:
      endpoint: {http}/facts
      params: {{from: "${{{{ window.start | iso }}}}", to: "${{{{ window.end | iso }}}}"}}
      records: {{split: /, key: /id}}
"""
    path = config(headwater, api.url, SOURCES["stream"] + more)
    run_for(headwater, path, 3)
    first = json.loads(values(headwater)[0])
    run_for(headwater, path, 20)
    before = len(values(headwater))
    headwater.good("checkpoint", "set", "facts", f"until={first['time']}")
    running = headwater.start("run", path)
    wanted = f'"id":{first["id"]},'
    while not any(wanted in value for value in values(headwater)[before:]):
        pass
    assert headwater.stop(running)[0] == 130
    assert "facts@gap" in headwater.good("checkpoint", "show")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("window=2024-01-01", "'window' cannot be set: this is the checkpoint of a stream"),
        ("until=soon", "'soon' is no time after 1970 for until"),
        ("event_id=a\nb", "cannot be an event id"),
        ("id=1", "there are cursor.NAME and event_id and until"),
    ],
)
def test_what_cannot_be_set(headwater: CommandLine, given: str, said: str) -> None:
    """Each is told with what can."""
    headwater.good("checkpoint", "set", "facts", "event_id=1", "--new")
    done = headwater.run("checkpoint", "set", "facts", given)
    assert done.returncode == 2
    assert said in done.stderr


def test_flags(headwater: CommandLine, api: SampleApi) -> None:
    """Fluvio's own names are flags: a WebSocket without a file."""
    url = api.url.replace("http", "ws", 1)
    flags = ("--websocket-config-subscription-messages", '{"subscribe":"facts"}', "--fluvio-topic", "facts")
    running = headwater.start("http", "--endpoint", f"{url}/ws", *flags)
    headwater.wait_for_topic("facts")
    while len(values(headwater)) < 3:
        pass
    assert headwater.stop(running)[0] == 130
    assert values(headwater)[0] == '{"subscribed":"facts"}'
    assert "table below" not in headwater.good("http", "--help")


def test_managed_streams(headwater: CommandLine, api: SampleApi) -> None:
    """A list tells of streams that are connected, that fail and wait, and that are paused."""
    up = headwater.start("up", *FREE)
    started(up)
    good = config(headwater, api.url, SOURCES["ws"])
    bad = config(
        headwater, api.url, SOURCES["ws"].replace("/ws\n", "/fact\n"), "  reconnect: {initial: 30s}\n", name="bad"
    )
    headwater.good("connector", "create", "-c", good, "--wait")
    headwater.good("connector", "create", "-c", bad)
    rows = wait_for(headwater, lambda text: "Failed" in text)
    assert re.search(
        r"^  bad +http-source +latest +Failed +bad +0 +- +in \d+s +0 +200 OK instead of 101", rows, re.MULTILINE
    )
    assert re.search(r"^  facts +http-source +latest +Running +facts +\d+ +\d+s ago +- +0$", rows, re.MULTILINE)
    headwater.good("checkpoint", "set", "facts", "cursor.x=1", "--pause")
    headwater.good("connector", "pause", "facts")
    assert "Paused" in headwater.good("connector", "list")
    assert headwater.stop(up)[0] == 130


def wait_for(headwater: CommandLine, there: Callable[[str], bool]) -> str:
    """Return the list of connectors once something is in it."""
    shown = ""
    for _ in range(100):
        if there(shown := headwater.good("connector", "list", "-O", "wide")):
            return shown
    raise TimeoutError(shown)
