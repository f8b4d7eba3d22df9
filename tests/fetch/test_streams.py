"""Responses without an end: their time, their bounds, what ends them, and polls beside them."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from fetch.programs import caddy, free_port
from fetch.test_stream import MIB, Taking, begun, endless
from headwater.core import errors
from headwater.core.http import HttpVersion, Request, Response, Transport
from headwater.engine.guard import GuardedFetcher, Permit
from headwater.fetch import CurlFetcher
from headwater.testing import Answer, Certificates, ScriptedServer
from headwater.testing.server import chunks, reset

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


def streaming(url: str, sink: Taking, **settings: object) -> Request:
    return msgspec.structs.replace(Request("GET", url, url, open=sink.open, stream=True), **settings)


async def silence(reader: Reader, writer: Writer) -> None:
    """Say nothing more until the other side has closed."""
    await reader.read()


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_comes_is_taken_in_as_it_comes(*, chunked: bool) -> None:
    """A body that has not ended is there at once, whatever its framing, and however long it takes."""
    go_on = asyncio.Event()

    async def talk(reader: Reader, writer: Writer) -> None:
        await go_on.wait()
        writer.write(chunks(b"world") + b"0\r\n\r\n" if chunked else b"world")

    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"hello ", chunked=chunked, talk=talk))
        delivered = begun(fetcher, streaming(url, sink), sink)
        await sink.until(lambda: sink.body == b"hello ")
        go_on.set()
        response = await delivered
        assert isinstance(response, Response)
        assert (response.status, response.body, response.received, sink.body) == (200, b"", 11, b"hello world")
        # What is for another protocol does nothing here.
        assert sink.under_way is not None
        sink.under_way.send(b"x")
        assert sink.under_way.unsent == 0


async def test_chunk_borders_at_every_byte() -> None:
    """Each chunk of the wire is a chunk for the sink, down to single bytes."""
    sink = Taking()
    body = os.urandom(300)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=body, chunked=True, chunk=1))
        assert isinstance(await begun(fetcher, streaming(url, sink), sink), Response)
        assert (sink.body, max(map(len, sink.chunks))) == (body, 1)


async def test_compressed_streams_are_not_held_up() -> None:
    """What a server has flushed is there, although its compression goes on."""
    import zlib  # noqa: PLC0415

    squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)
    piece = squeeze.compress(b"hello") + squeeze.flush(zlib.Z_SYNC_FLUSH)
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        answer = Answer(body=piece, headers=(("content-encoding", "gzip"),), chunked=True, talk=silence)
        begun(fetcher, streaming(server.route("/x", answer), sink), sink)
        await sink.until(lambda: sink.body == b"hello")


async def test_only_the_head_has_a_time_and_only_what_nobody_takes_a_size() -> None:
    """A stream is longer and larger than both bounds; a body that no sink takes keeps within them."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"0123456789", drip=0.05))
        response = await begun(fetcher, streaming(url, sink, total_timeout=0.2, max_body=3), sink)
        assert isinstance(response, Response)
        assert sink.body == b"0123456789"

        def refuse(head: Response) -> None:
            assert head.status == 503

        url = server.route("/y", Answer(503, b"0123456789"))
        response = await begun(fetcher, streaming(url, sink, open=refuse, max_body=10), sink)
        assert isinstance(response, Response)
        assert (response.status, response.body) == (503, b"0123456789")
        error = await begun(fetcher, streaming(url, sink, open=refuse, max_body=9), sink)
        assert isinstance(error, errors.BodyTooLargeError)
        url = server.route("/z", Answer(503, b"0123456789", drip=0.05))
        error = await begun(fetcher, streaming(url, sink, open=refuse, total_timeout=0.2), sink)
        assert isinstance(error, errors.ReadTimeoutError)
        url = server.route("/h", Answer(hang=True))
        error = await begun(fetcher, streaming(url, sink, total_timeout=0.2), sink)
        assert isinstance(error, errors.ReadTimeoutError)


@pytest.mark.long
async def test_more_than_two_gibibytes() -> None:
    """Nothing counts in 32 bits."""

    class Counting(Taking):
        def write(self, chunk: bytes) -> bool:
            self.taken += len(chunk)
            return True

    sink = Counting()
    async with endless(2100, packed=False) as url, CurlFetcher() as fetcher:
        response = await begun(fetcher, streaming(url, sink), sink)
        assert isinstance(response, Response)
        assert response.received == sink.taken == 2100 * MIB > 2**31


async def test_silence_and_time_that_a_sink_takes() -> None:
    """After so long without a byte it is cut; while its sink holds it back no time runs."""
    sink, holding = Taking(), Taking(most=1)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"hello", talk=silence))
        held = begun(fetcher, streaming(url, holding, idle_timeout=0.1), holding)
        error = await begun(fetcher, streaming(url, sink, idle_timeout=0.3), sink)
        assert isinstance(error, errors.ReadTimeoutError)
        assert "no byte of the body came for 0.3 s" in error.message
        assert (sink.body, held.done()) == (b"hello", False)
        holding.resume()
        assert isinstance(await held, errors.ReadTimeoutError)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(cut=-1), errors.ResetError),
        (Answer(body=b"0123456789", cut=5), errors.TruncatedError),
        (Answer(body=b"0123456789", cut=5, reset=True), errors.ResetError),
        (Answer(body=b"0123456789", chunked=True, chunk=3, cut=9), errors.TruncatedError),
        (Answer(raw=b"220 mail\r\n"), errors.ProtocolError),
        (Answer(body=b"abc", headers=(("content-encoding", "gzip"),)), errors.ProtocolError),
    ],
)
async def test_broken_answers(answer: Answer, kind: type[errors.FetchError]) -> None:
    """Whatever goes wrong is delivered as the error that it is."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        error = await begun(fetcher, streaming(server.route("/x", answer), sink, total_timeout=5), sink)
        assert isinstance(error, kind), error


async def test_a_reset_in_the_middle() -> None:
    """What came before is taken in, then there is an error."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await taken.wait()
        reset(writer)

    taken, sink = asyncio.Event(), Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"hello", talk=talk))
        delivered = begun(fetcher, streaming(url, sink), sink)
        await sink.until(lambda: sink.body == b"hello")
        taken.set()
        assert isinstance(await delivered, errors.ResetError)


async def test_nobody_is_there() -> None:
    """Neither a server nor a URL."""
    sink = Taking()
    async with CurlFetcher() as fetcher:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
            error = await begun(fetcher, streaming(url, sink), sink)
        assert isinstance(error, errors.ConnectError)
        assert not error.sent
        assert isinstance(await begun(fetcher, streaming("http://a b/", sink), sink), errors.RequestError)


async def test_redirects_cookies_and_empty_bodies() -> None:
    """They are those of polls, but that cookies are kept as soon as the head is there."""
    transport = Transport(cookies="me")
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        poll = server.route("/poll", Answer())
        there = Answer(body=b"hello", headers=(("set-cookie", "b=2; Path=/"),), talk=silence)
        server.route("/there", there)
        url = server.route("/x", Answer(302, headers=(("location", "/there"), ("set-cookie", "a=1; Path=/"))))
        sink = Taking()
        begun(fetcher, streaming(url, sink, transport=transport), sink)
        await sink.until(lambda: sink.body == b"hello")
        assert server.received[-1].header("cookie") == "a=1"
        await fetcher.fetch(Request("GET", poll, poll, transport=transport))
        assert server.received[-1].header("cookie") == "a=1; b=2"
        for answer in (Answer(204), Answer(200), Answer(302, b"")):
            sink = Taking()
            response = await begun(fetcher, streaming(server.route("/e", answer), sink), sink)
            assert isinstance(response, Response)
            assert [head.status for head in sink.heads] == [answer.status]


async def test_a_proxy_that_wants_a_login() -> None:
    """Its refusal is an error, and is not shown to the sink."""
    sink = Taking()
    async with ScriptedServer() as proxy, CurlFetcher() as fetcher:
        proxy.route("/x", Answer(407, b"who?", headers=(("proxy-authenticate", "Basic"),)))
        request = streaming("http://public.invalid/x", sink, transport=Transport(proxy=proxy.url))
        error = await begun(fetcher, request, sink)
        assert isinstance(error, errors.ProxyError)
        assert not sink.heads


async def test_polls_are_not_in_their_way() -> None:
    """Streams take no place of polls, nor of their lanes, and each has a connection of its own."""
    async with ScriptedServer() as server, CurlFetcher(most_in_flight=1) as fetcher:
        url = server.route("/x", Answer(body=b"hello", talk=silence))
        poll = server.route("/poll", Answer(body=b"polled"))
        sinks = [Taking() for _ in range(600)]
        for sink in sinks:
            begun(fetcher, streaming(url, sink), sink)
        for sink in sinks:
            await sink.until(lambda sink=sink: sink.body == b"hello")  # type: ignore[misc]
        assert server.connections == 600
        for _ in range(3):
            assert (await fetcher.fetch(Request("GET", poll, poll))).body == b"polled"
        assert server.connections == 601
        assert [lane.load for lane in fetcher._lanes._usual] == [0]
        assert [lane.load for lane in fetcher._streams._shared.lanes._usual] == [512, 88]
        for sink in sinks:
            assert sink.under_way is not None
            sink.under_way.cancel()
        await asyncio.sleep(0)
        assert [lane.load for lane in fetcher._streams._shared.lanes._usual] == [0, 0]


@pytest.mark.parametrize("version", ["1.1", "2", "3-only"])
async def test_over_every_version(tmp_path: Path, version: HttpVersion) -> None:
    """Two streams and a poll over HTTP/1.1, 2 and 3."""
    certificates = Certificates(tmp_path)
    certificate, key = certificates.files("server")
    port = free_port()
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    with caddy(tmp_path, port, certificate, key, f"root * {tmp_path}\nfile_server"):
        async with CurlFetcher(trusted=str(certificates.bundle)) as fetcher:
            url, transport = f"https://localhost:{port}/large", Transport(http_version=version)
            sinks = [Taking() for _ in range(2)]
            streams = [begun(fetcher, streaming(url, sink, transport=transport), sink) for sink in sinks]
            assert len((await fetcher.fetch(Request("GET", url, url, transport=transport))).body) == 3_000_000
            for stream, sink in zip(streams, sinks, strict=True):
                response = await stream
                assert isinstance(response, Response), response
                assert (sink.taken, response.received) == (3_000_000, 3_000_000)


def options_of_connections_to(port: int) -> list[tuple[int, ...]]:
    """Return what the kernel does for this process's connections to a port."""
    tcp = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(link.name))) as it:
            if it.family == socket.AF_INET and it.getpeername()[1] == port:
                alive = it.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                found.append((alive, *(it.getsockopt(socket.IPPROTO_TCP, option) for option in tcp)))
    return found


async def test_the_kernel_looks_after_silent_streams() -> None:
    """Within a minute it finds out that the other side is gone, whether something is to be sent or not."""
    sink = Taking()
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=b"hello", talk=silence))
        begun(fetcher, streaming(url, sink), sink)
        await sink.until(lambda: sink.body == b"hello")
        (options,) = options_of_connections_to(int(server.url.rpartition(":")[2]))
        alive, idle, interval, count, patience = options
        assert alive
        assert idle + interval * count <= 60
        assert patience == 60_000


async def test_where_there_are_too_few_files() -> None:
    """Streams beyond the files that may be open are an error with a hint; polls, and streams afterwards, go on."""
    async with ScriptedServer() as server:
        server.route("/stream", Answer(body=b"hello", talk=silence))
        server.route("/poll", Answer(body=b"polled"))
        program = str(Path(__file__).with_name("withoutfiles.py"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, "256", server.url, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    found = json.loads(said)
    assert found["streams"] == 256 - 128 - 32
    assert list(found["errors"]) == ["ConnectError"]
    assert "ulimit -n" in found["hints"][0]
    assert found["said"] == [
        f"GET {server.url}/stream: no connection: 96 streams are under way, and no more files may be open"
    ]
    assert found["poll"] == "polled"
    assert len(found["nothing left"]) == 4
    assert {it.rpartition(": ")[2] for it in found["nothing left"]} == {"no more files may be open"}
    assert found["afterwards"] == []


async def test_a_guard_lets_everything_through() -> None:
    """While a permit holds a stream can do all that it can without one; when it has ended nothing is begun."""
    sink = Taking(most=1)
    permit = Permit(1, 1e9, lambda: 0.0)
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        guarded = GuardedFetcher(fetcher, permit)
        delivered: list[object] = []

        async def talk(reader: Reader, writer: Writer) -> None:
            writer.write(await reader.readexactly(5))
            await silence(reader, writer)

        url = server.route("/x", Answer(101, headers=(("upgrade", "x"), ("connection", "upgrade")), talk=talk))
        request = streaming(url, sink, upgrade=True, headers=(("Upgrade", "x"), ("Connection", "upgrade")))
        sink.under_way = guarded.begin(request, delivered.append)
        sink.under_way.send(b"hello")
        assert sink.under_way.unsent == 5
        await sink.until(lambda: sink.taken == 5)
        sink.resume()
        permit.revoke()
        nothing = guarded.begin(request, delivered.append)
        nothing.send(b"x")
        nothing.resume()
        nothing.cancel()
        assert nothing.unsent == 0
        assert not delivered


async def test_held_back_streams_are_bounded() -> None:
    """What libcurl has read of one that is held back is little, and gzip does not change that."""
    sinks = [Taking(most=1) for _ in range(20)]
    body = gzip.compress(os.urandom(3 * MIB))
    async with ScriptedServer() as server, CurlFetcher() as fetcher:
        url = server.route("/x", Answer(body=body, headers=(("content-encoding", "gzip"),)))
        streams = [begun(fetcher, streaming(url, sink), sink) for sink in sinks]
        for sink in sinks:
            await sink.until(lambda sink=sink: sink.taken > 0)  # type: ignore[misc]
        for sink in sinks:
            assert sink.taken <= 64 * 1024
            sink.resume()
        for stream, sink in zip(streams, sinks, strict=True):
            assert isinstance(await stream, Response)
            assert sink.taken == 3 * MIB
