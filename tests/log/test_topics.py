"""Changes of topics, and how far consumers have got, on a real file; also one that an earlier version wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from headwater.core.errors import LogLockedError, TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import Offset, TopicSpec
from headwater.log import FILE_NAME, ConsumerOffset, Log, LogReader
from headwater.log.lock import DirectoryLock
from headwater.log.waiters import Waiters


def test_more_partitions(tmp_path: Path) -> None:
    """Records stay where they are, and new partitions take records at once."""

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats", TopicSpec(partitions=1))
            await (await log.topic("cats")).append([Record(b"one")])
            changed = log.topics_changed()
            assert (await log.add_partitions("cats", 2)).spec.partitions == 3
            assert changed.done()
            topic = await log.topic("cats")
            await topic.append([Record(b"two")], partition=2)
            assert [it.value for it in await topic.read(partition=0)] == [b"one"]
            assert [it.value for it in await topic.read(partition=2)] == [b"two"]
            with pytest.raises(TopicNotFoundError):
                await log.add_partitions("dogs", 1)
        async with Log.open(tmp_path) as log:
            info = log.info("cats")
            assert info is not None
            assert info.spec.partitions == 3
            assert log.info("dogs") is None

    asyncio.run(scenario())


def test_offsets_of_consumers_are_kept(tmp_path: Path) -> None:
    """They survive a restart, and go with their topic."""
    first, second = ConsumerOffset("a", "cats", 0, 7, 1000), ConsumerOffset("b", "cats", 1, 9, 2000)

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats", TopicSpec(partitions=2))
            await log.keep_offset(ConsumerOffset("a", "cats", 0, 5, 500))
            await log.keep_offset(second)
            await log.keep_offset(first)
            with pytest.raises(TopicNotFoundError):
                await log.keep_offset(ConsumerOffset("a", "dogs", 0, 5, 500))
        async with Log.open(tmp_path) as log:
            assert await log.kept_offsets() == [first, second]
            assert await log.forget_offset("a", "cats", 0)
            assert not await log.forget_offset("a", "cats", 0)
            assert await log.kept_offsets() == [second]
            await log.delete_topic("cats")
            assert await log.kept_offsets() == []

    asyncio.run(scenario())


# What takes a file back to an earlier version.
BACK = {
    4: "DROP TABLE mark; CREATE TABLE mark (seq INTEGER PRIMARY KEY, connector TEXT NOT NULL, data BLOB NOT NULL);"
    "INSERT INTO mark (connector, data) VALUES ('c', CAST('mark' AS BLOB)), ('d', x''), ('c', CAST('last' AS BLOB));"
    "PRAGMA user_version=4",
    3: "DROP TABLE memory; DROP TABLE item; DROP TABLE sighting; PRAGMA user_version=3",
    2: "DROP VIEW located; DROP TABLE place; DROP TABLE recent; DROP TABLE mark;"
    "CREATE UNIQUE INDEX batch_place ON batch (topic, partition, base_offset); PRAGMA user_version=2",
    1: "DROP TABLE consumer; PRAGMA user_version=1",
}


def old_file(directory: Path, version: int) -> None:
    """Write a log as an earlier version did: two topics with records, and a checkpoint."""

    async def write() -> None:
        async with Log.open(directory) as log:
            for name in ("cats", "dogs"):
                await log.create_topic(name)
            for number in range(10):
                await (await log.topic("cats" if number % 2 else "dogs")).append([Record(b"%d" % number)] * 2)

    asyncio.run(write())
    connection = apsw.Connection(str(directory / FILE_NAME))
    connection.execute("INSERT INTO checkpoint VALUES ('c', CAST('old' AS BLOB))")
    for step in range(max(BACK), version - 1, -1):
        connection.execute(BACK[step])
    connection.close()


@pytest.mark.parametrize("version", sorted(BACK))
def test_a_file_of_an_earlier_version(tmp_path: Path, version: int) -> None:
    """It gets what it lacks when it is opened for writing, and keeps what it has."""
    old_file(tmp_path, version)

    async def read() -> None:
        async with Log.open(tmp_path) as log:
            cats = await log.topic("cats")
            await cats.append([Record(b"new")])
            assert [it.value for it in await cats.read(Offset.at(7))] == [b"7", b"9", b"9", b"new"]
            # Until version 3 there was none that waited for its place.
            assert await log.checkpoint("c") == (b"last" if version > 2 else b"old")
            await log.keep_offset(ConsumerOffset("a", "cats", 0, 1, 500))
            assert len(await log.kept_offsets()) == 1

    asyncio.run(read())


def test_a_reader_brings_an_earlier_version_up_to_date(tmp_path: Path) -> None:
    """A reader that comes first does it; while somebody writes the old file it says who."""
    old_file(tmp_path, 2)
    lock = DirectoryLock(tmp_path)
    with pytest.raises(LogLockedError):
        LogReader(tmp_path)
    lock.release()
    with LogReader(tmp_path) as reader:
        assert reader.offsets("dogs", 0) == (0, 10)
        assert reader.checkpoint("c") == b"old"


def test_those_who_wait_and_go_away_are_forgotten() -> None:
    """A thousand consumers that come and go on a quiet topic leave nothing behind."""

    async def scenario() -> None:
        waiters = Waiters()
        staying = [waiters.add() for _ in range(100)]
        for _ in range(1000):
            waiters.add().cancel()
        assert len(waiters._futures) < 300
        waiters.wake()
        assert all(it.done() and not it.cancelled() for it in staying)
        assert not waiters._futures

    asyncio.run(scenario())
