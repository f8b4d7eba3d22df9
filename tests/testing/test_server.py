"""The scripted server does what it is told, right and wrong."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.request import urlopen

import pytest

from headwater.testing import Answer, Certificates, Received, ScriptedServer, VirtualClock, background


async def raw(server: ScriptedServer, request: bytes) -> bytes:
    """Send bytes and return everything until the server closes."""
    host, _, port = server.url.partition("//")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


GET = b"GET /x?a=1&b= HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n"


async def test_answers_in_turn_and_then_the_last() -> None:
    """Answers are used up but for the last; unknown paths are 404; requests are kept as they came."""
    async with ScriptedServer() as server:
        server.route("/x", Answer(500, close=True), Answer.json({"a": 1}, close=True))
        answers = [await raw(server, GET) for _ in range(3)]
        unknown = await raw(server, b"POST /y HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi" + GET)
    assert [answer.split(b" ")[1] for answer in answers] == [b"500", b"200", b"200"]
    assert answers[2].endswith(b'\r\n\r\n{"a":1}')
    assert unknown.startswith(b"HTTP/1.1 404")
    first, posted = server.received[0], server.received[3]
    assert (first.method, first.path, first.query, first.header("x-a")) == ("GET", "/x", {"a": "1", "b": ""}, "1")
    assert (posted.method, posted.body) == ("POST", b"hi")


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (Answer(body=b"abcdef", cut=2), b"content-length: 6\r\n\r\nab"),
        (Answer(body=b"abcdef", chunked=True, close=True), b"6\r\nabcdef\r\n0\r\n\r\n"),
        (Answer(chunked=True, close=True), b"\r\n\r\n0\r\n\r\n"),
        (Answer(raw=b"220 mail\r\n"), b"220 mail\r\n"),
        (Answer(body=b"ab", drip=0.001, close=True), b"\r\n\r\nab"),
        (Answer(204, b"never sent", close=True), b"connection: close\r\n\r\n"),
    ],
)
async def test_what_goes_over_the_wire(answer: Answer, sent: bytes) -> None:
    """Framing, cuts and raw bytes are exactly as told."""
    async with ScriptedServer() as server:
        server.route("/x", answer)
        assert (await raw(server, GET)).endswith(sent)


async def test_resets_and_cuts_before_the_answer() -> None:
    """A reset is one; a cut at -1 sends nothing at all."""
    async with ScriptedServer() as server:
        server.route("/x", Answer(cut=-1), Answer(cut=-1, reset=True))
        assert await raw(server, GET) == b""
        with pytest.raises(ConnectionResetError):
            await raw(server, GET)


async def test_handlers() -> None:
    """A handler makes the answer from the request, and may wait."""

    async def slow(request: Received) -> Answer:
        await asyncio.sleep(0)
        return Answer(body=request.target.encode(), close=True)

    async with ScriptedServer() as server:
        server.route("/x", slow)
        assert (await raw(server, GET)).endswith(b"/x?a=1&b=")


def test_in_the_background_with_tls(tmp_path: Path) -> None:
    """Blocking code reaches it over HTTPS, trusting the authority of the test."""
    certificates = Certificates(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificates.bundle))
    with background(ScriptedServer(tls=certificates.context())) as server:
        url = server.route("/x", Answer(body=b"hello"))
        with urlopen(url, timeout=10, context=trusting) as answer:
            assert answer.read() == b"hello"


def test_a_port_that_is_taken() -> None:
    """The background server raises where it is used."""
    with background(ScriptedServer()) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), background(ScriptedServer(port=port)):
            pass


async def test_the_clock_moves_only_by_hand() -> None:
    """Sleepers wake in the order of their deadlines, when the clock reaches them."""
    clock = VirtualClock(unix=100)
    woken: list[int] = []

    async def sleeper(deadline: int) -> None:
        await clock.sleep_until(deadline)
        woken.append(deadline)

    tasks = [asyncio.create_task(sleeper(deadline)) for deadline in (20, 10, 0)]
    assert await clock.next_wake(2) == 10
    await clock.next_wake()
    await asyncio.gather(*tasks)
    assert woken == [0, 10, 20]
    assert (clock.monotonic(), clock.time_ms()) == (20, 120_000)
    clock.set_wall(500)
    assert (clock.monotonic(), clock.time_ms()) == (20, 500_000)
