"""WebSockets through the engine, at the library's server: what is said, heard, and how connections end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, basic_auth
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as Refusal

from engine.streaming.streamed import decisions, socket_server, streamed
from headwater.sample import SampleApi
from headwater.sources.websocket.handshake import accept_of
from headwater.testing import Answer, Certificates, ScriptedServer
from sources.websocket.peers import unmasked, wire


class Peer:
    """A server of WebSockets whose connections a test takes one by one."""

    def __init__(self) -> None:
        self._connections: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def __call__(self, connection: ServerConnection) -> None:
        """Keep a connection for as long as it lasts."""
        await self._connections.put(connection)
        await connection.wait_closed()

    async def next(self) -> ServerConnection:
        """Return the next connection."""
        async with asyncio.timeout(10):
            return await self._connections.get()


async def heard(connection: ServerConnection, count: int) -> list[str | bytes]:
    """Return so many messages of the client's."""
    async with asyncio.timeout(10):
        return [await connection.recv() for _ in range(count)]


async def closed(connection: ServerConnection) -> tuple[int | None, str | None]:
    """Return with what a connection was closed, as the server has it."""
    async with asyncio.timeout(10):
        await connection.wait_closed()
    return connection.close_code, connection.close_reason


@pytest.mark.parametrize("compression", [True, False])
async def test_messages_are_records(tmp_path: Path, *, compression: bool) -> None:
    """Text and binary, empty and large, with deflate and without, whole and in fragments: unchanged and in order."""
    peer = Peer()
    large = os.urandom(200_000).hex()
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        config = it.config({"endpoint": url, "websocket_config": {"compression": compression}})
        async with it.running(config):
            one = await peer.next()
            assert bool(one.protocol.extensions) == compression
            await one.send("hä")
            await one.send(b"\x00\xff")
            await one.send("")
            await one.send(large)
            await one.send(["a ", "text in ", "parts"])
            await one.send("a" * 100_000)
            values = await it.values(count=6)
        assert values == ["hä".encode(), b"\x00\xff", b"", large.encode(), b"a text in parts", b"a" * 100_000]


async def test_what_is_said_first(tmp_path: Path) -> None:
    """The deprecated message first, then the others in their order; maps as JSON; expressions are filled in."""
    peer = Peer()
    said = {
        "subscription_message": "old",
        "subscription_messages": ["one", {"op": "subscribe", "at": "${{ scheduled | unix }}"}, "three"],
        "subprotocols": ["b", "a"],
    }
    async with streamed(tmp_path) as it, socket_server(peer, subprotocols=["a"]) as (url, _):
        config = it.config({"endpoint": url, "websocket_config": said, "headers": {"X-A": "b"}, "params": {"p": "q"}})
        async with it.running(config):
            one = await peer.next()
            first, second, third, fourth = await heard(one, 4)
            assert (first, second, fourth) == ("old", "one", "three")
            assert json.loads(third)["op"] == "subscribe"
            assert str(json.loads(third)["at"]) == "1700000000"
            assert one.subprotocol == "a"
            assert one.request is not None
            assert one.request.headers["x-a"] == "b"
            assert one.request.path == "/ws?p=q"


async def test_what_comes_with_the_head_is_answered(tmp_path: Path) -> None:
    """What wants an answer in the same packet as the 101 has it, behind the subscription."""
    got = bytearray()
    enough = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        writer.write(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept_of(key)}\r\n\r\n".encode()
            + b"\x89\x01p\x81\x04PING\x81\x01a"
        )
        while len(got) < (6 + 3) + (6 + 1) + (6 + 4):
            got.extend(await reader.read(100))
        enough.set()
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with streamed(tmp_path) as it, server:
        said = {"subscription_messages": ["sub"], "answers": [{"to": "^PING$", "with": "PONG"}]}
        async with it.running(it.config({"endpoint": f"ws://127.0.0.1:{port}/", "websocket_config": said})):
            assert await it.values(count=1) == [b"a"]
            await asyncio.wait_for(enough.wait(), 10)
    assert {got[0], got[9], got[9 + got[10] % 128 + 6]} == {0x81, 0x8A}
    assert got[0] == 0x81


async def test_talk_is_no_record(tmp_path: Path) -> None:
    """What is answered or ignored is none, and an answer has values of the message."""
    peer = Peer()
    said = {
        "answers": [{"to": {"/type": "ping"}, "with": {"type": "pong", "id": "${{ item./id }}"}}],
        "ignore": ["^hb$", {"/type": ["ack"]}],
    }
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        config = it.config({"endpoint": url, "websocket_config": said})
        async with it.running(config):
            one = await peer.next()
            for message in ('{"type":"ack"}', '{"type":"ping","id":7}', "hb", '{"type":"trade"}'):
                await one.send(message)
            assert await it.values(count=1) == [b'{"type":"trade"}']
            (pong,) = await heard(one, 1)
            assert json.loads(pong) == {"type": "pong", "id": 7}


async def test_keep_alive(tmp_path: Path) -> None:
    """A message of the application's own, every `interval`."""
    peer = Peer()
    said = {"keep_alive": {"message": {"op": "ping"}, "interval": "15s"}, "ping_interval_ms": 0}
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        config = it.config({"endpoint": url, "websocket_config": said})
        async with it.running(config):
            one = await peer.next()
            for _ in range(3):
                await it.calm()
                it.clock.advance(15)
                (beat,) = await heard(one, 1)
                assert json.loads(beat) == {"op": "ping"}


async def test_a_peer_that_answers_no_ping_is_dead(tmp_path: Path) -> None:
    """Nothing within `pong_timeout` of a ping; as long as anything comes, it lives."""
    scripted = Mute()
    async with streamed(tmp_path) as it, ScriptedServer() as server:
        server.route("/ws", scripted.answer)
        said = {"ping_interval_ms": 5000, "pong_timeout": "3s"}
        url = server.url.replace("http", "ws") + "/ws"
        async with it.running(it.config({"endpoint": url, "websocket_config": said})):
            await it.entries(1)
            it.clock.advance(5)
            await it.until(lambda: len(scripted.got) == 1)
            await scripted.say(b"\x81\x01a")
            await it.values(count=1)
            it.clock.advance(3)
            await it.calm()
            assert it.engine.figures.of("cats").stream.connected  # type: ignore[union-attr]
            it.clock.advance(2)
            await it.until(lambda: len(scripted.got) == 2)
            it.clock.advance(3)
            await it.until(lambda: not it.engine.figures.of("cats").stream.connected)  # type: ignore[union-attr]
            entries = await it.entries(3)
            assert entries[-1].decision == "failed"
            assert "nothing has come within 3 s of a ping" in entries[-1].reason
            await it.reconnect()
            await it.until(lambda: len(server.received) == 2)


class Mute:
    """A server that shakes hands, and then says only what it is told to."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def answer(self, request: Any) -> Answer:
        """Shake hands."""
        key = request.header("sec-websocket-key")
        headers = (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept_of(key)))
        return Answer(101, headers=headers, talk=self._talk)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        while chunk := await reader.read(1000):
            self.got.append(chunk)

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()


async def test_no_pong_is_missed_while_we_do_not_read(tmp_path: Path) -> None:
    """The silence of a connection that a slow log holds back says nothing; afterwards all of it is there."""
    scripted = Mute()
    async with streamed(tmp_path) as it, ScriptedServer() as server:
        server.route("/ws", scripted.answer)
        said = {"ping_interval_ms": 5000, "pong_timeout": "3s"}
        url = server.url.replace("http", "ws") + "/ws"
        async with it.running(it.config({"endpoint": url, "websocket_config": said})):
            await it.entries(1)
            release = it.log.hold()
            messages = [b"%06d" % number + b"x" * 9994 for number in range(3000)]
            flooding = asyncio.ensure_future(scripted.say(b"".join(wire(0x82, message) for message in messages)))
            flow = await it.flow()
            await it.until(lambda: flow._held)
            for _ in range(10):
                it.clock.advance(5)
                await it.calm_network()
            assert it.stream()._flow is flow
            release.set()
            await flooding
            assert await it.values(count=3000) == messages
            assert it.stream()._flow is flow


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (1000, "", "closed the WebSocket with 1000 (normal)"),
        (1012, "new version", "closed the WebSocket with 1012 (it restarts): new version"),
        (4001, "slow down", "closed the WebSocket with 4001: slow down"),
    ],
)
async def test_a_close_is_told(tmp_path: Path, code: int, reason: str, words: str) -> None:
    """With its code and reason; it is answered, and the next connection follows."""
    peer = Peer()
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _), it.running(it.config({"endpoint": url})):
        one = await peer.next()
        await one.send("a")
        await one.close(code, reason)
        # The library has our answer: otherwise it were 1006.
        assert (await closed(one))[0] == code
        assert one.protocol.close_rcvd is not None
        entries = await it.entries(3)
        assert words in entries[-1].reason
        assert entries[-1].decision == "ended"
        await it.reconnect()
        await peer.next()


async def test_our_stop_closes_properly(tmp_path: Path) -> None:
    """With 1000, and what the server says until it has closed is stored."""
    peer = Peer()
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        async with it.running(it.config({"endpoint": url})):
            one = await peer.next()
            await one.send("a")
            await it.values(count=1)
            await one.send("b")
        assert (await closed(one))[0] == 1000
        assert await it.values() == [b"a", b"b"]
        assert decisions(it.ledger())[-1] == "ended"


async def test_our_stop_does_not_wait_for_a_peer_that_is_deaf(tmp_path: Path) -> None:
    """A second for its close, and no longer."""
    scripted = Mute()
    async with streamed(tmp_path) as it, ScriptedServer() as server:
        server.route("/ws", scripted.answer)
        url = server.url.replace("http", "ws") + "/ws"
        async with it.running(it.config({"endpoint": url})) as stop:
            await it.entries(1)
            stop.set()
            await it.until(lambda: len(scripted.got) == 1)
            await it.calm()
            it.clock.advance(1.0)
        assert decisions(it.ledger())[-1] == "ended"


async def test_what_is_no_websocket_frame(tmp_path: Path) -> None:
    """The peer breaks the protocol: what came before is stored, and the failure told."""
    scripted = Mute()
    async with streamed(tmp_path) as it, ScriptedServer() as server:
        server.route("/ws", scripted.answer)
        url = server.url.replace("http", "ws") + "/ws"
        async with it.running(it.config({"endpoint": url})):
            await it.entries(1)
            await scripted.say(b"\x81\x01a" + b"\xf1\x00")
            assert await it.values(count=1) == [b"a"]
            entries = await it.entries(3)
            assert entries[-1].decision == "failed"
            assert "broke the WebSocket protocol (1002)" in entries[-1].reason
            # It is told why.
            first, payload = unmasked(b"".join(scripted.got)[: 6 + (scripted.got[0][1] & 127)])
            assert (first, payload[:2]) == (0x88, (1002).to_bytes(2))


async def test_messages_that_are_too_large(tmp_path: Path) -> None:
    """They are dead letters, deflated or not, and the connection goes on."""
    peer = Peer()
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        config = it.config({"endpoint": url, "max_record": "1 KiB"})
        async with it.running(config):
            one = await peer.next()
            await one.send("a" * 100_000)
            await one.send("b")
            assert await it.values(count=1) == [b"b"]
            (letter,) = await it.values(config.dead_letters or "", count=1)
            assert b"message 1" in letter
            assert b"100000" in letter


async def test_inflated_messages_are_counted_as_what_they_are(tmp_path: Path) -> None:
    """Little that comes may be much in memory: it is held back by that."""
    peer = Peer()
    async with streamed(tmp_path) as it, socket_server(peer, write_limit=1024) as (url, _):
        release = it.log.hold()
        async with it.running(it.config({"endpoint": url})):
            one = await peer.next()
            sending = asyncio.ensure_future(_send(one, "a" * 1_000_000, 60))
            flow = await it.flow()
            await it.until(lambda: flow._held)
            assert it.engine._shared.room.taken < 30_000_000
            release.set()
            await sending
            await it.until(lambda: it.engine.figures.of("cats").records == 60)


async def _send(connection: ServerConnection, message: str, count: int) -> None:
    for _ in range(count):
        await connection.send(message)


async def test_a_login(tmp_path: Path) -> None:
    """Basic credentials, as of every request."""
    peer = Peer()
    guarded = basic_auth(realm="x", credentials=("me", "secret"))
    async with streamed(tmp_path) as it, socket_server(peer, process_request=guarded) as (url, _):
        auth = {"type": "basic", "username": "me", "password": "secret"}
        async with it.running(it.config({"endpoint": url, "auth": auth})):
            await peer.next()


async def test_a_token_that_is_refused_is_renewed_once(tmp_path: Path) -> None:
    """OAuth: the handshake is tried again at once with a new token."""
    peer = Peer()
    shown: list[str | None] = []

    def check(connection: ServerConnection, request: Handshake) -> Refusal | None:
        shown.append(request.headers.get("authorization"))
        return None if shown[-1] == "Bearer two" else connection.respond(401, "no")

    tokens = iter(["one", "two"])
    async with streamed(tmp_path) as it, socket_server(peer, process_request=check) as (url, _):
        it.server.route("/token", lambda _: Answer.json({"access_token": next(tokens), "token_type": "bearer"}))
        auth = {
            "type": "oauth2",
            "grant": "client-credentials",
            "token_url": f"{it.server.url}/token",
            "client_id": "me",
            "client_secret": "secret",
        }
        async with it.running(it.config({"endpoint": url, "auth": auth})):
            await peer.next()
    assert shown == ["Bearer one", "Bearer two"]


def _refuse(status: int, body: str = "no") -> Callable[[ServerConnection, Handshake], Refusal]:
    return lambda connection, _: connection.respond(status, body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, b"<html>hello"), "200 OK instead of 101 Switching Protocols: it is no WebSocket"),
        (Answer(404, b"not here"), "404 Not Found"),
        (Answer(101, headers=(("upgrade", "websocket"), ("connection", "upgrade"))), "Sec-WebSocket-Accept"),
        (Answer(426), "426"),
    ],
    ids=["200", "404", "handshake", "426"],
)
async def test_what_is_no_handshake(tmp_path: Path, answer: Answer, words: str) -> None:
    """It is told, and tried again after a pause."""
    async with streamed(tmp_path) as it:
        it.server.route("/ws", answer)
        url = it.server.url.replace("http", "ws") + "/ws"
        with capture_logs() as lines:
            async with it.running(it.config({"endpoint": url})):
                (entry,) = await it.entries(1)
                assert words.lower() in entry.reason.lower()
                assert entry.decision == "failed"
                await it.reconnect()
                await it.until(lambda: len(it.server.received) == 2)
        assert [line["event"] for line in lines] == ["connector is failing"]


async def test_a_redirect_is_followed(tmp_path: Path) -> None:
    """As for every request, also to wss or another path."""
    peer = Peer()
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        it.server.route("/ws", Answer(307, headers=(("location", url.replace("ws", "http", 1)),)))
        async with it.running(it.config({"endpoint": it.server.url.replace("http", "ws") + "/ws"})):
            await (await peer.next()).send("a")
            assert await it.values(count=1) == [b"a"]


async def test_wss_with_a_ca_of_ours(tmp_path: Path) -> None:
    """The server is who its certificate says, by the CA of `tls`; without it the connection is refused."""
    certificates = Certificates(tmp_path)
    peer = Peer()
    async with streamed(tmp_path / "log") as it, socket_server(peer, ssl=certificates.context()) as (url, _):
        config = it.config({"endpoint": url, "tls": {"ca_file": str(certificates.bundle)}})
        async with it.running(config):
            await (await peer.next()).send("a")
            assert await it.values(count=1) == [b"a"]
        it.new_engine()
        async with it.running(it.config({"endpoint": url}, "dogs")):
            (entry,) = await it.entries(1, "dogs")
            assert entry.decision == "failed"


RESUME = {
    "websocket_config": {
        "subscription_messages": [{"op": "subscribe"}],
        "resume_message": [{"op": "resume", "after": "${{ cursor.seq }}"}, "go"],
    },
    "cursor": {"seq": {"from": "/seq"}},
}


async def test_going_on_by_a_message(tmp_path: Path) -> None:
    """Once the cursor has a value, the resume messages are said instead of the subscriptions: after a kill as well."""
    peer = Peer()
    async with streamed(tmp_path) as it, socket_server(peer) as (url, _):
        config = it.config({"endpoint": url, **RESUME})
        kill = await it.cut_off(config)
        one = await peer.next()
        assert [json.loads(told) for told in await heard(one, 1)] == [{"op": "subscribe"}]
        await one.send('{"seq":5}')
        await one.send("no json")
        await one.send('{"seq":6}')
        await it.values(count=3)
        await it.until(lambda: it.stream().checkpoint.records == 3)
        await one.close()
        await it.reconnect()
        one = await peer.next()
        resumed = await heard(one, 2)
        assert json.loads(resumed[0]) == {"op": "resume", "after": 6}
        assert resumed[1] == "go"
        await one.send('{"seq":7}')
        await it.values(count=4)
        await it.until(lambda: it.stream().checkpoint.records == 4)
        await kill()
        it.new_engine()
        async with it.running(config):
            assert json.loads((await heard(await peer.next(), 1))[0]) == {"op": "resume", "after": 7}


async def test_the_sample_api(tmp_path: Path) -> None:
    """All three of its streams, as in the README."""
    with SampleApi(every=0.02) as api:
        async with streamed(tmp_path) as it:
            socket = {
                "endpoint": api.url.replace("http", "ws") + "/ws",
                "websocket_config": {
                    "subscription_messages": [{"subscribe": "facts"}],
                    "ignore": [{"/subscribed": "facts"}],
                },
            }
            configs = [
                it.config({"endpoint": f"{api.url}/stream", "format": "ndjson"}, "lines"),
                it.config({"endpoint": f"{api.url}/events", "format": "sse"}, "events"),
                it.config(socket, "socket"),
            ]
            async with it.running(*configs):
                for name in ("lines", "events", "socket"):
                    facts = [json.loads(value)["id"] for value in await it.values(name, count=5)]
                    assert facts == list(range(facts[0], facts[0] + len(facts)))
