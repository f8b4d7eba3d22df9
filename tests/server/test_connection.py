"""One connection: versions are agreed on, broken frames end it and nothing else, and its bounds hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater.fluvio import admin
from headwater.fluvio import records as spu
from headwater.fluvio.errorcode import Replica, code
from headwater.fluvio.frame import API_VERSIONS, MOST_FRAME, ApiVersions, ApiVersionsReply, ranges_of
from headwater.fluvio.wire import codec_of
from headwater.log import Log
from headwater.server import controller, unit
from headwater.server.connection import PLATFORM, Budget, Limits
from headwater.server.server import Listen, Server
from server.peer import GoneError, Peer, Serving, fill, packed, produce_body, serving, stored, until, values, whole


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_what_the_server_knows(tmp_path: Path, version: int) -> None:
    """Each port tells exactly the APIs and versions that it has, and a release that new clients take."""
    async with serving(tmp_path) as it:
        for peer, ranges in ((await it.sc(), controller.RANGES), (await it.spu(), unit.RANGES)):
            reply = await peer.call(API_VERSIONS, version, ApiVersions("0.15.2", "linux", "x86_64"), ApiVersionsReply)
            assert {api.api: (api.lowest, api.highest) for api in reply.apis} == ranges
            assert reply.platform == PLATFORM
            assert not reply.code
            assert await peer.versions() == ranges


async def test_versions_from_the_future(tmp_path: Path) -> None:
    """A question for versions in a version that is not known is answered as in the newest that is: nothing is kept."""
    async with serving(tmp_path) as it:
        peer = await it.sc()
        await peer.versions()
        whole(ApiVersionsReply, await peer.ask(API_VERSIONS, 0, b"").raw(), 0)
        kept = codec_of.cache_info().currsize
        for version in (-32768, -1, 3, 1000, 32767):
            reply = whole(ApiVersionsReply, await peer.ask(API_VERSIONS, version, bytes(6)).raw(), 2)
            assert ranges_of(reply) == controller.RANGES
        assert codec_of.cache_info().currsize == kept


async def still_serves(it: Serving) -> None:
    peer = await it.spu()
    assert await peer.versions() == unit.RANGES


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x03abc",
        b"\xff\xff\xff\xff",
        b"\x80\x00\x00\x00",
        (MOST_FRAME + 1).to_bytes(4),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x12\x00\x02",
        b"\x00\x00\x00\x0a\x00\x12\x00\x02\x00\x00\x00\x01\x7f\xff",
        b"\x00\x00\x00\x0c\x00\x12\x00\x02\x00\x00\x00\x01\x00\x02\xff\xfe",
    ],
    ids=["empty", "short", "negative", "most negative", "long", "TLS", "HTTP", "half a header", "name", "not UTF-8"],
)
async def test_bytes_that_are_no_request(tmp_path: Path, data: bytes) -> None:
    """Whoever does not speak the protocol is let go at once, and others are served."""
    async with serving(tmp_path) as it:
        for peer in (await it.sc(), await it.spu()):
            peer.write(data)
            await peer.gone()
        await still_serves(it)


@pytest.mark.parametrize(
    ("api", "version"),
    [(spu.PRODUCE, 6), (spu.PRODUCE, 26), (spu.PRODUCE, -1), (2000, 1), (9, 0), (65535, 25), (spu.STREAM_FETCH, 15)],
)
async def test_what_is_not_known(tmp_path: Path, api: int, version: int) -> None:
    """A request for an API or a version that was not announced ends the connection."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        with pytest.raises(GoneError):
            await peer.ask(api, version, bytes(100)).raw()
        await still_serves(it)


@pytest.mark.parametrize(("api", "version"), [(admin.CREATE, 5), (admin.LIST, 20), (admin.MIRRORING, 19), (0, 25)])
async def test_what_the_controller_does_not_know(tmp_path: Path, api: int, version: int) -> None:
    """The same on the port of the system controller, which does not do what the SPU does."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.sc()
        with pytest.raises(GoneError):
            await peer.ask(api, version, bytes(100)).raw()
        await still_serves(it)


async def test_a_body_that_ends_too_early(tmp_path: Path) -> None:
    """A request that is shorter than it says ends the connection; what came before it is done."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        assert not (await peer.produce("cats", packed(b"one"))).code
        with pytest.raises(GoneError):
            await peer.ask(spu.PRODUCE, 25, b"\0\0\1").raw()
        assert values(stored(it.log, "cats")) == [b"one"]
        await still_serves(it)


async def test_pipelined_requests_keep_their_order(tmp_path: Path) -> None:
    """Three hundred requests that wait for no reply are appended in their order, and each has its offset."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        asked = [peer.ask(spu.PRODUCE, 25, produce_body("cats", (0, packed(b"%d" % n)))) for n in range(300)]
        found = [(await replies.next(spu.Produced)).topics[0].partitions[0].base_offset for replies in asked]
        assert found == list(range(300))
        assert values(stored(it.log, "cats")) == [b"%d" % n for n in range(300)]


async def test_clients_that_stall(tmp_path: Path) -> None:
    """Who says nothing, sends half a frame, or begins a large one, is let go after the time-out for it."""
    for limits, data in (
        (Limits(hello=0.2), b""),
        (Limits(frame=0.2), b"\x00\x00\x00\x27\x00\x12"),
        (Limits(frame=0.2), (5_000_000).to_bytes(4) + bytes(2000)),
        (Limits(stall=0.2), (5_000_000).to_bytes(4) + bytes(3_000_000)),
    ):
        async with serving(tmp_path, limits=limits) as it:
            peer = await it.spu()
            peer.write(data)
            await peer.gone()
            # Whoever has spoken once may be silent for as long as it likes.
            await still_serves(it)


async def test_too_many_connections(tmp_path: Path) -> None:
    """A connection more than the server takes is closed; when another ends there is room again."""
    async with serving(tmp_path, limits=Limits(connections=2)) as it:
        first, second = await it.sc(), await it.spu()
        await first.versions()
        await second.versions()
        third = await it.spu()
        await third.gone()
        await first.close()
        await until(lambda: len(it.server.shared.connections) == 1)
        await still_serves(it)


async def test_requests_share_a_budget() -> None:
    """Bytes are taken in turn; whoever goes away while it waits has taken none."""
    budget = Budget(10)
    await budget.take(8)
    async with asyncio.TaskGroup() as group:
        large = group.create_task(budget.take(9))
        small = group.create_task(budget.take(1))
        await asyncio.sleep(0)
        assert not small.done()
        large.cancel()
        await asyncio.wait([large])
        await small
        last = group.create_task(budget.take(10))
        await asyncio.sleep(0)
        budget.give(9)
        # It has its bytes already when it is cancelled.
        last.cancel()
    async with asyncio.timeout(5):
        await budget.take(10)


async def test_large_frames_that_stall_hold_up_nobody(tmp_path: Path) -> None:
    """Clients that begin large requests and send nothing do not keep others from sending theirs."""
    async with serving(tmp_path, "cats") as it:
        for _ in range(20):
            (await it.spu()).write((30_000_000).to_bytes(4))
        peer = await it.spu()
        async with asyncio.timeout(5):
            body = produce_body("cats", *((0, packed(bytes(900_000))) for _ in range(3)))
            assert (await peer.call(spu.PRODUCE, 25, body, spu.Produced)).topics[0].partitions[2].base_offset == 2


async def test_clients_that_go_away(tmp_path: Path) -> None:
    """Connections that end, in the middle of anything, leave nothing behind."""
    async with serving(tmp_path, "cats") as it:
        for _ in range(20):
            peer = await it.spu()
            peer.stream("cats")
            peer.ask(
                spu.FETCH, 25, spu.Fetch(10_000, 1, 1000, topics=(spu.FetchTopic("cats", (spu.FetchPartition(0),)),))
            )
            peer.ask(spu.PRODUCE, 25, produce_body("cats", (0, packed(b"x"))))
            await peer.versions()
            await peer.close()
        await until(lambda: not it.server.shared.connections and not it.server.shared.streams)


async def test_a_server_that_ends(tmp_path: Path) -> None:
    """Ending the server ends every connection, whatever it waits for."""
    async with serving(tmp_path, "cats") as it:
        spus = [await it.spu() for _ in range(5)]
        watches = [await it.sc() for _ in range(5)]
        for peer in spus:
            peer.stream("cats")
            await peer.versions()
        for peer in watches:
            await peer.watch("Topic").raw()
        await it.server.__aexit__(None, None, None)
        for peer in (*spus, *watches):
            await peer.gone()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await Peer.connect(it.server.sc_port)


async def test_a_log_that_is_closed(tmp_path: Path) -> None:
    """A log that was closed under the server costs no more than the connection that asked."""
    log = await Log.open(tmp_path).__aenter__()
    await log.create_topic("cats")
    async with Server(log, Listen(sc_port=0, spu_port=0)) as server, await Peer.connect(server.spu_port) as peer:
        await log.close()
        asked = spu.FetchOffsets((spu.OffsetsTopic("cats", (0,)),))
        answer = await peer.call(spu.FETCH_OFFSETS, 25, asked, spu.Offsets)
        assert answer.topics[0].partitions[0].code == code("StorageError")
        assert (await peer.produce("cats", packed(b"x"))).code == code("StorageError")
        forget = spu.DeleteConsumerOffset(Replica("cats", 0), "me")
        told = await peer.call(spu.DELETE_CONSUMER_OFFSET, 25, forget, spu.ConsumerOffsetDeleted)
        assert told.code == code("StorageError")
        listed = await peer.call(spu.FETCH_CONSUMER_OFFSETS, 25, spu.FetchConsumerOffsets(), spu.ConsumerOffsets)
        assert listed == spu.ConsumerOffsets(code("StorageError"), ())
        async with await Peer.connect(server.sc_port) as other:
            with pytest.raises(GoneError):
                await other.listed("Partition")
        assert await peer.versions() == unit.RANGES


async def test_a_defect_costs_one_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a handler or a stream raises that nobody has thought of, ends its connection and nothing else."""
    async with serving(tmp_path, "cats") as it:
        peers = [await it.spu() for _ in range(3)]
        monkeypatch.setattr(it.log.reader, "offsets", lambda *_: 1 / 0)
        peers[0].stream("cats")
        peers[1].ask(spu.FETCH_OFFSETS, 25, spu.FetchOffsets((spu.OffsetsTopic("cats", (0,)),)))
        for peer in peers[:2]:
            await peer.gone()
        monkeypatch.undo()
        assert await peers[2].offsets("cats") == (0, 0)


async def test_clients_that_take_nothing(tmp_path: Path) -> None:
    """Who does not read what was sent is let go after the time-out for it."""
    async with serving(tmp_path, "cats", Limits(take=0.3)) as it:
        for _ in range(10):
            await fill(it.log, "cats", [bytes(900_000)])
        peer = await it.spu()
        peer.pause()
        for _ in range(20):
            peer.stream("cats", max_bytes=10_000_000)
        await until(lambda: len(it.server.shared.connections) == 1)
        await until(lambda: not it.server.shared.connections)
        await still_serves(it)
