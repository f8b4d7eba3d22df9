"""Connections that become WebSockets, at a real server and behind a real one; the frames are the library's."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import Server, ServerConnection, basic_auth, serve, unix_serve
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from engine.programs import APACHE, KERBEROS, PASSWORD, USER, apache, need, realm
from fetch.test_stream import Taking, begun
from headwater.core.http import Login, Request, Response, Transport
from headwater.fetch import CurlFetcher, stream
from headwater.fetch.direct import Direct
from headwater.fetch.upload import Upload
from headwater.testing import Certificates


@pytest.fixture(params=[Direct, Upload], ids=["direct", "upload"], scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[type[Direct | Upload]]:
    """Give the way in which bytes are sent where there is no TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "Direct", request.param)
        yield request.param


class Client(Taking):
    """A WebSocket over a fetcher."""

    def __init__(self, url: str, *, compressed: bool = False) -> None:
        super().__init__()
        extensions = [ClientPerMessageDeflateFactory()] if compressed else None
        self._protocol = ClientProtocol(parse_uri(url), extensions=extensions)
        self._url = url
        self.frames: list[Frame] = []

    def request(self, **settings: Any) -> Request:
        """Return the request that begins it."""
        url = self._url.replace("ws", "http", 1)
        made = self._protocol.connect()
        self._protocol.send_request(made)
        self._protocol.data_to_send()
        headers = tuple((name, value) for name, value in made.headers.raw_items() if name != "Host")
        request = Request("GET", url, url, headers, open=self.open, stream=True, upgrade=True)
        return msgspec.structs.replace(request, **settings)

    def open(self, response: Response) -> Client | None:
        """Tell the library of the head."""
        super().open(response)
        if response.status != 101:
            return None
        lines = [f"HTTP/1.1 {response.status} X", *(f"{name}: {value}" for name, value in response.headers), "", ""]
        self._protocol.receive_data("\r\n".join(lines).encode())
        self._read()
        assert self._protocol.handshake_exc is None
        return self

    def write(self, chunk: bytes) -> bool:
        """Tell the library of a chunk, and send what it says."""
        self._protocol.receive_data(chunk)
        self._read()
        self.came.set()
        return True

    def _read(self) -> None:
        self.frames += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        self._send()

    def _send(self) -> None:
        assert self.under_way is not None
        for data in self._protocol.data_to_send():
            self.under_way.send(data)

    def say(self, data: bytes) -> None:
        """Send a binary message."""
        self._protocol.send_binary(data)
        self._send()

    def ping(self) -> None:
        """Send a ping."""
        self._protocol.send_ping(b"are you there")
        self._send()

    def close(self) -> None:
        """Begin the closing handshake."""
        self._protocol.send_close(1000, "done")
        self._send()

    @property
    def messages(self) -> list[bytes]:
        """The data of what came, pongs too."""
        return [bytes(frame.data) for frame in self.frames if frame.opcode is not Opcode.CLOSE]


async def echo(connection: ServerConnection) -> None:
    """Say everything again."""
    async for message in connection:
        await connection.send(message)


def place(server: Server, scheme: str = "ws") -> str:
    return f"{scheme}://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/x?y=z"


@asynccontextmanager
async def spoken(fetcher: CurlFetcher, client: Client, **settings: Any) -> AsyncIterator[None]:
    """Say something small and something large, be pinged, and leave in the proper way."""
    delivered = begun(fetcher, client.request(**settings), client)
    large = os.urandom(900_000)
    await client.until(lambda: bool(client.heads))
    client.say(b"small")
    await client.until(lambda: len(client.messages) == 1)
    client.ping()
    await client.until(lambda: len(client.messages) == 2)
    client.say(large)
    await client.until(lambda: len(client.messages) == 3)
    assert client.messages == [b"small", b"are you there", large]
    yield
    client.close()
    response = await delivered
    assert isinstance(response, Response), response
    assert response.status == 101
    assert client.frames[-1].opcode is Opcode.CLOSE


@pytest.mark.parametrize("compressed", [False, True])
async def test_plain(*, compressed: bool) -> None:
    """Messages, pings and the closing handshake, compressed or not."""
    async with (
        serve(echo, "127.0.0.1", 0) as server,
        CurlFetcher() as fetcher,
        spoken(fetcher, client := Client(place(server), compressed=compressed)),
    ):
        assert (client.heads[0].header("sec-websocket-extensions") is not None) == compressed


async def test_over_tls(tmp_path: Path) -> None:
    """With and without a client certificate."""
    certificates = Certificates(tmp_path)
    cert_file, key_file = certificates.files("client", "me.example")
    transport = Transport(cert_file=str(cert_file), key_file=str(key_file))

    async def who(connection: ServerConnection) -> None:
        found: ssl.SSLObject = connection.transport.get_extra_info("ssl_object")
        assert found.getpeercert()
        await echo(connection)

    async with CurlFetcher(trusted=str(certificates.bundle)) as fetcher:
        async with (
            serve(echo, "127.0.0.1", 0, ssl=certificates.context()) as server,
            spoken(fetcher, Client(place(server, "wss"))),
        ):
            pass
        async with (
            serve(who, "127.0.0.1", 0, ssl=certificates.context(clients=True)) as server,
            spoken(fetcher, Client(place(server, "wss")), transport=transport),
        ):
            pass


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    """The same over a socket in the file system."""
    path = str(tmp_path / "s")
    async with (
        unix_serve(echo, path),
        CurlFetcher() as fetcher,
        spoken(fetcher, Client("ws://any.example/"), transport=Transport(unix_socket=path)),
    ):
        pass


async def test_a_login() -> None:
    """The server's own refusal is a response, and a login is let in."""
    checking = basic_auth(realm="r", credentials=("u", "p"))
    async with serve(echo, "127.0.0.1", 0, process_request=checking) as server, CurlFetcher() as fetcher:
        client = Client(place(server))
        response = await begun(fetcher, client.request(), client)
        assert isinstance(response, Response)
        assert response.status == 401
        assert b"Missing credentials" in response.body
        async with spoken(fetcher, Client(place(server)), transport=Transport(login=Login("basic", "u", "p"))):
            pass


async def test_many_at_once() -> None:
    """Three hundred connections in one process, each with its own conversation."""
    async with serve(echo, "127.0.0.1", 0, backlog=1024) as server, CurlFetcher(most_in_flight=1) as fetcher:
        clients = [Client(place(server)) for _ in range(300)]
        for client in clients:
            begun(fetcher, client.request(), client)
        for number, client in enumerate(clients):
            await client.until(lambda client=client: bool(client.heads))  # type: ignore[misc]
            client.say(b"%d" % number)
        for number, client in enumerate(clients):
            await client.until(lambda client=client: bool(client.messages))  # type: ignore[misc]
            assert client.messages == [b"%d" % number]


async def test_digest_at_apache() -> None:
    """Behind Apache, which wants a digest; a wrong password is its refusal."""
    need(APACHE)
    async with serve(echo, "127.0.0.1", 0) as server, CurlFetcher() as fetcher:
        with apache(behind=place(server)) as url:
            there = f"{url}/digest/ws".replace("http", "ws")
            async with spoken(fetcher, Client(there), transport=Transport(login=Login("digest", USER, PASSWORD))):
                pass
            client = Client(there)
            wrong = Transport(login=Login("digest", USER, "wrong"))
            response = await begun(fetcher, client.request(transport=wrong), client)
            assert isinstance(response, Response)
            assert response.status == 401


async def test_negotiate_at_apache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind Apache, which wants a ticket of Kerberos."""
    need(KERBEROS)
    async with serve(echo, "127.0.0.1", 0) as server, CurlFetcher() as fetcher:
        with realm() as made, apache(made.http_keytab, behind=place(server)) as url:
            made.kinit(tmp_path / "cache")
            monkeypatch.setenv("KRB5_CONFIG", str(made.config))
            monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/cache")
            there = f"{url}/gss/ws".replace("http", "ws")
            client = Client(there)
            response = await begun(fetcher, client.request(), client)
            assert isinstance(response, Response)
            assert response.status == 401
            async with spoken(fetcher, Client(there), transport=Transport(login=Login("negotiate"))):
                pass


async def test_a_server_that_goes_away() -> None:
    """Its closing handshake is taken in, and the end is a response."""
    async with CurlFetcher() as fetcher:
        async with serve(echo, "127.0.0.1", 0) as server:
            client = Client(place(server))
            delivered = begun(fetcher, client.request(), client)
            await client.until(lambda: bool(client.heads))
        response = await asyncio.wait_for(delivered, 20)
        assert isinstance(response, Response)
        assert client.frames[-1].opcode is Opcode.CLOSE
