"""Records are sent until they are acknowledged, in their order, whatever becomes of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from cluster.peer import FIRST_SPU, Asked, ScriptedCluster, answer, close, cut, says, silent
from headwater.cluster import Cluster, Producer
from headwater.core.errors import (
    BatchError,
    ClusterProtocolError,
    ClusterRefusedError,
    ClusterTimeoutError,
    ClusterUnreachableError,
    PartitionNotFoundError,
    RecordTooLargeError,
    TopicError,
    TopicNotFoundError,
)
from headwater.core.record import Record
from headwater.core.topic import Receipt
from headwater.fluvio import objects
from headwater.fluvio.admin import Changed
from headwater.fluvio.batch import check_batch, decode_header, decode_records, encode_batch
from headwater.fluvio.compression import Compression
from headwater.fluvio.records import PRODUCE, Isolation, Produce
from headwater.fluvio.wire import decode
from headwater.testing.clock import VirtualClock

SOON = timedelta(seconds=0.1)


def some(count: int, first: int = 0) -> list[Record]:
    return [Record(b"%d" % number) for number in range(first, first + count)]


def values(peer: ScriptedCluster, topic: str = "t", partition: int = 0) -> list[bytes]:
    return [it.value for data in peer.log.get((topic, partition), []) for it in decode_records(data)]


def produced(asked: Asked) -> Produce:
    return decode(Produce, asked.body, asked.header.version)


def batches(asked: Asked) -> list[int]:
    return [decode_header(it.batches).count for topic in produced(asked).topics for it in topic.partitions]


async def test_send() -> None:
    """A call returns where its records are, once they are there."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        assert await producer.send(some(3)) == [Receipt(0, 0, 3)]
        assert await producer.send([Record(b"v", key=b"k", timestamp=5), Record(b"w", key=b"")]) == [Receipt(0, 3, 2)]
        assert await producer.send([]) == []
        assert values(peer) == [b"0", b"1", b"2", b"v", b"w"]
        first = decode_records(peer.log["t", 0][-1])[0]
        assert (first.key, first.timestamp) == (b"k", 5)
        assert [it.key for data in peer.log["t", 0][:1] for it in decode_records(data)] == [None] * 3
        request = produced(peer.requests(PRODUCE)[0])
        assert (request.acks, request.timeout, request.transaction) == (1, 15_000, None)


async def test_partitions_in_turn() -> None:
    """Records without a key take the partitions in turn, those with one have their own, and any may be named."""
    async with ScriptedCluster({"t": 3}) as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        receipts = await producer.send(some(7))
        assert receipts == [Receipt(0, 0, 3), Receipt(1, 0, 2), Receipt(2, 0, 2)]
        assert await producer.send(some(1, 7)) == [Receipt(1, 2, 1)]
        assert [it.partition for it in await producer.send([Record(b"k", key=b"k")] * 2)] == [1]
        assert await producer.send(some(2, 8), partition=2) == [Receipt(2, 2, 2)]
        for partition in (-1, 3):
            with pytest.raises(PartitionNotFoundError, match=f"has no partition {partition}; it has 3"):
                await producer.send(some(1), partition=partition)
        # One request for all three partitions: one SPU leads them.
        assert len(produced(peer.requests(PRODUCE)[0]).topics[0].partitions) == 3


async def test_two_spus() -> None:
    """Each partition's records go to its leader."""
    async with ScriptedCluster({"t": 2}, spus=2) as peer, Cluster(peer.target()) as cluster:
        async with Producer(cluster, "t") as producer:
            await producer.send(some(4))
        assert {it.side: batches(it) for it in peer.requests(PRODUCE)} == {FIRST_SPU: [2], FIRST_SPU + 1: [2]}


async def test_concurrent_calls_share_batches() -> None:
    """What comes in the same moment, or while a request is under way, goes together and in order."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        receipts = await asyncio.gather(*(producer.send(some(1, number)) for number in range(100)))
        assert receipts == [[Receipt(0, number, 1)] for number in range(100)]
        assert values(peer) == [b"%d" % number for number in range(100)]
        assert len(peer.requests(PRODUCE)) == 1


async def test_linger() -> None:
    """Records wait for others until they have lingered; a full batch does not."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        async with Producer(cluster, "t", linger=SOON, batch_size=1000) as producer:
            first = producer.submit(some(1))
            await asyncio.sleep(0)
            second = producer.submit(some(1))
            assert await first == [Receipt(0, 0, 1)]
            assert await second == [Receipt(0, 1, 1)]
            assert [batches(it) for it in peer.requests(PRODUCE)] == [[2]]
        async with Producer(cluster, "t", linger=timedelta(hours=1), batch_size=1000) as producer:
            full = producer.submit(some(40))
            lingering = producer.submit(some(1))
            await peer.wait_for(PRODUCE, 2)
            await producer.flush()
            assert await full
            assert await lingering


async def test_batches_and_requests_have_bounds() -> None:
    """A request has so many bytes at most, and each batch so many; a larger record has a batch of its own."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        async with Producer(cluster, "t", batch_size=1000, max_request_size=5000) as producer:
            large = Record(bytes(4900))
            await producer.send([*some(100), large, Record(bytes(5000))])
            with pytest.raises(RecordTooLargeError, match="a record of 5001 bytes is too large"):
                await producer.send([*some(1), Record(bytes(5001))])
            with pytest.raises(RecordTooLargeError):
                producer.submit([Record(bytes(4000), key=bytes(1001))])
        async with Producer(cluster, "t") as producer:
            most = 1_000_000 - 61 - 32
            await producer.send([Record(bytes(most))])
            with pytest.raises(RecordTooLargeError, match=f"at most {most}"):
                await producer.send([Record(bytes(most + 1))])
        sizes = [[len(part.batches) for part in produced(it).topics[0].partitions] for it in peer.requests(PRODUCE)]
        assert all(sum(request) <= 5000 + 61 + 32 for request in sizes[:-1])
        assert max(sizes[-1]) < 1_000_000
        assert all(check_batch(data) for data in peer.log["t", 0])


@pytest.mark.parametrize("fault", [close, cut, says("NotLeaderForPartition"), says("TopicNotFound")])
async def test_tried_again_in_order(fault: Any) -> None:
    """What is not known to have arrived is sent again before anything that came later."""
    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        async with Producer(cluster, "t", batch_size=200) as producer:
            peer.script(FIRST_SPU, PRODUCE, fault, fault)
            receipts = await asyncio.gather(*(producer.send(some(3, 3 * number)) for number in range(20)))
        assert receipts == [[Receipt(0, 3 * number, 3)] for number in range(20)]
        assert values(peer) == [b"%d" % number for number in range(60)]


async def test_a_lost_answer_is_a_repeat() -> None:
    """Records whose acknowledgement was lost are there twice: at least once is the promise."""

    async def lose(asked: Asked) -> None:
        await asked.connection.peer.append("t", 0, produced(asked).topics[0].partitions[0].batches)
        asked.connection.close()

    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        async with Producer(cluster, "t") as producer:
            peer.script(FIRST_SPU, PRODUCE, lose)
            assert await producer.send(some(2)) == [Receipt(0, 2, 2)]
        assert values(peer) == [b"0", b"1"] * 2


async def test_an_answer_that_never_comes() -> None:
    """After the time for an answer the request is made again, on another connection."""
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target(request_timeout=SOON), chance=lambda: 0) as cluster,
        Producer(cluster, "t") as producer,
    ):
        peer.script(FIRST_SPU, PRODUCE, silent)
        assert await producer.send(some(1)) == [Receipt(0, 0, 1)]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (says("StorageError"), ClusterRefusedError),
        (says("RequestTimedOut", 1500, 0), ClusterTimeoutError),
        (says("MessageTooLarge"), RecordTooLargeError),
        (answer(b"\0\0\0\0\0\0\0\0"), ClusterProtocolError),
        (answer(b"\0"), ClusterProtocolError),
    ],
)
async def test_refused(fault: Any, kind: type[Exception]) -> None:
    """What the cluster refuses is an error of the call, and what comes next goes on."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        peer.script(FIRST_SPU, PRODUCE, fault)
        with pytest.raises(kind):
            await producer.send(some(1))
        assert await producer.send(some(1)) == [Receipt(0, 0, 1)]


async def test_one_partition_of_a_request_is_refused() -> None:
    """Each partition has its own answer."""
    async with ScriptedCluster({"t": 2}) as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        body = b"\0\0\0\1\0\1t\0\0\0\2" + bytes(5) + b"\x38" + b"\xff" * 24 + b"\0\0\0\1" + bytes(26) + bytes(4)
        peer.script(FIRST_SPU, PRODUCE, answer(body))
        first = producer.submit(some(1), partition=0)
        second = producer.submit(some(1), partition=1)
        assert await second == [Receipt(1, 0, 1)]
        with pytest.raises(ClusterRefusedError, match="cannot append to partition 0 of topic t: a storage error"):
            await first


async def test_the_deadline() -> None:
    """A cluster that is gone is tried until the records have had their time, and the pauses grow."""
    clock = VirtualClock()
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target(), clock=clock, chance=lambda: 1) as cluster,
        Producer(cluster, "t", timeout=timedelta(seconds=2)) as producer,
    ):
        peer.shut(FIRST_SPU)
        sent = producer.submit(some(1))
        pauses = []
        while not sent.done():
            pauses.append(await clock.next_wake())
            await asyncio.sleep(0)
            await _settled(sent, clock)
        with pytest.raises(ClusterUnreachableError, match=r"SPU 5001 at .*: connection refused"):
            await sent
        assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 0.45])
        await peer.listen(FIRST_SPU)
        assert await producer.send(some(1)) == [Receipt(0, 0, 1)]


async def test_what_had_its_time_before_it_could_go() -> None:
    """A process that stood still while records lingered sends them no more; what comes then goes as ever."""
    clock = VirtualClock()
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target(), clock=clock) as cluster,
        Producer(cluster, "t", linger=SOON, timeout=timedelta(seconds=2)) as producer,
    ):
        sent = producer.submit(some(1))
        clock.advance(2)
        with pytest.raises(ClusterTimeoutError, match="the time for it had passed before it could be sent"):
            await sent
        assert peer.log == {}
        assert await producer.send(some(1, 1)) == [Receipt(0, 0, 1)]
        assert values(peer) == [b"1"]


async def _settled(sent: asyncio.Future[Any], clock: VirtualClock) -> None:
    """Wait until the producer sleeps again, or has given up."""
    sleeping = asyncio.ensure_future(clock.sleeping())
    await asyncio.wait({sleeping, sent}, return_when=asyncio.FIRST_COMPLETED)
    sleeping.cancel()


async def test_a_leader_that_moved() -> None:
    """What the old leader does not take goes to the new one, before what comes later."""
    async with (
        ScriptedCluster(spus=2) as peer,
        Cluster(peer.target(), chance=lambda: 0) as cluster,
        Producer(cluster, "t") as producer,
    ):
        assert await producer.send(some(1)) == [Receipt(0, 0, 1)]
        peer.tell = False
        peer.leaders["t", 0] = FIRST_SPU + 1
        sent = [producer.submit(some(1, number)) for number in range(1, 4)]
        await peer.wait_for(PRODUCE, 2)
        peer.tell = True
        peer.announce()
        assert [await it for it in sent] == [[Receipt(0, number, 1)] for number in range(1, 4)]
        assert peer.requests(PRODUCE)[-1].side == FIRST_SPU + 1
        assert values(peer) == [b"0", b"1", b"2", b"3"]


async def test_nobody_leads_yet() -> None:
    """Records wait for a leader, and go once there is one."""
    clock = VirtualClock()
    async with ScriptedCluster({"t": 2}) as peer:
        peer.leaders["t", 1] = 0
        async with Cluster(peer.target(), clock=clock) as cluster, Producer(cluster, "t") as producer:
            sent = [producer.submit(some(1), partition=number) for number in (0, 1)]
            assert await sent[0] == [Receipt(0, 0, 1)]
            await clock.next_wake()
            await clock.sleeping()
            peer.leaders.clear()
            peer.announce()
            assert await sent[1] == [Receipt(1, 0, 1)]


async def test_the_sc_is_gone_while_nobody_leads() -> None:
    """Without a leader and without an SC to ask records wait all the same, until their deadline."""
    clock = VirtualClock()
    async with ScriptedCluster() as peer:
        peer.leaders["t", 0] = 0
        async with (
            Cluster(peer.target(), clock=clock) as cluster,
            Producer(cluster, "t", timeout=timedelta(seconds=1)) as producer,
        ):
            peer.shut(0)
            sent = producer.submit(some(1))
            while not sent.done():
                await clock.next_wake()
                await _settled(sent, clock)
            with pytest.raises(ClusterUnreachableError, match="the SC at"):
                await sent


async def test_a_topic_that_is_deleted() -> None:
    """Records for a topic that is gone are not kept waiting."""
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target(), chance=lambda: 0) as cluster,
        Producer(cluster, "t") as producer,
    ):
        gone = [Changed(True, it) for it in (*peer.objects_of("Partition"), *peer.objects_of("Topic"))]
        peer.topics.clear()
        peer.announce(*gone)
        await cluster.topics()
        with pytest.raises(TopicNotFoundError, match="topic not found: t"):
            await producer.send(some(1))


async def test_throttle() -> None:
    """A cluster that asks for a pause gets it, but not for ever."""
    clock = VirtualClock()
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target(), clock=clock) as cluster,
        Producer(cluster, "t") as producer,
    ):
        peer.throttle = 1500
        assert await producer.send(some(1)) == [Receipt(0, 0, 1)]
        later = producer.submit(some(1, 1))
        assert await clock.sleeping() == 1.5
        assert len(peer.requests(PRODUCE)) == 1
        peer.throttle = 0x7FFFFFFF
        clock.advance(1.5)
        assert await later == [Receipt(0, 1, 1)]
        assert await clock.next_wake() == 60


async def test_back_pressure() -> None:
    """Who sends more than may be under way waits, in the order of coming."""
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target()) as cluster,
        Producer(cluster, "t", queue_bytes=100) as producer,
    ):
        peer.script(FIRST_SPU, PRODUCE, silent)
        tasks = [asyncio.ensure_future(producer.send([Record(bytes(50))])) for _ in range(6)]
        await peer.wait_for(PRODUCE)
        assert producer._room.taken == 2 * 82
        tasks[2].cancel()
        peer.drop(FIRST_SPU)
        done = [await it for it in (*tasks[:2], *tasks[3:])]
        assert done == [[Receipt(0, number, 1)] for number in range(5)]


async def test_cancelled_just_as_there_is_room() -> None:
    """Room that was given to who has gone is given on."""
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target()) as cluster,
        Producer(cluster, "t", queue_bytes=10) as producer,
    ):
        producer._room.force(10)
        task = asyncio.ensure_future(producer.send(some(1)))
        await asyncio.sleep(0)
        producer._room.release(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert producer._room.taken == 0
        assert peer.requests(PRODUCE) == []


async def test_a_cancelled_call_takes_nothing_back() -> None:
    """Cancelling means that nobody waits; the records go."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        async with Producer(cluster, "t") as producer:
            producer.submit(some(1)).cancel()
            assert await producer.send(some(1, 1)) == [Receipt(0, 1, 1)]
        assert values(peer) == [b"0", b"1"]


async def test_leaving() -> None:
    """Leaving a producer waits for what is under way, and then nothing is taken any more."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        async with Producer(cluster, "t", linger=timedelta(hours=1)) as producer:
            sent = producer.submit(some(1))
        assert await sent == [Receipt(0, 0, 1)]
        with pytest.raises(ClusterUnreachableError, match="was closed"):
            await producer.send(some(1))


async def test_leaving_by_an_error() -> None:
    """An error that leaves a producer ends what is under way, and who waits for room."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.script(FIRST_SPU, PRODUCE, silent)
        sent: list[asyncio.Future[Any]] = []

        async def leave() -> None:
            async with Producer(cluster, "t", queue_bytes=10, batch_size=100) as producer:
                sent.extend(asyncio.ensure_future(producer.send(some(1))) for _ in range(2))
                await peer.wait_for(PRODUCE)
                sent.append(producer.submit(some(1), partition=0))
                raise KeyError

        with pytest.raises(KeyError):
            await leave()
        for it in sent:
            with pytest.raises(ClusterUnreachableError, match="was closed"):
                await it


async def test_a_mistake_in_a_lane() -> None:
    """What nobody foresaw reaches those who wait, and those who come; nobody is left waiting."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        sent = producer.submit([Record("text")])  # type: ignore[arg-type]
        waiting = producer.submit(some(1))
        for it in (sent, waiting):
            with pytest.raises(TypeError):
                await it
        with pytest.raises(TypeError):
            await producer.send(some(1))


async def test_a_time_that_does_not_fit() -> None:
    """A batch that cannot be encoded is an error of those who are in it, and of nobody else."""
    bad = Record(b"v", timestamp=1 << 80)
    async with (
        ScriptedCluster() as peer,
        Cluster(peer.target()) as cluster,
        Producer(cluster, "t", batch_size=100) as producer,
    ):
        sent = [producer.submit([it]) for it in (*some(1), bad, bad, *some(1, 1))]
        assert [await sent[0], await sent[3]] == [[Receipt(0, 0, 1)], [Receipt(0, 1, 1)]]
        for it in sent[1:3]:
            with pytest.raises(BatchError, match="a time that does not fit"):
                await it
        with pytest.raises(BatchError):
            await producer.send([bad, bad])


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compression(codec: str) -> None:
    """Batches are compressed as the producer wants, or as the topic says."""
    async with ScriptedCluster({"t": 1, "only": 1}) as peer, Cluster(peer.target()) as cluster:
        algorithm = objects.Algorithm[codec.upper()]
        peer.topics["only"] = objects.TopicSpec(compression=algorithm)
        peer.announce()
        await cluster.topics()
        for topic, wish in (("t", codec), ("only", None)):
            async with Producer(cluster, topic, compression=wish) as producer:
                await producer.send(some(10))
            assert decode_header(peer.log[topic, 0][0]).attributes == Compression[codec.upper()]
            assert values(peer, topic) == [b"%d" % number for number in range(10)]
        other = "gzip" if codec != "gzip" else "lz4"
        with pytest.raises(TopicError, match=f"topic only takes only batches under {codec}, not under {other}"):
            await Producer(cluster, "only", compression=other).__aenter__()


async def test_isolation() -> None:
    """Who wants all copies says so."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        async with Producer(cluster, "t", isolation=Isolation.READ_COMMITTED) as producer:
            await producer.send(some(1))
        assert produced(peer.requests(PRODUCE)[0]).acks == -1


async def test_more_partitions() -> None:
    """Partitions that are added later get their turn."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster, Producer(cluster, "t") as producer:
        await producer.send(some(1))
        peer.topics["t"] = objects.TopicSpec(objects.Computed(2))
        peer.announce()
        await cluster.topics()
        assert [it.partition for it in await producer.send(some(2))] == [0, 1]


async def test_no_such_topic() -> None:
    """A producer for a topic that does not exist is refused at once."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        with pytest.raises(TopicNotFoundError):
            await Producer(cluster, "nope").__aenter__()


async def test_a_topic_not_told_yet() -> None:
    """A topic that only the list has is as good."""
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        peer.tell = False
        await cluster.create_topic("new")
        async with Producer(cluster, "new") as producer:
            sent = producer.submit(some(1))
            peer.tell = True
            peer.announce()
            assert await sent == [Receipt(0, 0, 1)]


@pytest.mark.parametrize("fault", [close, says("NotLeaderForPartition")])
async def test_append(fault: Any) -> None:
    """Encoded batches are appended in one request, and again while they are not known to be there."""
    encoded = [encode_batch(some(3), 1), encode_batch(some(2, 3), 1, Compression.ZSTD)]
    async with ScriptedCluster() as peer, Cluster(peer.target(), chance=lambda: 0) as cluster:
        assert await cluster.append("t", 0, encoded) == Receipt(0, 0, 5)
        peer.script(FIRST_SPU, PRODUCE, fault)
        assert await cluster.append("t", 0, encoded[:1], isolation=Isolation.READ_COMMITTED) == Receipt(0, 5, 3)
        assert [batches(it) for it in peer.requests(PRODUCE)] == [[3], [3], [3]]
        assert values(peer) == [b"0", b"1", b"2", b"3", b"4", b"0", b"1", b"2"]


async def test_what_cannot_be_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, too much, and what the cluster refuses."""
    monkeypatch.setattr("headwater.cluster.append.MOST_APPEND_BYTES", 100)
    async with ScriptedCluster() as peer, Cluster(peer.target()) as cluster:
        with pytest.raises(BatchError, match="nothing to append"):
            await cluster.append("t", 0, [])
        with pytest.raises(RecordTooLargeError, match="do not fit into a request"):
            await cluster.append("t", 0, [encode_batch(some(1), 1)] * 2)
        peer.script(FIRST_SPU, PRODUCE, says("StorageError"))
        with pytest.raises(ClusterRefusedError, match="storage error"):
            await cluster.append("t", 0, [encode_batch(some(1), 1)])
        with pytest.raises(PartitionNotFoundError):
            await cluster.append("t", 1, [encode_batch(some(1), 1)])


async def test_an_append_has_its_own_patience() -> None:
    """How long a lost answer is waited for and repeated can be said for one append."""
    clock = VirtualClock()
    async with ScriptedCluster() as peer, Cluster(peer.target(), clock=clock) as cluster:
        peer.shut(FIRST_SPU)
        batch: Sequence[Any] = [encode_batch(some(1), 1)]
        with pytest.raises(ClusterUnreachableError):
            await cluster.append("t", 0, batch, patience=timedelta(0))
        assert clock.monotonic() == 0
