"""Connectors on a cluster when things go wrong: crashes before the checkpoint is kept, a cluster that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.faraway import Faraway, faraway
from headwater.config import ConnectorConfig
from headwater.core.errors import ClusterUnreachableError, HeadwaterError, LogFullError
from headwater.core.topic import Deduplication, TopicSpec
from headwater.log import Append, Log, Receipt
from headwater.testing import Answer, Received


def said(lines: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Return the lines about connectors."""
    return [line for line in lines if "connector" in line]


class Keeper(Log):
    """A log that keeps what is beside the records: `never` calls nobody back, each of `refusals` refuses an append."""

    never = False
    refusals = 0
    asked = 0

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Store it, unless told to go wrong."""
        self.asked += 1
        if self.never:
            return
        if self.refusals:
            self.refusals -= 1
            asyncio.get_running_loop().call_soon(receive, LogFullError("no space left"))
            return
        super().store(append, receive)


async def crash(it: Faraway, config: ConnectorConfig, *, polls: int = 0) -> None:
    """Run a connector, and end it as a kill does: after so many polls and the acknowledgement of the next one."""
    async with Keeper(it.keeper.directory.with_name("mine")) as keeper:
        it.keeper = keeper
        async with it.target(config, keeper=keeper) as target:
            task = asyncio.create_task(it.engine(target).run([config], asyncio.Event()))
            if polls:
                await it.polls(polls)
            keeper.never, before = True, keeper.asked
            if polls:
                await it.clock.next_wake()
            await it.until(lambda: keeper.asked > before)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def same_until_stored(it: Faraway) -> None:
    """Answer with a list of three numbers by the connector's ETag, as a server does that has not heard of an answer."""

    def answer(request: Received) -> Answer:
        number = int(request.header("if-none-match") or 0)
        values = [3 * number, 3 * number + 1, 3 * number + 2]
        return Answer(body=str(values).encode(), headers=(("etag", str(number + 1)),))

    it.server.route("/x", answer)


SPLIT = "transforms:\n  - uses: infinyon-labs/array-map-json\n"


async def test_a_checkpoint_is_stored_after_the_acknowledgement(tmp_path: Path) -> None:
    """A crash between both has one exchange stored again, and nothing is lost."""
    async with faraway(tmp_path) as it:
        await it.keeper.close()
        same_until_stored(it)
        config = it.config(more=SPLIT)
        await crash(it, config)
        assert await it.values() == [b"0", b"1", b"2"]
        await crash(it, config, polls=1)
        assert await it.values() == [b"0", b"1", b"2"] * 2 + [b"3", b"4", b"5"]
        async with Keeper(tmp_path / "mine") as it.keeper:
            assert (await it.checkpoint()).exchanges == 1
            async with it.running(config):
                await it.polls(2)
            assert (await it.checkpoint()).exchanges == 3
        assert [int(value) for value in await it.values()] == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8]


async def test_with_record_ids_nothing_is_doubled(tmp_path: Path) -> None:
    """The same crashes, and a topic that drops what has the key of a record that is there."""
    async with faraway(tmp_path) as it:
        await it.keeper.close()
        drops = Deduplication("dedup-filter", 100, timedelta(seconds=60))
        await it.log.create_topic("cats", TopicSpec(partitions=3, deduplication=drops))
        same_until_stored(it)
        config = it.config(more="  record_id: true\n" + SPLIT)
        await crash(it, config)
        await crash(it, config, polls=1)
        await crash(it, config)
        async with Keeper(tmp_path / "mine") as it.keeper:
            async with it.running(config):
                await it.polls(3)
            assert (await it.checkpoint()).exchanges == 4
        assert sorted(int(value) for value in await it.values()) == list(range(12))


async def test_a_keeper_that_refuses(tmp_path: Path) -> None:
    """A full disk here holds the checkpoint back, and nothing is sent again for it; it is told once."""
    async with faraway(tmp_path) as it:
        await it.keeper.close()
        it.numbers("/x")
        async with Keeper(tmp_path / "mine") as it.keeper:
            it.keeper.refusals = 2
            with capture_logs() as lines:
                async with it.running(it.config(), keeper=it.keeper):
                    await it.polls(4)
            assert (await it.checkpoint()).exchanges == 2
        assert await it.values() == [b"0", b"1"]
        assert [(line["event"], line.get("reason")) for line in said(lines)] == [
            ("connector is failing", "no space left"), ("connector recovered", None),
        ]  # fmt: skip


async def test_a_cluster_that_is_away_at_the_start(tmp_path: Path) -> None:
    """There is no connection: the command ends with what was dialled and what came back."""
    async with faraway(tmp_path) as it:
        await it.close()
        with pytest.raises(ClusterUnreachableError, match=f"127.0.0.1:{it.ports[0]}: connection refused"):
            async with it.target():
                pass


async def test_a_cluster_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """Nothing is lost; the connector polls no more meanwhile, and says once that it fails and once that it is well."""
    async with faraway(tmp_path) as it:
        it.patience = timedelta(milliseconds=300)
        it.numbers("/x")
        with capture_logs() as lines:
            async with it.running(it.config()):
                await it.polls(2)
                await it.close()
                await it.clock.next_wake()
                # The append is refused after its patience, and tried again after growing pauses.
                for _ in range(3):
                    assert await it.clock.next_wake() < 3
                await it.open()
                while not any(line["event"] == "connector recovered" for line in lines):
                    await it.clock.next_wake()
                    await it.clock.sleeping()
                await it.polls(2)
        values = [int(value) for value in await it.values()]
        assert sorted(set(values)) == list(range(max(values) + 1))
        assert values == sorted(values)
        assert (await it.checkpoint()).exchanges == max(values) + 1
        events = said(lines)
        assert [line["event"] for line in events] == ["connector is failing", "connector recovered"]
        assert f"127.0.0.1:{it.ports[1]}" in events[0]["reason"]
        assert len(it.server.received) == max(values) + 1


async def test_a_short_outage_is_not_told(tmp_path: Path) -> None:
    """A restart of the cluster within the patience of an append is nobody's business."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        with capture_logs() as lines:
            async with it.running(it.config()):
                await it.polls(1)
                await it.close()
                await it.clock.next_wake()
                await it.until(lambda: len(it.server.received) == 2)
                await it.open()
                await it.polls(2)
        assert await it.values() == [b"0", b"1", b"2"]
        assert said(lines) == []


async def test_stopping_while_the_cluster_is_away(tmp_path: Path) -> None:
    """A stop does not wait for the cluster: what it had not acknowledged is asked for again next time."""
    async with faraway(tmp_path) as it:
        it.patience = timedelta(seconds=50)
        it.numbers("/x")
        async with asyncio.timeout(20):
            async with it.target(config := it.config()) as target:
                engine = it.engine(target, grace=0.1)
                stop = asyncio.Event()
                task = asyncio.create_task(engine.run([config], stop))
                await it.polls(1)
                await it.close()
                await it.clock.next_wake()
                await it.until(lambda: len(it.server.received) == 2)
                stop.set()
                await task
        assert (await it.checkpoint()).exchanges == 1


async def test_a_topic_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    """The records that found no topic are asked for again: the checkpoint did not move."""
    async with faraway(tmp_path) as it:
        it.numbers("/x")
        with capture_logs() as lines:
            async with it.running(it.config()):
                await it.polls(2)
                await it.log.delete_topic("cats")
                await it.clock.next_wake()
                # The pause before the restart, then polls go on.
                assert await it.clock.next_wake() < 2
                await it.polls(1)
                await it.polls(1)
        (line,) = said(lines)
        assert line["event"] == "connector stopped"
        assert "topic not found: cats" in line["reason"]
        assert (await it.values())[0] == b"3"
        assert (await it.checkpoint()).exchanges == 2 + len(await it.values())
