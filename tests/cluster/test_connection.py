"""One connection: answers reach those who asked, and whatever breaks it reaches everybody."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.peer import FIRST_SPU, ScriptedCluster, answer, close, cut, raw, says, silent, wrong_number
from headwater.cluster.connection import Connection, Endpoint, Sink
from headwater.cluster.target import Target
from headwater.cluster.versions import SPU_VERSIONS
from headwater.core.errors import (
    ClusterError,
    ClusterProtocolError,
    ClusterRefusedError,
    ClusterTimeoutError,
    ClusterUnreachableError,
    HeadwaterError,
)
from headwater.fluvio.frame import API_VERSIONS, MOST_FRAME
from headwater.fluvio.records import (
    FETCH_OFFSETS,
    PRODUCE,
    STREAM_FETCH,
    FetchOffsets,
    Offsets,
    OffsetsTopic,
    StreamFetch,
)
from headwater.fluvio.wire import Reader
from headwater.testing.certificates import Certificates

SOON = timedelta(seconds=0.1)
REQUEST = FetchOffsets((OffsetsTopic("t", (0,)),))


def endpoint(peer: ScriptedCluster, *, server_name: str | None = None) -> Endpoint:
    return Endpoint("SPU 5001", "127.0.0.1", peer.ports[FIRST_SPU], server_name, SPU_VERSIONS)


async def opened(peer: ScriptedCluster, target: Target | None = None) -> Connection:
    return await Connection.open(endpoint(peer), target or peer.target())


async def test_the_agreement_comes_first() -> None:
    """A connection begins with the versions, and then uses the highest that both know."""
    async with ScriptedCluster(spu_versions={**SPU_VERSIONS, FETCH_OFFSETS: (0, 22)}) as peer:
        connection = await opened(peer, peer.target(client_id="me"))
        await connection.ask(FETCH_OFFSETS, REQUEST, Offsets)
        first, second = peer.asked
        assert (first.header.api, first.header.version, first.header.correlation) == (API_VERSIONS, 2, 1)
        assert (second.header.version, second.header.client) == (22, "me")
        assert connection.platform == "0.18.1"
        await connection.close()


@pytest.mark.parametrize("theirs", [{}, {FETCH_OFFSETS: (26, 30)}])
async def test_no_common_version(theirs: dict[int, tuple[int, int]]) -> None:
    """A server that is too new, or does not know what is asked, is named with what it speaks."""
    async with ScriptedCluster(spu_versions={API_VERSIONS: (0, 2), **theirs}) as peer:
        connection = await opened(peer)
        with pytest.raises(ClusterProtocolError, match=f"SPU 5001 at 127.0.0.1:{peer.ports[FIRST_SPU]}"):
            connection.call(FETCH_OFFSETS, REQUEST)
        await connection.close()


async def test_answers_in_any_order() -> None:
    """Each answer reaches who asked for it, whatever came before."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer)
        later = asyncio.Event()

        async def late(asked: object) -> None:
            await later.wait()

        peer.script(FIRST_SPU, FETCH_OFFSETS, silent)
        first = connection.call(FETCH_OFFSETS, REQUEST)
        second = connection.call(FETCH_OFFSETS, REQUEST)
        reader = await second
        assert connection.decoded(reader, FETCH_OFFSETS, Offsets).topics[0].topic == "t"
        assert not first.done()
        peer.lines[-1].send(peer.asked[1].header.correlation, b"\0\0\0\0")
        assert connection.decoded(await first, FETCH_OFFSETS, Offsets).topics == ()
        await connection.close()


@pytest.mark.parametrize(
    ("fault", "kind", "says_so"),
    [
        (close, ClusterUnreachableError, "the server closed the connection|the connection broke"),
        (cut, ClusterUnreachableError, "the server closed the connection"),
        (wrong_number, ClusterProtocolError, "which no request has"),
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ClusterProtocolError, "a frame of 1213486160 bytes"),
        (raw(b"\xff\xff\xff\xff"), ClusterProtocolError, "a frame of -1 bytes"),
        (answer(b"\0\0\0\x09"), ClusterProtocolError, "cannot be read"),
    ],
)
async def test_what_breaks_it_reaches_all(fault: object, kind: type[HeadwaterError], says_so: str) -> None:
    """Everybody who waits is told the same, and so is who asks afterwards."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer)
        ended: list[HeadwaterError] = []
        peer.script(FIRST_SPU, STREAM_FETCH, silent)
        connection.stream(STREAM_FETCH, StreamFetch("t", 0, 0, 100), Sink(lambda _: None, ended.append))
        peer.script(FIRST_SPU, FETCH_OFFSETS, silent, fault)  # type: ignore[arg-type]
        other = connection.call(FETCH_OFFSETS, REQUEST)
        with pytest.raises(kind, match=says_so):
            await connection.ask(FETCH_OFFSETS, REQUEST, Offsets)
        with pytest.raises(kind, match=says_so):
            await other
        assert [type(error) for error in ended] == [kind]
        assert not connection.live
        with pytest.raises(kind, match=says_so):
            connection.call(FETCH_OFFSETS, REQUEST)


async def test_an_answer_that_never_comes() -> None:
    """Behind an answer that is overdue nothing is known, so the connection is cut; the first deadline counts."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer)
        peer.script(FIRST_SPU, FETCH_OFFSETS, silent, silent)
        patient = connection.call(FETCH_OFFSETS, REQUEST)
        with pytest.raises(ClusterTimeoutError, match="did not answer in time"):
            await connection.call(FETCH_OFFSETS, REQUEST, SOON)
        with pytest.raises(ClusterTimeoutError):
            await patient


async def test_one_timer_for_all_calls() -> None:
    """Answers that came in time do not let a later one wait for ever."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer, peer.target(request_timeout=SOON))
        await connection.call(FETCH_OFFSETS, REQUEST)
        peer.script(FIRST_SPU, FETCH_OFFSETS, silent)
        with pytest.raises(ClusterTimeoutError):
            await connection.call(FETCH_OFFSETS, REQUEST)


async def test_a_timer_with_nobody_left() -> None:
    """When everybody has an answer the timer finds nothing to do."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer)
        await connection.call(FETCH_OFFSETS, REQUEST, SOON)
        await asyncio.get_running_loop().run_in_executor(None, connection._gone.cancelled)
        connection._look()
        assert connection.live
        await connection.close()


async def test_nobody_waits_any_more() -> None:
    """An answer to a call that was cancelled is expected, and dropped; so are those of a stream that was given up."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer)
        peer.script(FIRST_SPU, FETCH_OFFSETS, silent)
        connection.call(FETCH_OFFSETS, REQUEST).cancel()
        taken: list[Reader] = []
        number = connection.stream(STREAM_FETCH, StreamFetch("t", 0, 0, 100), Sink(taken.append, lambda _: None))
        connection.give_up(number)
        connection.give_up(number)
        await peer.wait_for(STREAM_FETCH)
        for asked in peer.asked[1:]:
            peer.lines[-1].send(asked.header.correlation, b"\0\0\0\0")
        await connection.ask(FETCH_OFFSETS, REQUEST, Offsets)
        assert (taken, connection.ended, connection.streaming) == ([], 1, 0)
        await connection.close()


async def test_refused() -> None:
    """A port where nobody listens is named, with what to do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterUnreachableError, match=f"the SC at 127.0.0.1:{port}: connection refused") as caught:
        await Connection.open(Endpoint("the SC", "127.0.0.1", port, None, SPU_VERSIONS), Target("127.0.0.1"))
    assert (caught.value.slug, caught.value.retryable) == ("refused", True)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid"])
async def test_no_such_host(host: str) -> None:
    """A name that does not resolve, or that cannot be one, is an error of ours."""
    with pytest.raises(ClusterUnreachableError, match="cannot connect to the SC"):
        await Connection.open(Endpoint("the SC", host, 1, None, SPU_VERSIONS), Target(host))


async def test_no_greeting() -> None:
    """A server that takes connections and says nothing is given up within the time-out."""
    async with ScriptedCluster() as peer:
        peer.script(FIRST_SPU, API_VERSIONS, silent)
        with pytest.raises(ClusterUnreachableError, match="no connection in time") as caught:
            await opened(peer, peer.target(connect_timeout=SOON))
        assert caught.value.slug == "timeout"


async def test_a_greeting_that_refuses() -> None:
    """An error code in place of versions is what the server says."""
    async with ScriptedCluster() as peer:
        peer.script(FIRST_SPU, API_VERSIONS, says("PermissionDenied"), close, cut)
        with pytest.raises(ClusterRefusedError, match=r"permission denied \(code 13\)") as caught:
            await opened(peer)
        assert (caught.value.code, caught.value.retryable) == (13, False)
        for _ in range(2):
            with pytest.raises(ClusterUnreachableError):
                await opened(peer)


async def test_cancelled_while_connecting() -> None:
    """Whoever gives up connecting leaves no connection behind."""
    async with ScriptedCluster() as peer:
        peer.script(FIRST_SPU, API_VERSIONS, silent)
        task = asyncio.ensure_future(opened(peer))
        await peer.wait_for(API_VERSIONS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_frame_beyond_the_bound() -> None:
    """An answer larger than the bound is not read."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer, peer.target(most_frame=2000))
        peer.script(FIRST_SPU, FETCH_OFFSETS, raw((2001).to_bytes(4)))
        with pytest.raises(ClusterProtocolError, match="where 4 to 2000 are allowed"):
            await connection.call(FETCH_OFFSETS, REQUEST)
    assert MOST_FRAME == 32 * 1024 * 1024


async def test_a_clean_close() -> None:
    """What was sent arrives before the end, and who waits for an answer is told who closed."""
    async with ScriptedCluster() as peer:
        connection = await opened(peer)
        peer.script(FIRST_SPU, PRODUCE, silent)
        waiting = connection.call(PRODUCE, bytes(3_000_000))
        await connection.close()
        await connection.close()
        connection.cut()
        with pytest.raises(ClusterUnreachableError, match="was closed here"):
            await waiting
        await peer.wait_for(PRODUCE)


async def test_tls(tmp_path: Path) -> None:
    """The name that is given is asked for and verified, not the host that is dialled."""
    certificates = Certificates(tmp_path)
    async with ScriptedCluster(tls=certificates.context("spu.fluvio.local")) as peer:
        target = peer.target(tls=certificates.client_context())
        place = endpoint(peer, server_name="spu.fluvio.local")
        connection = await Connection.open(place, target)
        await connection.call(FETCH_OFFSETS, REQUEST)
        await connection.close()
        with pytest.raises(ClusterUnreachableError, match="its certificate is not accepted") as caught:
            await Connection.open(endpoint(peer), target)
        assert (caught.value.slug, caught.value.retryable) == ("tls", False)


async def test_mutual_tls(tmp_path: Path) -> None:
    """A server that wants a certificate lets in who has one, and the other is told that it is about TLS."""
    certificates = Certificates(tmp_path)
    async with ScriptedCluster(tls=certificates.context("127.0.0.1", clients=True)) as peer:
        connection = await opened(peer, peer.target(tls=certificates.client_context("client")))
        await connection.call(FETCH_OFFSETS, REQUEST)
        await connection.close()
        with pytest.raises(ClusterUnreachableError, match=r"TLS failed|closed|broke"):
            await opened(peer, peer.target(tls=certificates.client_context()))


async def test_tls_where_there_is_none(tmp_path: Path) -> None:
    """A plain port does not understand a handshake."""
    async with ScriptedCluster() as peer:
        with pytest.raises(ClusterError):
            await opened(peer, peer.target(tls=Certificates(tmp_path).client_context(), connect_timeout=SOON))
