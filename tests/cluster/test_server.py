"""Our client against our server: the embedded log over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from headwater.cluster import Cluster, Producer, Target
from headwater.core.errors import OffsetOutOfRangeError, TopicExistsError, TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import Offset, Receipt, TopicSpec
from headwater.fluvio.batch import encode_batches
from headwater.log import Log
from headwater.server.server import Listen, Server
from headwater.testing.certificates import Certificates

LISTEN = Listen(sc_port=0, spu_port=0)


def some(count: int, first: int = 0) -> list[Record]:
    return [Record(b"%d" % number) for number in range(first, first + count)]


async def test_topics(tmp_path: Path) -> None:
    """Topics are created, described and deleted."""
    async with (
        Log.open(tmp_path) as log,
        Server(log, LISTEN) as server,
        Cluster(Target("127.0.0.1", server.sc_port)) as cluster,
    ):
        spec = TopicSpec(partitions=2, retention=timedelta(hours=1), compression="gzip")
        await cluster.create_topic("t", spec)
        assert (await cluster.topic("t")).spec == spec
        assert [it.name for it in await cluster.topics()] == ["t"]
        with pytest.raises(TopicExistsError):
            await cluster.create_topic("t")
        assert [it.name for it in await cluster.partitions()] == ["t-0", "t-1"]
        await cluster.delete_topic("t")
        with pytest.raises(TopicNotFoundError):
            await cluster.topic("t")
        with pytest.raises(TopicNotFoundError):
            await cluster.offsets("t")
        assert await cluster.modules() == []


async def test_records(tmp_path: Path) -> None:
    """What the client sends is in the log, and what is in the log comes to the client."""
    async with (
        Log.open(tmp_path) as log,
        Server(log, LISTEN) as server,
        Cluster(Target("127.0.0.1", server.sc_port)) as cluster,
    ):
        await cluster.create_topic("t", TopicSpec(partitions=3))
        async with Producer(cluster, "t") as producer:
            await asyncio.gather(*(producer.send(some(30, 30 * number)) for number in range(10)))
            await producer.send([Record(b"keyed", key=b"k", timestamp=7)])
        topic = await log.topic("t")
        kept = [it for partition in range(3) for it in await topic.read(partition=partition)]
        assert sorted(int(it.value) for it in kept if it.key is None) == list(range(300))
        assert [(it.key, it.timestamp) for it in kept if it.key is not None] == [(b"k", 7)]
        assert [it for partition in range(3) for it in await cluster.read("t", partition=partition)] == kept
        assert await cluster.append("t", 2, encode_batches(some(2), 1)) == Receipt(2, 100, 2)
        assert await cluster.offsets("t", 2) == (0, 102)
        with pytest.raises(OffsetOutOfRangeError):
            await anext(cluster.follow("t", Offset.at(1000), partition=0))


async def test_follow(tmp_path: Path) -> None:
    """Records that are appended to the log come to who follows."""
    async with (
        Log.open(tmp_path) as log,
        Server(log, LISTEN) as server,
        Cluster(Target("127.0.0.1", server.sc_port)) as cluster,
    ):
        await log.create_topic("t", TopicSpec(partitions=2))
        topic = await log.topic("t")
        await topic.append(some(1), partition=0)
        async with aclosing(cluster.follow("t", Offset.beginning())) as records:
            assert (await anext(records)).value == b"0"
            task = asyncio.ensure_future(anext(records))
            await topic.append(some(1, 5), partition=1)
            found = await task
            assert (found.value, found.partition, found.offset) == (b"5", 1, 0)


async def test_consumers(tmp_path: Path) -> None:
    """The log keeps how far a consumer has got."""
    async with (
        Log.open(tmp_path) as log,
        Server(log, LISTEN) as server,
        Cluster(Target("127.0.0.1", server.sc_port)) as cluster,
    ):
        await log.create_topic("t")
        await (await log.topic("t")).append(some(4))
        async with cluster.stream("t", 0, Offset.beginning(), consumer="me") as stream:
            await anext(aiter(stream))
            await stream.commit(1)
        assert [(it.consumer, it.offset) for it in await cluster.consumer_offsets("me")] == [("me", 1)]
        async with cluster.stream("t", 0, Offset.beginning(), consumer="me") as stream:
            await anext(aiter(stream))
            assert stream.begin == 2
        await cluster.delete_consumer_offset("me", "t")
        assert await cluster.consumer_offsets() == []


async def test_a_server_that_comes_back(tmp_path: Path) -> None:
    """Whoever sends and whoever follows goes on over a restart; each record is there once and in order."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("t")
        async with Server(log, LISTEN) as server:
            listen = Listen(sc_port=server.sc_port, spu_port=server.spu_port)
            cluster = await Cluster(Target("127.0.0.1", server.sc_port)).__aenter__()
            producer = await Producer(cluster, "t").__aenter__()
            assert await producer.send(some(1)) == [Receipt(0, 0, 1)]
            records = cluster.follow("t", Offset.beginning())
            assert (await anext(records)).value == b"0"
            following = asyncio.ensure_future(anext(records))
        sent = producer.submit(some(1, 1))
        async with Server(log, listen):
            assert await sent == [Receipt(0, 1, 1)]
            assert (await following).value == b"1"
            await records.aclose()
            await producer.__aexit__(None, None, None)
            await cluster.close()


async def test_mutual_tls(tmp_path: Path) -> None:
    """Both sides show a certificate, and the SPU has the name of its own."""
    certificates = Certificates(tmp_path)
    listen = Listen(sc_port=0, spu_port=0, tls=certificates.context("fluvio.local", "*.fluvio.local", clients=True))
    async with Log.open(tmp_path) as log, Server(log, listen) as server:
        await log.create_topic("t")
        target = Target(
            "127.0.0.1",
            server.sc_port,
            tls=certificates.client_context("client"),
            server_name=lambda key: "fluvio.local" if key is None else f"{key}.fluvio.local",
        )
        async with Cluster(target) as cluster, Producer(cluster, "t") as producer:
            assert await producer.send(some(3)) == [Receipt(0, 0, 3)]
            assert len(await cluster.read("t")) == 3
