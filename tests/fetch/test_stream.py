"""Bodies that go into a sink while they arrive: as they come, held back, cut, endless, and in flat memory."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import cramjam
import msgspec
import pytest

from headwater.core import errors
from headwater.core.errors import FetchError
from headwater.core.http import Fetching, Login, Request, Response, Transport
from headwater.fetch import CurlFetcher
from headwater.testing import Answer, ScriptedServer

MIB = 1 << 20


class Taking:
    """A sink that keeps what it gets, and what it was told; `most` is when it wants no more for now."""

    def __init__(self, most: int = 1 << 62) -> None:
        self.heads: list[Response] = []
        self.chunks: list[bytes] = []
        self.taken = 0
        self.most = most
        self.under_way: Fetching | None = None
        self.came = asyncio.Event()

    def open(self, response: Response) -> Taking | None:
        """Take the body of this response."""
        self.heads.append(response)
        self.came.set()
        return self

    def write(self, chunk: bytes) -> bool:
        """Keep a chunk."""
        self.chunks.append(chunk)
        self.taken += len(chunk)
        self.came.set()
        return self.taken < self.most

    def resume(self, more: int = 1 << 62) -> None:
        """Want more again."""
        self.most = self.taken + more
        assert self.under_way is not None
        self.under_way.resume()

    @property
    def body(self) -> bytes:
        """All that came."""
        return b"".join(self.chunks)

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until something is so after a chunk."""
        while not met():
            self.came.clear()
            await self.came.wait()


def asking(url: str, sink: Taking, **settings: Any) -> Request:
    return msgspec.structs.replace(Request("GET", url, url, open=sink.open), **settings)


def begun(fetcher: CurlFetcher, request: Request, sink: Taking) -> asyncio.Future[Response | FetchError]:
    """Begin an exchange; return what will be delivered."""
    delivered: asyncio.Future[Response | FetchError] = asyncio.get_running_loop().create_future()
    sink.under_way = fetcher.begin(request, delivered.set_result)
    return delivered


@pytest.mark.parametrize("chunked", [False, True])
async def test_head_body_end(*, chunked: bool) -> None:
    """The head comes first, then the body, then the response with an empty one; what was received is counted."""
    sink = Taking()
    body = os.urandom(300_000)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=body, headers=(("x-a", "b"),), chunked=chunked))
        for _ in range(2):
            response = await begun(fetcher, asking(url, sink), sink)
            assert isinstance(response, Response)
            assert (response.status, response.body, response.received) == (200, b"", len(body))
            assert response.header("x-a") == "b"
            assert sink.body == body
            sink.chunks.clear()
        assert [(head.status, head.body, head.header("x-a")) for head in sink.heads] == [(200, b"", "b")] * 2


async def test_without_a_sink_it_is_gathered() -> None:
    """Whoever is shown a head and wants no sink gets the whole response."""
    seen = []

    def look(response: Response) -> None:
        seen.append(response.status)

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(404, b"not here"))
        response = await fetcher.fetch(Request("GET", url, url, open=look))
        assert (response.status, response.body, seen) == (404, b"not here", [404])


@pytest.mark.parametrize("answer", [Answer(204), Answer(200), Answer(304), Answer(500, close=True)])
async def test_no_body(answer: Answer) -> None:
    """Without any body there is still a head, once."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        response = await begun(fetcher, asking(server.route("/x", answer), sink), sink)
        assert isinstance(response, Response)
        assert [head.status for head in sink.heads] == [answer.status]
        head = await begun(fetcher, asking(server.route("/x", Answer(body=b"abc")), sink, method="HEAD"), sink)
        assert isinstance(head, Response)
        assert (len(sink.heads), sink.chunks) == (2, [])


async def test_the_head_comes_before_the_body() -> None:
    """A server that sends its head and is silent then has been heard."""
    sink, go_on = Taking(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"late")
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server, CurlFetcher() as fetcher:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        delivered = begun(fetcher, asking(url, sink), sink)
        await sink.until(lambda: bool(sink.heads))
        assert (sink.heads[0].status, sink.heads[0].headers, sink.chunks) == (200, (("content-type", "a/b"),), [])
        go_on.set()
        assert isinstance(await delivered, Response)
        assert sink.body == b"late"


async def test_redirects_are_not_shown() -> None:
    """Neither the head nor the body of a redirect that is followed goes to the sink."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        server.route("/y", Answer(body=b"there"))
        url = server.route("/x", Answer(302, b"moved", (("location", "/y"),)))
        response = await begun(fetcher, asking(url, sink), sink)
        assert isinstance(response, Response)
        assert response.redirects == 1
        assert ([head.status for head in sink.heads], sink.body) == ([200], b"there")
        # One that leads nowhere is an answer like any other.
        sink = Taking()
        await begun(fetcher, asking(server.route("/z", Answer(302, b"moved")), sink), sink)
        assert ([head.status for head in sink.heads], sink.body) == ([302], b"moved")


async def test_challenges_are_not_shown() -> None:
    """A login that libcurl carries out shows only the answer behind it, and a refusal when it is none."""
    challenge = Answer(401, b"who?", (("www-authenticate", 'Digest realm="r", nonce="n", qop="auth"'),))
    transport = Transport(login=Login("digest", "u", "p"))
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        for answers, status, body in (((challenge, Answer(body=b"in")), 200, b"in"), ((challenge,), 401, b"who?")):
            sink = Taking()
            request = asking(server.route("/x", *answers), sink, transport=transport)
            response = await begun(fetcher, request, sink)
            assert isinstance(response, Response)
            assert response.status == status
            assert ([head.status for head in sink.heads], sink.body) == ([status], body)


async def test_holding_back() -> None:
    """A sink that wants no more gets no more until it says so, and the server cannot send more than fits in between."""
    sink = Taking(most=1)
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            writer.write(bytes(MIB))
            await writer.drain()
            sent += 1
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server, CurlFetcher() as fetcher:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        delivered = begun(fetcher, asking(url, sink, max_body=64 * MIB), sink)
        await sink.until(lambda: sink.taken > 0)
        for _ in range(10):
            before = sink.taken
            stuck, turns = sent, 0
            while turns < 200:
                await asyncio.sleep(0)
                turns = turns + 1 if sent == stuck else 0
                stuck = sent
            assert (sink.taken, delivered.done()) == (before, False)
            assert sent < 32
            # Twice does no more than once.
            sink.resume(more=1)
            sink.resume(more=1)
            assert sink.taken == before
            await sink.until(lambda before=before: sink.taken > before)  # type: ignore[misc]
        sink.resume()
        response = await delivered
        assert isinstance(response, Response)
        assert sink.taken == 64 * MIB
        sink.resume()


async def test_resuming_what_is_over_or_not_held_back() -> None:
    """Then nothing happens."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        delivered = begun(fetcher, asking(server.route("/x", Answer(body=b"x" * 100_000)), sink), sink)
        sink.resume()
        await sink.until(lambda: bool(sink.chunks))
        sink.resume()
        assert isinstance(await delivered, Response)
        sink.resume()
        sink.resume()
        await asyncio.sleep(0)
        assert sink.taken == 100_000


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
@pytest.mark.parametrize("most", [1, 10_000, 1 << 30])
async def test_compressed_bodies(encoding: str, most: int) -> None:
    """What is decompressed arrives whole, however often it is held back."""
    compress = {"gzip": cramjam.gzip.compress, "br": cramjam.brotli.compress, "deflate": cramjam.zlib.compress}
    body = b"".join(b"%d," % number for number in range(200_000))
    packed = bytes(compress[encoding](body, 4))
    sink = Taking(most)

    async def wanting() -> None:
        while True:
            await sink.until(lambda: sink.taken >= sink.most)
            sink.resume(more=max(most, 50_000))

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=packed, headers=(("content-encoding", encoding),)))
        delivered = begun(fetcher, asking(url, sink), sink)
        going = asyncio.create_task(wanting())
        response = await delivered
        going.cancel()
        assert isinstance(response, Response)
        assert response.received == len(packed)
        assert sink.body == body


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(body=b"0123456789" * 10, cut=50), errors.TruncatedError),
        (Answer(body=b"0123456789" * 10, cut=50, reset=True), errors.ResetError),
        (Answer(body=b"0123456789" * 10, cut=50, chunked=True), errors.TruncatedError),
        (Answer(cut=-1), errors.ResetError),
        (Answer(hang=True), errors.ReadTimeoutError),
        (Answer(body=b"abc", headers=(("content-encoding", "gzip"),)), errors.ProtocolError),
        (Answer(raw=b"220 mail\r\n"), errors.ProtocolError),
        (Answer(302, headers=(("location", "file:///x"),)), errors.RedirectError),
    ],
)
async def test_broken_answers(answer: Answer, kind: type[FetchError]) -> None:
    """Whatever goes wrong before, in or after the body is delivered as the error that it is."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        error = await begun(fetcher, asking(server.route("/x", answer), sink, total_timeout=0.3), sink)
        assert isinstance(error, kind)
        good = await begun(fetcher, asking(server.route("/x", Answer(body=b"x")), sink), sink)
        assert isinstance(good, Response)


async def test_a_body_beyond_its_bound() -> None:
    """The bound holds for streams: after decompression, and what came before stays taken."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=bytes(1_000_000), gzip=True))
        error = await begun(fetcher, asking(url, sink, max_body=999_999), sink)
        assert isinstance(error, errors.BodyTooLargeError)
        assert 0 < sink.taken <= 999_999


async def test_a_bomb_that_is_held_back() -> None:
    """A few bytes that decompress to very much cannot fill the memory while nobody wants them."""
    sink = Taking(most=1)
    bomb = bytes(cramjam.brotli.compress(bytes(200 * MIB), level=4))
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=bomb, headers=(("content-encoding", "br"),)))
        error = await begun(fetcher, asking(url, sink, max_body=1 << 40), sink)
        assert isinstance(error, errors.ProtocolError)
        assert "held back" in error.message


async def test_sinks_that_refuse() -> None:
    """An error of the sink, or of who gives it, ends the exchange and is what is delivered; a defect is told as one."""

    class Refusing(Taking):
        def write(self, chunk: bytes) -> bool:
            if self.heads[0].status == 200:
                raise errors.ProtocolError("no JSON")
            raise ValueError("a defect")

    def refuse(response: Response) -> Taking:
        raise errors.ProtocolError("no such type")

    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"x" * 1000))
        with pytest.raises(errors.ProtocolError, match="no JSON"):
            await fetcher.fetch(Request("GET", url, url, open=Refusing().open))
        with pytest.raises(errors.ProtocolError, match="no such type"):
            await fetcher.fetch(Request("GET", url, url, open=refuse))
        with pytest.raises(errors.ProtocolError, match="no such type"):
            await fetcher.fetch(Request("HEAD", url, url, open=refuse))
        empty = server.route("/e", Answer(204, close=True))
        with pytest.raises(errors.ProtocolError, match="no such type"):
            await fetcher.fetch(Request("GET", empty, empty, open=refuse))
        url = server.route("/y", Answer(201, body=b"x" * 1000))
        with pytest.raises(errors.ProtocolError, match="a defect"):
            await fetcher.fetch(Request("GET", url, url, open=Refusing().open))
        with pytest.raises(errors.ProtocolError, match="cannot be taken in"):
            await fetcher.fetch(Request("GET", url, url, open=lambda _: 1 / 0))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_sink_that_refuses_after_a_pause(*, packed: bool) -> None:
    """What it refuses with while the pause ends is delivered once, and the fetcher goes on."""

    class Refusing(Taking):
        def write(self, chunk: bytes) -> bool:
            if self.taken:
                raise errors.ProtocolError("no more")
            return super().write(chunk)

    sink = Refusing(most=1)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=os.urandom(MIB), gzip=packed))
        for _ in range(2):
            delivered = begun(fetcher, asking(url, sink), sink)
            await sink.until(lambda: sink.taken > 0)
            sink.resume()
            error = await delivered
            assert isinstance(error, errors.ProtocolError)
            assert "no more" in error.message
            sink.taken = 0
        assert (await fetcher.fetch(Request("GET", url, url))).status == 200


@pytest.mark.parametrize("held", [False, True])
async def test_cutting(*, held: bool) -> None:
    """After a cut nothing is written or delivered any more, whether the sink wanted more or not."""
    sink = Taking(most=1 if held else 1 << 62)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=bytes(100), drip=0.001))
        delivered = begun(fetcher, asking(url, sink), sink)
        await sink.until(lambda: sink.taken > 0)
        assert sink.under_way is not None
        sink.under_way.cancel()
        sink.under_way.resume()
        before = sink.taken
        assert isinstance(await fetcher.fetch(Request("GET", server.route("/y", Answer()), "")), Response)
        assert (sink.taken, delivered.done()) == (before, False)


async def test_closing_cuts_what_is_held_back() -> None:
    """Leaving the fetcher does not wait for a sink."""
    sink = Taking(most=1)
    async with ScriptedServer() as server:
        async with CurlFetcher() as fetcher:
            delivered = begun(fetcher, asking(server.route("/x", Answer(body=bytes(10 * MIB))), sink), sink)
            await sink.until(lambda: sink.taken > 0)
        assert not delivered.done()


async def test_a_stream_that_drips_is_not_too_slow() -> None:
    """With an idle time-out a body may take as long as it likes, as long as there is something of it."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"0123456789", drip=0.05))
        response = await begun(fetcher, asking(url, sink, total_timeout=0.3, idle_timeout=0.3), sink)
        assert isinstance(response, Response)
        assert sink.body == b"0123456789"
        # Without a sink too.
        request = Request("GET", url, url, total_timeout=0.3, idle_timeout=0.3)
        assert (await fetcher.fetch(request)).body == b"0123456789"


async def test_a_stream_that_is_silent() -> None:
    """After so long without a byte it is cut; a head that does not come meets the total time-out."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"01", drip=30))
        began = monotonic()
        error = await begun(fetcher, asking(url, sink, idle_timeout=0.1), sink)
        assert isinstance(error, errors.ReadTimeoutError)
        assert "no byte of the body came for 0.1 s" in error.message
        assert sink.body == b"0"
        url = server.route("/y", Answer(hang=True))
        error = await begun(fetcher, asking(url, sink, total_timeout=0.1, idle_timeout=30), sink)
        assert isinstance(error, errors.ReadTimeoutError)
        assert "no whole response in time" in error.message
        assert monotonic() - began < 20


async def test_silence_of_a_sink_is_not_the_servers() -> None:
    """While a sink holds a body back, no time runs; it does from then on."""
    sink = Taking(most=1)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"0123456789" * 100_000))
        delivered = begun(fetcher, asking(url, sink, total_timeout=30, idle_timeout=0.1), sink)
        await sink.until(lambda: sink.taken > 0)
        await asyncio.wait((delivered,), timeout=0.5)
        assert not delivered.done()
        sink.resume()
        assert isinstance(await delivered, Response)
        assert sink.taken == 1_000_000


@asynccontextmanager
async def endless(total: int, *, packed: bool) -> AsyncIterator[str]:
    """Serve so many mebibytes without ever having them."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
        block = os.urandom(MIB // 8) + bytes(MIB - MIB // 8)
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"content-encoding: gzip\r\n" if packed else b"") + b"\r\n")
        for _ in range(total):
            writer.write(squeeze.compress(block) if packed else block)
            await writer.drain()
        writer.write(squeeze.flush() if packed else b"")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Counting(Taking):
    """A sink that only counts, and wants a pause after each mebibyte."""

    def write(self, chunk: bytes) -> bool:
        """Count a chunk."""
        self.taken += len(chunk)
        self.came.set()
        return self.taken < self.most


@pytest.mark.parametrize("packed", [False, True])
async def test_flat_memory(*, packed: bool) -> None:
    """200 MiB through a sink that holds them back two hundred times take no memory to speak of."""
    sink = Counting(most=MIB)
    peak = 0

    async def wanting() -> None:
        nonlocal peak
        while True:
            await sink.until(lambda: sink.taken >= sink.most)
            peak = max(peak, resident())
            sink.resume(more=MIB)

    async with endless(200, packed=packed) as url, CurlFetcher() as fetcher:
        before = resident()
        delivered = begun(fetcher, asking(url, sink, max_body=1 << 40), sink)
        going = asyncio.create_task(wanting())
        response = await delivered
        going.cancel()
        assert isinstance(response, Response)
        assert sink.taken == 200 * MIB
        assert peak - before < 24 * MIB


async def test_many_streams_beside_each_other() -> None:
    """A hundred sinks that hold back each get their own body."""
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        server.route("/x", lambda request: Answer(body=gzip.compress(request.target.encode() * 5000)))
        sinks = [Taking(most=1) for _ in range(100)]
        delivered = [
            begun(fetcher, asking(f"{server.url}/x?{number}", sink), sink) for number, sink in enumerate(sinks)
        ]
        for sink in sinks:
            await sink.until(lambda sink=sink: sink.taken > 0)  # type: ignore[misc]
            sink.resume()
        await asyncio.gather(*delivered)
        for number, sink in enumerate(sinks):
            assert gzip.decompress(sink.body) == f"/x?{number}".encode() * 5000
