"""Topics that drop repeats, on a real file: within their bounds, over restarts, whatever way records come in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.core.errors import BatchError, TopicError
from headwater.core.record import Record
from headwater.core.topic import Deduplication, TopicSpec
from headwater.core.window import Window
from headwater.fluvio.batch import EncodedBatch, encode_batch
from headwater.fluvio.compression import Compression
from headwater.log import Append, Beside, Log
from headwater.log.distinct import distinct, is_known

FILTER = Deduplication("infinyon-labs/dedup-filter@0.1.0", count=3)


def batch(*values: str, codec: Compression = Compression.NONE) -> EncodedBatch:
    return encode_batch([Record(value.encode()) for value in values], 1000, codec)


async def values(log: Log) -> list[bytes]:
    return [record.value for record in await (await log.topic("cats")).read()]


def test_repeats_are_dropped_also_after_a_restart(tmp_path: Path) -> None:
    """Offsets have no gap, and the receipt tells how many were kept."""

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats", TopicSpec(deduplication=FILTER))
            receipt = await log.submit(Append("cats", [batch("a", "b", "a"), batch("b", codec=Compression.GZIP)]))
            assert (receipt.base_offset, receipt.count) == (0, 2)
            receipt = await log.submit(Append("cats", [batch("b", "c", codec=Compression.ZSTD)]))
            assert (receipt.base_offset, receipt.count) == (2, 1)
        async with Log.open(tmp_path) as log:
            receipt = await log.submit(Append("cats", [batch("a", "b", "c")]))
            assert receipt.count == 0
            # "a" leaves the window with the fourth value.
            await log.submit(Append("cats", [batch("d", "a")]))
            assert await values(log) == [b"a", b"b", b"c", b"d", b"a"]

    asyncio.run(scenario())


def test_a_batch_that_cannot_be_read_leaves_no_trace(tmp_path: Path) -> None:
    """What came with it is not taken for seen."""

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats", TopicSpec(deduplication=FILTER))
            broken = msgspec.structs.replace(batch("x"), data=batch("x").data[:-3])
            with pytest.raises(BatchError):
                await log.submit(Append("cats", [batch("a"), broken]))
            await log.submit(Append("cats", [batch("a")]))
            assert await values(log) == [b"a"]

    asyncio.run(scenario())


def test_an_append_to_several_topics_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """A batch that cannot be read leaves nothing of what it came beside."""

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats")
            await log.create_topic("dogs", TopicSpec(deduplication=FILTER))
            broken = msgspec.structs.replace(batch("x"), data=batch("x").data[:-3])
            with pytest.raises(BatchError):
                await log.submit(Append("cats", [batch("a")], None, ("c", b"1"), beside=(Beside("dogs", [broken]),)))
            assert await values(log) == []
            assert await log.checkpoint("c") is None
            await log.submit(Append("cats", [batch("a")], beside=(Beside("dogs", [batch("x", "x")]),)))
            assert log.reader.offsets("dogs", 0) == (0, 1)

    asyncio.run(scenario())


def test_a_topic_that_is_made_anew_remembers_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            for _ in range(2):
                await log.create_topic("cats", TopicSpec(deduplication=FILTER))
                await log.submit(Append("cats", [batch("a")]))
                assert await values(log) == [b"a"]
                await log.delete_topic("cats")

    asyncio.run(scenario())


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5), max_size=8), st.integers(1, 5))
@settings(deadline=None)
def test_batches_do_not_matter(groups: list[list[str]], count: int) -> None:
    """However records are put into batches, the same ones are kept."""
    alone, together = Window(count), Window(count)
    one_by_one = [value for group in groups for value in group if alone.new(None, value.encode(), 1000)]
    left = [record for group in groups for record in distinct(together, [batch(*group)])]
    assert sum(it.count for it in left) == len(one_by_one)
    assert alone.packed() == together.packed()


STEPS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=4), st.integers(0, 40)), max_size=12
)


@given(STEPS, st.integers(1, 4), st.sampled_from([0, 30, 100]), st.integers(0, 12))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_restart_does_not_matter(
    tmp_path: Path, steps: list[tuple[list[str], int]], count: int, age: int, restart: int
) -> None:
    """A topic that is opened anew keeps the same records as one that was open all the time, by count and by age."""
    drops = Deduplication("dedup-filter", count, timedelta(milliseconds=age) if age else None)
    window = Window(count, age)
    wanted: list[bytes] = []
    directory = tmp_path / uuid4().hex

    async def scenario() -> None:
        now = 1000
        log = await Log.open(directory).__aenter__()
        await log.create_topic("cats", TopicSpec(deduplication=drops))
        for place, (given_, pause) in enumerate(steps):
            now += pause
            if place == restart:
                await log.close()
                log = await Log.open(directory).__aenter__()
            await log.submit(Append("cats", [encode_batch([Record(value.encode()) for value in given_], now)]))
            wanted.extend(value.encode() for value in given_ if window.new(None, value.encode(), now))
        assert await values(log) == wanted
        await log.close()

    asyncio.run(scenario())


def test_what_is_young_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """Also when it is more than the count, and in more batches than are read at once."""

    async def scenario() -> None:
        drops = Deduplication("dedup-filter", 5, timedelta(seconds=60))
        appends = [Append("cats", [batch(str(number))]) for number in range(200)]
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats", TopicSpec(deduplication=drops))
            for append in appends:
                await log.submit(append)
        async with Log.open(tmp_path) as log:
            receipts = [await log.submit(append) for append in appends]
            assert {receipt.count for receipt in receipts} == {0}

    asyncio.run(scenario())


def test_a_module_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """With what to write instead; no topic is made."""

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            with pytest.raises(TopicError) as raised:
                await log.create_topic("cats", TopicSpec(deduplication=Deduplication("mine/other", 1)))
            assert raised.value.report() == (
                "headwater: deduplication is done by infinyon-labs/dedup-filter here, not by mine/other\n"
                "  hint: write uses: infinyon-labs/dedup-filter, or use a Fluvio cluster"
            )
            assert await log.topics() == []

    asyncio.run(scenario())


def test_which_modules_are_known() -> None:
    assert is_known(FILTER)
    assert is_known(Deduplication("dedup-filter", 1, timedelta(seconds=1)))
    assert not is_known(Deduplication("mine/other", 1))
