"""A server that echoes secrets in every disguise, wherever it may: nothing that people read shows them."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus
from urllib.request import urlopen

import pytest

from commandline import CommandLine
from headwater.testing import Answer, Received, ScriptedServer, background

SECRETS = {"TOKEN": 's3cr3t/tok+en=&"q', "PASSWORD": "pass wörd<1>", "LATE": "from-a-command-9"}
CONFIG = """\
name: echoing
topic: echoes
parameters:
  endpoint: {url}
  params: {{token: "${{{{ secrets.TOKEN }}}}"}}
  method: POST
  body: '{{"password": "${{{{ secrets.PASSWORD }}}}"}}'
  headers: {{X-Late: "${{{{ secrets.LATE }}}}"}}
  interval: 1h
  retry: {{attempts: 1}}
transforms:
  - uses: ./refuse.py:refuse
secrets:
  - {{name: TOKEN, env: MY_TOKEN}}
  - {{name: PASSWORD, file: password.txt}}
  - {{name: LATE, command: [printf, from-a-command-9]}}
"""
REFUSE = """\
from headwater import Record, smartmodule


@smartmodule
def refuse(record: Record) -> bool:
    raise ValueError(record.value.decode())
"""


def disguised(secret: str) -> list[str]:
    """Return a secret in each disguise."""
    data = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        quote(quote(secret, safe="")),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[1:-1],
        data.hex(),
        *(base64.b64encode(b"u" * shift + data).decode() for shift in range(3)),
        base64.urlsafe_b64encode(b"user:" + data).decode(),
    ]


ECHO = " ".join(it for secret in SECRETS.values() for it in disguised(secret))
LATIN = ECHO.encode().decode("latin-1")
TYPE = quote(SECRETS["TOKEN"], safe="")


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return a command line whose secrets come from a variable, a file and a command."""
    line = CommandLine(tmp_path)
    line.environment["MY_TOKEN"] = SECRETS["TOKEN"]
    (tmp_path / "password.txt").write_text(f"{SECRETS['PASSWORD']}\n")
    (tmp_path / "refuse.py").write_text(REFUSE)
    yield line
    line.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return the server."""
    with background(ScriptedServer()) as running:
        yield running


def assert_hidden(*shown: str) -> None:
    """Fail when a secret shows in any disguise."""
    for text in shown:
        for secret in SECRETS.values():
            for it in (*disguised(secret), secret[:8]):
                assert it not in text, (it, text)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, ECHO.encode(), (("content-type", "text/plain"), ("x-echo", LATIN))),
        Answer(302, headers=(("location", f"http://127.0.0.1:1/{quote(SECRETS['TOKEN'], safe='')}"),)),
        Answer(302, headers=(("location", f"ftp://{LATIN}/"),)),
        Answer(200, ECHO.encode(), (("content-type", f"text/{TYPE}"),)),
        Answer(raw=f"HTTP/1.1 {LATIN}\r\n\r\n".encode("latin-1")),
        Answer(429, ECHO.encode(), (("retry-after", LATIN),)),
    ],
    ids=["500", "redirect", "odd redirect", "record", "no HTTP", "429"],
)
def test_an_echoing_server_learns_us_nothing(headwater: CommandLine, server: ScriptedServer, answer: Answer) -> None:
    """`test`, `run`, its log, the ledger, the metrics and the words around dead letters are free of secrets."""
    arrived: list[Received] = []

    def echo(request: Received) -> Answer:
        arrived.append(request)
        return answer

    server.route("/x", echo)
    config = headwater.config(CONFIG.format(url=f"{server.url}/x"))
    tried = headwater.run("test", config)
    assert arrived, tried.stderr
    assert arrived[0].query == {"token": SECRETS["TOKEN"]}
    assert json.loads(arrived[0].body)["password"] == SECRETS["PASSWORD"]
    assert arrived[0].header("x-late") == SECRETS["LATE"]
    running = headwater.start("run", config, "--metrics", "0", "--log-format", "json", "--log-level", "debug")
    server.wait_for(2)
    assert running.stderr is not None
    lines = []
    metrics = ""
    for line in running.stderr:
        lines.append(line)
        said = json.loads(line)
        if "metrics" in said.get("event", ""):
            metrics = next(str(it) for it in said.values() if "http://" in str(it))
        if said["event"] in {"connector is failing", "a transform refuses records"}:
            break
    with urlopen(metrics, timeout=10) as answered:
        measured = answered.read().decode()
    assert "headwater" in measured
    status, out, error = headwater.stop(running, signal.SIGTERM)
    assert status == 0
    entries = headwater.run("ledger", "echoing")
    assert "echoing" in entries.stdout + entries.stderr or entries.stdout
    letters = headwater.run("consume", "echoes-dead-letter", "-B", "-d")
    reasons = [json.loads(line)["reason"] for line in letters.stdout.splitlines() if line.startswith("{")]
    assert_hidden(tried.stdout, tried.stderr, *lines, out, error, measured, entries.stdout, entries.stderr, *reasons)
