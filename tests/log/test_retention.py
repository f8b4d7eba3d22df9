"""Records go when they have had their time, and nothing else ever changes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import TopicNotFoundError
from headwater.core.record import Record
from headwater.log import Log, LogReader, Offset, TopicSpec
from headwater.log.retention import Kept, expired

HOUR = 3_600_000


class Time:
    """A wall clock for the log."""

    now = 100 * HOUR

    def __call__(self) -> int:
        """Return the time that the test set, ms since the Unix epoch."""
        return self.now


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 50))), st.integers(0, 200), st.integers(0, 2000))
def test_what_has_expired(ages: list[tuple[int, int]], kept_ms: int, bound: int) -> None:
    """A prefix goes: each of it too old, or gone before the rest fits; what stays first is young and fits."""
    batches = [Kept(index, 1000 - age, size) for index, (age, size) in enumerate(ages)]
    total = sum(batch.size for batch in batches)
    spec = TopicSpec(retention=timedelta(milliseconds=kept_ms), max_partition_bytes=bound)
    gone = expired(batches, spec, now_ms=1000, size=total)
    left = sum(batch.size for batch in batches[gone:])
    if gone < len(batches):
        assert left <= bound
        assert batches[gone].max_timestamp >= 1000 - kept_ms
    else:
        assert left == 0
    assert expired(batches, TopicSpec(retention=None), now_ms=1000, size=total) == 0


async def test_old_records_go_and_offsets_stay(tmp_path: Path) -> None:
    """What is older than the retention is gone; the next offset is kept, also when all went and after a restart."""
    time = Time()
    async with Log.open(tmp_path, now_ms=time) as log:
        await log.create_topic("cats", TopicSpec(retention=timedelta(hours=2)))
        topic = await log.topic("cats")
        for number in range(5):
            await topic.append([Record(b"%d" % number)])
            time.now += HOUR
        await log.retain()
        assert [record.offset for record in await topic.read()] == [3, 4]
        assert [record.offset for record in await topic.read(Offset.at(0))] == [3, 4]
        with LogReader(tmp_path) as reader:
            assert reader.offsets("cats", 0) == (3, 5)
        time.now += 10 * HOUR
        await log.retain()
        assert await topic.read() == []
    async with Log.open(tmp_path, now_ms=time) as log:
        receipts = await (await log.topic("cats")).append([Record(b"new")])
        assert receipts[0].base_offset == 5
        with LogReader(tmp_path) as reader:
            assert reader.offsets("cats", 0) == (5, 6)


async def test_the_oldest_beyond_a_size_go(tmp_path: Path) -> None:
    """A partition is kept below its size, each by itself."""
    async with Log.open(tmp_path, now_ms=Time()) as log:
        await log.create_topic("cats", TopicSpec(partitions=2, max_partition_bytes=10_000))
        topic = await log.topic("cats")
        for number in range(30):
            await topic.append([Record(bytes(1000))], partition=0)
            if number < 3:
                await topic.append([Record(b"small")], partition=1)
        await log.retain()
        kept = await topic.read()
        assert 8 <= len(kept) <= 9
        assert kept[-1].offset == 29
        assert len(await topic.read(partition=1)) == 3


async def test_many_go_in_steps_and_the_file_shrinks(tmp_path: Path) -> None:
    """Thousands of batches go in several transactions, and the space goes back to the disk."""
    time = Time()
    async with Log.open(tmp_path, now_ms=time) as log:
        await log.create_topic("cats", TopicSpec(retention=timedelta(hours=1)))
        topic = await log.topic("cats")
        await asyncio.gather(*(topic.append([Record(bytes(5000))]) for _ in range(2500)))
        before = log.size()
        time.now += 2 * HOUR
        await topic.append([Record(b"last")])
        await log.retain()
        assert [record.value for record in await topic.read()] == [b"last"]
    assert (tmp_path / "headwater.db").stat().st_size < before / 4


async def test_a_follower_of_a_deleted_topic_is_told(tmp_path: Path) -> None:
    """Following ends with an error when the topic is deleted, instead of waiting for ever."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        topic = await log.topic("cats")
        await topic.append([Record(b"x")])
        following = topic.follow(Offset.beginning())
        assert (await anext(following)).value == b"x"
        waiting = asyncio.ensure_future(anext(following))
        await log.delete_topic("cats")
        with pytest.raises(TopicNotFoundError):
            await waiting
        await log.create_topic("cats")
        with pytest.raises(TopicNotFoundError, match="was deleted meanwhile, and there is a new one"):
            await topic.read()


async def test_keys_choose_partitions(tmp_path: Path) -> None:
    """Records of one key are in one partition, in order; records without a key go in turn."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats", TopicSpec(partitions=4))
        topic = await log.topic("cats")
        records = [Record(b"%d" % number, b"key-%d" % (number % 10)) for number in range(100)]
        receipts = await topic.append([*records, Record(b"no key")])
        assert sum(receipt.count for receipt in receipts) == 101
        found = [record for number in range(4) for record in await topic.read(partition=number)]
        for key in range(10):
            mine = [record for record in found if record.key == b"key-%d" % key]
            assert len({record.partition for record in mine}) == 1
            assert [int(record.value) for record in mine] == list(range(key, 100, 10))
