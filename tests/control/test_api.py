"""The control API over real sockets: what it does, whom it refuses, and that its document tells the truth."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from control.managing import defined, yard
from headwater.config import InvalidConfigError
from headwater.control.api import OPERATIONS, Api, application
from headwater.control.client import Client
from headwater.control.document import openapi
from headwater.control.place import SOCKET_NAME, TOKEN_NAME, local_socket, loopback_socket, token_of
from headwater.control.serving import serving
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    LogFullError,
    ManagerError,
    ServerError,
)
from headwater.core.exchange import Decision, Exchange
from headwater.core.managed import Definition, Manager, Phase
from headwater.engine.embedded import embedded
from headwater.testing import Answer, ScriptedServer, background

TEXT = "name: cats\ntopic: cats\nparameters: {endpoint: 'http://127.0.0.1:9/', interval: 1h}\n"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a server with one answer."""
    with background(ScriptedServer()) as running:
        running.route("/x", Answer(body=b"cat"))
        yield running


@asynccontextmanager
async def served(directory: Path, port: int | None = 0) -> AsyncIterator[tuple[Client, str]]:
    """Serve the API of a data directory; give a client, and the URL of the port."""
    async with yard(directory) as it:
        app = application(Api(it.fleet, it.log.reader.ledger, str(directory)))
        async with serving(
            app, directory, local_socket(directory), None if port is None else ("127.0.0.1", port)
        ) as url:
            yield Client(directory), url or ""


def asked(
    url: str, path: str, token: str | None = None, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Ask over the port; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        data = response.read()
        return response.status, msgspec.json.decode(data) if data else {}
    finally:
        connection.close()


async def test_everything_a_command_does(tmp_path: Path, server: ScriptedServer) -> None:
    """Through the socket a manager does what the fleet does, with the same values and the same errors."""
    async with served(tmp_path) as (manager, _):
        assert (tmp_path / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
        as_manager: Manager = manager
        definition = defined(server, more="  headers: {X: '${{ secrets.KEY }}'}\n", KEY="hush")
        assert (await as_manager.create(definition, dry_run=True)).action == "created"
        assert await manager.list() == []
        assert (await manager.create(definition)).action == "created"
        await asyncio.to_thread(server.wait_for, 1)
        assert server.received[0].header("x") == "hush"
        assert [found.name for found in await manager.list()] == ["cats"]
        assert (await manager.get("cats")).status in {Phase.INIT, Phase.RUNNING}
        assert await manager.config("cats") == definition.text
        with pytest.raises(ConnectorExistsError, match="already exists") as known:
            await manager.create(definition)
        assert "update" in known.value.hint
        slower = msgspec.structs.replace(definition, text=definition.text.replace("10s", "20s"))
        plan = await manager.update(slower, dry_run=True)
        assert "+  interval: 20s" in plan.difference
        assert (await manager.update(slower)).action == "updated"
        bad = msgspec.structs.replace(definition, text=definition.text.replace("interval", "intervall"))
        with pytest.raises(InvalidConfigError) as refused:
            await manager.update(bad)
        assert refused.value.problems[0].line == 5
        assert "did you mean 'interval'" in refused.value.message
        await manager.pause("cats")
        assert (await manager.get("cats")).status is Phase.PAUSED
        with pytest.raises(ConnectorError, match="is paused"):
            await manager.restart("cats")
        await manager.resume("cats")
        await manager.restart("cats")
        events = [line.split(" INFO    ")[1] async for line in manager.logs("cats")]
        assert events == []  # what is logged goes to the journal only where it taps the log, as `headwater up` does
        for change in (manager.get("dogs"), manager.pause("dogs"), manager.delete("dogs"), manager.config("dogs")):
            with pytest.raises(ConnectorNotFoundError, match="Connector not found: dogs"):
                await change
        assert (await manager.delete("cats")).action == "deleted"
    with pytest.raises(ManagerError, match="there is no server") as away:
        await manager.list()
    assert away.value.hint == "start it with: headwater up"


async def test_logs_are_followed(tmp_path: Path, server: ScriptedServer) -> None:
    """Lines come as they are written; the stream ends when its reader goes, and when the server does."""
    async with (
        yard(tmp_path) as it,
        serving(application(Api(it.fleet, it.log.reader.ledger, "")), tmp_path, local_socket(tmp_path)),
    ):
        manager = Client(tmp_path)
        await manager.create(defined(server))
        it.journal.write("cats", "info", "one")
        async with aclosing(cast("Any", manager.logs("cats", follow=True))) as lines:
            assert (await anext(lines)).endswith("one")
            it.journal.write("cats", "info", "two")
            assert (await anext(lines)).endswith("two")
        async with aclosing(cast("Any", manager.logs("cats", follow=True, tail=1))) as lines:
            assert (await anext(lines)).endswith("two")
            it.journal.close()
            assert [line async for line in lines] == []


async def test_the_ledger_and_the_standing(tmp_path: Path, server: ScriptedServer) -> None:
    """The last polls of a connector are there, and what serves."""
    entry = Exchange("cats", 1, 2, 3, Decision.ACCEPTED, "")
    async with yard(tmp_path) as it:
        app = application(Api(it.fleet, lambda _, last: [entry] * last, "here"))
        async with serving(app, tmp_path, local_socket(tmp_path), ("127.0.0.1", 0)) as url:
            token = (tmp_path / TOKEN_NAME).read_text().strip()
            await it.fleet.create(defined(server))
            assert url is not None

            async def get(path: str) -> tuple[int, dict[str, Any]]:
                return await asyncio.to_thread(asked, url or "", path, token)

            assert (await get("/v1/connectors/cats/ledger"))[1] == {"entries": [msgspec.to_builtins(entry)] * 20}
            assert len((await get("/v1/connectors/cats/ledger?last=3"))[1]["entries"]) == 3
            assert (await get("/v1"))[1]["data"] == "here"


async def test_who_is_refused_at_the_port(tmp_path: Path) -> None:
    """Without the token, under another name, from a page of another origin: nothing is told, nothing done."""
    async with served(tmp_path) as (_, url):
        path = tmp_path / TOKEN_NAME
        assert path.stat().st_mode & 0o777 == 0o600
        token = path.read_text().strip()
        port = url.rpartition(":")[2]

        async def status(**given: Any) -> int:
            return (await asyncio.to_thread(asked, url, given.pop("path", "/v1"), **given))[0]

        assert await status(token=token) == 200
        assert await status(token=token, origin=url) == 200
        assert await status(token=token, host=f"localhost:{port}") == 200
        for wrong in (None, "", "wrong", token[:-1], f"{token}x", "é"):
            assert await status(token=wrong) == 401
        assert await status(authorization=f"Basic {token}") == 401
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "", f"127.0.0.1:{port}.evil.example"):
            assert await status(token=token, host=host) == 403
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port}.evil.example", "http://127.0.0.1"):
            assert await status(token=token, origin=origin) == 403
        assert await status(path="/openapi.json") == 401
        assert await status(path="/v1/connectors", method="POST", body=b"{}") == 401


async def test_the_token_stays(tmp_path: Path) -> None:
    """It is the same after a restart, so that programs go on."""
    tokens = []
    for _ in range(2):
        async with served(tmp_path):
            tokens.append((tmp_path / TOKEN_NAME).read_text())
    assert tokens[0] == tokens[1]


def test_a_token_that_is_none(tmp_path: Path) -> None:
    """What is in its file by accident is told, with what to do."""
    (tmp_path / TOKEN_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(ServerError, match="holds no token"):
        token_of(tmp_path)


async def test_no_files_and_no_code_come_over_the_port(tmp_path: Path, server: ScriptedServer) -> None:
    """Whoever has the token brings configuration and WebAssembly's names, no paths of this machine and no Python."""
    async with served(tmp_path) as (_, url):
        token = (tmp_path / TOKEN_NAME).read_text().strip()
        for uses in ("/etc/passwd.wasm", "./x.wasm", "python:os:system", "./x.py:f", "x.py:f", "~/a.wasm"):
            text = defined(server).text + f"transforms:\n  - uses: {uses}\n"
            status, said = await asyncio.to_thread(
                asked, url, "/v1/connectors", token, "POST", msgspec.json.encode({"text": text})
            )
            assert (status, said["error"]) == (400, "malformed"), uses
            assert "of the server's machine" in said["message"]
        for option in (
            "tls: {ca_file: /etc/passwd}",
            "tls: {cert_file: c, key_file: k}",
            "unix_socket: /run/docker.sock",
        ):
            text = defined(server).text + f"  {option}\n"
            status, said = await asyncio.to_thread(
                asked, url, "/v1/connectors", token, "POST", msgspec.json.encode({"text": text})
            )
            assert (status, said["error"]) == (400, "malformed"), option
            assert "on the server's machine" in said["message"]


async def test_no_secret_of_the_machine_goes_over_the_port(tmp_path: Path, server: ScriptedServer) -> None:
    """Whoever has the token has no file read, no command run and no variable looked up, whether a value comes along."""
    file, trace = tmp_path / "secret.txt", tmp_path / "ran"
    file.write_text("machine-hush")
    async with served(tmp_path / "data") as (_, url):
        token = (tmp_path / "data" / TOKEN_NAME).read_text().strip()
        for origin, values, status in (
            (f"file: {file}", {}, 422),
            (f"command: [touch, {trace}]", {}, 422),
            ("env: PATH", {}, 422),
            (f"file: {file}", {"TOKEN": "own"}, 400),
            (f"command: [touch, {trace}]", {"TOKEN": "own"}, 400),
            ("env: PATH", {"TOKEN": "own"}, 201),
        ):
            text = f"{defined(server).text}secrets: [{{name: TOKEN, {origin}}}]\n"
            body = msgspec.json.encode({"text": text, "secrets": values})
            found, said = await asyncio.to_thread(asked, url, "/v1/connectors", token, "POST", body)
            assert found == status, said
            assert "hush" not in str(said)
        assert not trace.exists()


async def test_nonsense(tmp_path: Path, server: ScriptedServer) -> None:
    """What makes no sense is refused with a sentence, and the server goes on."""
    async with served(tmp_path) as (_, url):
        token = (tmp_path / TOKEN_NAME).read_text().strip()
        text = defined(server).text

        async def ask(method: str, path: str, body: object = None) -> tuple[int, str]:
            data = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
            status, said = await asyncio.to_thread(asked, url, path, token, method, data)
            return status, said.get("message", "")

        for method, path, body, status, message in (
            ("POST", "/v1/connectors", b"", 400, "body is not what is expected"),
            ("POST", "/v1/connectors", b"\xff", 400, "body is not what is expected"),
            ("POST", "/v1/connectors", {"text": 3}, 400, "Expected `str`"),
            ("POST", "/v1/connectors", {"text": text, "txt": ""}, 400, "unknown field `txt`"),
            ("POST", "/v1/connectors", {"text": ""}, 422, "no connector in it"),
            ("POST", "/v1/connectors", {"text": "[" * 1_000_000}, 422, "levels"),
            ("POST", "/v1/connectors", {"text": f"{text}---\n{text.replace('cats', 'dogs')}"}, 400, "defines 2"),
            ("POST", "/v1/connectors", b" " * (8 * 1024 * 1024 + 1), 413, "more than"),
            ("POST", "/v1/connectors?dry_run=1", {"text": text}, 400, "neither true nor false"),
            ("POST", "/v1/connectors?dryrun=true", {"text": text}, 400, "no parameter 'dryrun'"),
            ("PUT", "/v1/connectors/dogs", {"text": text}, 400, "names the connector cats, not dogs"),
            ("PUT", "/v1/connectors/cats", {"text": text}, 404, "does not exist"),
            ("GET", "/v1/connectors/..%2F..%2Fetc", None, 404, "nothing at"),
            ("GET", "/v1/connectors/Caf%C3%A9", None, 404, "Connector not found"),
            ("GET", "/v2", None, 404, "nothing at /v2"),
            ("PATCH", "/v1/connectors", None, 405, "not possible"),
        ):
            assert (await ask(method, path, body))[0] == status, (method, path)
            assert message in (await ask(method, path, body))[1], (method, path)
        status, _ = await ask("POST", "/v1/connectors", {"text": text})
        assert status == 201
        for path in (
            "/v1/connectors/cats/logs?tail=-1",
            "/v1/connectors/cats/logs?tail=000000000000099999999999999999999",
            "/v1/connectors/cats/ledger?last=99999999999999999999",
            "/v1/connectors/cats/ledger?last=0000000000000100000",
        ):
            assert (await ask("GET", path))[0] == 400, path
        assert (await ask("POST", "/v1/connectors?dry_run=true", {"text": text.replace("cats", "dogs")}))[0] == 200


async def test_troubles_of_the_log_and_defects(tmp_path: Path, server: ScriptedServer) -> None:
    """A full disk is to be tried again; a defect is told as one, without its insides."""
    async with (
        yard(tmp_path) as it,
        serving(application(Api(it.fleet, it.log.reader.ledger, "")), tmp_path, local_socket(tmp_path)),
    ):
        manager = Client(tmp_path)

        async def full(*_: object) -> None:
            raise LogFullError("no space left", hint="free some space")

        it.log.create_topic = full  # type: ignore[method-assign,assignment]
        with pytest.raises(Exception, match="no space left") as refused:
            await manager.create(defined(server))
        assert refused.value.hint == "free some space"  # type: ignore[attr-defined]
        assert await manager.list() == []

        async def broken() -> None:
            raise RuntimeError("the insides")

        it.fleet.list = broken  # type: ignore[method-assign,assignment]
        with pytest.raises(ManagerError, match="this is a defect of the server") as defect:
            await manager.list()
        assert "insides" not in str(defect.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_only_loopback(host: str) -> None:
    """The API listens nowhere else, whatever is asked."""
    with pytest.raises(ServerError, match="on loopback only"):
        loopback_socket(host, 0)


def test_a_port_that_is_taken() -> None:
    """It is told with what to do."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ServerError, match="cannot serve the control API") as refused,
    ):
        loopback_socket("localhost", taken.getsockname()[1])
    assert "--api" in refused.value.hint


async def test_a_socket_left_behind(tmp_path: Path) -> None:
    """One that a killed server left is in nobody's way."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(ManagerError, match="there is no server"):
        await Client(tmp_path).list()
    async with served(tmp_path) as (manager, _):
        assert await manager.list() == []


async def test_who_asks_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """A connection without a request, or with half of a head, is closed; one that asks again and again is not."""
    async with yard(tmp_path) as it:
        app = application(Api(it.fleet, it.log.reader.ledger, ""))
        listening = socket.create_server(("127.0.0.1", 0))
        async with embedded(app, listening, connections=10, idle=1):
            port = listening.getsockname()[1]
            closed = []
            for sent in (b"", b"GET /v1 HTTP/1.1\r\nHost: x\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                closed.append((await reader.read(), writer))
            asking = http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=20)
            for _ in range(3):
                await asyncio.to_thread(asking.request, "GET", "/v1")
                assert (await asyncio.to_thread(asking.getresponse)).read()
            asking.close()
            for said, writer in closed:
                assert said == b""
                writer.close()


# The document, and the API against it.


def test_the_document_names_every_operation() -> None:
    """Each has a summary, its parameters, and schemas that are there."""
    document = openapi()
    named = {operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()}
    assert set(named) == {operation.does for operation in OPERATIONS}
    assert all(operation["summary"].endswith(".") for operation in named.values())
    text = msgspec.json.encode(document).decode()
    for name in document["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text


@contextmanager
def _in_a_thread(directory: Path) -> Iterator[str]:
    """Serve the API in a thread of its own, with a connector in it; give the URL."""
    ready: list[str] = []
    arrived, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with served(directory) as (manager, url):
            await manager.create(Definition("cats", TEXT))
            ready.append(url)
            arrived.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert arrived.wait(20)
        yield ready[0]
    finally:
        stop.set()
        thread.join(20)


@pytest.mark.parametrize("operation", [it.does for it in OPERATIONS])
def test_the_api_is_what_its_document_says(tmp_path: Path, operation: str) -> None:
    """Whatever fits the document, and what does not, is answered as the document says; nothing breaks the server."""
    schema = schemathesis.openapi.from_dict(openapi())
    strategies = [
        cast("Any", found).ok().as_strategy(generation_mode=mode)
        for found in schema.include(operation_id=operation).get_all_operations()
        for mode in schemathesis.GenerationMode
    ]
    with _in_a_thread(tmp_path) as url:
        headers = {"Authorization": f"Bearer {(tmp_path / TOKEN_NAME).read_text().strip()}"}

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.one_of(strategies), st.sampled_from(["cats", "dogs", None]))
        def check(case: Any, name: str | None) -> None:
            if case.query.get("follow"):
                case.query["follow"] = "false"
            if name and isinstance(case.body, dict):
                # Texts are hardly ever connectors by chance.
                case.body = {"text": TEXT.replace("cats", name)}
            case.call_and_validate(base_url=url, headers=headers, excluded_checks=[positive_data_acceptance])

        check()


@pytest.mark.parametrize(
    "auth",
    [
        "type: bearer, token_file: /etc/shadow",
        "type: api-key, value_file: /etc/shadow",
        "type: jwt, algorithm: ES256, key_file: /etc/key.pem",
        "type: sigv4, service: s, environment: true",
        "type: negotiate",
    ],
)
async def test_nothing_of_the_servers_machine_is_sent_for_who_asks_over_the_network(tmp_path: Path, auth: str) -> None:
    """A credential from a file or the environment of the server is refused over the port."""
    async with served(tmp_path) as (_, url):
        text = TEXT.replace("{endpoint", f"{{auth: {{{auth}}}, endpoint")
        body = msgspec.json.encode({"text": text})
        status, said = await asyncio.to_thread(asked, url, "/v1/connectors", token_of(tmp_path), "POST", body)
    assert status == 400
    assert "has a file or the environment of the server's machine read" in said["message"]
