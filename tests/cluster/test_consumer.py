"""Batches and records come without a gap and without a repeat, whatever becomes of connections."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

from cluster.peer import FIRST_SPU, Asked, ScriptedCluster, answer, close, cut, says, silent
from headwater.cluster import BatchStream, Cluster
from headwater.cluster.links import MOST_GIVEN_UP
from headwater.cluster.versions import SPU_VERSIONS
from headwater.core.errors import (
    BatchError,
    ClusterProtocolError,
    ClusterRefusedError,
    ClusterUnreachableError,
    HeadwaterError,
    OffsetOutOfRangeError,
    SmartModuleError,
    TopicNotFoundError,
)
from headwater.core.record import Record
from headwater.core.topic import Offset
from headwater.fluvio.batch import encode_batch, with_base_offset
from headwater.fluvio.errorcode import code
from headwater.fluvio.frame import API_VERSIONS
from headwater.fluvio.invocation import Invocation, Predefined
from headwater.fluvio.records import (
    DELETE_CONSUMER_OFFSET,
    FETCH_CONSUMER_OFFSETS,
    FETCH_OFFSETS,
    STREAM_FETCH,
    UPDATE_CONSUMER_OFFSET,
    UPDATE_OFFSETS,
    Isolation,
    StreamFetch,
    UpdateOffsets,
)
from headwater.fluvio.wire import decode
from headwater.testing.clock import VirtualClock

SOON = timedelta(seconds=0.1)


def encoded(*numbers: int, value: bytes = b"") -> bytes:
    return encode_batch([Record(b"%d" % number + value) for number in numbers], 1).data


async def filled(peer: ScriptedCluster, batches: int = 3, topic: str = "t", partition: int = 0) -> None:
    """Append batches of two records each."""
    for number in range(0, 2 * batches, 2):
        await peer.append(topic, partition, encoded(number, number + 1))


async def taken(stream: BatchStream, count: int) -> list[int]:
    """Return the base offsets of the next batches."""
    bases: list[int] = []
    async for batch in stream:
        bases.append(batch.base_offset)
        if len(bases) == count:
            break
    return bases


def requested(asked: Asked) -> StreamFetch:
    return decode(StreamFetch, asked.body, asked.header.version)


def updates(peer: ScriptedCluster) -> list[int]:
    return [decode(UpdateOffsets, it.body, 0).offsets[0].offset for it in peer.requests(UPDATE_OFFSETS)]


async def test_offsets() -> None:
    """The first offset of a partition, and the one behind the last."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await filled(peer)
        peer.start["t", 0] = 2
        assert await cluster.offsets("t") == (2, 6)


async def test_a_stream() -> None:
    """Whole batches come, those that are there and those to come."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await filled(peer)
        async with cluster.stream("t", 0, Offset.at(3), max_bytes=1000, isolation=Isolation.READ_COMMITTED) as stream:
            assert await taken(stream, 2) == [2, 4]
            assert (stream.begin, stream.position) == (3, 6)
        request = requested(peer.requests(STREAM_FETCH)[0])
        assert (request.offset, request.max_bytes, request.isolation) == (3, 1000, Isolation.READ_COMMITTED)
        async with cluster.stream("t", 0, Offset.end()) as stream:
            task = asyncio.ensure_future(taken(stream, 2))
            await peer.wait_for(STREAM_FETCH, 2)
            await filled(peer, 1)
            await peer.wait_for(UPDATE_OFFSETS, 2)
            await filled(peer, 1)
            assert await task == [6, 8]


async def test_flow_control() -> None:
    """The next answer is asked for when one is taken, and a caller that does not go on gets no more."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await filled(peer, 5)
        async with cluster.stream("t", 0, Offset.beginning(), max_bytes=1) as stream:
            batches = stream.__aiter__()
            await batches.__anext__()
            await peer.wait_for(UPDATE_OFFSETS, 1)
            # The answer to that is in memory; nobody asks for a third one.
            await cluster.offsets("t")
            assert updates(peer) == [2]
            await batches.__anext__()
            await peer.wait_for(UPDATE_OFFSETS, 2)
            assert updates(peer) == [2, 4]
            assert await taken(stream, 3) == [4, 6, 8]


@pytest.mark.parametrize("fault", [close, cut, says("NotLeaderForPartition"), says("FetchSessionNotFoud")])
async def test_it_goes_on_behind_what_was_handed_out(fault: Any) -> None:
    """A stream that breaks begins again where it was: no gap, no repeat."""
    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        await filled(peer, 4)
        async with cluster.stream("t", 0, Offset.beginning(), max_bytes=1) as stream:
            peer.script(FIRST_SPU, STREAM_FETCH, fault, fault)
            assert await taken(stream, 2) == [0, 2]
            peer.script(FIRST_SPU, STREAM_FETCH, fault)
            peer.drop(FIRST_SPU)
            assert await taken(stream, 2) == [4, 6]


async def test_an_answer_that_cannot_be_read() -> None:
    """What is not an answer of a stream ends it."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(FIRST_SPU, STREAM_FETCH, answer(b""))
        with pytest.raises(ClusterProtocolError, match="cannot be read"):
            await taken(cluster.stream("t", 0, 0), 1)


async def test_the_session_is_gone() -> None:
    """A server that has lost the stream says so when it is to go on, and gets a new one."""
    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        await filled(peer, 4)
        async with cluster.stream("t", 0, Offset.beginning(), max_bytes=1) as stream:
            peer.script(FIRST_SPU, UPDATE_OFFSETS, says("FetchSessionNotFoud"))
            assert await taken(stream, 4) == [0, 2, 4, 6]
            assert [requested(it).offset for it in peer.requests(STREAM_FETCH)] == [0, 2]


@pytest.mark.parametrize("fault", [close, answer(b"\0\0\0\1"), silent])
async def test_going_on_fails(fault: Any) -> None:
    """A connection that breaks over an update is made again, unless what came was not Fluvio's protocol."""
    async with ScriptedCluster() as peer, Cluster(peer.target(request_timeout=SOON), chance=lambda: 0) as cluster:
        await filled(peer, 4)
        async with cluster.stream("t", 0, Offset.beginning(), max_bytes=1) as stream:
            peer.script(FIRST_SPU, UPDATE_OFFSETS, fault)
            if fault in {close, silent}:
                assert await taken(stream, 4) == [0, 2, 4, 6]
            else:
                with pytest.raises(ClusterProtocolError):
                    await taken(stream, 4)


async def test_patience_ends() -> None:
    """A leader that stays away ends the stream, after growing pauses; each break has patience of its own."""
    clock = VirtualClock()
    async with ScriptedCluster() as peer, Cluster(peer.target(), clock=clock, chance=lambda: 1) as cluster:
        await filled(peer)
        async with cluster.stream("t", 0, Offset.beginning(), max_bytes=1) as stream:
            assert await taken(stream, 1) == [0]
            peer.shut(FIRST_SPU)
            task = asyncio.ensure_future(taken(stream, 1))
            pauses = [await clock.next_wake() for _ in range(3)]
            await peer.listen(FIRST_SPU)
            await clock.next_wake()
            assert (await task)[0] in {2, 4}
            peer.shut(FIRST_SPU)
            task = asyncio.ensure_future(taken(stream, 9))
            pauses = []
            while sum(pauses) < 30:
                pauses.append(await clock.next_wake())
            with pytest.raises(ClusterUnreachableError, match="SPU 5001"):
                await task
            assert pauses[:3] == pytest.approx([0.05, 0.1, 0.2])


async def test_a_long_idle_stream() -> None:
    """A stream that lasted has its patience anew, also when nothing came."""
    clock = VirtualClock()
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target(), clock=clock, chance=lambda: 1) as cluster,
        cluster.stream("t", 0, Offset.end()) as stream,
    ):
        task = asyncio.ensure_future(taken(stream, 1))
        for number in range(1, 4):
            await peer.wait_for(STREAM_FETCH, number)
            clock.advance(1000)
            peer.drop(FIRST_SPU)
            assert await clock.next_wake() == pytest.approx(0.05)
        await peer.wait_for(STREAM_FETCH, 4)
        await filled(peer, 1)
        assert await task == [0]


async def test_an_offset_that_is_not_there() -> None:
    """A place beyond the end, or that has been deleted, is an error with what to do."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        async with cluster.stream("t", 0, Offset.at(7)) as stream:
            with pytest.raises(
                OffsetOutOfRangeError, match="cannot stream partition 0 of topic t from offset 7 on"
            ) as it:
                await taken(stream, 1)
            assert "begin where it begins" in it.value.hint
        peer.script(FIRST_SPU, STREAM_FETCH, says("OffsetEvicted", 0, 5))
        with pytest.raises(OffsetOutOfRangeError, match=r"Offset 0 is evicted\. The next available is 5"):
            await taken(cluster.stream("t", 0, 0), 1)
        with pytest.raises(TopicNotFoundError):
            await taken(cluster.stream("nope", 0, 0), 1)


async def test_records_before_an_error() -> None:
    """What came with an error code is handed out before it is raised."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:

        async def half(asked: Asked) -> None:
            peer.fetched(asked, requested(asked), 1, encoded(0), code("SmartModuleInitError", "it broke"))

        peer.script(FIRST_SPU, STREAM_FETCH, half)
        async with cluster.stream("t", 0, 0) as stream:
            assert await taken(stream, 1) == [0]
            with pytest.raises(SmartModuleError, match="it broke"):
                await taken(stream, 1)


async def test_a_batch_larger_than_the_bound() -> None:
    """An SPU that cuts its bytes is asked for as many as the batch has; what is cut at the end comes again."""
    async with ScriptedCluster(slicing=True) as peer, Cluster(peer.target()) as cluster:
        await peer.append("t", 0, encoded(0))
        await peer.append("t", 0, encoded(1, 2, value=bytes(500)))
        await peer.append("t", 0, encoded(3))
        async with cluster.stream("t", 0, 0, max_bytes=100) as stream:
            assert await taken(stream, 3) == [0, 1, 3]
        async with cluster.stream("t", 0, 0, max_bytes=10) as stream:
            assert await taken(stream, 3) == [0, 1, 3]
        assert [requested(it).max_bytes for it in peer.requests(STREAM_FETCH)[2:4]] == [10, 61]


@pytest.mark.parametrize(
    ("data", "says_so"),
    [
        (b"\0" * 100, "damaged batches"),
        (with_base_offset(encoded(0), -4), "damaged batches"),
        (encoded(0)[:-1], "does not come: 70 bytes came of 1048588|does not come"),
        (encoded(0)[:8] + b"\x7f\xff\xff\xf0" + encoded(0)[12:], "does not come"),
    ],
)
async def test_damaged(data: bytes, says_so: str) -> None:
    """Bytes that are no batches end the stream, and are not asked for again."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(FIRST_SPU, STREAM_FETCH, lambda asked: peer.fetched(asked, requested(asked), 1, data))
        with pytest.raises(ClusterProtocolError, match=says_so):
            await taken(cluster.stream("t", 0, 0), 1)


async def test_a_flood() -> None:
    """A server that sends without being asked to is cut off before it fills the memory."""

    async def flood(asked: Asked) -> None:
        for number in range(20):
            peer.fetched(asked, requested(asked), 1, with_base_offset(encoded(number), number))

    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(FIRST_SPU, STREAM_FETCH, flood)
        async with cluster.stream("t", 0, 0) as stream:
            with pytest.raises(ClusterProtocolError, match="sends more of partition 0 of topic t"):
                await taken(stream, 20)


async def test_filtered() -> None:
    """With SmartModules the server says where it has got, and that is where it goes on."""

    async def none(asked: Asked) -> None:
        peer.fetched(asked, requested(asked), 1, b"", next_offset=4)

    async def broken(asked: Asked) -> None:
        peer.drop(FIRST_SPU)

    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        await filled(peer)
        peer.script(FIRST_SPU, STREAM_FETCH, none)
        peer.script(FIRST_SPU, UPDATE_OFFSETS, broken)
        async with cluster.stream("t", 0, 0, modules=[Invocation(Predefined("filter"))]) as stream:
            assert await taken(stream, 1) == [4]
        assert updates(peer)[0] == 4
        assert [requested(it).offset for it in peer.requests(STREAM_FETCH)] == [0, 4]
        peer.script(FIRST_SPU, STREAM_FETCH, lambda asked: peer.fetched(asked, requested(asked), 1, b"", next_offset=6))
        assert await cluster.read("t", modules=[Invocation(Predefined("filter"))]) == []


async def test_modules_need_a_cluster_that_knows_them() -> None:
    """A cluster without chains of SmartModules is told from one that lets everything through."""
    async with (
        ScriptedCluster(spu_versions={**SPU_VERSIONS, STREAM_FETCH: (0, 16)}) as peer,
        Cluster(peer.target()) as cluster,
    ):
        await filled(peer)
        with pytest.raises(ClusterProtocolError, match="too old for SmartModules"):
            await taken(cluster.stream("t", 0, 0, modules=[Invocation(Predefined("filter"))]), 1)
        assert await taken(cluster.stream("t", 0, 0), 3) == [0, 2, 4]


@pytest.mark.parametrize("version", [14, 16, 18, 23, 25])
async def test_older_spus(version: int) -> None:
    """Records are read from SPUs from 0.9 on."""
    async with (
        ScriptedCluster(spu_versions=dict.fromkeys(SPU_VERSIONS, (0, version))) as peer,
        Cluster(peer.target()) as cluster,
    ):
        await filled(peer)
        assert [it.value for it in await cluster.read("t")] == [b"%d" % number for number in range(6)]


async def test_a_server_learns_that_a_stream_has_ended() -> None:
    """The connection of streams is closed with the last of them, and questions have one of their own."""
    async with ScriptedCluster({"t": 1, "u": 1}) as peer, Cluster(peer.target()) as cluster:
        await filled(peer)
        await filled(peer, topic="u")
        async with cluster.stream("t", 0, Offset.beginning()) as first:
            await taken(first, 1)
            connection = cluster.links._streaming[FIRST_SPU]
            async with cluster.stream("u", 0, Offset.beginning()) as second:
                await taken(second, 1)
            assert (connection.live, connection.streaming, connection.ended) == (True, 1, 1)
            assert len(peer.requests(API_VERSIONS)) == 3
        assert not connection.live
        assert await cluster.offsets("t") == (0, 6)


async def test_given_up_streams_do_not_pile_up() -> None:
    """A connection with many streams that were given up gets no new ones, and goes with its last one."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await filled(peer)
        async with cluster.stream("t", 0, Offset.beginning()) as kept:
            await taken(kept, 1)
            old = cluster.links._streaming[FIRST_SPU]
            for _ in range(MOST_GIVEN_UP + 1):
                await cluster.read("t", limit=1)
            assert cluster.links._streaming[FIRST_SPU] is not old
            assert (old.live, old.ended) == (True, MOST_GIVEN_UP)
            assert cluster.links._retired == {old}
        assert not old.live
        assert cluster.links._retired == set()


async def test_loops_go_on() -> None:
    """A loop that is left can be followed by another, on the same connection; the stream ends when it is closed."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await filled(peer)
        stream = cluster.stream("t", 0, Offset.beginning())
        assert await taken(stream, 1) + await taken(stream, 1) == [0, 2]
        assert len(peer.requests(STREAM_FETCH)) == 1
        connection = cluster.links._streaming[FIRST_SPU]
        await stream.aclose()
        assert not connection.live
        assert await taken(stream, 1) == []


async def test_read() -> None:
    """What is there is read, from a place on, and no more than was asked for."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        assert await cluster.read("t") == []
        await filled(peer)
        assert [(it.offset, it.value) for it in await cluster.read("t", Offset.at(3))] == [
            (3, b"3"),
            (4, b"4"),
            (5, b"5"),
        ]
        assert [it.offset for it in await cluster.read("t", Offset.end(2), limit=1)] == [4]
        assert [it.offset for it in await cluster.read("t", Offset.beginning(1), limit=2)] == [1, 2]
        assert await cluster.read("t", Offset.end()) == []


async def test_follow_one_partition() -> None:
    """Records come one by one, from the end unless a place is given."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        await filled(peer, 2)
        async with aclosing(cluster.follow("t", Offset.at(1))) as records:
            found = [await anext(records) for _ in range(3)]
            assert [(it.offset, it.value, it.partition) for it in found] == [(1, b"1", 0), (2, b"2", 0), (3, b"3", 0)]
        async with aclosing(cluster.follow("t", partition=0)) as records:
            task = asyncio.ensure_future(anext(records))
            await peer.wait_for(STREAM_FETCH, 2)
            await filled(peer, 1)
            assert (await task).offset == 4


async def test_follow_all_partitions() -> None:
    """Of each partition the records come in order, whichever SPU leads it, and breaks go unnoticed."""
    async with ScriptedCluster({"t": 4}, spus=2) as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        for partition in range(4):
            await filled(peer, 5, partition=partition)
        found: dict[int, list[int]] = {}
        async with aclosing(cluster.follow("t", Offset.beginning(), max_bytes=1)) as records:
            for number in range(40):
                record = await anext(records)
                found.setdefault(record.partition, []).append(record.offset)
                if number == 7:
                    peer.drop(FIRST_SPU)
        assert found == {partition: list(range(10)) for partition in range(4)}


async def test_a_follower_that_does_not_go_on() -> None:
    """A caller that stops taking stops the reading of all partitions."""
    async with ScriptedCluster({"t": 2}) as peer, Cluster(peer.target()) as cluster:
        for partition in range(2):
            await filled(peer, 20, partition=partition)
        async with aclosing(cluster.follow("t", Offset.beginning(), max_bytes=1)) as records:
            await anext(records)
            for _ in range(30):
                await cluster.offsets("t")
            assert len(updates(peer)) <= 5


async def test_one_partition_fails() -> None:
    """An error of one partition is the follower's, behind what was there before it."""
    async with ScriptedCluster({"t": 2}) as peer, Cluster(peer.target()) as cluster:
        await filled(peer, 1, partition=0)
        peer.script(FIRST_SPU, STREAM_FETCH, says("PermissionDenied"))
        with pytest.raises(ClusterRefusedError, match="permission denied"):
            async for _ in cluster.follow("t", Offset.beginning()):
                pass


async def test_records_that_cannot_be_read() -> None:
    """A whole batch with damage inside is an error, not a silence."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        data = encoded(0, 1)
        await peer.append("t", 0, data[:61] + b"\xff" * (len(data) - 61))
        with pytest.raises(BatchError):
            await cluster.read("t")


async def test_consumer_offsets() -> None:
    """What a consumer is done with is kept by the cluster, and its next stream begins behind that."""
    async with ScriptedCluster({"t": 1, "consumer-offset": 1}) as peer, Cluster(peer.target()) as cluster:
        await filled(peer)
        async with cluster.stream("t", 0, Offset.beginning(), consumer="me") as stream:
            with pytest.raises(ClusterUnreachableError, match="is not being streamed now"):
                await stream.commit(0)
            assert await taken(stream, 1) == [0]
            await stream.commit(2)
            peer.script(FIRST_SPU, UPDATE_CONSUMER_OFFSET, says("OffsetManagementDisabled"))
            with pytest.raises(ClusterRefusedError, match="cannot keep offset 3"):
                await stream.commit(3)
            flow = stream._flow
            assert flow is not None
            peer.drop(FIRST_SPU)
            with pytest.raises(ClusterUnreachableError):
                await flow.commit(4)
            with pytest.raises(ClusterUnreachableError):
                await flow.commit(4)
            flow.go_on(5)
        peer.kept["other", "t", 0] = 1
        peer.kept["me", "u", 0] = 1
        assert len(await cluster.consumer_offsets()) == 3
        assert [(it.offset, it.consumer) for it in await cluster.consumer_offsets("me", "t")] == [(2, "me")]
        async with cluster.stream("t", 0, Offset.beginning(), consumer="me") as stream:
            assert (await taken(stream, 1), stream.begin) == ([2], 3)
        await cluster.delete_consumer_offset("me", "t")
        async with cluster.stream("t", 0, Offset.at(1), consumer="me") as stream:
            assert (await taken(stream, 1), stream.begin) == ([0], 1)


@pytest.mark.parametrize(
    ("outcome", "kind"), [("PermissionDenied", ClusterRefusedError), ("NotLeaderForPartition", None)]
)
async def test_consumer_offsets_refused(outcome: str, kind: type[HeadwaterError] | None) -> None:
    """A refusal is an error, and another leader is asked."""
    async with (
        ScriptedCluster({"t": 1, "consumer-offset": 1}) as peer,
        Cluster(peer.target(), chance=lambda: 0) as cluster,
    ):
        peer.script(FIRST_SPU, FETCH_CONSUMER_OFFSETS, says(outcome))
        peer.script(FIRST_SPU, DELETE_CONSUMER_OFFSET, says(outcome))
        if kind is None:
            assert await cluster.consumer_offsets() == []
            await cluster.delete_consumer_offset("me", "t")
            return
        with pytest.raises(kind, match="cannot get the offsets of consumers"):
            await cluster.consumer_offsets()
        with pytest.raises(kind, match="cannot delete the offset of consumer me"):
            await cluster.delete_consumer_offset("me", "t")


@pytest.mark.parametrize("step", range(6))
async def test_cancelled_anywhere(step: int) -> None:
    """Cancelling a reader at any of its waits leaves no stream and no task behind."""
    async with ScriptedCluster({"t": 2}) as peer, Cluster(peer.target()) as cluster:
        await filled(peer)

        async def follow() -> None:
            async for _ in cluster.follow("t", Offset.beginning()):
                pass

        api = [API_VERSIONS, FETCH_OFFSETS, FETCH_OFFSETS, STREAM_FETCH, STREAM_FETCH, UPDATE_OFFSETS][step]
        if step in {0, 1, 3}:
            peer.script(FIRST_SPU, api, silent, silent)
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(follow())
        await peer.wait_for(api, 2 if step < 3 else 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        mine = [it for it in asyncio.all_tasks() - before if "cluster/peer" not in str(it)]
        assert [it for it in mine if "serve" not in str(it)] == []
        streaming = cluster.links._streaming.get(FIRST_SPU)
        assert streaming is None or streaming.streaming == 0
