"""Connectors whose records go to a cluster: a real server over a real log, and the checkpoints beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.faraway import faraway
from headwater.config import InvalidConfigError
from headwater.core.errors import TopicExistsError
from headwater.core.exchange import Decision
from headwater.core.record import Record
from headwater.core.topic import Deduplication, TopicSpec
from headwater.fluvio.compression import Compression
from headwater.fluvio.partition import partition_of
from headwater.log import LogReader
from headwater.testing import Answer
from transforms import guests


async def test_records_arrive_and_the_rest_is_kept_here(tmp_path: Path) -> None:
    """Records with null keys on the cluster; checkpoint and ledger, with their places, in the data directory."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        async with it.running(it.config()):
            await it.polls(3)
        assert await it.values() == [b"0", b"1", b"2"]
        assert {record.key for record in await it.records()} == {None}
        checkpoint = await it.checkpoint()
        assert (checkpoint.exchanges, checkpoint.records) == (3, 3)
        entries = await it.keeper.ledger("cats")
        assert [(entry.partition, entry.offset, entry.topic) for entry in entries] == [
            (0, 0, "cats"), (0, 1, "cats"), (0, 2, "cats"),
        ]  # fmt: skip
        assert await it.keeper.topics() == []
        with LogReader(it.theirs) as reader:
            assert reader.checkpoint("cats") is None
            assert reader.ledger(None, 10) == []


async def test_a_poll_without_records_leaves_an_entry(tmp_path: Path) -> None:
    """What was unchanged goes to the ledger here, and nothing to the cluster."""
    async with faraway(tmp_path) as it:
        it.server.route("/x", Answer(body=b"a", headers=(("etag", '"1"'),)), Answer(304))
        async with it.running(it.config()):
            await it.polls(3)
        assert await it.values() == [b"a"]
        await it.until(lambda: len(it.ledger()) == 3)
        assert [entry.decision for entry in it.ledger()] == [
            Decision.ACCEPTED, Decision.UNCHANGED, Decision.UNCHANGED,
        ]  # fmt: skip


TOPIC = """
apiVersion: 0.2.0
meta:
  name: cats
  type: http-source
  version: 0.3.0
  topic:
    version: 0.1.0
    meta: {{name: cats}}
    partition: {{count: 3, max-size: 1 GB, replication: 1, ignore-rack-assignment: true}}
    retention: {{time: 2d, segment-size: 64 MB}}
    compression: {{type: gzip}}
    deduplication:
      bounds: {{count: 50, age: 1m}}
      filter: {{transform: {{uses: infinyon-labs/dedup-filter@0.0.2}}}}
http:
  endpoint: {url}
  interval: 10s
"""


async def test_the_topic_is_made_as_the_configuration_says(tmp_path: Path) -> None:
    """Every setting of a 0.2.0 topic object comes to the cluster, and batches are in its compression."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        async with it.running(it.config(text=TOPIC.format(url=f"{it.server.url}/x"))):
            await it.polls(4)
        info = it.log.info("cats")
        assert info is not None
        assert info.spec == TopicSpec(
            partitions=3,
            retention=timedelta(days=2),
            max_partition_bytes=10**9,
            compression="gzip",
            segment_bytes=64_000_000,
            ignore_rack=True,
            deduplication=Deduplication("infinyon-labs/dedup-filter@0.0.2", 50, timedelta(minutes=1)),
        )
        assert it.codecs() == {Compression.GZIP}
        # Without keys in turn over the partitions.
        assert [[record.value for record in await it.records(partition=number)] for number in range(3)] == [
            [b"0", b"3"], [b"1"], [b"2"],
        ]  # fmt: skip


async def test_no_topic_is_made_when_it_is_not_to_be(tmp_path: Path) -> None:
    """`create_topic: false` refuses to start without the topic, and takes one that is there."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        config = it.config(more="create_topic: false\n")
        async with it.target() as target:
            with pytest.raises(InvalidConfigError, match="there is no topic 'cats', and create_topic is false"):
                await it.engine(target).prepare([config])
        assert await it.log.topics() == []
        await it.log.create_topic("cats", TopicSpec(partitions=2))
        async with it.running(config):
            await it.polls(2)
        assert {record.partition for record in await it.records()} == {0, 1}


async def test_records_with_keys_go_by_their_keys(tmp_path: Path) -> None:
    """A key has one partition, the one that stock clients choose; one poll may fill several, in one exchange."""
    async with faraway(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=4))
        it.server.route("/x", Answer.json([{"n": number} for number in range(12)]))
        config = it.config(more="  record_id: true\ntransforms:\n  - uses: infinyon-labs/array-map-json\n")
        async with it.running(config):
            await it.polls(1)
        records = await it.records()
        assert len(records) == 12
        assert all(record.partition == partition_of(record.key or b"", 4) for record in records)
        assert len({record.key for record in records}) == 12
        (entry,) = it.ledger()
        assert entry.records == 12
        assert entry.partition in {record.partition for record in records}


async def test_how_batches_are_put_together(tmp_path: Path) -> None:
    """batch-size bounds a batch, compression is the producer's, linger lets connectors share one."""
    async with faraway(tmp_path) as it:
        it.server.route("/big", Answer.json([f"{number:0100d}" for number in range(40)]))
        it.server.route("/x", Answer(body=b"one"))
        it.server.route("/y", Answer(body=b"two"))
        big = it.config(
            "/big",
            "big",
            "transforms:\n  - uses: infinyon-labs/array-map-json\nproducer:\n  batch-size: 1 KB\n  compression: zstd\n",
        )
        shared = "producer:\n  linger: 400ms\n"
        async with it.running(
            big, it.config("/x", "x", shared, topic="pets"), it.config("/y", "y", shared, topic="pets")
        ):
            await it.polls(1, connectors=3)
        assert it.codecs("big") == {Compression.ZSTD}
        counts = [batch.count for batch in it.batches("big")]
        assert sum(counts) == 40
        assert 5 <= max(counts) <= 8
        assert [batch.count for batch in it.batches("pets")] == [2]
        assert sorted(await it.values("pets")) == [b"one", b"two"]


async def test_dead_letters_go_to_the_cluster_too(tmp_path: Path) -> None:
    """What a module refuses is in the dead-letter topic of the cluster, which is made for it."""
    async with faraway(tmp_path) as it:
        it.server.route("/x", Answer(body=b"no json"), Answer(body=b'["a"]'))
        with capture_logs():
            async with it.running(it.config(more="transforms:\n  - uses: infinyon-labs/array-map-json\n")):
                await it.polls(2)
        assert await it.values() == [b'"a"']
        assert b"no json" in (await it.values("cats-dead-letter"))[0]
        assert [entry.rejected for entry in it.ledger()] == [1, 0]


async def test_modules_are_found_on_the_cluster_by_name(tmp_path: Path) -> None:
    """The cluster's module of a name is taken, and what it has not comes from elsewhere."""
    async with faraway(tmp_path) as it:
        it.load("upper", guests.upper_map())
        it.server.route("/x", Answer(body=b'["a","b"]'))
        config = it.config(more="transforms:\n  - uses: upper\n  - uses: infinyon-labs/array-map-json\n")
        async with it.running(config):
            await it.polls(1)
        assert await it.values() == [b'"A"', b'"B"']


async def test_a_module_looks_back_into_the_clusters_topic(tmp_path: Path) -> None:
    """The newest records of all partitions, by time, are what it is shown."""
    async with faraway(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=2))
        topic = await it.log.topic("cats")
        for number in range(6):
            await topic.append([Record(b"%d" % number, None, 1000 + number)], partition=number % 2)
        async with it.target() as target:
            assert [record.value for record in await target.last("cats", 3)] == [b"3", b"4", b"5"]
            assert len(await target.last("cats", 99)) == 6


async def test_topics_that_are_there_already(tmp_path: Path) -> None:
    async with faraway(tmp_path) as it, it.target() as target:
        made = await target.create_topic("cats")
        assert (made.name, made.spec) == ("cats", TopicSpec())
        with pytest.raises(TopicExistsError):
            await target.create_topic("cats")
        assert [topic.name for topic in await target.topics()] == ["cats"]
