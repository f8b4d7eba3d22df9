"""The embedded log: appends that commit in one step, offsets without gaps, reading while it is written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from headwater.core.errors import (
    LogClosedError,
    LogCorruptError,
    LogError,
    LogLockedError,
    PartitionNotFoundError,
    TopicExistsError,
    TopicNameError,
    TopicNotFoundError,
)
from headwater.core.exchange import Decision, Exchange
from headwater.core.record import Record
from headwater.fluvio.batch import decode_values, encode_batches
from headwater.log import Append, Log, LogReader, Offset, Receipt, TopicSpec

NOW = 1_700_000_000_000


def entry(connector: str, number: int = 0) -> Exchange:
    return Exchange(connector, NOW + number, NOW, 5, Decision.ACCEPTED, "200 OK", 200, 10, 1, 1, "cats")


def append(value: bytes, *, topic: str = "cats", connector: str = "c") -> Append:
    return Append(topic, encode_batches([Record(value)], NOW), checkpoint=(connector, value), exchange=entry(connector))


async def test_records_checkpoint_and_ledger_are_there_together(tmp_path: Path) -> None:
    """What an append holds is there after it, and after the log was opened again."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        assert await log.submit(append(b"one")) == Receipt(0, 0, 1)
        assert await log.submit(append(b"two")) == Receipt(0, 1, 1)
        assert await log.checkpoint("c") == b"two"
    async with Log.open(tmp_path) as log:
        assert await log.submit(append(b"three")) == Receipt(0, 2, 1)
        records = await (await log.topic("cats")).read()
        assert [(record.offset, record.value) for record in records] == [(0, b"one"), (1, b"two"), (2, b"three")]
        assert [(line.offset, line.partition) for line in await log.ledger("c")] == [(0, 0), (1, 0), (2, 0)]


async def test_a_thousand_appends_at_once_keep_their_order(tmp_path: Path) -> None:
    """Appends that share commits get offsets without gaps, in the order they were submitted."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        receipts = await asyncio.gather(*(log.submit(append(b"%d" % number)) for number in range(1000)))
        assert [receipt.base_offset for receipt in receipts] == list(range(1000))
        records = await (await log.topic("cats")).read(limit=2000)
        assert [record.value for record in records] == [b"%d" % number for number in range(1000)]


async def test_one_bad_append_does_not_fail_its_neighbours(tmp_path: Path) -> None:
    """An append to a topic that is not there fails alone."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        good, bad, other = log.submit(append(b"1")), log.submit(append(b"2", topic="dogs")), log.submit(append(b"3"))
        with pytest.raises(TopicNotFoundError):
            await bad
        assert [(await good).base_offset, (await other).base_offset] == [0, 1]


async def test_partitions_are_taken_in_turn(tmp_path: Path) -> None:
    """Without a partition appends go round; with one they go there; one that is not there is an error."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats", TopicSpec(partitions=3))
        receipts = [await log.submit(append(b"x")) for _ in range(4)]
        assert [receipt.partition for receipt in receipts] == [0, 1, 2, 0]
        batches = encode_batches([Record(b"y")], NOW)
        assert (await log.submit(Append("cats", batches, partition=2))).base_offset == 1
        with pytest.raises(PartitionNotFoundError):
            await log.submit(Append("cats", batches, partition=3))


async def test_topics(tmp_path: Path) -> None:
    """Topics are created once, listed, and deleted with their records; a new one of the name begins anew."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats", TopicSpec(partitions=2))
        await log.create_topic("ants")
        with pytest.raises(TopicExistsError):
            await log.create_topic("cats")
        with pytest.raises(TopicNameError):
            await log.create_topic("Cats!")
        await log.submit(append(b"x", topic="ants"))
        assert [info.name for info in await log.topics()] == ["ants", "cats"]
        await log.delete_topic("ants")
        with pytest.raises(TopicNotFoundError):
            await log.delete_topic("ants")
        await log.create_topic("ants")
        assert (await log.submit(append(b"y", topic="ants"))).base_offset == 0


async def test_many_topics_are_created_in_few_commits(tmp_path: Path) -> None:
    """A thousand creations at once are all there."""
    async with Log.open(tmp_path) as log:
        await asyncio.gather(*(log.create_topic(f"topic-{number}") for number in range(1000)))
        assert len(await log.topics()) == 1000


async def test_followers_see_what_is_committed(tmp_path: Path) -> None:
    """Two followers each get every record, from the beginning or from now on."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        topic = await log.topic("cats")
        await topic.append([Record(b"0"), Record(b"1")])

        async def take(start: Offset, count: int) -> list[bytes]:
            values: list[bytes] = []
            async for record in topic.follow(start):
                values.append(record.value)
                if len(values) == count:
                    break
            return values

        old, new = asyncio.create_task(take(Offset.beginning(), 4)), asyncio.create_task(take(Offset.end(), 2))
        await asyncio.sleep(0)
        await topic.append([Record(b"2"), Record(b"3")])
        async with asyncio.timeout(10):
            assert await old == [b"0", b"1", b"2", b"3"]
            assert await new == [b"2", b"3"]


async def test_the_ledger_is_bounded_for_each_connector(tmp_path: Path) -> None:
    """A chatty connector loses its own old entries, not those of a quiet one."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        log.note(entry("quiet"))
        for number in range(1000):
            log.note(entry("chatty", number))
        await log.submit(append(b"x", connector="other"))
    with LogReader(tmp_path) as reader:
        chatty = reader.ledger("chatty", 10_000)
        assert len(reader.ledger("quiet", 10)) == 1
        assert 100 <= len(chatty) <= 100 + 256
        assert chatty[-1].scheduled == NOW + 999


async def test_a_reader_of_another_connection_sees_commits(tmp_path: Path) -> None:
    """`changed` tells once of each change, and the batches read are those appended."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        with LogReader(tmp_path) as reader:
            reader.changed()
            assert not reader.changed()
            await log.submit(append(b"x"))
            assert reader.changed()
            assert not reader.changed()
            (batch,) = reader.read("cats", 0, 0, 1000)
            assert decode_values(batch.data) == [b"x"]
            assert reader.offsets("cats", 0) == (0, 1)
            assert reader.read("cats", 0, 1, 1000) == []


async def test_reading_begins_with_the_batch_that_holds_the_offset(tmp_path: Path) -> None:
    """An offset inside a batch gives the whole batch; the byte bound ends after the batch that reaches it."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        topic = await log.topic("cats")
        for start in range(0, 30, 10):
            await topic.append([Record(b"%d" % number) for number in range(start, start + 10)])
        with LogReader(tmp_path) as reader:
            assert [batch.base_offset for batch in reader.read("cats", 0, 15, 1)] == [10]
            assert [batch.base_offset for batch in reader.read("cats", 0, 15, 10_000)] == [10, 20]
        assert [record.value for record in await topic.read(Offset.at(15), limit=2)] == [b"15", b"16"]
        assert [record.value for record in await topic.read(Offset.end(2))] == [b"28", b"29"]


async def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    """The lock names the holder's process, in the same process and in another."""
    async with Log.open(tmp_path):
        with pytest.raises(LogLockedError, match=r"is being written by process \d+ \(.*\) since 20"):
            async with Log.open(tmp_path):
                pass
        script = (
            "import asyncio, sys\nfrom headwater.log import Log\n"
            "async def main():\n    async with Log.open(sys.argv[1]): pass\nasyncio.run(main())"
        )
        result = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert "LogLockedError" in result.stderr
    async with Log.open(tmp_path):
        pass


async def test_a_closed_log_says_so(tmp_path: Path) -> None:
    """Using the log after its end is an error of the tree."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
    with pytest.raises(LogClosedError):
        log.submit(append(b"x"))


async def test_files_that_are_no_log_are_refused(tmp_path: Path) -> None:
    """A file of something else is left alone, and the message names it."""
    (tmp_path / "headwater.db").write_bytes(b"this is not a database, whatever its name says" * 50)
    with pytest.raises(LogCorruptError, match="not a Headwater log"):
        async with Log.open(tmp_path):
            pass


def test_a_directory_without_a_log(tmp_path: Path) -> None:
    """Reading where nothing was written says what to do."""
    with pytest.raises(LogError, match="there is no log in"):
        LogReader(tmp_path)


async def test_the_directory_is_its_owners_alone(tmp_path: Path) -> None:
    """Others can neither list nor read the data."""
    async with Log.open(tmp_path / "data"):
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("size", [10, 6 * 1024 * 1024], ids=["small", "large"])
async def test_checkpoints_of_one_commit(tmp_path: Path, size: int) -> None:
    """Each connector finds its own again, the last of several, in this process and others, and after a restart."""
    names = ["@token", "a", "b"]
    async with Log.open(tmp_path) as log:
        receipts = [
            log.submit(Append(None, (), checkpoint=(name, turn * size), linger=0.05))
            for turn in (b"1", b"2")
            for name in names
        ]
        await asyncio.gather(*receipts)
        for name in names:
            assert await log.checkpoint(name) == b"2" * size
    async with Log.open(tmp_path) as log:
        await log.submit(Append(None, (), checkpoint=("b", b"new")))
        with LogReader(tmp_path) as reader:
            assert reader.checkpoints() == ["a", "b"]
            assert [reader.checkpoint(name) for name in (*names, "c")] == [b"2" * size, b"2" * size, b"new", None]


async def test_a_defect_in_a_commit_is_told_and_passes(tmp_path: Path) -> None:
    """What nobody thought of fails the commit it is in, with an error to whoever waits; the writer goes on."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        odd = msgspec.structs.replace(append(b"x"), exchange=msgspec.structs.replace(entry("c"), reason="\ud800"))
        with pytest.raises(LogError, match="the commit failed: UnicodeEncodeError"):
            await log.submit(odd)
        assert await log.submit(append(b"y")) == Receipt(0, 0, 1)
        assert await log.checkpoint("c") == b"y"
