"""Those who wait for something to happen to the log, and how far consumers have got."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater.core.errors import TopicNotFoundError
from headwater.log import ConsumerOffset, Log, TopicSpec
from headwater.log.waiters import Waiters


async def test_everybody_is_woken_once() -> None:
    """Those who came before, and not those who come after; one who has gone is left out."""
    waiters = Waiters()
    first, gone = waiters.add(), waiters.add()
    gone.cancel()
    waiters.wake()
    later = waiters.add()
    assert (first.done(), later.done()) == (True, False)
    waiters.wake()
    await asyncio.gather(first, later)


async def test_those_who_have_gone_are_cleared_out() -> None:
    """Whoever waits again and again with a time-out does not fill the memory."""
    waiters = Waiters()
    stays = waiters.add()
    for _ in range(1000):
        waiters.add().cancel()
    assert len(waiters._futures) <= 65
    waiters.wake()
    assert stays.done()


async def test_consumers_offsets(tmp_path: Path) -> None:
    """They are kept over restarts, replaced, forgotten, and gone with their topic."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats", TopicSpec(partitions=2))
        await log.keep_offset(ConsumerOffset("me", "cats", 0, 5, 1000))
        await log.keep_offset(ConsumerOffset("me", "cats", 1, 7, 1000))
        await log.keep_offset(ConsumerOffset("me", "cats", 0, 6, 2000))
        with pytest.raises(TopicNotFoundError, match="topic not found: dogs"):
            await log.keep_offset(ConsumerOffset("me", "dogs", 0, 1, 1))
    async with Log.open(tmp_path) as log:
        first, second = ConsumerOffset("me", "cats", 0, 6, 2000), ConsumerOffset("me", "cats", 1, 7, 1000)
        assert await log.kept_offsets() == [first, second]
        assert await log.forget_offset("me", "cats", 1)
        assert not await log.forget_offset("me", "cats", 1)
        with pytest.raises(TopicNotFoundError):
            await log.forget_offset("me", "dogs", 0)
        assert await log.kept_offsets() == [first]
        await log.delete_topic("cats")
        assert await log.kept_offsets() == []


async def test_changes_of_topics_are_told(tmp_path: Path) -> None:
    """Made, grown, deleted: whoever waits hears of each."""
    async with Log.open(tmp_path) as log:
        for change in (
            lambda: log.create_topic("cats"),
            lambda: log.add_partitions("cats", 2),
            lambda: log.delete_topic("cats"),
        ):
            changed = log.topics_changed()
            await change()
            assert changed.done()
        with pytest.raises(TopicNotFoundError):
            await log.add_partitions("cats", 1)
