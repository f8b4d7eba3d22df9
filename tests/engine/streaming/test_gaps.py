"""Gaps: how long there was no connection, and what is asked for about that time beside the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from engine.streaming.streamed import SSE, Outlet, Streamed, streamed
from headwater.config import InvalidConfigError
from headwater.core.checkpoint import Checkpoint, encode_checkpoint
from headwater.core.errors import LogFullError
from headwater.core.exchange import Decision
from headwater.engine.metrics import EngineCollector
from headwater.engine.streaming.backfilling import MOST_WAITING, added
from headwater.log import Append, Receipt
from headwater.testing import Answer, Received

START = 1_700_000_000_000


class History:
    """A REST endpoint that knows of one item each second, by its number since the clock began."""

    def __init__(self, it: Streamed, path: str = "/past") -> None:
        self.asked: list[tuple[int, int]] = []
        self.status = 200
        self.wait: Callable[[], Any] | None = None
        it.server.route(path, self._answer)

    def _answer(self, request: Received) -> Answer:
        start, end = (int(request.query[name]) - START for name in ("from", "to"))
        self.asked.append((start, end))
        if self.status != 200:
            return Answer(self.status)
        # Those at or after the start, and before the end.
        numbers = range(-(-start // 1000), -(-end // 1000))
        return Answer.json([{"n": number} for number in numbers], wait=self.wait)


def asking(it: Streamed, shortest: str = "1s", **more: Any) -> dict[str, Any]:
    """Return options of a stream whose gaps are asked for."""
    backfill = {
        "endpoint": "/past",
        "params": {"from": "${{ window.start | unix_ms }}", "to": "${{ window.end | unix_ms }}"},
        "records": {"split": "", "key": "/n"},
        **more,
    }
    return {"format": "sse", "gap": {"backfill": backfill, "shortest": shortest}}


async def lose(it: Streamed, outlet: Outlet, seconds: float) -> None:
    """Let the stream be without a connection for so long."""
    await outlet.lines[-1].reset()
    await it.until(lambda: it.stream().next_poll() is not None)
    due = it.stream().next_poll()
    assert due is not None
    left = (due - it.clock.time_ms()) / 1000
    assert left <= seconds
    # It tries at its time; what it gets comes when the time is over.
    it.clock.advance(seconds)
    await outlet.next()
    await it.until(lambda: it.stream()._flow is not None)


async def stored(it: Streamed, checkpoint: Checkpoint) -> None:
    """Store a checkpoint."""
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    it.log.store(Append(None, (), None, ("cats", encode_checkpoint(checkpoint))), done.set_result)
    assert isinstance(await done, Receipt)


async def numbers(it: Streamed, count: int) -> list[int]:
    return [json.loads(value)["n"] for value in await it.values(count=count)]


def metrics(it: Streamed) -> tuple[float, float]:
    """Return headwater_stream_connected and headwater_stream_gap_seconds_total as a scrape shows them."""
    found = {}
    for family in EngineCollector(it.engine.figures, lambda: 0).collect():
        for sample in family.samples:
            if sample.labels.get("connector") == "cats":
                found[sample.name] = sample.value
    return found["headwater_stream_connected"], found["headwater_stream_gap_seconds_total"]


async def test_a_gap_is_counted_and_entered(tmp_path: Path) -> None:
    """A metric, and an entry of the ledger; the first connection of all has none."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            await outlet.next()
            await it.flow()
            assert metrics(it) == (1, 0)
            await lose(it, outlet, 7)
            assert metrics(it) == pytest.approx((1, 7))
            await lose(it, outlet, 3)
            assert metrics(it) == pytest.approx((1, 10))
        connected = [entry for entry in it.ledger() if entry.decision is Decision.CONNECTED]
    assert [entry.gap for entry in connected] == [0, 7000, 3000]
    assert connected[1].reason.endswith("connected again, after 7s without a connection")


async def test_gaps_over_stops_and_kills(tmp_path: Path) -> None:
    """A stop knows when it was; behind a kill the last that is known is the last group; a broken one is known too."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        config = it.config()
        async with it.running(config):
            await outlet.next()
            await it.flow()
            it.clock.advance(50)
        it.clock.advance(10)
        it.new_engine()
        kill = await it.cut_off(config)
        line = await outlet.next()
        await it.flow()
        it.clock.advance(5)
        await line.say(b"a\n")
        await it.until(lambda: it.stream().checkpoint.records == 1)
        it.clock.advance(4)
        await kill()
        it.clock.advance(16)
        it.new_engine()
        async with it.running(config):
            line = await outlet.next()
            await it.flow()
            it.clock.advance(30)
            await line.reset()
            await it.until(lambda: it.stream().next_poll() is not None)
        # It was without a connection when it was stopped.
        it.clock.advance(8)
        it.new_engine()
        async with it.running(config):
            await outlet.next()
            await it.flow()
        connected = [entry for entry in it.ledger() if entry.decision is Decision.CONNECTED]
    assert [round(entry.gap / 1000) for entry in connected] == [0, 10, 20, 8]


async def test_what_was_in_the_gap_is_asked_for(tmp_path: Path) -> None:
    """Exactly that time, once; the stream goes on meanwhile; then the gap is forgotten."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        hold = asyncio.Event()
        past.wait = hold.wait
        async with it.running(it.config(asking(it))):
            line = await outlet.next()
            await line.say(b'id: 1\ndata: {"n":-1}\n\n')
            await it.values(count=1)
            it.clock.advance(10)
            await lose(it, outlet, 5)
            await it.until(lambda: len(past.asked) == 1)
            await outlet.lines[-1].say(b'id: 2\ndata: {"n":-2}\n\n')
            assert await numbers(it, 2) == [-1, -2]
            assert (await it.position()).gaps == ((START + 10_001, START + 15_001),)
            hold.set()
            assert await numbers(it, 7) == [-1, -2, 11, 12, 13, 14, 15]
            assert past.asked == [(10_001, 15_001)]
            await it.until(lambda: it.stream()._position.gaps == ())
            await outlet.lines[-1].say(b'id: 3\ndata: {"n":-3}\n\n')
            await it.values(count=8)
            await it.until(lambda: it.stream().checkpoint.records == 3)
            assert (await it.position()).gaps == ()
        assert sum(entry.records for entry in it.ledger("cats@gap")) == 5


async def test_a_connection_that_was_dead_for_long(tmp_path: Path) -> None:
    """Its gap begins when the last bytes came, not when somebody noticed; a proper end is known when it comes."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        async with it.running(it.config({**asking(it), "idle_timeout": "200ms"})):
            line = await outlet.next()
            await line.say(b'id: 1\ndata: {"n":-1}\n\n')
            await it.values(count=1)
            # In real time it is silent for a moment, by the engine's clock for much longer.
            it.clock.advance(300)
            await it.until(lambda: it.stream().next_poll() is not None)
            it.clock.advance(5)
            await outlet.next()
            await it.until(lambda: bool(past.asked))
    assert past.asked[0] == (1, 305_001)


async def test_short_gaps_are_left_alone(tmp_path: Path) -> None:
    """Those that are shorter than `shortest`."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        async with it.running(it.config(asking(it, "5s"))):
            await outlet.next()
            await it.flow()
            await lose(it, outlet, 4.9)
            await lose(it, outlet, 5)
            await it.until(lambda: len(past.asked) == 1)
            await it.values(count=5)
        assert len(past.asked) == 1


async def test_several_gaps_in_their_order(tmp_path: Path) -> None:
    """One after the other, the oldest first, whatever the endpoint needs; a failing one does not disturb the stream."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        past.status = 503
        with capture_logs() as lines:
            async with it.running(it.config(asking(it, retry={"attempts": 1}))):
                await outlet.next()
                await it.flow()
                await lose(it, outlet, 2)
                await it.until(lambda: len(past.asked) == 1)
                await lose(it, outlet, 3)
                await lose(it, outlet, 2)
                await outlet.lines[-1].say(b'id: 1\ndata: {"n":-1}\n\n')
                assert await numbers(it, 1) == [-1]
                past.status = 200
                for _ in range(3):
                    await it.calm()
                    it.clock.advance(10)
                assert await numbers(it, 8) == [-1, 1, 2, 3, 4, 5, 6, 7]
                await it.until(lambda: it.stream()._position.gaps == ())
        failing = [
            line for line in lines if line["event"] == "connector is failing" and line["connector"] == "cats@gap"
        ]
        assert len(failing) == 1
    good = sorted(set(past.asked))
    assert good == [(1, 2001), (2001, 5001), (5001, 7001)]


async def test_an_answer_without_items_is_one(tmp_path: Path) -> None:
    """Where nothing happened the gap is filled all the same."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        it.server.route("/past", Answer.json([]))
        async with it.running(it.config(asking(it))):
            await outlet.next()
            await it.flow()
            await lose(it, outlet, 2)
            await it.until(lambda: it.stream()._position.gaps == ())
        assert len([one for one in it.server.received if one.path == "/past"]) == 1


async def test_long_gaps_go_in_parts(tmp_path: Path) -> None:
    """`size` is the longest time of one request; pages follow each other."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        async with it.running(it.config(asking(it, size="2s"))):
            await outlet.next()
            await it.flow()
            await lose(it, outlet, 5)
            assert await numbers(it, 5) == [1, 2, 3, 4, 5]
        assert past.asked == [(1, 2001), (2001, 4001), (4001, 5001)]


@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_it_goes_on_where_it_was(tmp_path: Path, way: str) -> None:
    """A kill, or a stop, in the middle of it: what is stored is not asked for again, and what is left is."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        config = it.config(asking(it, size="2s"))
        kill = await it.cut_off(config)
        await (await outlet.next()).say(b'id: 1\ndata: {"n":-1}\n\n')
        await it.values(count=1)
        await it.until(lambda: it.stream().checkpoint.records == 1)
        hold = asyncio.Event()

        async def third() -> None:
            if len(past.asked) == 2:
                await hold.wait()

        past.wait = third
        await lose(it, outlet, 6)
        await it.values(count=3)
        await it.until(lambda: len(past.asked) == 2)
        await outlet.lines[-1].say(b'id: 2\ndata: {"n":-2}\n\n')
        await it.values(count=4)
        if way == "kill":
            await kill()
        else:
            ending = asyncio.ensure_future(it.engine.drain())
            await it.calm()
            hold.set()
            await ending
            await kill()
        past.wait = None
        stored = await it.values()
        it.new_engine()
        async with it.running(config):
            await outlet.next()
            await it.values(count=8)
            await it.until(lambda: it.stream()._position.gaps == ())
            found = await numbers(it, 8)
        assert sorted(found) == [-2, -1, 1, 2, 3, 4, 5, 6]
        assert len(stored) == (4 if way == "kill" else 6)
        # The time between stop and start is shorter than what is asked for.
        assert past.asked[0] == (1, 2001)
        assert set(past.asked[2:]) <= {(2001, 4001), (4001, 6001)}


async def test_a_stop_while_the_endpoint_fails_loses_no_gap(tmp_path: Path) -> None:
    """What is not filled is asked for by the next process."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        past.status = 503
        config = it.config(asking(it, retry={"attempts": 1}))
        async with it.running(config):
            await outlet.next()
            await it.flow()
            await lose(it, outlet, 3)
            await it.until(lambda: len(past.asked) == 1)
            await it.calm()
        assert (await it.position()).gaps == ((START + 1, START + 3001),)
        past.status = 200
        it.new_engine()
        async with it.running(config):
            await outlet.next()
            assert await numbers(it, 3) == [1, 2, 3]
            await it.until(lambda: it.stream()._position.gaps == ())
        assert (await it.position()).gaps == ()


async def test_transforms_apply(tmp_path: Path) -> None:
    """To what a gap brings as to what the stream does."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        History(it)
        transform = {"uses": "infinyon/regex-filter", "with": {"regex": '"n":(1|-1)'}}
        async with it.running(it.config(asking(it), transforms=[transform])):
            await (await outlet.next()).say(b'data: {"n":-1}\n\ndata: {"n":-2}\n\n')
            assert await numbers(it, 1) == [-1]
            await lose(it, outlet, 3)
            await it.until(lambda: it.stream()._position.gaps == ())
        assert await numbers(it, 2) == [-1, 1]


async def test_a_log_that_refuses_what_a_gap_begins_with(tmp_path: Path) -> None:
    """It is tried again beside the stream, which a stop lets end as it should."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        async with it.running(it.config(asking(it))):
            await outlet.next()
            await it.flow()
            it.log.refusing = LogFullError("full")
            await lose(it, outlet, 3)
            await it.calm()
            assert it.stream().next_poll() is None
            it.log.refusing = None
            it.clock.advance(20)
            assert await numbers(it, 3) == [1, 2, 3]
        assert past.asked == [(1, 3001)]


def test_many_gaps_become_fewer() -> None:
    """Of more than a hundred the two that are nearest to each other are one."""
    gaps: tuple[tuple[int, int], ...] = ()
    for number in range(MOST_WAITING):
        gaps = added(gaps, (number * 100, number * 100 + 10))
    assert len(gaps) == MOST_WAITING
    more = added(gaps, (MOST_WAITING * 100 - 30, MOST_WAITING * 100))
    assert len(more) == MOST_WAITING
    assert more[-1] == ((MOST_WAITING - 1) * 100, MOST_WAITING * 100)
    assert more[:-1] == gaps[:-1]


async def test_what_is_wrong_is_told_once(tmp_path: Path) -> None:
    """A transform that is not there is one problem, though the poll of the gaps would have it too."""
    async with streamed(tmp_path) as it:
        with pytest.raises(InvalidConfigError) as raised:
            await it.engine.prepare([it.config(asking(it), transforms=[{"uses": "nobody/knows"}])])
        assert len(raised.value.problems) == 1


async def test_many_gaps_while_the_endpoint_fails(tmp_path: Path) -> None:
    """They are bounded in the checkpoint and in memory, and all of their time is asked for in the end."""
    async with streamed(tmp_path) as it:
        outlet, past = it.outlet("/x", SSE), History(it)
        past.status = 503
        config = it.config(asking(it, retry={"attempts": 1}))
        async with it.running(config):
            await outlet.next()
            await it.flow()
        # Each second had a gap, and a connection.
        known = await it.checkpoint()
        gaps = tuple((START + number * 2000, START + number * 2000 + 1000) for number in range(MOST_WAITING - 1))
        assert known.stream is not None
        known = msgspec.structs.replace(known, stream=msgspec.structs.replace(known.stream, gaps=gaps))
        await stored(it, known)
        it.clock.advance(2 * MOST_WAITING)
        it.new_engine()
        async with it.running(config):
            await outlet.next()
            await it.flow()
            for _ in range(3):
                await lose(it, outlet, 2)
            stream = it.stream()
            assert len(stream._position.gaps) == MOST_WAITING
            assert stream._backfilling is not None
            assert tuple(stream._backfilling.waiting) == stream._position.gaps
            past.status = 200
            past.asked.clear()
            while stream._position.gaps:
                await it.calm()
                it.clock.advance(10)
        covered = sorted(past.asked)
    assert covered[0][0] == 0
    assert len(covered) == MOST_WAITING
