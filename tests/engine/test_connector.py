"""Connectors at work: a real server, a real log on disk, a clock turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headwater.config import ConnectorConfig, InvalidConfigError, load_text
from headwater.core.checkpoint import decode_checkpoint
from headwater.core.errors import LogFullError
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Deliver, Fetching, Request
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.fluvio.batch import decode_header
from headwater.log import Log, LogReader, Offset, TopicSpec
from headwater.testing import Answer, Received, ScriptedServer, VirtualClock


class Bench:
    """What one test works with."""

    def __init__(self, server: ScriptedServer, log: Log, fetcher: CurlFetcher, clock: VirtualClock) -> None:
        self.server = server
        self.log = log
        self.fetcher = fetcher
        self.clock = clock
        self.engine = Engine(log, fetcher, clock=clock, chance=lambda: 0.5, grace=5)
        self.stop = asyncio.Event()

    def config(self, path: str = "/x", name: str = "cats", more: str = "", interval: str = "10s") -> ConnectorConfig:
        """Return a connector of the server's path, in the page's form with more lines below."""
        text = (
            f"name: {name}\ntopic: {name}\nparameters:\n  endpoint: {self.server.url}{path}\n  interval: {interval}\n"
        )
        return load_text(text + more).connectors[0]

    @asynccontextmanager
    async def running(self, *configs: ConnectorConfig) -> AsyncIterator[None]:
        """Run connectors until the block is left."""
        task = asyncio.create_task(self.engine.run(configs, self.stop))
        try:
            yield
        finally:
            self.stop.set()
            await task

    async def values(self, topic: str = "cats") -> list[bytes]:
        """Return the values in a topic."""
        return [record.value for record in await (await self.log.topic(topic)).read()]


@asynccontextmanager
async def bench(directory: Path, server: ScriptedServer | None = None) -> AsyncIterator[Bench]:
    clock = VirtualClock()
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(ScriptedServer()) if server is None else server
        log = await stack.enter_async_context(Log.open(directory, now_ms=clock.time_ms))
        yield Bench(serving, log, await stack.enter_async_context(CurlFetcher()), clock)


def ledger(directory: Path, connector: str = "cats") -> list[Exchange]:
    with LogReader(directory) as reader:
        return reader.ledger(connector, 1000)


def counting() -> Callable[[Received], Answer]:
    numbers = iter(range(1_000_000))
    return lambda _: Answer(body=b"%d" % next(numbers))


async def test_polls_at_once_and_then_on_the_interval(tmp_path: Path) -> None:
    """The first poll is at once; the others keep the phase; each body is a record with its checkpoint and entry."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        async with it.running(it.config()):
            steps = [await it.clock.next_wake() for _ in range(4)]
            await it.clock.sleeping()
        assert steps == [10, 10, 10, 10]
        assert await it.values() == [b"0", b"1", b"2", b"3", b"4"]
        stored = await it.log.checkpoint("cats")
    assert stored is not None
    checkpoint = decode_checkpoint(stored)
    assert (checkpoint.exchanges, checkpoint.records) == (5, 5)
    entries = ledger(tmp_path)
    assert [(entry.scheduled - entries[0].scheduled, entry.offset) for entry in entries] == [
        (0, 0), (10_000, 1), (20_000, 2), (30_000, 3), (40_000, 4),
    ]  # fmt: skip
    assert {entry.decision for entry in entries} == {Decision.ACCEPTED}


async def test_a_poll_that_outlasts_its_interval_skips_ticks(tmp_path: Path) -> None:
    """Polls never overlap; the phase is kept; what was skipped is counted and explained."""
    async with bench(tmp_path) as it:

        def slow(_: Received) -> Answer:
            it.clock.advance(25)
            return Answer(body=b"slow")

        it.server.route("/x", slow)
        async with it.running(it.config()):
            assert await it.clock.next_wake() == 5
            await it.clock.sleeping()
    assert [(entry.decision, entry.skipped) for entry in ledger(tmp_path)] == [
        (Decision.ACCEPTED, 0), (Decision.ACCEPTED, 2),
    ]  # fmt: skip
    assert ledger(tmp_path)[1].reason.endswith(
        "; 2 before it skipped: the one before took 25 s, longer than its interval"
    )
    assert it.engine.figures.of("cats").decisions[Decision.SKIPPED] == 4


async def test_failures_are_retried_inside_the_interval(tmp_path: Path) -> None:
    """A 500 and a reset are tried again after growing pauses; the ledger says how often."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(500, close=True), Answer(cut=-1, reset=True), Answer(body=b"good"))
        with capture_logs() as lines:
            async with it.running(it.config()):
                pauses = [await it.clock.next_wake() for _ in range(2)]
                assert await it.clock.sleeping() == pytest.approx(10 - sum(pauses))
        assert pauses == [pytest.approx(0.375), pytest.approx(0.75)]
        assert await it.values() == [b"good"]
    assert [(entry.attempts, entry.status) for entry in ledger(tmp_path)] == [(3, 200)]
    assert lines == []


async def test_trouble_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    """A failing connector writes one line, not one for each poll, and one when it is well again."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(404), Answer(404), Answer(404), Answer(body=b"back"))
        with capture_logs() as lines:
            async with it.running(it.config()):
                for _ in range(3):
                    await it.clock.next_wake()
                await it.clock.sleeping()
        assert await it.values() == [b"back"]
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("connector is failing", "warning"),
        ("connector recovered", "info"),
    ]
    assert lines[0]["reason"].startswith("404 Not Found")
    assert (lines[1]["failures"], lines[1]["after"]) == (3, "30s")


async def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    """429 with Retry-After inside the interval is retried exactly then; beyond it, the covered ticks are skipped."""
    async with bench(tmp_path) as it:
        it.server.route(
            "/x",
            Answer(429, headers=(("retry-after", "3"),)),
            Answer(body=b"one"),
            Answer(503, headers=(("retry-after", "25"),)),
            Answer(body=b"two"),
        )
        async with it.running(it.config()):
            assert [await it.clock.next_wake() for _ in range(3)] == [3, 7, 30]
            await it.clock.sleeping()
        assert await it.values() == [b"one", b"two"]
    entries = ledger(tmp_path)
    assert [(entry.decision, entry.skipped) for entry in entries] == [
        (Decision.ACCEPTED, 0), (Decision.FAILED, 0), (Decision.ACCEPTED, 2),
    ]  # fmt: skip
    assert "asked to be left alone for 25 s" in entries[2].reason


async def test_conditional_requests_over_restarts(tmp_path: Path) -> None:
    """The validators of the last record go with the next request, also after a restart; 304 appends nothing."""
    fresh = Answer(body=b"v1", headers=(("etag", '"1"'), ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")))

    def answer(request: Received) -> Answer:
        known = request.header("if-none-match") == '"1"'
        assert known == (request.header("if-modified-since") == "Mon, 01 Jan 2024 00:00:00 GMT")
        return Answer(304, headers=(("etag", '"1"'),)) if known else fresh

    async with ScriptedServer() as server:
        server.route("/x", answer)
        for _ in range(2):
            async with bench(tmp_path, server) as it:
                async with it.running(it.config()):
                    await it.clock.next_wake()
                    await it.clock.sleeping()
                assert await it.values() == [b"v1"]
        assert len(server.received) == 4
        # Another request is not the one that the validators belong to.
        async with bench(tmp_path, server) as it:
            async with it.running(it.config("/x?page=2")):
                await it.clock.sleeping()
            assert await it.values() == [b"v1", b"v1"]
    assert [entry.decision.value for entry in ledger(tmp_path)] == [
        "accepted", "unchanged", "unchanged", "unchanged", "accepted",
    ]  # fmt: skip


async def test_conditional_can_be_turned_off(tmp_path: Path) -> None:
    """`conditional: false` never sends a validator."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=b"v1", headers=(("etag", '"1"'),)))
        async with it.running(it.config(more="  conditional: false\n")):
            await it.clock.next_wake()
            await it.clock.sleeping()
        assert [request.header("if-none-match") for request in it.server.received] == [None, None]
        assert await it.values() == [b"v1", b"v1"]


async def test_one_failure_never_touches_another(tmp_path: Path) -> None:
    """Beside a hanging, a failing and a flooding server, a good connector polls on time."""
    async with bench(tmp_path) as it:
        it.server.route("/good", counting())
        it.server.route("/hang", Answer(hang=True))
        it.server.route("/bad", Answer(500))
        it.server.route("/flood", Answer(body=bytes(2_000_000)))
        configs = [
            it.config("/good", "good"),
            it.config("/hang", "hang"),
            it.config("/bad", "bad", "  retry: {attempts: 1}\n"),
            it.config("/flood", "flood", "  max_body: 1 MB\n"),
        ]
        it.engine._grace = 0
        async with it.running(*configs):
            for _ in range(3):
                await it.clock.next_wake(3)  # all but the hanging one
            await it.clock.sleeping(3)
        assert await it.values("good") == [b"0", b"1", b"2", b"3"]
        assert await it.values("flood") == []
    assert {entry.decision for entry in ledger(tmp_path, "flood")} == {Decision.FAILED}
    assert "larger than" in ledger(tmp_path, "flood")[0].reason


async def test_an_empty_answer_is_no_record(tmp_path: Path) -> None:
    """204 leaves an entry, and no record."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(204))
        async with it.running(it.config()):
            await it.clock.sleeping()
        assert await it.values() == []
    assert [entry.decision for entry in ledger(tmp_path)] == [Decision.EMPTY]


async def test_stopping_lets_the_exchange_finish(tmp_path: Path) -> None:
    """What is under way when the stop comes is still appended; nothing new begins."""
    async with bench(tmp_path) as it:
        begun, release = asyncio.Event(), asyncio.Event()

        async def held(_: Received) -> Answer:
            begun.set()
            await release.wait()
            return Answer(body=b"last")

        it.server.route("/x", held)
        async with it.running(it.config()):
            await begun.wait()
            it.stop.set()
            release.set()
        assert await it.values() == [b"last"]
        assert len(it.server.received) == 1


async def test_stopping_during_a_retry_pause_does_not_wait(tmp_path: Path) -> None:
    """A connector that only waits to try again ends at once."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(500))
        async with it.running(it.config()):
            await it.clock.sleeping()
        assert len(it.server.received) == 1


async def test_a_topic_that_is_deleted_meanwhile_comes_back(tmp_path: Path) -> None:
    """With create_topic, a connector whose topic was deleted makes it again after a pause and goes on."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        with capture_logs() as lines:
            async with it.running(it.config()):
                await it.clock.sleeping()
                await it.log.delete_topic("cats")
                await it.clock.next_wake()  # the poll whose append fails
                await it.clock.next_wake()  # the pause before the restart
                await it.clock.sleeping()
        assert await it.values() == [b"2"]
    assert lines[0]["event"] == "connector stopped"
    assert "topic not found: cats" in lines[0]["reason"]


async def test_no_topic_and_not_to_be_created(tmp_path: Path) -> None:
    """`create_topic: false` without a topic is an error with its place, before anything is started."""
    async with bench(tmp_path) as it:
        text = f"name: a\ntopic: cats\ncreate_topic: false\nparameters:\n  endpoint: {it.server.url}/x\n"
        config = load_text(text).connectors[0]
        with pytest.raises(InvalidConfigError, match=r"connect\.yml:2:1: error: topic: there is no topic 'cats'"):
            await it.engine.run([config], it.stop)
        assert it.server.received == []
        await it.log.create_topic("cats")
        it.server.route("/x", counting())
        async with it.running(config):
            await it.clock.sleeping()
        assert await it.values() == [b"0"]


async def test_smartmodules_that_are_not_there(tmp_path: Path) -> None:
    """Every one is told with its place before anything is started."""
    async with bench(tmp_path) as it:
        config = it.config(more="  filter: my-filter\ntransforms: [{uses: x}]\n")
        with pytest.raises(InvalidConfigError, match="there is no SmartModule") as caught:
            await it.engine.run([config], it.stop)
        assert await it.log.topics() == []
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (6, "parameters.filter"), (7, "transforms[0]"),
    ]  # fmt: skip


async def test_cron_polls_at_its_times(tmp_path: Path) -> None:
    """A cron waits for its first time, by the wall clock; setting that clock moves it."""
    async with bench(tmp_path) as it:
        it.clock.set_wall(1_700_000_030)  # 22:13:50 UTC
        it.server.route("/x", counting())
        text = f"name: cats\ntopic: cats\nparameters:\n  endpoint: {it.server.url}/x\n  cron: '*/5 * * * *'\n"
        async with it.running(load_text(text).connectors[0]):
            assert await it.clock.next_wake() == 30  # looks at the wall clock again at least this often
            it.clock.set_wall(1_700_000_095)  # 22:14:55
            while it.clock.time_ms() < 1_700_000_100_000:
                await it.clock.next_wake()
            await it.clock.sleeping()
        assert await it.values() == [b"0"]
    assert [entry.scheduled for entry in ledger(tmp_path)] == [1_700_000_100_000]


async def test_spread_starts_at_an_own_moment(tmp_path: Path) -> None:
    """With spread the first poll waits for the connector's own moment of the interval, the same in every run."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        async with it.running(it.config(more="  spread: true\n")):
            first = await it.clock.next_wake()
            assert 0 < first < 10
            assert await it.clock.next_wake() == pytest.approx(10)
            await it.clock.sleeping()
        assert await it.values() == [b"0", b"1"]
    assert ledger(tmp_path)[0].started - 1_700_000_000_000 == round(first * 1000)


async def test_followers_see_records_as_they_come(tmp_path: Path) -> None:
    """A follower in the same process gets each record once it is committed, with partition, offset and time."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        await it.log.create_topic("cats", TopicSpec(partitions=2))
        seen = []
        async with it.running(it.config()):
            async for record in (await it.log.topic("cats")).follow(Offset.beginning()):
                seen.append((record.partition, record.offset, record.value, record.key))
                if len(seen) == 4:
                    break
                await it.clock.next_wake()
    assert seen == [(0, 0, b"0", None), (1, 0, b"1", None), (0, 1, b"2", None), (1, 1, b"3", None)]


async def test_secrets_stay_out_of_the_ledger_and_the_log(tmp_path: Path) -> None:
    """A secret in the URL and in a header shows in no entry and no line, whatever the server makes of it."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(302, headers=(("location", "http://127.0.0.1:1/?k=s3cr3t-value"),)))
        text = f"""
name: cats
topic: cats
parameters:
  endpoint: {it.server.url}/x?key=${{{{ secrets.KEY }}}}
  headers: {{X-Key: "${{{{ secrets.KEY }}}}"}}
  retry: {{attempts: 1}}
secrets: {{KEY: s3cr3t-value}}
"""
        with capture_logs() as lines:
            async with it.running(load_text(text).connectors[0]):
                await it.clock.sleeping()
        assert it.server.received[0].query == {"key": "s3cr3t-value"}
    said = str(lines) + str(ledger(tmp_path))
    assert "refused" in said or "connection" in said
    assert "s3cr3t" not in said


async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """While the disk is full the record waits and nothing is polled; when there is space it is appended, once."""
    async with bench(tmp_path) as it:
        it.server.route("/x", lambda request: Answer(body=request.target.encode() * 20_000))
        connection = it.log._writer._connection
        with capture_logs() as lines:
            async with it.running(it.config("/x?n=1")):
                await it.clock.sleeping()
                # SQLite answers "full" exactly as it does when the disk is: no page can be added.
                connection.pragma("max_page_count", connection.pragma("page_count"))
                await it.clock.next_wake()
                for _ in range(3):
                    await it.clock.next_wake()
                await it.clock.sleeping()
                assert len(await it.values()) == 1
                assert len(it.server.received) == 2
                connection.pragma("max_page_count", 1_000_000)
                await it.clock.next_wake()
                await it.clock.sleeping()
        assert len(await it.values()) == 2
    assert [line["event"] for line in lines] == ["connector is failing", "connector recovered"]
    assert "no space left" in lines[0]["reason"]
    assert "free some space" in lines[0]["hint"]


async def test_compression_is_agreed_upon(tmp_path: Path) -> None:
    """The producer's codec is used where the topic allows it; a conflict is an error with its place."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=b"cat " * 5000))
        await it.log.create_topic("packed", TopicSpec(compression="zstd"))
        config = it.config(name="packed", more="producer: {compression: gzip}\n")
        with pytest.raises(InvalidConfigError, match=r"connect\.yml:6:1: .*allows compression zstd, not gzip"):
            await it.engine.run([config], it.stop)
        configs = it.config(name="packed"), it.config(name="gz", more="producer: {compression: gzip}\n")
        async with it.running(*configs):
            await it.clock.sleeping(2)
        for name, codec in (("packed", 4), ("gz", 1)):
            assert await it.values(name) == [b"cat " * 5000]
            batch = it.log.reader.read(name, 0, 0, 1)[0]
            assert decode_header(batch.data).attributes == codec
            assert len(batch.data) < 1000


async def test_what_nobody_thought_of_stops_one_connector_for_a_while(tmp_path: Path) -> None:
    """A defect in one connector is told with its trace; it starts again after a pause, and the others never notice."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        real, calls = it.fetcher.begin, iter(range(100))

        def broken(request: Request, deliver: Deliver) -> Fetching:
            if "odd" in request.url and next(calls) == 0:
                raise RuntimeError("a defect")
            return real(request, deliver)

        it.fetcher.begin = broken  # type: ignore[method-assign]
        with capture_logs() as lines:
            async with it.running(it.config("/x?odd", "odd"), it.config("/x", "even")):
                assert await it.clock.sleeping(2) == pytest.approx(0.75)
                await it.clock.next_wake(2)
                await it.clock.sleeping(2)
            assert len(await it.values("odd")) == len(await it.values("even")) == 1
    assert [(line["event"], line["connector"]) for line in lines] == [("connector crashed", "odd")]


async def test_a_full_disk_while_a_connector_starts_again(tmp_path: Path) -> None:
    """A connector whose checkpoint cannot be read for a while pauses and goes on; the others never notice."""
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        real, refusals = it.log.checkpoint, iter([LogFullError("no space left", hint="free some space")])

        async def refusing(connector: str) -> bytes | None:
            if connector == "odd" and (refusal := next(refusals, None)):
                raise refusal
            return await real(connector)

        it.log.checkpoint = refusing  # type: ignore[method-assign]
        with capture_logs() as lines:
            async with it.running(it.config(name="odd"), it.config(name="even")):
                assert await it.clock.sleeping(2) == pytest.approx(0.75)
                await it.clock.next_wake(2)
                await it.clock.sleeping(2)
                assert len(await it.values("odd")) == len(await it.values("even")) == 1
    assert [(line["event"], line["connector"]) for line in lines] == [("connector stopped", "odd")]


async def test_what_outlasts_the_grace_is_cut(tmp_path: Path) -> None:
    """After the grace period the stop cuts what is still under way; nothing of it is stored."""
    async with bench(tmp_path) as it:
        it.engine._grace = 0.05
        it.server.route("/x", Answer(hang=True))
        task = asyncio.create_task(it.engine.run([it.config()], it.stop))
        async with asyncio.timeout(10):
            while not it.server.received:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0)
            it.stop.set()
            await task
        assert await it.values() == []
