"""Checkpoints that are kept in the cluster: found by whoever goes on, whatever stands between, and never behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from engine.faraway import Faraway, faraway
from headwater.cluster import Cluster
from headwater.cluster import Target as Whither
from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from headwater.core.errors import ClusterError
from headwater.core.record import Record, StoredRecord
from headwater.core.topic import TopicSpec
from headwater.engine.checkpoints import (
    FAR,
    LONGEST_WINDOW,
    REVIEW,
    STALE,
    TOPIC,
    Checkpoints,
    Kept,
    newest,
    search,
    windows,
)
from headwater.engine.oncluster import OnCluster
from headwater.log import Log, Offset
from headwater.testing import Answer, Received, VirtualClock


def stored(name: str, kept: Kept | bytes, offset: int = 0) -> StoredRecord:
    value = kept if isinstance(kept, bytes) else msgspec.json.encode(kept)
    return StoredRecord(value, name.encode(), 0, 0, offset)


@given(st.integers(0, 100_000), st.integers(0, 200_000))
def test_windows_cover_everything_once_from_the_end(start: int, length: int) -> None:
    """They join, are never longer than the bound, and the first ones are short."""
    ranges = list(windows(start, start + length))
    assert sum(end - begin for begin, end in ranges) == length
    position = start + length
    for begin, end in ranges:
        assert end == position
        assert 0 < end - begin <= LONGEST_WINDOW
        position = begin
    assert position == start
    assert len(ranges) <= 4 + length // LONGEST_WINDOW


@given(st.permutations([Kept(generation, sequence) for generation in range(3) for sequence in range(3)]))
def test_the_newest_counts_in_whatever_order(order: list[Kept]) -> None:
    """A process that nobody has ended yet cannot hide what its successor keeps."""
    assert newest([stored("cats", kept) for kept in order], {"cats"}) == {"cats": Kept(2, 2)}


def test_what_is_no_checkpoint() -> None:
    """Records of others are passed over, and one that does not decode is told."""
    with capture_logs() as lines:
        found = newest([stored("dogs", b"{"), stored("cats", Kept(1)), stored("cats", b"nonsense", 7)], {"cats"})
    assert found == {"cats": Kept(1)}
    assert [(line["connector"], line["offset"]) for line in lines] == [("cats", 7)]


@asynccontextmanager
async def checkpoints(it: Faraway, clock: VirtualClock | None = None) -> AsyncIterator[Checkpoints]:
    """Open the checkpoints of another process."""
    whither = Whither("127.0.0.1", it.ports[0], patience=it.patience)
    async with (
        Cluster(whither) as cluster,
        Checkpoints(cluster, clock=clock or VirtualClock(), patience=it.patience) as opened,
    ):
        yield opened


@asynccontextmanager
async def pod(it: Faraway, number: int, *configs: ConnectorConfig) -> AsyncIterator[None]:
    """Run connectors as a pod does: with a data directory that nobody has used before."""
    whither = Whither("127.0.0.1", it.ports[0], patience=it.patience)
    async with (
        Log.open(it.theirs.with_name(f"pod-{number}")) as keeper,
        Cluster(whither) as cluster,
        Checkpoints(cluster, patience=it.patience) as kept,
        OnCluster(cluster, keeper, configs, patience=it.patience, checkpoints=kept) as target,
    ):
        stop = asyncio.Event()
        task = asyncio.create_task(it.engine(target).run(configs, stop))
        try:
            yield
        finally:
            stop.set()
            await task


def counted(request: Received) -> Answer:
    """Answer with the number that follows the one that the connector has, which its ETag says."""
    number = int(request.header("if-none-match") or 0)
    return Answer(body=b"%d" % number, headers=(("etag", str(number + 1)),))


async def test_another_pod_goes_on(tmp_path: Path) -> None:
    """What one has stored the next one knows, though nothing of its data directory is left."""
    async with faraway(tmp_path) as it:
        it.server.route("/x", counted)
        for number in range(3):
            async with pod(it, number, it.config()):
                await it.polls(2)
        assert await it.values() == [b"0", b"1", b"2", b"3", b"4", b"5"]
        kept = newest(await it.records(TOPIC), {"cats"})["cats"]
        assert kept.generation == 3
        checkpoint = decode_checkpoint(bytes(kept.checkpoint))
        assert (checkpoint.exchanges, checkpoint.records, checkpoint.etag) == (6, 6, "6")


async def test_the_topic_is_small_by_its_settings(tmp_path: Path) -> None:
    """It is made when it is missing, with one partition and a bound."""
    async with faraway(tmp_path) as it, checkpoints(it) as kept:
        assert await kept.load("cats") is None
        info = it.log.info(TOPIC)
        assert info is not None
        assert info.spec.partitions == 1
        assert info.spec.max_partition_bytes == 256 * 1024 * 1024


async def test_connectors_that_start_together_are_looked_for_together(tmp_path: Path) -> None:
    """One search and one request for all of their claims; what is kept at once shares a batch, too."""
    names = [f"c{number}" for number in range(50)]
    async with faraway(tmp_path) as it, checkpoints(it) as kept:
        assert await asyncio.gather(*map(kept.load, names)) == [None] * 50
        assert [batch.count for batch in it.batches(TOPIC)] == [50]
        await asyncio.gather(*(kept.keep(name, b'{"exchanges":1}') for name in names))
        assert [batch.count for batch in it.batches(TOPIC)] == [50, 50]


async def test_a_connector_is_found_far_behind_others(tmp_path: Path) -> None:
    """However much others have kept since: reading goes back in growing steps, and ends where all were found."""
    async with faraway(tmp_path) as it:
        async with checkpoints(it) as kept:
            await kept.load("cats")
            await kept.keep("cats", b'{"exchanges":7}')
        topic = await it.log.topic(TOPIC)
        for number in range(4):
            value = msgspec.json.encode(Kept(1, number))
            await topic.append([Record(value, b"dogs")] * 1000)
        async with Cluster(Whither("127.0.0.1", it.ports[0])) as cluster:
            found = await search(cluster, {"cats", "dogs", "nobody"})
        assert (found["cats"].sequence, found["dogs"].sequence) == (2, 3)
        assert set(found) == {"cats", "dogs"}
        async with checkpoints(it) as kept:
            assert await kept.load("cats") == b'{"exchanges":7}'


async def test_partitions_that_somebody_added(tmp_path: Path) -> None:
    """A key may stand in several partitions, and the newest of all counts."""
    async with faraway(tmp_path) as it:
        await it.log.create_topic(TOPIC, TopicSpec(partitions=3))
        topic = await it.log.topic(TOPIC)
        for partition, sequence in ((0, 5), (1, 9), (2, 1)):
            await topic.append([Record(msgspec.json.encode(Kept(1, sequence)), b"cats")], partition=partition)
        async with Cluster(Whither("127.0.0.1", it.ports[0])) as cluster:
            assert (await search(cluster, {"cats"}))["cats"].sequence == 9
        async with checkpoints(it) as kept:
            await kept.load("cats")
            await kept.keep("cats", b"{}")
        async with Cluster(Whither("127.0.0.1", it.ports[0])) as cluster:
            assert (await search(cluster, {"cats"}))["cats"].age == (0, 2, 11)


async def test_a_pod_that_nobody_has_ended_hides_nothing(tmp_path: Path) -> None:
    """What an older process keeps after its successor has begun does not count."""
    async with faraway(tmp_path) as it, checkpoints(it) as old:
        await old.load("cats")
        await old.keep("cats", b'{"exchanges":1}')
        async with checkpoints(it) as new:
            assert await new.load("cats") == b'{"exchanges":1}'
            await new.keep("cats", b'{"exchanges":2}')
            for number in range(10, 15):
                await old.keep("cats", b'{"exchanges":%d}' % number)
        async with checkpoints(it) as third:
            assert await third.load("cats") == b'{"exchanges":2}'


async def test_what_is_far_behind_is_restated(tmp_path: Path) -> None:
    """By records and by time; so retention takes nothing of who runs, and whoever starts finds it soon."""
    async with faraway(tmp_path) as it:
        clock = VirtualClock()
        async with checkpoints(it, clock) as kept:
            await kept.load("cats")
            await kept.keep("cats", b'{"exchanges":3}')
            assert await kept.far_behind() == {}
            topic = await it.log.topic(TOPIC)
            await topic.append([Record(b"{}", b"dogs")] * (FAR + 1))
            assert set(await kept.far_behind()) == {"cats"}
            await clock.sleeping()
            clock.advance(REVIEW)
            await clock.sleeping()
            (last,) = await topic.read(Offset.end(1))
            assert (last.key, last.offset) == (b"cats", FAR + 3)
            assert newest([last], {"cats"})["cats"].checkpoint == msgspec.Raw(b'{"exchanges":3}')
            assert await kept.far_behind() == {}
            clock.advance(STALE)
            assert set(await kept.far_behind()) == {"cats"}


async def test_a_topic_that_somebody_deletes(tmp_path: Path) -> None:
    """It is made anew, and the next checkpoint is in it."""
    async with faraway(tmp_path) as it, checkpoints(it) as kept:
        await kept.load("cats")
        await it.log.delete_topic(TOPIC)
        await kept.keep("cats", b'{"exchanges":4}')
        async with checkpoints(it) as again:
            assert await again.load("cats") == b'{"exchanges":4}'


async def test_a_cluster_that_is_away(tmp_path: Path) -> None:
    """Loading and keeping say so, and succeed when it is back."""
    async with faraway(tmp_path) as it:
        it.patience = it.patience / 100
        async with checkpoints(it) as kept:
            await kept.load("cats")
            await it.close()
            with pytest.raises(ClusterError):
                await kept.keep("cats", b'{"exchanges":1}')
            with pytest.raises(ClusterError):
                await kept.load("dogs")
            await it.open()
            await kept.keep("cats", encode_checkpoint(Checkpoint(exchanges=2)))
            assert await kept.load("dogs") is None
        async with checkpoints(it) as again:
            assert await again.load("cats") == b'{"exchanges":2}'


async def test_records_that_have_arrived_are_not_sent_again(tmp_path: Path) -> None:
    """While checkpoints are refused the records of an exchange are in the topic once."""
    async with faraway(tmp_path) as it:
        it.server.route("/x", counted)
        it.patience = it.patience / 100
        real, refusals = Checkpoints.keep, iter([1, 2])

        async def keep(self: Checkpoints, connector: str, checkpoint: bytes) -> None:
            if next(refusals, None):
                raise ClusterError.__subclasses__()[1]("not now")
            await real(self, connector, checkpoint)

        with pytest.MonkeyPatch.context() as patch, capture_logs():
            patch.setattr(Checkpoints, "keep", keep)
            async with pod(it, 0, it.config()):
                await it.polls(4)
        assert await it.values() == [b"0", b"1"]
