"""`headwater connector` on the command line, over a server in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer
from server.running import started

FREE = ("--sc-port", 0, "--spu-port", 0)


def page(server: ScriptedServer, name: str = "cats", path: str = "/x", interval: str = "1h", more: str = "") -> str:
    return (
        f"name: {name}\ntype: http\nversion: 0.3.0\ntopic: {name}\nparameters:\n  endpoint: {server.url}{path}\n"
        f"  interval: {interval}\n{more}"
    )


@pytest.fixture
def up(headwater: CommandLine) -> Callable[..., subprocess.Popen[str]]:
    """Return what starts a server on free ports and waits until it serves."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = headwater.start("up", *FREE, *arguments)
        started(process)
        return process

    return start


@pytest.fixture
def numbered(server: ScriptedServer) -> ScriptedServer:
    """Return a server whose answers are numbered."""
    numbers = count()
    server.route("/x", lambda _: Answer(body=b"%d" % next(numbers)))
    return server


def listed(line: CommandLine) -> dict[str, dict[str, Any]]:
    return {it["name"]: it for it in json.loads(line.good("connector", "list", "-O", "json"))}


def until(line: CommandLine, name: str, status: str) -> dict[str, Any]:
    """Wait until a connector has a status."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(100):
        found = listed(line)
        if name in found and found[name]["status"] == status:
            return found[name]
    raise TimeoutError(f"{name} is not {status}: {found}")


def test_a_life(headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]) -> None:
    """Created, listed, changed, paused, resumed, restarted, its log and its text read, deleted: with Fluvio's words."""
    config = headwater.config(page(numbered))
    without = headwater.run("connector", "list")
    assert (without.returncode, without.stdout) == (4, "")
    assert without.stderr == (
        f"headwater: there is no server of {headwater.data} that manages connectors\n"
        "  hint: start it with: headwater up\n"
    )
    up()
    assert headwater.good("connector", "list") == "no managed connectors\n"
    would = headwater.good("connector", "create", "-c", config, "--dry-run")
    assert "+name: cats\n" in would
    assert would.endswith('connector "cats" would be created\n')
    assert headwater.good("connector", "create", "-c", config, "--wait") == 'connector "cats" created\n'
    assert headwater.good("connector", "list") == ("  NAME  TYPE  VERSION  STATUS\n  cats  http  0.3.0    Running\n")
    wide = headwater.good("connector", "list", "-O", "wide")
    for word in ("TOPIC", "LAST RECORD", "NEXT", " ago"):
        assert word in wide
    # Half a second after a poll, or later.
    assert re.search(r"in (1h|59m 5\d)", wide)
    again = headwater.run("connector", "create", "-c", config)
    assert (again.returncode, again.stderr.splitlines()[0]) == (1, "headwater: Connector already exists: cats")
    config.write_text(page(numbered, interval="2h"))
    assert "+  interval: 2h\n" in headwater.good("connector", "update", "-c", config, "--dry-run")
    assert (
        headwater.good("connector", "update", "-c", config, "--wait", "--timeout=30s") == 'connector "cats" updated\n'
    )
    assert headwater.good("connector", "update", "-c", config) == 'connector "cats" unchanged\n'
    config.write_text(page(numbered, interval="2h").replace("interval", "intervall"))
    bad = headwater.run("connector", "update", "-c", config)
    assert bad.returncode == 3
    assert bad.stderr == f"{config}:7:3: error: parameters.intervall: unknown key; did you mean 'interval'?\n"
    assert headwater.good("connector", "config", "cats") == page(numbered, interval="2h")
    headwater.good("connector", "config", "cats", "-o", "saved.yml")
    assert (headwater.directory / "saved.yml").read_text() == page(numbered, interval="2h")
    assert headwater.good("connector", "pause", "cats") == 'connector "cats" paused\n'
    assert "Paused" in headwater.good("connector", "list")
    refused = headwater.run("connector", "restart", "cats")
    assert (refused.returncode, refused.stderr) == (
        1,
        "headwater: Connector cats is paused\n  hint: headwater connector resume cats\n",
    )
    assert headwater.good("connector", "resume", "cats", "--wait") == 'connector "cats" resumed\n'
    assert headwater.good("connector", "restart", "cats", "--wait") == 'connector "cats" restarted\n'
    events = [line.split(None, 2)[2] for line in headwater.good("connector", "logs", "cats").splitlines()]
    assert events == [f"connector {word}" for word in ("created", "updated", "paused", "resumed", "restarted")]
    assert headwater.good("connector", "logs", "cats", "--tail", 1).endswith("connector restarted\n")
    as_yaml = yaml.safe_load(headwater.good("connector", "list", "-O", "yaml"))
    assert [(it["name"], it["status"]) for it in as_yaml] == [("cats", "Running")]
    assert headwater.good("connector", "delete", "--dry-run", "cats") == 'connector "cats" would be deleted\n'
    gone = headwater.run("connector", "delete", "dogs", "cats", "-c")
    assert (gone.returncode, gone.stdout) == (1, 'connector "cats" deleted\n')
    assert "headwater: Connector not found: dogs" in gone.stderr
    assert headwater.good("consume", "cats", "-B", "-d").splitlines() == ["0", "1", "2", "3"]
    for words in (("logs", "cats"), ("config", "cats"), ("pause", "cats"), ("delete", "cats")):
        assert headwater.run("connector", *words).returncode == 1


def test_several_of_a_directory(
    headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """All problems of all files come at once, and then nothing is created; a secret is kept and never shown."""
    up()
    directory = headwater.directory / "configs"
    directory.mkdir()
    (directory / "a.yml").write_text(page(numbered, "a", more="  headers: {X: '${{ secrets.KEY }}'}\n"))
    (directory / "b.yml").write_text(page(numbered, "b").replace("topic: b", "topik: b"))
    refused = headwater.run("connector", "create", "-c", directory)
    assert refused.returncode == 3
    assert "KEY" in refused.stderr
    assert "topik" in refused.stderr
    assert headwater.good("connector", "list") == "no managed connectors\n"
    (directory / "b.yml").write_text(f"{page(numbered, 'b')}---\n{page(numbered, 'c')}")
    secrets = headwater.config("KEY=t0ps3cret\n", "secrets.env")
    assert headwater.good("connector", "create", "-c", directory, "--secrets", secrets, "--wait").splitlines() == [
        f'connector "{name}" created' for name in "abc"
    ]
    assert {"t0ps3cret", None} == {request.header("x") for request in numbered.received}
    for shown in (("config", "a"), ("list", "-O", "json"), ("logs", "a")):
        assert "t0ps3cret" not in headwater.good("connector", *shown)


def test_from_standard_input(
    headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """What is piped in is created as a file's text would be."""
    up()
    assert headwater.good("connector", "create", "-c", "-", given=page(numbered)) == 'connector "cats" created\n'
    assert headwater.good("connector", "config", "cats") == page(numbered)
    wrong = headwater.run("connector", "update", "--config=-", given="name: [")
    assert (wrong.returncode, wrong.stderr.startswith("standard input:")) == (3, True), wrong.stderr


def test_a_failing_one_is_waited_for_in_vain(
    headwater: CommandLine, server: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """`--wait` ends with what keeps it from running; the reason stands in the list and in the log."""
    server.route("/x", Answer(403, body=b"no"))
    up()
    done = headwater.run("connector", "create", "-c", headwater.config(page(server)), "--wait", "--timeout", "1s")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "headwater: Connector cats is Failed after 1 s: 403 Forbidden",
        "  hint: headwater connector logs cats",
    ]
    assert "403 Forbidden" in headwater.good("connector", "list", "-O", "wide")
    assert 'connector is failing reason="403 Forbidden"' in headwater.good("connector", "logs", "cats")


def test_following_a_log(
    headwater: CommandLine, server: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """`logs -f` prints what comes; Ctrl-C ends it, and so does the server, in peace."""
    server.route("/x", Answer(500), Answer(body=b"cat"))
    process = up()
    headwater.good("connector", "create", "-c", headwater.config(page(server, interval="100ms")))
    until(headwater, "cats", "Running")
    for number in (signal.SIGINT, None):
        following = headwater.start("connector", "logs", "cats", "-f")
        assert following.stdout is not None
        assert "connector created" in following.stdout.readline()
        headwater.good("connector", "restart", "cats")
        while "restarted" not in following.stdout.readline():
            pass
        if number is not None:
            assert headwater.stop(following, number)[0] == 130
        else:
            assert headwater.stop(process, signal.SIGTERM)[0] == 0
            assert following.wait(30) == 0


def test_a_watched_directory(
    headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """Files come, change, break and go; the list follows, and what belongs to a file is not changed elsewhere."""
    directory = headwater.directory / "connectors"
    directory.mkdir()
    file = directory / "cats.yml"
    file.write_text(page(numbered))
    process = up("--connectors", directory)
    found = until(headwater, "cats", "Running")
    assert found["origin"] == str(file)
    (directory / "dogs.yaml").write_text(page(numbered, "dogs"))
    until(headwater, "dogs", "Running")
    file.write_text(page(numbered, path="/y"))
    until(headwater, "cats", "Failed")
    file.write_text("name: [")
    while "a file cannot be used" not in (line := process.stderr.readline() if process.stderr else "x"):
        assert line
    assert "not YAML" in line
    assert until(headwater, "cats", "Failed")
    file.write_text(page(numbered))
    until(headwater, "cats", "Running")
    refused = headwater.run("connector", "delete", "cats")
    assert refused.stderr == f"headwater: Connector cats is kept in {file}\n  hint: change that file\n"
    headwater.good("connector", "pause", "cats")
    assert headwater.stop(process, signal.SIGTERM)[0] == 0
    process = up("--connectors", directory)
    assert until(headwater, "cats", "Paused")
    file.unlink()
    while "cats" in headwater.good("connector", "list"):
        pass
    assert headwater.stop(process, signal.SIGINT)[0] == 130


def kill_servers(headwater: CommandLine, numbered: ScriptedServer, kills: int) -> None:
    """Kill a server with managed connectors again and again; nothing is lost or doubled, and all go on."""
    process = headwater.start("up", *FREE)
    started(process)
    names = [f"cats-{number}" for number in range(3)]
    for name in names:
        headwater.good("connector", "create", "-c", headwater.config(page(numbered, name, interval="10ms")))
    for _ in range(kills):
        numbered.wait_for(len(numbered.received) + 20)
        process.kill()
        process.communicate()
        process = headwater.start("up", *FREE)
        started(process)
    numbered.wait_for(len(numbered.received) + 20)
    for name in names:
        until(headwater, name, "Running")
    headwater.stop(process, signal.SIGTERM)
    seen: set[int] = set()
    for name in names:
        records = headwater.good("consume", name, "-B", "-d", "-F", "{{offset}} {{value}}").splitlines()
        pairs = [tuple(map(int, record.split())) for record in records]
        assert [offset for offset, _ in pairs] == list(range(len(pairs)))
        values = [value for _, value in pairs]
        assert values == sorted(set(values))
        assert not seen & set(values)
        seen |= set(values)
        lines = headwater.good("ledger", name, "-n", 100_000, "-O", "json").splitlines()
        accepted = [entry for line in lines if (entry := json.loads(line))["decision"] == "accepted"]
        assert {entry["offset"] for entry in accepted} <= set(range(len(pairs)))
    # What was asked for and is in no topic was under way when the server was killed: at most one a connector and kill.
    assert len(numbered.received) - len(seen) <= len(names) * (kills + 1)


def test_two_kills(headwater: CommandLine, numbered: ScriptedServer) -> None:
    """Managed connectors go on after a kill of their server."""
    kill_servers(headwater, numbered, 2)


@pytest.mark.long
def test_thirty_kills(headwater: CommandLine, numbered: ScriptedServer) -> None:
    """The same, many times."""
    kill_servers(headwater, numbered, 30)


def test_a_poison_connector(
    headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """One whose code ends processes, eats memory or never returns: the others poll on, and the server answers."""
    (headwater.directory / "poison.py").write_text(
        "import sys\nfrom headwater import Record, smartmodule\n"
        "@smartmodule\ndef leave(record: Record) -> bool:\n    sys.exit(7)\n"
        "@smartmodule\ndef grow(record: Record) -> Record:\n    return Record(b'x' * (1 << 50))\n"
        "@smartmodule\ndef hang(record: Record) -> bool:\n    while True: pass\n"
    )
    process = up()
    headwater.good("connector", "create", "-c", headwater.config(page(numbered, "good", interval="20ms"), "good.yml"))
    for name in ("leave", "grow", "hang"):
        more = f"  transform_timeout: 50ms\ntransforms:\n  - uses: ./poison.py:{name}\n"
        config = headwater.config(page(numbered, name, interval="50ms", more=more), f"{name}.yml")
        headwater.good("connector", "create", "-c", config)
    before = len(numbered.received)
    numbered.wait_for(before + 200)
    assert process.poll() is None
    good = listed(headwater)["good"]
    assert good["status"] == "Running"
    numbered.wait_for(len(numbered.received) + 200)
    assert listed(headwater)["good"]["records"] > good["records"]
    assert "SystemExit: 7" in headwater.good("connector", "logs", "leave")


def test_one_name_is_run_once(
    headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """Two that poll for one connector would store everything twice: whoever comes second is told who was first."""
    up()
    config = headwater.config(page(numbered))
    first = headwater.start("run", config)
    numbered.wait_for(1)
    second = headwater.run("run", config)
    assert second.returncode == 4
    assert f"headwater: a connector cats is run by process {first.pid} already\n" in second.stderr
    refused = headwater.run("connector", "create", "-c", config)
    assert refused.returncode == 1
    assert "Connector cats is run by another process beside this server" in refused.stderr
    assert headwater.stop(first, signal.SIGTERM)[0] == 0
    headwater.good("connector", "create", "-c", config, "--wait")
    third = headwater.run("run", config)
    assert third.returncode == 4
    assert "runs a connector cats itself\n" in third.stderr
    headwater.good("connector", "pause", "cats")
    fourth = headwater.start("run", config)
    numbered.wait_for(3)
    assert headwater.run("connector", "resume", "cats").returncode == 1
    fourth.kill()
    fourth.communicate()
    headwater.good("connector", "resume", "cats", "--wait")
    assert headwater.good("consume", "cats", "-B", "-d").splitlines() == ["0", "1", "2", "3"]


def test_a_function_that_never_returns(
    headwater: CommandLine, numbered: ScriptedServer, up: Callable[..., subprocess.Popen[str]]
) -> None:
    """A thread that is stuck in somebody's function holds no stop of the server up."""
    (headwater.directory / "stuck.py").write_text(
        "import os, time\nfrom headwater import Record, smartmodule\n\n\n@smartmodule\n"
        f"def stuck(record: Record) -> Record:\n    os.mkdir('{headwater.directory}/reached')\n    time.sleep(1000)\n"
    )
    process = up("--grace", "0s")
    config = headwater.config(page(numbered, more="transforms: [{uses: './stuck.py:stuck'}]\n"))
    headwater.good("connector", "create", "-c", config)
    for _ in range(100):
        if (headwater.directory / "reached").exists():
            break
        assert listed(headwater)["cats"]["status"] == "Init"
    code, _, _ = headwater.stop(process, signal.SIGTERM)
    assert code == 0


def test_wrong_use(headwater: CommandLine) -> None:
    """Missing and unknown things are told with what to do."""
    wrong: list[tuple[tuple[object, ...], str]] = [
        (("create",), "Missing option '-c'"),
        (("create", "-c", "nothing.yml"), "nothing.yml: error: the file cannot be read: No such file or directory"),
        (("create", "-c", headwater.config("")), "there is no connector in it"),
        (("create", "-c", "-", "-c", "x.yml"), "-c - is standard input, and is not combined with files."),
        (("pause",), "Missing argument 'NAME...'"),
        (("create", "-c", "x", "--timeout=soon"), "soon"),
        (("lisst",), "No such command 'lisst'"),
    ]
    for arguments, said in wrong:
        done = headwater.run("connector", *arguments)
        assert done.returncode in {2, 3}, arguments
        assert said in done.stderr, arguments
    wrong = [
        (("--api", "0.0.0.0:0"), "the control API is served on loopback only, not on 0.0.0.0"),
        (("--api", "nonsense"), "'nonsense' is not [HOST:]PORT"),
        (("--connectors", "missing"), "Directory 'missing' does not exist"),
        (("--grace", "soon"), "soon"),
    ]
    for arguments, said in wrong:
        done = headwater.run("up", *FREE, *arguments)
        assert done.returncode in {1, 2}, arguments
        assert said in done.stderr, arguments


def test_the_api_at_a_port(headwater: CommandLine, numbered: ScriptedServer, tmp_path: Path) -> None:
    """`up --api` says where it is and where the token is; with the token it answers."""
    import urllib.request  # noqa: PLC0415 - only here

    process = headwater.start("up", *FREE, "--api", "0")
    said = started(process)
    assert said.before == []
    assert process.stderr is not None
    told = json.loads(process.stderr.readline())
    assert told["event"] == "serving the control API"
    token = Path(told["token"]).read_text().strip()
    request = urllib.request.Request(f"{told['url']}/v1", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.load(answer)["data"] == str(headwater.data)
