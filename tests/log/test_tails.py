"""The newest batches in memory: the same as in the file, bounded, and nothing when they are not sure."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headwater.core.record import Record
from headwater.fluvio.batch import StoredBatch
from headwater.log import Log
from headwater.log.tails import Fresh, Tails


def batch(base: int, count: int = 1, size: int = 100) -> StoredBatch:
    return StoredBatch(base, count, bytes(size))


def test_only_what_follows_is_one_tail() -> None:
    """A gap begins a new one, for what lies between is not known here."""
    tails = Tails()
    for base in (5, 6, 7):
        tails.add(Fresh(1, 0, batch(base)))
    assert [it.base_offset for it in tails.read(1, 0, 6, 10_000)] == [6, 7]
    assert tails.read(1, 0, 8, 10_000) == tails.read(1, 0, 4, 10_000) == tails.read(1, 1, 6, 10_000) == []
    tails.add(Fresh(1, 0, batch(9, 3)))
    assert tails.read(1, 0, 7, 10_000) == []
    assert [it.base_offset for it in tails.read(1, 0, 10, 10_000)] == [9]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 400)), max_size=40))
def test_memory_is_bounded(added: list[tuple[int, int, int]]) -> None:
    """However batches come, no more than the bound is kept, and what is read has no gap."""
    tails = Tails(1000)
    ends = dict.fromkeys(range(4), 0)
    for partition, count, size in added:
        tails.add(Fresh(1, partition, batch(ends[partition], count, size)))
        ends[partition] += count
        kept = [it for number in ends for it in tails._tails.get((1, number), ())]
        assert sum(len(it.data) for it in kept) == tails._size <= 1000
    for partition, end in ends.items():
        for offset in range(end):
            expected = offset
            for found in tails.read(1, partition, offset, 10_000):
                assert found.base_offset <= expected < found.base_offset + found.count
                expected = found.base_offset + found.count
            assert expected in {offset, end}


def test_the_log_keeps_the_tails_of_what_is_followed(tmp_path: Path) -> None:
    """They are byte for byte what the file has; a topic that nobody waits for has none."""

    async def scenario() -> None:
        async with Log.open(tmp_path) as log:
            await log.create_topic("cats")
            topic = await log.topic("cats")
            await topic.append([Record(b"unseen")])
            assert log.tails.read(topic.info.id, 0, 0, 10_000) == []
            waiting = log.grown(topic.info.id)
            await topic.append([Record(b"seen")])
            assert waiting.done()
            newest = log.tails.read(topic.info.id, 0, 1, 10_000)
            assert newest == log.reader.read("cats", 0, 1, 10_000)
            assert len(newest) == 1

    asyncio.run(scenario())
