"""What is stored together, with which checkpoint and entry; and how a slow log slows down the network."""

from __future__ import annotations

import asyncio
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.faraway import faraway
from engine.streaming.streamed import SSE, Line, Streamed, decisions, streamed
from headwater.core.checkpoint import decode_checkpoint
from headwater.core.errors import LogCorruptError, LogFullError
from headwater.core.exchange import Decision, Exchange
from headwater.engine.connector import Connector
from headwater.fluvio.partition import partition_of
from headwater.log import Append, TopicSpec
from headwater.testing import Answer
from headwater.transforms.store import Entry, Store
from transforms import guests


def appends(it: Streamed) -> list[Append]:
    """Return the appends that had records."""
    return [append for append in it.log.appends if append.topic is not None]


def sizes(it: Streamed) -> list[int]:
    """Return of each group how many records there were at its end."""
    return [decode_checkpoint(append.checkpoint[1]).records for append in appends(it) if append.checkpoint is not None]


async def test_a_quiet_stream_is_stored_at_once(tmp_path: Path) -> None:
    """Without linger nothing waits for time: the clock stands still."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            line = await outlet.next()
            for number in range(3):
                await line.say(b"%d\n" % number)
                await it.values(count=number + 1)
                await it.calm()
        assert sizes(it) == [1, 2, 3]


async def test_what_comes_meanwhile_is_the_next_group(tmp_path: Path) -> None:
    """While one is on its way the next gathers, and goes as soon as that is there."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            line = await outlet.next()
            release = it.log.hold()
            await line.say(b"0\n")
            await it.until(lambda: len(appends(it)) == 1)
            for number in range(1, 50):
                await line.say(b"%d\n" % number)
            receiving = (await it.flow()).receiving
            await it.until(lambda: receiving.received == 140)
            assert len(appends(it)) == 1
            release.set()
            assert await it.values(count=50) == [b"%d" % number for number in range(50)]
            await it.calm()
        assert sizes(it) == [1, 50]


async def test_linger_is_waited_for(tmp_path: Path) -> None:
    """A group goes so long after its first record, also where nobody has waited before."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config(meta={"producer": {"linger": "2s"}})):
            line = await outlet.next()
            receiving = (await it.flow()).receiving
            for first in (0, 2):
                await line.say(b"%d\n" % first)
                await it.until(lambda: receiving.waiting)
                await it.calm()
                it.clock.advance(1.5)
                await line.say(b"%d\n" % (first + 1))
                await it.until(lambda n=first: receiving.received == 2 * n + 4)  # type: ignore[misc]
                await it.calm()
                assert len(await it.values()) == first
                it.clock.advance(0.5)
                assert len(await it.values(count=first + 2)) == first + 2
            await line.say(b"4\n")
            await it.until(lambda: receiving.waiting)
            # What has come is stored at the stop, without waiting.
        assert sizes(it) == [2, 4, 5]
        assert len(await it.values()) == 5


async def test_linger_ends_with_the_connection_and_with_size(tmp_path: Path) -> None:
    """A response that ends, or a megabyte, is not waited for."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config(meta={"producer": {"linger": "1h"}})):
            line = await outlet.next()
            await line.say((b"x" * 999 + b"\n") * 1200)
            await it.until(lambda: it.engine.figures.of("cats").records > 0)
            await line.say(b"the last")
            await line.end()
            assert len(await it.values(count=1201)) == 1201


async def test_entries_of_a_busy_stream(tmp_path: Path) -> None:
    """One for the first group, then at most one in ten seconds, and one at the end: records and places add up."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            line = await outlet.next()
            for number in range(60):
                await line.say(b"%d\n" % number)
                await it.values(count=number + 1)
                await it.until(lambda n=number: it.engine.figures.of("cats").records == n + 1)  # type: ignore[misc]
                it.clock.advance(1)
        entries = it.ledger()
    accepted = [entry for entry in entries if entry.decision is Decision.ACCEPTED]
    assert decisions(entries) == ["connected", *["accepted"] * len(accepted), "ended"]
    assert len(accepted) == 6
    assert min(later.scheduled - earlier.scheduled for earlier, later in pairwise(accepted[1:])) >= 10_000
    await _check_places(entries, 60)
    assert sum(entry.bytes_received for entry in entries if hasattr(entry, "bytes_received")) in {0, 170}


async def _check_places(entries: list[Exchange], total: int) -> None:
    place = 0
    for entry in entries:
        if entry.records:
            assert entry.offset == place
            place += entry.records
    assert place == total


async def test_a_log_that_refuses_holds_the_network_back(tmp_path: Path) -> None:
    """Little is in memory while the server's buffers fill; afterwards everything is there once, and in order."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        total = 40_000
        with capture_logs() as lines:
            async with it.running(it.config()):
                line = await outlet.next()
                it.log.refusing = LogFullError("full")
                sending = asyncio.ensure_future(_flood(line, total))
                flow = await it.flow()
                await it.until(lambda: flow._held)
                await it.calm()
                await asyncio.sleep(0.2)
                taken, sent = it.engine._shared.room.taken, line.sent
                assert taken < 6_000_000
                assert not sending.done()
                it.clock.advance(30)
                await asyncio.sleep(0.1)
                assert line.sent == sent
                it.log.refusing = None
                it.clock.advance(30)
                await sending
                await it.until(lambda: it.engine.figures.of("cats").records == total)
                await it.calm()
                assert it.engine._shared.room.taken == 0
        assert [record.value[:8] for record in await it.records()] == [b"%08d" % number for number in range(total)]
        assert [line["event"] for line in lines] == ["connector is failing", "connector recovered"]
        assert sizes(it)[-1] == total


async def _flood(line: Line, total: int) -> None:
    for number in range(0, total, 100):
        await line.say(b"".join(b"%08d" % one + b"x" * 991 + b"\n" for one in range(number, number + 100)))


async def test_streams_share_the_room(tmp_path: Path) -> None:
    """With all of it taken each stream still goes on with a little."""
    async with streamed(tmp_path) as it:
        outlets = [it.outlet(f"/{number}") for number in range(4)]
        configs = [it.config({"endpoint": f"{it.server.url}/{number}"}, f"s{number}") for number in range(4)]
        async with it.running(*configs):
            lines = [await outlet.next() for outlet in outlets]
            it.engine._shared.room.taken += 256 * 1024 * 1024
            sending = [asyncio.ensure_future(_flood(line, 1000)) for line in lines]
            await asyncio.gather(*sending)
            for number in range(4):
                await it.until(lambda n=number: it.engine.figures.of(f"s{n}").records == 1000)  # type: ignore[misc]
            await it.calm()
            assert it.engine._shared.room.taken == 256 * 1024 * 1024


async def test_large_frames_are_counted_as_what_they_are(tmp_path: Path) -> None:
    """A frame of many chunks takes more than the last of them."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            line = await outlet.next()
            release = it.log.hold()
            await line.say(b"0\n")
            await it.until(lambda: len(appends(it)) == 1)
            sending = asyncio.ensure_future(_large(line))
            flow = await it.flow()
            await it.until(lambda: flow._held)
            await asyncio.sleep(0.1)
            assert it.engine._shared.room.taken < 8_000_000
            release.set()
            await sending
            assert len(await it.values(count=21)) == 21


async def _large(line: Line) -> None:
    for _ in range(20):
        await line.say(b"x" * 1_500_000 + b"\n")


async def test_a_group_that_cannot_be_stored_twice(tmp_path: Path) -> None:
    """A disk that fails once or twice: it is stored once."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse"})):
            line = await outlet.next()
            it.log.refusing = LogFullError("full")
            await line.say(b"id: 1\ndata: a\n\n")
            await it.until(lambda: len(appends(it)) == 1)
            await line.say(b"id: 2\ndata: b\n\n")
            await line.reset()
            await it.calm()
            it.clock.advance(20)
            await it.until(lambda: len(appends(it)) == 2)
            it.log.refusing = None
            await it.calm()
            it.clock.advance(20)
            assert await it.values(count=2) == [b"a", b"b"]
            await it.reconnect()
            assert (await outlet.next()).request.header("last-event-id") == "2"


async def test_transforms_keep_their_state(tmp_path: Path) -> None:
    """What a transform remembers is stored with each group, and goes on after a restart and a refused group."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        dedup = {"uses": "infinyon-labs/dedup-filter", "with": {"count": "10"}}
        config = it.config(transforms=[dedup])
        async with it.running(config):
            line = await outlet.next()
            await line.say(b"a\nb\na\n")
            await it.values(count=2)
            await line.say(b"b\nc\n")
            assert await it.values(count=3) == [b"a", b"b", b"c"]
        it.new_engine()
        async with it.running(it.config(transforms=[dedup])):
            line = await outlet.next()
            await line.say(b"c\na\nd\n")
            assert await it.values(count=4) == [b"a", b"b", b"c", b"d"]
        assert (await it.checkpoint()).records == 4


async def test_what_a_transform_refuses(tmp_path: Path) -> None:
    """It goes to the dead letters, counted and told; the rest is stored."""
    code = guests.letter_filter()
    digest = hashlib.sha256(code).hexdigest()
    Store(tmp_path / "smartmodules").save(Entry(name="keep", digest=digest, size=len(code), kind="", loaded=0), code)
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config(transforms=[{"uses": "keep"}])):
            line = await outlet.next()
            await line.say(b"abc\nxyz\nza\n")
            values = await it.values(count=2)
        assert values == [b"abc", b"za"]
        entries = it.ledger()
        assert sum(entry.records for entry in entries) == 2


async def test_several_partitions(tmp_path: Path) -> None:
    """Records go by their keys; a group is whole over all partitions."""
    async with streamed(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=3))
        outlet = it.outlet()
        async with it.running(it.config({"records": {"key": "/k"}})):
            line = await outlet.next()
            await line.say(b"".join(b'{"k":"k%d","n":%d}\n' % (number % 7, number) for number in range(100)))
            await it.until(lambda: it.engine.figures.of("cats").records == 100)
        found = [await it.records(partition=number) for number in range(3)]
    assert sum(map(len, found)) == 100
    for number, records in enumerate(found):
        assert all(record.key is not None and partition_of(record.key, 3) == number for record in records)
        numbers = [json.loads(record.value)["n"] for record in records]
        assert numbers == sorted(numbers)


async def test_a_cluster_as_the_target(tmp_path: Path) -> None:
    """Records on the cluster, checkpoint and ledger here; it goes on behind the last event after a restart."""
    async with faraway(tmp_path) as it:
        seen: list[str | None] = []
        stops: list[asyncio.Event] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = 2 * len(stops) + 1
            stops.append(asyncio.Event())
            for one in (number, number + 1):
                writer.write(b"id: %d\ndata: %d\n\n" % (one, one))
            await writer.drain()
            await reader.read(1)

        def answer(request: object) -> Answer:
            seen.append(dict(request.headers).get("last-event-id"))  # type: ignore[attr-defined]
            return Answer(headers=SSE, talk=talk)

        it.server.route("/x", answer)
        text = (
            "apiVersion: 0.1.0\nmeta: {name: cats, type: http-source, topic: cats}\n"
            f"http: {{endpoint: '{it.server.url}/x', format: sse}}\n"
        )
        for count in (2, 4):
            async with it.running(it.config(text=text)):
                await it.clock.sleeping()
                it.clock.advance(0.001)
                async with asyncio.timeout(20):
                    while (await it.checkpoint()).records < count:  # noqa: ASYNC110 - the log says nothing
                        await asyncio.sleep(0.01)
        assert await it.values() == [b"1", b"2", b"3", b"4"]
        assert seen == [None, "2"]
        entries = await it.keeper.ledger("cats")
        assert sum(entry.records for entry in entries) == 4


# How it stops.


async def test_a_stop_while_it_waits_and_while_it_asks(tmp_path: Path) -> None:
    """Neither waits for anything."""
    async with streamed(tmp_path) as it:
        it.server.route("/x", Answer(503))
        async with it.running(it.config()):
            await it.until(lambda: bool(it.server.received) and it.stream().next_poll() is not None)
        it.server.route("/x", Answer(hang=True))
        it.new_engine()
        async with asyncio.timeout(3), it.running(it.config({"timeout": "1m"})):
            await it.until(lambda: len(it.server.received) == 2)


async def test_a_stop_in_a_flood(tmp_path: Path) -> None:
    """What had come is stored; it was the beginning of what was sent."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            line = await outlet.next()
            sending = asyncio.ensure_future(_flood(line, 200_000))
            await it.until(lambda: it.engine.figures.of("cats").records > 1000)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        values = await it.values()
        assert [value[:8] for value in values] == [b"%08d" % number for number in range(len(values))]
        assert {len(value) for value in values} == {999}
        assert (await it.checkpoint()).records == len(values)
        entries = it.ledger()
        assert sum(entry.records for entry in entries) == len(values)


async def test_a_stop_while_the_log_hangs(tmp_path: Path) -> None:
    """It takes no longer than the grace."""
    async with streamed(tmp_path) as it:
        it.grace = 0.3
        it.new_engine()
        outlet = it.outlet()
        release = asyncio.Event()
        async with asyncio.timeout(5), it.running(it.config()):
            line = await outlet.next()
            release = it.log.hold()
            await line.say(b"a\n")
            await it.until(lambda: len(appends(it)) == 1)
        assert it.engine._shared.room.taken == 0
        release.set()
        await asyncio.gather(*it.log.waiting)


async def test_a_defect_is_survived(tmp_path: Path) -> None:
    """What nobody has thought of restarts the stream alone, behind what is stored."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        good = it.outlet("/y")
        configs = it.config({"format": "sse"}), it.config({"endpoint": f"{it.server.url}/y"}, "dogs")
        with capture_logs() as lines:
            async with it.running(*configs):
                line, other = await outlet.next(), await good.next()
                await line.say(b"id: 1\ndata: a\n\n")
                await it.values(count=1)
                await it.until(lambda: it.stream().checkpoint.records == 1)
                it.log.refusing = ValueError("nobody has thought of this")  # type: ignore[assignment]
                await line.say(b"id: 2\ndata: b\n\n")
                await it.until(lambda: bool(lines))
                it.log.refusing = None
                await other.say(b"x\n")
                assert await it.values("dogs", count=1) == [b"x"]
                await it.until(lambda: it.engine._shared.room.taken == 0)
                await it.calm()
                for _ in range(3):
                    it.clock.advance(2)
                    await it.calm()
                line = await outlet.next()
                assert line.request.header("last-event-id") == "1"
                await line.say(b"id: 2\ndata: b\n\n")
                assert await it.values(count=2) == [b"a", b"b"]
                gap = it.engine.figures.of("cats").stream
                assert gap is not None
                assert gap.connected
        assert lines[0]["event"] == "connector crashed"


async def test_a_log_beyond_repair_is_fatal(tmp_path: Path) -> None:
    """As for polls: the engine ends with it."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        with pytest.raises(LogCorruptError):  # noqa: PT012 - it is raised when the connectors have ended
            async with it.running(it.config()):
                line = await outlet.next()
                it.log.refusing = LogCorruptError("the log is damaged")
                await line.say(b"a\n")
                await it.until(it.engine.fatal.done)
                it.log.refusing = None


async def test_a_hanging_stream_disturbs_nobody(tmp_path: Path) -> None:
    """Streams and polls beside one that hangs, and one whose log hangs."""
    async with streamed(tmp_path) as it:
        it.server.route("/hang", Answer(hang=True))
        it.server.route("/poll", Answer(body=b"polled"))
        outlet = it.outlet("/x")
        poll = it.config({"endpoint": f"{it.server.url}/poll", "stream": False, "interval": "1s"}, "poll")
        configs = it.config({"endpoint": f"{it.server.url}/hang"}, "hang"), it.config(), poll
        async with it.running(*configs):
            line = await outlet.next()
            for number in range(3):
                await line.say(b"%d\n" % number)
                await it.values(count=number + 1)
                await it.values("poll", count=number + 1)
                await it.calm()
                it.clock.advance(1)
            assert isinstance(it.engine.runs()["poll"].connector, Connector)
