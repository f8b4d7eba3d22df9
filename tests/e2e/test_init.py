"""`headwater init` as a person uses it: an address, a line of curl, a HAR, an OpenAPI document; a file that works."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commandline import CommandLine
from headwater.sample import SampleApi
from headwater.testing import Answer, Received, ScriptedServer, background

TOKEN = "t0ps3cret-token"
ITEMS = [
    {"id": number, "updated_at": f"2024-05-{30 - number:02}T10:00:00Z", "name": f"n{number}"} for number in range(9)
]


def api(request: Received) -> Answer:
    """Answer as an API with a token, validators, a quota and pages."""
    if request.header("authorization") != f"Bearer {TOKEN}":
        return Answer(401, b"", (("www-authenticate", 'Bearer realm="api"'),))
    if request.header("if-none-match") == '"v1"':
        return Answer(304)
    page, size = int(request.query.get("page", "1")), int(request.query.get("per_page", "3"))
    headers: list[tuple[str, str]] = [
        ("content-type", "application/json"),
        ("etag", '"v1"'),
        ("x-ratelimit-limit", "600"),
        ("x-ratelimit-remaining", "599"),
        ("x-ratelimit-reset", "3000"),
    ]
    if page * size < len(ITEMS):
        headers.append(("link", f'<{request.path}?page={page + 1}&per_page={size}>; rel="next"'))
    return Answer(200, json.dumps(ITEMS[(page - 1) * size : page * size]).encode(), tuple(headers))


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return a command line of the test's own."""
    line = CommandLine(tmp_path)
    yield line
    line.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a server with the API."""
    with background(ScriptedServer()) as running:
        running.route("/v1/orders", api)
        yield running


def test_a_line_of_curl(headwater: CommandLine, server: ScriptedServer, tmp_path: Path) -> None:
    """Three requests tell all; the token is in the file of secrets alone, and the connector works with both."""
    line = f"curl '{server.url}/v1/orders?per_page=3' -H 'Authorization: Bearer {TOKEN}' --compressed | jq ."
    done = headwater.run("init", line, "-o", "connect.yml", "--save-secrets", "secrets.env")
    assert done.returncode == 0, done.stderr
    assert len(server.received) == 3
    text = (tmp_path / "connect.yml").read_text()
    assert TOKEN not in text + done.stdout + done.stderr
    assert 'token: "${{ secrets.API_TOKEN }}"' in text
    assert "conditional: true  # answers have ETag, and 304 came for it: unchanged ones cost nothing" in text
    assert "type: link" in text
    assert "+ pagination.type: link" in done.stderr
    assert "only the first command was read; left out: jq ..." in done.stderr
    secrets = tmp_path / "secrets.env"
    assert secrets.read_text() == f"API_TOKEN={TOKEN}\n"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    shown = headwater.good("test", "connect.yml", "--secrets", "secrets.env")
    assert "record 1:" in shown
    assert TOKEN not in shown


def test_words_behind_curl_are_its_own(headwater: CommandLine, server: ScriptedServer) -> None:
    """Without quotes the shell has read the line already; options of ours stand before it."""
    url = f"{server.url}/v1/orders"
    for words in (("curl", "-s"), ("--", "curl", "-s"), ("--", "curl", "--silent")):
        text = headwater.good("init", "--name", "mine", *words, "-H", f"Authorization: Bearer {TOKEN}", url)
        assert "  name: mine" in text
        assert TOKEN not in text


def test_an_address(headwater: CommandLine, server: ScriptedServer) -> None:
    """A 401 says which way in there is; with the secret known, what is behind it is seen."""
    url = f"{server.url}/v1/orders"
    text = headwater.good("init", url)
    assert "type: bearer  # the answer was 401 with WWW-Authenticate: bearer" in text
    assert len(server.received) == 1
    headwater.environment["API_TOKEN"] = TOKEN
    known = headwater.good("init", url)
    assert "/updated_at" in known
    assert len(server.received) == 5
    assert TOKEN not in known


@pytest.mark.parametrize(
    ("options", "count"), [(("--offline",), 0), (("--requests", "0"), 0), (("--requests", "1"), 1)]
)
def test_requests_are_bounded(
    headwater: CommandLine, server: ScriptedServer, options: tuple[str, ...], count: int
) -> None:
    """Nothing more is sent than was said."""
    line = f"curl {server.url}/v1/orders -H 'Authorization: Bearer {TOKEN}'"
    headwater.good("init", *options, line)
    assert len(server.received) == count


def test_what_may_change_something_is_not_sent(headwater: CommandLine, server: ScriptedServer) -> None:
    """A POST that was pasted is not done again unasked; a query of GraphQL is one that only reads."""
    url = server.route("/v1/things", Answer.json({"data": {"things": {"nodes": ITEMS}}}))
    held = headwater.run("init", f"curl {url} -d name=x")
    assert held.returncode == 0
    assert "nothing was sent: a POST may change something; --send-any" in held.stderr
    assert not server.received
    headwater.good("init", "--send-any", f"curl {url} -d name=x")
    asked = len(server.received)
    assert asked
    headwater.good("init", f'curl {url} --json \'{{"query": "mutation {{ a }}"}}\'')
    assert len(server.received) == asked
    text = headwater.good("init", f'curl {url} --json \'{{"query": "{{ things {{ nodes }} }}"}}\'')
    assert len(server.received) == asked + 1
    assert "split: /data/things/nodes" in text


def test_nothing_is_written_over(headwater: CommandLine, server: ScriptedServer, tmp_path: Path) -> None:
    """A file that is there stays, unless --force says otherwise; then it is replaced whole."""
    (tmp_path / "connect.yml").write_text("mine")
    refused = headwater.run("init", "--offline", f"{server.url}/a", "-o", "connect.yml")
    assert (refused.returncode, (tmp_path / "connect.yml").read_text()) == (2, "mine")
    assert "is there already; --force writes over it" in refused.stderr
    headwater.good("init", "--offline", f"{server.url}/a", "-o", "connect.yml", "--force")
    assert "apiVersion" in (tmp_path / "connect.yml").read_text()
    assert not list(tmp_path.glob(".connect.yml*"))


def test_standard_input_and_variables(headwater: CommandLine, server: ScriptedServer) -> None:
    """A pasted line may name variables of the shell: they are secrets, whose values are looked up."""
    line = f'$ curl "{server.url}/v1/orders" \\\n  -H "Authorization: Bearer $MY_TOKEN"\n'
    unknown = headwater.run("init", "-", given=line)
    assert "nothing was sent: MY_TOKEN is not known" in unknown.stderr
    assert not server.received
    headwater.environment["MY_TOKEN"] = TOKEN
    assert '"${{ secrets.MY_TOKEN }}"' in headwater.good("init", "-", given=line)
    assert server.received


def test_a_har(headwater: CommandLine, server: ScriptedServer, tmp_path: Path) -> None:
    """What a browser has saved is looked at without any request, if that is wanted."""
    url = f"{server.url}/v1/orders"
    content = {"mimeType": "application/json", "text": json.dumps(ITEMS)}
    entry = {
        "request": {"method": "GET", "url": url, "headers": [{"name": "Cookie", "value": f"sid={TOKEN}"}]},
        "response": {"status": 200, "headers": [], "content": content},
    }
    other = {**entry, "request": {"method": "GET", "url": f"{server.url}/v1/others", "headers": []}}
    (tmp_path / "a.har").write_text(json.dumps({"log": {"entries": [entry, other]}}))
    done = headwater.run("init", "a.har", "--offline")
    assert done.returncode == 0, done.stderr
    assert "/updated_at" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert "another is 2: GET" in done.stderr
    assert "/v1/others" in headwater.good("init", "a.har", "--offline", "--entry", "2")
    assert not server.received


OPENAPI: dict[str, Any] = {
    "openapi": "3.0.3",
    "servers": [{"url": "/v1"}],
    "security": [{"token": []}],
    "paths": {
        "/orders": {
            "get": {
                "operationId": "listOrders",
                "parameters": [
                    {"name": "updated_since", "in": "query", "schema": {"type": "string", "format": "date-time"}}
                ],
                "responses": {"200": {"description": "them"}},
            }
        },
        "/customers": {"get": {"operationId": "listCustomers", "responses": {}}},
    },
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
}


def test_an_openapi_document_at_an_address(headwater: CommandLine, server: ScriptedServer, tmp_path: Path) -> None:
    """The operations are listed; the one that is named is looked at, with the cursor that the document knows of."""
    url = server.route("/openapi.json", Answer.json(OPENAPI))
    listed = headwater.run("init", url)
    assert listed.returncode == 2
    assert "name one with --operation" in listed.stderr
    assert "listCustomers" in listed.stderr
    headwater.environment["API_TOKEN"] = TOKEN
    text = headwater.good("init", url, "--operation", "listOrders", "--requests", "5")
    assert f"endpoint: {server.url}/v1/orders" in text
    assert 'updated_since: "${{ cursor.updated }}"' in text
    (tmp_path / "api.json").write_text(json.dumps(OPENAPI))
    offline = headwater.good("init", "api.json", "--operation", "GET /orders", "--offline")
    assert "the document's security scheme token" in offline


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("curl", "ftp://x/"), "asks for ftp://"),
        (("missing.har",), "there is no file missing.har"),
        (("http://[x",), "is no address"),
        (("-",), "standard input is neither a command line of curl nor a HAR file nor an OpenAPI document"),
        (("--name", "No Name", "http://x.test/"), "is no name of a connector"),
    ],
)
def test_what_cannot_be_read(headwater: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    """Wrong usage is told in a sentence."""
    done = headwater.run("init", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<!doctype html><p>Sign in", (("content-type", "text/html"),)), "is a page for people"),
        (Answer(200, b"not JSON", (("content-type", "application/json"),)), "but the body is no JSON"),
        (Answer(200, b"[" * 50_000, (("content-type", "application/json"),)), "nested too deeply"),
        (Answer(200, b"\x00\x01\x02" * 100), "is no text"),
        (Answer(500), "the answer was 500"),
        (Answer(404), "the answer was 404"),
        (Answer(204), "the answer has no body"),
    ],
)
def test_hostile_answers(headwater: CommandLine, server: ScriptedServer, answer: Answer, message: str) -> None:
    """What is no list of items is said, and what is written loads all the same."""
    url = server.route("/odd", answer)
    text = headwater.good("init", url)
    assert message in " ".join(text.replace("#", "").split())
    assert headwater.run("lint", headwater.config(text)).returncode == 0


def test_a_huge_answer(headwater: CommandLine, server: ScriptedServer) -> None:
    """Of an answer without end the beginning is enough, and no more of it is taken."""
    body = b"[" + b",".join(b'{"id": %d, "text": "%s"}' % (number, b"x" * 1000) for number in range(40_000)) + b"]"
    url = server.route("/huge", Answer(200, body, (("content-type", "application/json"),)))
    done = headwater.run("init", url)
    assert done.returncode == 0
    assert "only the first 4 MiB of the answer were looked at" in done.stderr
    assert "split: /" in done.stdout
    assert "key: /id" in done.stdout


def test_an_endpoint_that_is_not_there(headwater: CommandLine, tmp_path: Path) -> None:
    """Where nothing answers, nothing is written."""
    done = headwater.run("init", "http://127.0.0.1:1/", "-o", "connect.yml")
    assert done.returncode == 1
    assert "no connection" in done.stderr
    assert not (tmp_path / "connect.yml").exists()


def test_a_server_that_echoes_the_token(headwater: CommandLine, server: ScriptedServer) -> None:
    """Neither the file nor what is said shows a token that comes back in an answer."""
    body = json.dumps({"items": ITEMS, "next": f"/v1/echo?token={TOKEN}&page=2", TOKEN: [1]}).encode()
    headers = (("content-type", f"application/json; x={TOKEN}"), ("x-ratelimit-limit", f"5; {TOKEN}"))
    url = server.route("/v1/echo", Answer(200, body, headers))
    done = headwater.run("init", f"curl {url} -H 'Authorization: Bearer {TOKEN}'")
    assert done.returncode == 0
    assert TOKEN not in done.stdout + done.stderr


def test_an_answer_does_not_speak_to_the_terminal(headwater: CommandLine, server: ScriptedServer) -> None:
    """Names of members may hold line breaks and escapes: what is printed of them is one line without either."""
    items = [{"id\x1b]0;mine\x07\n  + auth": number} for number in range(3)]
    url = server.route("/v1/evil", Answer.json({"data\x1b[31m": items}))
    done = headwater.run("init", url, "-o", "evil.yml")
    assert "records.key: /id ]0;mine" in done.stderr
    assert not {it for it in done.stderr if not it.isprintable()} - {"\n"}
    assert not [line for line in done.stderr.splitlines() if line.startswith("  + auth")]


@pytest.mark.parametrize(
    ("path", "written", "asked"),
    [("/events", "format: sse", "text/event-stream"), ("/stream", "format: ndjson", "application/x-ndjson")],
)
def test_what_never_ends(headwater: CommandLine, path: str, written: str, asked: str) -> None:
    """It is listened to for some seconds, not for ever, and what is written runs as a stream."""
    with SampleApi(every=0.01) as api:
        done = headwater.run("init", f"{api.url}{path}", "-o", "connect.yml")
        assert done.returncode == 0, done.stderr
        assert re.search(rf"what it answers -> 200, {asked}, \d+ B, and it goes on", done.stderr)
        text = (headwater.directory / "connect.yml").read_text()
        assert f"\n  {written}  # " in text
        assert "interval" not in text
        assert "a trial ends after 20" in headwater.good("test", "connect.yml")
