"""Changes of topics, and how far consumers have got, on a real file; also one that an earlier version wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from headwater.core.errors import TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import TopicSpec
from headwater.log import FILE_NAME, ConsumerOffset, Log
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


def test_a_file_of_the_first_version(tmp_path: Path) -> None:
    """It gets what it lacks when it is opened for writing, and keeps what it has."""

    async def write() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats")
            await (await log.topic("cats")).append([Record(b"one")])

    asyncio.run(write())
    connection = apsw.Connection(str(tmp_path / FILE_NAME))
    connection.execute("DROP TABLE consumer; PRAGMA user_version=1")
    connection.close()

    async def read() -> None:
        async with Log.open(tmp_path) as log:
            assert [it.value for it in await (await log.topic("cats")).read()] == [b"one"]
            await log.keep_offset(ConsumerOffset("a", "cats", 0, 1, 500))
            assert len(await log.kept_offsets()) == 1

    asyncio.run(read())


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
