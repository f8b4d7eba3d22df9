"""Connections that change their protocol: what goes both ways, what else may be answered, and every way it may end.

All of it holds for both ways to send: past libcurl, and by it, which without TLS is not necessary but always possible.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch.programs import free_port, microsocks, squid
from fetch.test_stream import MIB, Taking, begun
from headwater.core import errors
from headwater.core.egress import Policy
from headwater.core.errors import FetchError
from headwater.core.http import Login, Request, Response, Transport
from headwater.fetch import CurlFetcher, stream
from headwater.fetch.direct import Direct
from headwater.fetch.outgoing import MOST_UNSENT
from headwater.fetch.upload import Upload
from headwater.testing import Answer, Certificates, Received, ScriptedServer
from headwater.testing.server import Talk, reset

UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "echo"))
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n"
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@pytest.fixture(params=[Direct, Upload], ids=["direct", "upload"], scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[type[Direct | Upload]]:
    """Give the way in which bytes are sent where there is no TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "Direct", request.param)
        yield request.param


class Talking(Taking):
    """A sink of what comes behind a 101; other answers are gathered. `early` is sent from within `open`."""

    def __init__(self, most: int = 1 << 62, early: bytes = b"") -> None:
        super().__init__(most)
        self.early = early

    def open(self, response: Response) -> Talking | None:
        """Take what comes behind the head of this response, if it is a 101."""
        super().open(response)
        if self.early:
            self.send(self.early)
        return self if response.status == 101 else None

    def send(self, data: bytes) -> None:
        """Send to the other side."""
        assert self.under_way is not None
        self.under_way.send(data)

    def cancel(self) -> None:
        """Cut it."""
        assert self.under_way is not None
        self.under_way.cancel()


def upgrading(url: str, sink: Taking, **settings: Any) -> Request:
    request = Request("GET", url, url, UPGRADE, open=sink.open, stream=True, upgrade=True)
    return msgspec.structs.replace(request, **settings)


def switching(talk: Talk) -> Answer:
    """Answer that the protocol changes, then talk."""
    return Answer(101, headers=(("connection", "Upgrade"), ("upgrade", "echo")), talk=talk)


async def echo(reader: Reader, writer: Writer) -> None:
    """Send back whatever comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def gone(reader: Reader, writer: Writer) -> None:
    """Wait until the other side has closed."""
    while await reader.read(65536):
        pass


def by_hand(talk: Talk) -> Talk:
    """Return what serves a connection by hand, from its first byte on."""

    async def handle(reader: Reader, writer: Writer) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            # The client went away.
            pass
        finally:
            writer.close()

    return handle


@asynccontextmanager
async def scripted(talk: Talk) -> AsyncIterator[str]:
    """Serve connections by hand."""
    async with await asyncio.start_server(by_hand(talk), "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_both_ways() -> None:
    """What is sent before the head, from within callbacks and later arrives in that order; so does what comes back."""
    sink = Talking(early=b"two ")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        delivered = begun(fetcher, upgrading(server.route("/x", switching(echo)), sink), sink)
        sink.send(b"one ")
        await sink.until(lambda: sink.taken >= 8)
        sink.send(b"three ")
        sink.send(b"")
        sink.send(b"four")
        await sink.until(lambda: sink.taken >= 18)
        assert sink.body == b"one two three four"
        assert (sink.heads[0].status, sink.heads[0].header("upgrade")) == (101, "echo")
        assert sink.under_way is not None
        assert sink.under_way.unsent == 0
        assert not delivered.done()
        request = server.received[0]
        assert (request.method, request.header("connection"), request.header("upgrade")) == ("GET", "Upgrade", "echo")
        for framing in ("content-length", "transfer-encoding", "expect", "accept-encoding", "content-type"):
            assert request.header(framing) is None
        sink.cancel()


async def test_sending_from_within_a_callback() -> None:
    """An answer that is sent while a chunk is taken in goes out, whatever else is done there."""

    class Answering(Talking):
        def write(self, chunk: bytes) -> bool:
            if self.taken < 10:
                self.send(b"%d" % len(self.chunks))
            return super().write(chunk)

    sink = Answering(early=b"x")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        begun(fetcher, upgrading(server.route("/x", switching(echo)), sink), sink)
        await sink.until(lambda: sink.taken >= 11)
        assert sink.body == b"x0123456789"


async def test_the_end_of_the_connection_is_a_response() -> None:
    """When the other side closes, all that came has been taken in, and the head is delivered with what was received."""

    async def bye(reader: Reader, writer: Writer) -> None:
        writer.write(await reader.readexactly(5) + b" bye")

    sink = Talking(early=b"hello")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        response = await begun(fetcher, upgrading(server.route("/x", switching(bye)), sink), sink)
        assert isinstance(response, Response)
        assert (response.status, response.body, response.received, sink.body) == (101, b"", 9, b"hello bye")
        # Nothing happens any more.
        sink.send(b"more")
        sink.cancel()
        assert sink.under_way is not None
        assert sink.under_way.unsent == 0


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 1000])
async def test_what_comes_with_the_head(pieces: int) -> None:
    """However the head and what is behind it are cut, interim responses too, the sink gets what is behind it."""
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    whole = interim + HEAD + b"HTTP/1.1 is not the protocol any more\r\n\r\n"

    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for start in range(0, len(whole), pieces):
            writer.write(whole[start : start + pieces])
            await writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)
        await gone(reader, writer)

    sink = Talking()
    async with scripted(talk) as url, CurlFetcher() as fetcher:
        begun(fetcher, upgrading(url, sink), sink)
        await sink.until(lambda: sink.taken == 41)
        assert sink.body == whole[len(interim) + len(HEAD) :]
        assert [head.headers for head in sink.heads] == [(("connection", "Upgrade"), ("upgrade", "echo"))]


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 404, 426, 500])
async def test_other_answers(status: int, *, close: bool) -> None:
    """Any other status is a response as usual, with its body; what was to be sent is not."""
    body = b"" if status in {204, 304} else b"because"
    sink = Talking(early=b"too early")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(status, body, close=close))
        response = await begun(fetcher, upgrading(url, sink), sink)
        assert isinstance(response, Response), response
        assert (response.status, response.body, response.received) == (status, body, len(body))
        assert [head.status for head in sink.heads] == [status]
        assert len(server.received) == 1


async def test_refusals_are_bounded() -> None:
    """The body of another answer keeps within its bound and its time."""
    sink = Talking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(404, bytes(100_001)))
        response = await begun(fetcher, upgrading(url, sink, max_body=100_001), sink)
        assert isinstance(response, Response)
        assert len(response.body) == 100_001
        error = await begun(fetcher, upgrading(url, sink, max_body=100_000), sink)
        assert isinstance(error, errors.BodyTooLargeError)
        url = server.route("/y", Answer(503, bytes(1000), drip=0.05))
        error = await begun(fetcher, upgrading(url, sink, total_timeout=0.3), sink)
        assert isinstance(error, errors.ReadTimeoutError)


async def test_a_sink_takes_a_refusal() -> None:
    """Whoever gives a sink for another answer gets its body there."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        response = await begun(fetcher, upgrading(server.route("/x", Answer(403, b"no")), sink), sink)
        assert isinstance(response, Response)
        assert (response.status, response.body, sink.body) == (403, b"", b"no")


@pytest.mark.parametrize("behind", [b"", b"abc"])
async def test_a_change_that_nobody_asked_for(behind: bytes) -> None:
    """To polls and to streams it is no HTTP."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + behind)
        await gone(reader, writer)

    async with scripted(talk) as url, CurlFetcher() as fetcher:
        for stream in (True, False):
            sink = Taking()
            request = Request("GET", url, url, open=sink.open, stream=stream, total_timeout=5)
            error = await begun(fetcher, request, sink)
            assert isinstance(error, errors.ProtocolError)
            assert "a protocol that nobody asked for" in error.message
            assert not sink.heads


async def test_an_old_server() -> None:
    """A head of HTTP/1.0 says so: whether that may change the protocol is for whoever knows the protocol."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD.replace(b"1.1", b"1.0") + b"abc")

    sink = Talking()
    async with scripted(talk) as url, CurlFetcher() as fetcher:
        assert isinstance(await begun(fetcher, upgrading(url, sink), sink), Response)
        assert (sink.heads[0].version, sink.body) == ("HTTP/1.0", b"abc")


def challenging(answer: Answer) -> Callable[[Received], Answer]:
    """Answer requests without a login with a challenge, others with this."""

    def handle(request: Received) -> Answer:
        said = request.header("authorization") or ""
        if said.startswith("Digest ") and 'response="' in said:
            return answer
        return Answer(401, b"who?", (("www-authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'),))

    return handle


async def test_logins_with_a_challenge() -> None:
    """Behind a digest's challenge comes the change of the protocol; where there is no challenge it comes at once."""
    transport = Transport(login=Login("digest", "u", "p"))
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        for route, requests in ((challenging(switching(echo)), 2), (switching(echo), 1)):
            sink = Talking(early=b"hello")
            server.received.clear()
            begun(fetcher, upgrading(server.route("/x", route), sink, transport=transport), sink)
            await sink.until(lambda sink=sink: sink.taken == 5)  # type: ignore[misc]
            assert ([head.status for head in sink.heads], sink.body) == ([101], b"hello")
            assert len(server.received) == requests
            sink.cancel()


async def test_logins_that_are_refused() -> None:
    """Who does not know the password is told so with the body; so is who has no login."""
    refusal = Answer(401, b"who?", (("www-authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'),))
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", refusal)
        for login in (Login("digest", "u", "p"), Login("basic", "u", "p"), None):
            sink = Talking()
            response = await begun(fetcher, upgrading(url, sink, transport=Transport(login=login)), sink)
            assert isinstance(response, Response), response
            assert (response.status, response.body) == (401, b"who?")
            assert [head.status for head in sink.heads] == [401]


@pytest.mark.parametrize(
    ("login", "sent"),
    [(Login("basic", "u", "p:q"), "Basic dTpwOnE="), (Login("bearer", password="t0ken"), "Bearer t0ken")],
)
async def test_logins_at_once(login: Login, sent: str) -> None:
    """What needs no challenge is in the first request."""
    sink = Talking(early=b"x")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        begun(fetcher, upgrading(url, sink, transport=Transport(login=login)), sink)
        await sink.until(lambda: sink.taken == 1)
        assert server.received[0].header("authorization") == sent
        assert len(server.received) == 1


async def test_redirects() -> None:
    """They are followed, also to ws: addresses; to another origin credentials stay behind."""
    secret = (("Authorization", "Bearer s3cret"), ("X-Key", "s3cret"), ("X-Open", "1"))
    async with ScriptedServer() as server, ScriptedServer() as other, CurlFetcher() as fetcher:
        there = other.route("/y", switching(echo)).replace("http", "ws")
        server.route("/here", switching(echo))
        set_cookie = ("set-cookie", "n=1; Path=/")
        for location, where, kept in ((there, other, 0), ("/here", server, 2)):
            sink = Talking(early=b"x")
            url = server.route("/x", Answer(307, b"moved", (("location", location), set_cookie)))
            request = upgrading(url, sink, headers=UPGRADE + secret, secret_headers=frozenset({"x-key"}))
            request = msgspec.structs.replace(
                request, transport=Transport(cookies="me", login=Login("basic", "u", "p"))
            )
            begun(fetcher, request, sink)
            await sink.until(lambda sink=sink: sink.taken == 1)  # type: ignore[misc]
            assert [head.status for head in sink.heads] == [101]
            came = where.received[-1]
            assert [value for _, value in came.headers].count("s3cret") == (1 if kept else 0)
            assert (came.header("authorization") is not None) == bool(kept)
            assert (came.header("cookie") is not None) == bool(kept)
            assert (came.header("x-open"), came.header("upgrade")) == ("1", "echo")
            sink.cancel()


async def test_redirects_that_lead_nowhere() -> None:
    """Loops, and places that are not of the web, are errors."""
    sink = Talking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        for location, said in (
            ("/x", "more than 10 times"),
            ("file:///x", "not http or https"),
            ("wsx://a/", "not http"),
        ):
            url = server.route("/x", Answer(302, headers=(("location", location),)))
            error = await begun(fetcher, upgrading(url, sink), sink)
            assert isinstance(error, errors.RedirectError)
            assert said in error.message
            assert not sink.heads


async def test_cookies() -> None:
    """A jar's cookies are sent in the handshake, and what it sets is kept at once, not when the connection ends."""
    sink = Talking(early=b"x")
    transport = Transport(cookies="me")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        poll = server.route("/poll", Answer(headers=(("set-cookie", "a=1; Path=/"),)))
        await fetcher.fetch(Request("GET", poll, poll, transport=transport))
        answer = msgspec.structs.replace(switching(echo), headers=(("set-cookie", "b=2; Path=/"),))
        begun(fetcher, upgrading(server.route("/x", answer), sink, transport=transport), sink)
        await sink.until(lambda: sink.taken == 1)
        assert server.received[-1].header("cookie") == "a=1"
        await fetcher.fetch(Request("GET", poll, poll, transport=transport))
        assert server.received[-1].header("cookie") == "a=1; b=2"


async def test_tls_and_client_certificates(tmp_path: Path) -> None:
    """Over TLS bytes go both ways too; who shows no certificate where one is wanted is told so."""
    certificates = Certificates(tmp_path)
    cert_file, key_file = certificates.files("client", "me.example")
    shown = Transport(cert_file=str(cert_file), key_file=str(key_file))
    data = os.urandom(3 * MIB)
    async with CurlFetcher(trusted=str(certificates.bundle)) as fetcher:
        for clients in (False, True):
            async with ScriptedServer(tls=certificates.context(clients=clients)) as server:
                url = server.route("/x", switching(echo))
                sink = Talking(early=data)
                begun(fetcher, upgrading(url, sink, transport=shown if clients else Transport()), sink)
                await sink.until(lambda sink=sink: sink.taken == len(data))  # type: ignore[misc]
                assert sink.body == data
                sink.cancel()
                if clients:
                    error = await begun(fetcher, upgrading(url, sink), sink)
                    assert isinstance(error, errors.TlsError | errors.ResetError)
                    assert not sink.heads[1:]


async def test_proxies(tmp_path: Path) -> None:
    """Through squid it goes in a tunnel, also without TLS, and through microsocks; what they refuse is told."""
    port, socks, forbidden = free_port(), free_port(), free_port()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        with squid(port, login=True, forbidden=forbidden), microsocks(tmp_path, socks, "-u", "user", "-P", "s3cret"):
            for proxy in (f"http://user:s3cret@127.0.0.1:{port}", f"socks5h://user:s3cret@127.0.0.1:{socks}"):
                sink = Talking(early=b"hello")
                begun(fetcher, upgrading(url, sink, transport=Transport(proxy=proxy)), sink)
                await sink.until(lambda sink=sink: sink.taken == 5)  # type: ignore[misc]
                assert [head.status for head in sink.heads] == [101]
                assert server.received[-1].header("via") is None
                assert server.received[-1].header("proxy-authorization") is None
                sink.cancel()
                sink = Talking()
                wrong = Transport(proxy=proxy.replace("s3cret", "wr0ng"))
                error = await begun(fetcher, upgrading(url, sink, transport=wrong), sink)
                assert isinstance(error, errors.ProxyError), error
                assert "wants another login" in error.message
                assert not sink.heads
            there = f"http://127.0.0.1:{forbidden}/"
            known = Transport(proxy=f"http://user:s3cret@127.0.0.1:{port}")
            error = await begun(fetcher, upgrading(there, Talking(), transport=known), Talking())
            assert isinstance(error, errors.ProxyError), error


async def test_unix_sockets(tmp_path: Path) -> None:
    """The kernel's options of TCP are not for them."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        await echo(reader, writer)

    path = str(tmp_path / "s")
    sink = Talking(early=b"hello")
    async with await asyncio.start_unix_server(by_hand(talk), path), CurlFetcher() as fetcher:
        begun(fetcher, upgrading("http://any.example/", sink, transport=Transport(unix_socket=path)), sink)
        await sink.until(lambda: sink.taken == 5)
        sink.cancel()
        await asyncio.sleep(0)


async def test_what_may_not_be_connected_to() -> None:
    """A policy refuses before there is a connection, a permit before anything is sent over it."""
    sink = Talking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        error = await begun(fetcher, upgrading(url, sink, transport=Transport(egress=Policy("public"))), sink)
        assert isinstance(error, errors.EgressError)
        assert server.connections == 0
        error = await begun(fetcher, upgrading(url, sink, permit=lambda: False), sink)
        assert isinstance(error, FetchError)
        assert (server.received, sink.heads) == ([], [])
        sink = Talking(early=b"x")
        begun(fetcher, upgrading(url, sink, permit=lambda: True), sink)
        await sink.until(lambda: sink.taken == 1)
        # A redirect to where nobody may go.
        url = server.route("/y", Answer(302, headers=(("location", "http://10.0.0.1/"),)))
        allowing = Transport(egress=Policy("public", (), ()))
        error = await begun(fetcher, upgrading(url, Talking(), transport=allowing), sink)
        assert isinstance(error, errors.EgressError)


async def test_a_server_that_closes_at_once() -> None:
    """Right behind the 101, with and without a byte, it is an end like any other, whatever waits to be sent."""
    for behind in (b"", b"abc"):

        async def talk(reader: Reader, writer: Writer, behind: bytes = behind) -> None:
            writer.write(behind)

        sink = Talking(early=b"x" * 1000)
        async with ScriptedServer() as server, CurlFetcher() as fetcher:
            response = await begun(fetcher, upgrading(server.route("/x", switching(talk)), sink), sink)
            assert isinstance(response, Response), response
            assert (response.status, response.body, sink.body) == (101, b"", behind)


async def test_a_reset() -> None:
    """A connection that is reset is an error, behind what came before."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(1)
        writer.write(b"abc")
        await writer.drain()
        await reader.readexactly(1)
        reset(writer)

    class Answering(Talking):
        def write(self, chunk: bytes) -> bool:
            self.send(b"y")
            return super().write(chunk)

    sink = Answering(early=b"x")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        error = await begun(fetcher, upgrading(server.route("/x", switching(talk)), sink), sink)
        assert isinstance(error, errors.ResetError)
        assert error.sent
        assert sink.body == b"abc"


@pytest.mark.parametrize("whole", [b"", HEAD[:-2], b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nabc"])
async def test_answers_that_break_off(whole: bytes) -> None:
    """A connection that ends before the answer does is an error."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole)

    sink = Talking()
    async with scripted(talk) as url, CurlFetcher() as fetcher:
        error = await begun(fetcher, upgrading(url, sink, total_timeout=5), sink)
        assert isinstance(error, errors.ResetError | errors.TruncatedError | errors.ProtocolError), error


async def test_heads_that_never_end() -> None:
    """A head meets its time-out, however much of it comes, and its bound; so do interim responses without an end."""

    async def slowly(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD[:-2])
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def fast(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD[:-2])
        while True:
            writer.write(b"x: y\r\n" * 1000)
            await writer.drain()

    async def interim(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    for talk, kind in (
        (slowly, errors.ReadTimeoutError),
        (fast, errors.ProtocolError),
        (interim, errors.ReadTimeoutError),
    ):
        sink = Talking()
        async with scripted(talk) as url, CurlFetcher() as fetcher:
            error = await begun(fetcher, upgrading(url, sink, total_timeout=0.5), sink)
            assert isinstance(error, kind), error
            assert not sink.heads


async def test_silence() -> None:
    """With an idle time-out a connection that says nothing ends; without one it does not, and the kernel looks."""

    async def talk(reader: Reader, writer: Writer) -> None:
        writer.write(b"one")
        await gone(reader, writer)

    sink, waiting = Talking(), Talking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(talk))
        forever = begun(fetcher, upgrading(url, waiting, total_timeout=1.0), waiting)
        error = await begun(fetcher, upgrading(url, sink, idle_timeout=1.2, total_timeout=1.0), sink)
        assert isinstance(error, errors.ReadTimeoutError)
        assert "no byte of the body came for 1.2 s" in error.message
        assert (sink.body, waiting.body, forever.done()) == (b"one", b"one", False)


async def test_sending_while_the_sink_holds_back() -> None:
    """The two directions do not know of each other: what is held back stays so while much is sent, and the reverse."""
    got = asyncio.Event()
    data = os.urandom(2 * MIB)

    async def talk(reader: Reader, writer: Writer) -> None:
        writer.write(b"y" * 1_000_000)
        assert await reader.readexactly(len(data)) == data
        got.set()
        writer.write(b"end")
        await gone(reader, writer)

    sink = Talking(most=1)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        begun(fetcher, upgrading(server.route("/x", switching(talk)), sink), sink)
        await sink.until(lambda: sink.taken > 0)
        before = sink.taken
        for start in range(0, len(data), 100_000):
            sink.send(data[start : start + 100_000])
        await got.wait()
        assert sink.taken == before
        sink.resume(more=1)
        await sink.until(lambda: sink.taken > before)
        assert sink.taken < 1_000_000
        sink.resume()
        await sink.until(lambda: sink.taken == 1_000_003)
        assert sink.body.endswith(b"yend")


async def test_a_server_that_reads_nothing() -> None:
    """What waits to be sent is counted, and bounded; what comes is taken in all the same."""

    async def talk(reader: Reader, writer: Writer) -> None:
        for _ in range(10):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    sink = Talking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        delivered = begun(fetcher, upgrading(server.route("/x", switching(talk)), sink), sink)
        await sink.until(lambda: sink.taken > 0)
        assert sink.under_way is not None
        sink.send(bytes(MOST_UNSENT))
        await sink.until(lambda: sink.taken == 10)
        assert 0 < sink.under_way.unsent < MOST_UNSENT
        assert not delivered.done()
        sink.send(bytes(MOST_UNSENT))
        error = await delivered
        assert isinstance(error, errors.ProtocolError)
        assert "the server takes nothing in" in error.message
        assert sink.under_way.unsent == 0


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("left", [True, False])
async def test_room_that_comes_late(*, left: bool) -> None:
    """What did not fit goes out once there is room, whether or not a file is left to wait by; none is kept for it."""
    data = os.urandom(12 * MIB)
    reads = asyncio.Event()

    async def talk(reader: Reader, writer: Writer) -> None:
        writer.write(b"x")
        await reads.wait()
        await reader.readexactly(len(data) - 1)
        writer.write(await reader.readexactly(1))
        await gone(reader, writer)

    sink = Talking()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        begun(fetcher, upgrading(server.route("/x", switching(talk)), sink), sink)
        await sink.until(lambda: sink.taken == 1)
        before = descriptors()
        if not left:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
        try:
            assert sink.under_way is not None
            for start in range(0, len(data), MIB):
                sink.send(data[start : start + MIB])
            for _ in range(10):
                await asyncio.sleep(0)
            assert 0 < sink.under_way.unsent < len(data)
            reads.set()
            await sink.until(lambda: sink.taken == 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
        assert sink.body == b"x" + data[-1:]
        assert sink.under_way.unsent == 0
        assert descriptors() == before


async def test_ending_with_something_unsent() -> None:
    """However it ends while bytes wait for room, nothing of it is kept, and other connections are not touched."""
    reading: list[asyncio.Event] = []

    async def talk(reader: Reader, writer: Writer) -> None:
        reading.append(asyncio.Event())
        writer.write(b"x")
        await reading[-1].wait()
        reset(writer)

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url, other = server.route("/x", switching(talk)), server.route("/y", switching(echo))
        before = 0
        for cutting in (True, False) * 5:
            sink, beside = Talking(), Talking(early=b"beside")
            delivered = begun(fetcher, upgrading(url, sink), sink)
            await sink.until(lambda sink=sink: sink.taken == 1)  # type: ignore[misc]
            before = before or descriptors()
            for _ in range(8):
                sink.send(bytes(MIB))
            for _ in range(10):
                await asyncio.sleep(0)
            assert sink.under_way is not None
            assert sink.under_way.unsent > 0
            if cutting:
                sink.cancel()
            else:
                reading[-1].set()
                assert isinstance(await delivered, errors.ResetError)
            assert sink.under_way.unsent == 0
            # Most likely this one gets the number of the descriptor that was closed.
            begun(fetcher, upgrading(other, beside), beside)
            await beside.until(lambda beside=beside: beside.taken == 6)  # type: ignore[misc]
            beside.cancel()
            reading[-1].set()
            async with asyncio.timeout(10):
                while descriptors() > before:  # noqa: ASYNC110 - descriptors tell nobody
                    await asyncio.sleep(0.001)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(0, 200_000)),
            st.tuples(st.just("hold"), st.integers(1, 100_000)),
            st.tuples(st.just("go on"), st.just(0)),
            st.tuples(st.just("turn"), st.integers(1, 30)),
        ),
        max_size=30,
    )
)
def test_whatever_is_done_in_whichever_order(steps: list[tuple[str, int]]) -> None:
    """All that is sent comes back from an echo, whole and in order."""
    sent: list[bytes] = []

    async def run() -> bytes:
        sink = Talking()
        async with ScriptedServer() as server, CurlFetcher() as fetcher:
            begun(fetcher, upgrading(server.route("/x", switching(echo)), sink), sink)
            for what, number in steps:
                if what == "send":
                    sent.append(os.urandom(number))
                    sink.send(sent[-1])
                elif what == "hold":
                    sink.most = sink.taken + number
                elif what == "go on":
                    sink.resume()
                else:
                    for _ in range(number):
                        await asyncio.sleep(0)
            sink.resume()
            async with asyncio.timeout(20):
                await sink.until(lambda: sink.taken >= sum(map(len, sent)))
            return sink.body

    assert asyncio.run(run()) == b"".join(sent)


class Serving:
    """Answers every request of a connection with a status, none with 0, and knows when connections have ended."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.connections = 0
        self.ended = asyncio.Semaphore(0)

    async def talk(self, reader: Reader, writer: Writer) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            await self._answer(reader, writer)
        finally:
            self.ended.release()

    async def _answer(self, reader: Reader, writer: Writer) -> None:
        said = {302: b"location: /y\r\n", 401: b'www-authenticate: Digest realm="r", nonce="n"\r\n'}
        while True:
            await reader.readuntil(b"\r\n\r\n")
            if self.status == 101:
                writer.write(HEAD)
                await echo(reader, writer)
                return
            if self.status:
                headers = said.get(self.status, b"")
                writer.write(b"HTTP/1.1 %d X\r\n%scontent-length: 2\r\n\r\nno" % (self.status, headers))


# After so many turns of the event loop it is cut; the first ones are those in which a connection begins.
TURNS = (*range(25), 40, 80)


@pytest.mark.parametrize("status", [101, 404, 401, 302, 0])
async def test_cancelling_at_any_moment(status: int) -> None:
    """Whenever it is cut, nothing is delivered, nothing is called any more, and the connection is closed."""
    serving = Serving(status)
    transport = Transport(login=Login("digest", "u", "p"))
    async with scripted(serving.talk) as url, CurlFetcher() as fetcher:
        for count in TURNS:
            sink = Talking(early=b"hello")
            delivered = begun(fetcher, upgrading(url, sink, transport=transport, max_redirects=1000), sink)
            for _ in range(count):
                await asyncio.sleep(0)
            done, calls = delivered.done(), len(sink.heads) + len(sink.chunks)
            sink.cancel()
            sink.cancel()
            sink.send(b"more")
            sink.resume()
            for _ in range(10):
                await asyncio.sleep(0)
            assert (delivered.done(), len(sink.heads) + len(sink.chunks)) == (done, calls)
        assert not fetcher._streams._shared.under_way
        assert not fetcher._streams._shared.flying
        assert serving.connections > 5
        async with asyncio.timeout(10):
            for _ in range(serving.connections):
                await serving.ended.acquire()


async def test_cancelling_from_within_callbacks() -> None:
    """The sink, or who gives it, may cut its own connection or another one."""

    class Cutting(Talking):
        def __init__(self, *victims: Talking, opening: bool = False) -> None:
            super().__init__(early=b"" if opening else b"x")
            self.victims: tuple[Talking, ...] = victims or (self,)
            self.opening = opening

        def open(self, response: Response) -> Talking | None:
            super().open(response)
            if self.opening:
                self.cut()
            return self

        def write(self, chunk: bytes) -> bool:
            self.cut()
            return super().write(chunk)

        def cut(self) -> None:
            for victim in self.victims:
                victim.cancel()

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        for opening in (False, True):
            other = Talking(early=b"x")
            mine = Cutting(opening=opening)
            theirs = Cutting(other, opening=opening)
            futures = [begun(fetcher, upgrading(url, sink), sink) for sink in (other, mine, theirs)]
            await mine.until(lambda mine=mine: bool(mine.heads if mine.opening else mine.chunks))  # type: ignore[misc]
            await theirs.until(lambda it=theirs: bool(it.heads if it.opening else it.chunks))  # type: ignore[misc]
            for _ in range(10):
                await asyncio.sleep(0)
            assert not any(future.done() for future in futures)
            assert len(fetcher._streams._shared.under_way) == 1
            theirs.cancel()


async def test_sinks_that_refuse() -> None:
    """An error of the sink, or of who gives it, is what is delivered, and the connection is closed."""

    class Refusing(Talking):
        def write(self, chunk: bytes) -> bool:
            raise errors.ProtocolError("no frames")

    def refuse(response: Response) -> Taking:
        raise errors.ProtocolError("wrong accept")

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        sink: Talking = Refusing(early=b"x")
        error = await begun(fetcher, upgrading(url, sink), sink)
        assert isinstance(error, errors.ProtocolError)
        assert error.message == "no frames"
        sink = Talking()
        error = await begun(fetcher, upgrading(url, sink, open=refuse), sink)
        assert isinstance(error, errors.ProtocolError)
        assert error.message == "wrong accept"
        error = await begun(fetcher, upgrading(url, sink, open=lambda _: 1 / 0), sink)
        assert isinstance(error, errors.ProtocolError)
        assert "cannot be taken in" in error.message
        assert not fetcher._streams._shared.under_way


async def test_beginning_from_within_a_callback() -> None:
    """A sink may begin the next connection, and a poll."""
    second = Talking(early=b"second")
    polled: asyncio.Future[Response | FetchError] = asyncio.get_running_loop().create_future()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        poll = server.route("/poll", Answer(body=b"polled"))

        class Beginning(Talking):
            def write(self, chunk: bytes) -> bool:
                begun(fetcher, upgrading(url, second), second)
                fetcher.begin(Request("GET", poll, poll), polled.set_result)
                return super().write(chunk)

        sink = Beginning(early=b"first")
        begun(fetcher, upgrading(url, sink), sink)
        await second.until(lambda: second.taken == 6)
        response = await polled
        assert isinstance(response, Response)
        assert response.body == b"polled"


async def test_closing_the_fetcher() -> None:
    """It cuts what is under way, whether it has begun or not, and delivers nothing."""
    async with ScriptedServer() as server:
        url = server.route("/x", switching(echo))
        async with CurlFetcher() as fetcher:
            sinks = [Talking(early=b"x") for _ in range(3)]
            futures = [begun(fetcher, upgrading(url, sink), sink) for sink in sinks]
            await sinks[0].until(lambda: sinks[0].taken == 1)
            late = Talking()
            futures.append(begun(fetcher, upgrading(url, late), late))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(future.done() for future in futures)


async def test_polls_beside() -> None:
    """Polls of the same server know nothing of it, before, meanwhile and afterwards."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", switching(echo))
        poll = server.route("/poll", Answer(body=b"polled"))
        request = Request("POST", poll, poll, body=b"question")
        for _ in range(3):
            sink = Talking(early=b"x")
            assert (await fetcher.fetch(request)).body == b"polled"
            begun(fetcher, upgrading(url, sink), sink)
            await sink.until(lambda sink=sink: sink.taken == 1)  # type: ignore[misc]
            assert (await fetcher.fetch(request)).body == b"polled"
            sink.cancel()
        assert {(it.method, it.body) for it in server.received if it.path == "/poll"} == {("POST", b"question")}
        # One connection for all polls.
        assert server.connections == 4
