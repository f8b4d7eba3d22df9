"""Where connectors may go: servers reach public addresses alone unless they are told more; people go anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from commandline import CommandLine
from headwater.testing import Answer, ScriptedServer
from server.running import started

FREE = ("--sc-port", 0, "--spu-port", 0)


def config(line: CommandLine, server: ScriptedServer, more: str = "", retry: str = "{attempts: 1}") -> str:
    """Write a connector that polls a server of this machine."""
    url = server.route("/x", Answer(body=b"secret"))
    text = f"name: c\ntopic: c\nparameters:\n  endpoint: {url}\n  interval: 1h\n  retry: {retry}\n{more}"
    return str(line.config(text))


def polled(line: CommandLine) -> dict[str, Any]:
    """Wait for the first poll; return the connector as it is listed then."""
    for _ in range(100):
        (found,) = json.loads(line.good("connector", "list", "-O", "json"))
        if found["status"] != "Init":
            made: dict[str, Any] = found
            return made
    raise TimeoutError("it was not polled")


@pytest.fixture
def bare(headwater: CommandLine) -> CommandLine:
    """Return a command line that allows nothing in its environment."""
    del headwater.environment["HEADWATER_EGRESS_ALLOW"]
    return headwater


@pytest.mark.parametrize("own", ["", "  egress: {policy: open}\n", "  egress: {allow: [127.0.0.0/8]}\n"])
def test_a_server_does_not_let_connectors_in(bare: CommandLine, server: ScriptedServer, own: str) -> None:
    """By itself `up` refuses this machine, whatever a connector says of itself; the reason names the option."""
    started(bare.start("up", *FREE))
    bare.good("connector", "create", "-c", config(bare, server, own))
    found = polled(bare)
    assert "refuses 127.0.0.1: loopback; `--egress-allow` with 127.0.0.1 would allow it" in json.dumps(found)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (("--egress", "open"), {}),
        (("--egress-allow", "127.0.0.1"), {}),
        (("--egress-allow", "10.0.0.0/8,127.0.0.0/8"), {}),
        ((), {"HEADWATER_EGRESS": "open"}),
        ((), {"HEADWATER_EGRESS_ALLOW": "10.0.0.0/8 127.0.0.1"}),
    ],
)
def test_a_server_that_is_told(
    bare: CommandLine, server: ScriptedServer, options: tuple[str, ...], environment: dict[str, str]
) -> None:
    """Options and variables let connectors go further."""
    bare.environment |= environment
    started(bare.start("up", *FREE, *options))
    bare.good("connector", "create", "-c", config(bare, server), "--wait")
    assert bare.good("consume", "c", "-B", "--end", "0") == "secret\n"


def test_a_connector_that_wants_less(bare: CommandLine, server: ScriptedServer) -> None:
    """A connector's own policy holds where the server would let it go."""
    started(bare.start("up", *FREE, "--egress", "open", "--egress-deny", "10.0.0.0/8"))
    bare.good("connector", "create", "-c", config(bare, server, "  egress: {policy: public}\n"))
    assert "`egress.allow` with 127.0.0.1 would allow it" in json.dumps(polled(bare))
    assert server.connections == 0


def test_people_go_anywhere(bare: CommandLine, server: ScriptedServer) -> None:
    """`run`, `http` and `test` are open, unless a person, or the environment of the process, says otherwise."""
    path = config(bare, server)
    assert "secret" in bare.good("test", path)
    refused = bare.run("test", path, "--set", "egress.policy=public")
    assert refused.returncode == 1
    assert "refuses 127.0.0.1: loopback" in refused.stdout
    for command, environment, reached in (
        (("run", path), {}, True),
        (("http", "--endpoint", server.url + "/x", "--topic", "c"), {}, True),
        (("run", path, "--egress", "public"), {}, False),
        (("run", path, "--egress-deny", "127.0.0.1"), {}, False),
        (("http", "--endpoint", server.url + "/x", "--topic", "c", "--egress-policy", "public"), {}, False),
        (("http", "--endpoint", server.url + "/x", "--topic", "c"), {"HEADWATER_EGRESS": "public"}, False),
    ):
        before = len(server.received)
        bare.environment |= environment
        process = bare.start(*command)
        assert process.stderr is not None
        if reached:
            server.wait_for(before + 1)
        else:
            assert any("refuses 127.0.0.1" in line for line in iter(process.stderr.readline, ""))
            assert len(server.received) == before
        bare.stop(process)


@pytest.mark.parametrize("command", ["up", "run", "http"])
def test_what_is_no_place(bare: CommandLine, command: str) -> None:
    """A place that cannot be one is refused before anything starts."""
    bare.environment["HEADWATER_EGRESS_ALLOW"] = "10.0.0.1/8"
    given = {"up": (), "run": ("connect.yml",), "http": ("--endpoint", "http://a.example/", "--topic", "c")}
    done = bare.run(command, *given[command])
    assert done.returncode == 2
    assert "'10.0.0.1/8' is an address within 10.0.0.0/8" in done.stderr
