"""Managed connectors over a real log, server and store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from control.managing import Yard, defined, yard
from headwater.config import InvalidConfigError
from headwater.control.fleet import File, Fleet
from headwater.control.journal import Journal
from headwater.control.store import Store
from headwater.core.checkpoint import GAP_SUFFIX, Checkpoint, encode_checkpoint
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
    LogFullError,
    ManagerError,
)
from headwater.core.http import Deliver, Fetching, Request
from headwater.core.managed import Definition, Phase
from headwater.engine import Engine
from headwater.engine.metrics import EngineCollector
from headwater.fetch import CurlFetcher
from headwater.log import Append, Log, Receipt, TopicInfo, TopicSpec
from headwater.testing import Answer, Received, ScriptedServer, VirtualClock, background


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a server whose answers are numbered, with a validator each."""
    numbers = iter(range(1_000_000))

    def numbered(_: Received) -> Answer:
        number = next(numbers)
        return Answer(body=b"%d" % number, headers=(("etag", f'"{number}"'),))

    with background(ScriptedServer()) as running:
        running.route("/x", numbered)
        running.route("/bad", Answer(500, body=b"no"))
        yield running


async def phase(it: Yard, name: str = "cats") -> Phase:
    return (await it.fleet.get(name)).status


async def test_created_polled_listed_deleted(tmp_path: Path, server: ScriptedServer) -> None:
    """A connector polls from its creation on; what is known of it is listed; deleted, its records stay."""
    async with yard(tmp_path) as it:
        assert await it.fleet.list() == []
        plan = await it.fleet.create(defined(server))
        assert (plan.name, plan.action) == ("cats", "created")
        assert f"+  endpoint: {server.url}/x" in plan.difference
        assert await phase(it) is Phase.INIT
        await it.clock.sleeping()
        assert await phase(it) is Phase.RUNNING
        (found,) = await it.fleet.list()
        assert (found.name, found.type, found.version, found.topic) == ("cats", "http", "latest", "cats")
        assert (found.records, found.restarts, found.reason, found.paused) == (1, 0, "", False)
        assert found.next_poll == it.clock.time_ms() + 10_000
        assert found.last_record == found.created == it.clock.time_ms()
        with pytest.raises(ConnectorExistsError, match="Connector already exists: cats"):
            await it.fleet.create(defined(server))
        assert (await it.fleet.delete("cats")).action == "deleted"
        assert await it.fleet.list() == []
        assert await it.values() == [b"0"]
        # The next one of this name begins anew.
        await it.fleet.create(defined(server))
        await it.clock.sleeping()
        assert server.received[-1].header("if-none-match") is None


async def test_all_survives_a_restart(tmp_path: Path, server: ScriptedServer) -> None:
    """Definitions, secrets, pauses and checkpoints are there again when the server is."""
    more = "  headers: {X: '${{ secrets.KEY }}'}\n"
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server, name="cats", more=more, KEY="hush-hush"))
        await it.fleet.create(defined(server, name="dogs"))
        await it.clock.sleeping(2)
        await it.fleet.pause("dogs")
        await it.fleet.pause("dogs")
    assert (tmp_path / "connectors" / "cats.json").stat().st_mode & 0o777 == 0o600
    requests = len(server.received)
    async with yard(tmp_path) as it:
        await it.clock.sleeping()
        assert len(server.received) == requests + 1
        assert server.received[-1].header("x") == "hush-hush"
        assert server.received[-1].header("if-none-match") is not None
        assert (await phase(it, "cats"), await phase(it, "dogs")) == (Phase.RUNNING, Phase.PAUSED)
        with pytest.raises(ConnectorError, match="is paused"):
            await it.fleet.restart("dogs")
        await it.fleet.resume("dogs")
        await it.clock.sleeping(2)
        assert await phase(it, "dogs") is Phase.RUNNING
        assert "hush" not in await it.fleet.config("cats")


async def test_a_change_rolls_over(tmp_path: Path, server: ScriptedServer) -> None:
    """The new definition runs at once and goes on with the checkpoint; the same again changes nothing."""
    async with yard(tmp_path) as it:
        first = defined(server, more="  headers: {X: '${{ secrets.KEY }}'}\n", KEY="one")
        await it.fleet.create(first)
        await it.clock.sleeping()
        assert (await it.fleet.update(first)).action == "unchanged"
        second = msgspec.structs.replace(first, secrets={"KEY": "two"})
        assert (await it.fleet.update(second, dry_run=True)).difference == ("~secret KEY",)
        await asyncio.sleep(0)
        assert len(server.received) == 1
        assert (await it.fleet.update(second)).action == "updated"
        await it.clock.sleeping()
        assert [it.header("x") for it in server.received] == ["one", "two"]
        slower = defined(server).text.replace("10s", "20s")
        plan = await it.fleet.update(Definition("cats", slower))
        assert {"-  interval: 10s", "+  interval: 20s", "-secret KEY"} <= set(plan.difference)
        with pytest.raises(ConnectorNotFoundError, match=r"Invalid connector: dogs - does not exist\."):
            await it.fleet.update(defined(server, name="dogs"))


async def test_a_bad_change_is_refused(tmp_path: Path, server: ScriptedServer) -> None:
    """What cannot be read, what cannot run, and what names another: the last good one goes on undisturbed."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
        await it.clock.sleeping()
        for text, said in (
            ("name: cats\n", "topic"),
            (defined(server).text.replace("interval", "intervall"), "did you mean 'interval'"),
            (defined(server).text + "transforms: [{uses: nothing-like-that}]\n", "no SmartModule"),
            (defined(server).text.replace("topic: cats", "topic: dogs\ncreate_topic: false"), "no topic 'dogs'"),
        ):
            with pytest.raises(InvalidConfigError, match=said):
                await it.fleet.update(Definition("cats", text))
            with pytest.raises(InvalidConfigError, match=said):
                await it.fleet.create(Definition("cats2", text.replace("name: cats", "name: cats2")))
        with pytest.raises(ConnectorError, match="names the connector dogs, not cats"):
            await it.fleet.update(Definition("cats", defined(server, name="dogs").text))
        await it.clock.next_wake()
        await it.clock.sleeping()
        assert await it.values() == [b"0", b"1"]
        assert [found.name for found in await it.fleet.list()] == ["cats"]
        assert [topic.name for topic in await it.log.topics()] == ["cats"]


def failing(it: Yard) -> dict[str, float]:
    """Return what the metrics say of each connector."""
    families = {family.name: family for family in EngineCollector(it.engine.figures, lambda: 0).collect()}
    return {sample.labels["connector"]: sample.value for sample in families["headwater_failing"].samples}


async def test_states(tmp_path: Path, server: ScriptedServer) -> None:
    """Failed while its endpoint fails, Pending while it waits after a crash, Failed when it was given up."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server, "/bad", "bad", "  retry: {attempts: 1}\n"))
        real, calls = it.engine._shared.fetcher.begin, iter(range(2))

        def broken(request: Request, deliver: Deliver) -> Fetching:
            if "odd" in request.url and next(calls, None) is not None:
                raise RuntimeError("a defect")
            return real(request, deliver)

        it.engine._shared.fetcher.begin = broken  # type: ignore[method-assign]
        await it.fleet.create(defined(server, "/x?odd", "odd", "  restart: {attempts: 1}\n"))
        await it.clock.sleeping(2)
        bad, odd = await it.fleet.list()
        assert (bad.status, bad.reason) == (Phase.FAILED, "500 Internal Server Error")
        assert failing(it) == {"bad": 1, "odd": 1}
        assert bad.since == it.clock.time_ms()
        assert (odd.status, odd.reason, odd.restarts) == (Phase.PENDING, "RuntimeError: a defect", 1)
        run = it.engine.runs()["odd"]
        while not run.task.done():
            await it.clock.next_wake()
            await asyncio.wait({run.task}, timeout=0.01)
        assert await phase(it, "odd") is Phase.FAILED
        assert failing(it)["odd"] == 1
        await it.fleet.restart("odd")
        await it.clock.sleeping(2)
        assert await phase(it, "odd") is Phase.RUNNING
        await it.fleet.pause("bad")
        assert failing(it) == {"bad": 0, "odd": 0}


async def test_one_that_cannot_run_here_is_invalid(tmp_path: Path, server: ScriptedServer) -> None:
    """What was fine once and is not now - a module that went, a file that is damaged - keeps nothing else back."""
    store = Store(tmp_path)
    async with yard(tmp_path) as it:
        for number in range(5):
            await it.fleet.create(defined(server, name=f"good-{number}"))
        await it.fleet.create(defined(server, name="gone"))
        await it.fleet.create(defined(server, name="old"))
        await it.clock.sleeping(7)
    kept = {one.definition.name: one for one in store.load()[0]}
    for name, change in (("gone", "transforms: [{uses: went-away}]\n"), ("old", "unheard: of\n")):
        definition = msgspec.structs.replace(kept[name].definition, text=kept[name].definition.text + change)
        store.put(msgspec.structs.replace(kept[name], definition=definition))
    (store.directory / "good-4.json").write_text('{"definition": 7}')
    with capture_logs() as lines:
        async with yard(tmp_path) as it:
            await it.clock.sleeping(4)
            states = {found.name: found for found in await it.fleet.list()}
            assert {name: found.status.value for name, found in states.items()} == {
                "gone": "Invalid",
                "old": "Invalid",
                **{f"good-{number}": "Running" for number in range(4)},
            }
            assert "there is no SmartModule 'went-away'" in states["gone"].reason
            assert "unheard" in states["old"].reason
            with pytest.raises(InvalidConfigError, match="went-away"):
                await it.fleet.restart("gone")
            await it.fleet.update(defined(server, name="gone"))
            await it.clock.sleeping(5)
            assert await phase(it, "gone") is Phase.RUNNING
    assert "a kept connector is damaged and left out" in {line["event"] for line in lines}
    assert (store.directory / "good-4.json").read_text() == '{"definition": 7}'


async def test_a_watched_directory(tmp_path: Path, server: ScriptedServer) -> None:
    """Connectors are what the files say: they come, change and go with them, and belong to them."""
    cats, dogs = defined(server, name="cats"), defined(server, name="dogs")
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server, name="mine"))
        await it.fleet.adopt({"a.yml": File([cats, defined(server, "/bad", "mine")]), "b.yml": File([dogs, cats])}, {})
        await it.clock.sleeping(3)
        assert [(found.name, found.origin) for found in await it.fleet.list()] == [
            ("cats", "a.yml"),
            ("dogs", "b.yml"),
            ("mine", ""),
        ]
        for change in (it.fleet.update(cats), it.fleet.delete("cats")):
            with pytest.raises(ConnectorOwnedError, match=r"is kept in a\.yml"):
                await change
        await it.fleet.pause("cats")
        slower = msgspec.structs.replace(dogs, text=dogs.text.replace("10s", "20s"))
        await it.fleet.adopt({"b.yml": File([slower])}, {"a.yml": "not YAML"})
        assert await it.fleet.config("dogs") == slower.text
        assert await phase(it, "cats") is Phase.PAUSED
    async with yard(tmp_path, watched=True) as it:
        assert [found.name for found in await it.fleet.list()] == ["cats", "dogs", "mine"]
        assert await phase(it, "cats") is Phase.PAUSED
        await it.fleet.adopt({"a.yml": File([cats])}, {})
        assert [found.name for found in await it.fleet.list()] == ["cats", "mine"]
        # A file that went for a moment: its connector goes on where it was.
        await it.fleet.adopt({"a.yml": File([cats]), "b.yml": File([dogs])}, {})
        await it.clock.sleeping(2)
        asked = [request for request in server.received if request.header("if-none-match")]
        assert asked
    async with yard(tmp_path) as it:
        assert [found.name for found in await it.fleet.list()] == ["mine"]


async def test_what_cannot_be_kept_is_not_started(tmp_path: Path, server: ScriptedServer) -> None:
    """When the disk refuses, creating and pausing fail, and everything is as it was."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
        await it.clock.sleeping()
        (tmp_path / "connectors").rename(tmp_path / "away")
        (tmp_path / "connectors").write_text("a file in its place")
        for change in (it.fleet.create(defined(server, name="dogs")), it.fleet.pause("cats")):
            with pytest.raises(ManagerError, match="cannot be kept"):
                await change
        assert [found.name for found in await it.fleet.list()] == ["cats"]
        assert await phase(it) is Phase.RUNNING


async def test_changes_wait_for_each_other(tmp_path: Path, server: ScriptedServer) -> None:
    """Many at once on one connector leave it as the last one wanted, and never run it twice."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
        await asyncio.gather(*(change("cats") for _ in range(5) for change in (it.fleet.pause, it.fleet.resume)))
        await it.clock.sleeping()
        assert await phase(it) is Phase.RUNNING
        assert len(it.engine.runs()) == 1
        outcomes = await asyncio.gather(
            it.fleet.delete("cats"), it.fleet.pause("cats"), it.fleet.delete("cats"), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes][1:] == ["ConnectorNotFoundError"] * 2
        both = await asyncio.gather(*(it.fleet.create(defined(server)) for _ in range(2)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in both) == ["ConnectorExistsError", "Plan"]


@asynccontextmanager
async def _following(it: Yard, name: str) -> AsyncIterator[AsyncIterator[str]]:
    lines = it.fleet.logs(name, follow=True)
    try:
        yield lines
    finally:
        await lines.aclose()  # type: ignore[attr-defined]


async def test_logs(tmp_path: Path, server: ScriptedServer) -> None:
    """A connector's log is its own, survives restarts, and can be followed."""
    async with yard(tmp_path) as it:
        with pytest.raises(ConnectorNotFoundError, match="Connector cats does not exist"):
            await anext(it.fleet.logs("cats"))
        await it.fleet.create(defined(server))
        it.journal.write("cats", "info", "one")
        async with _following(it, "cats") as lines:
            assert (await anext(lines)).endswith("INFO    one")
            it.journal.write("cats", "info", "two")
            it.journal.write("dogs", "info", "not mine")
            assert (await anext(lines)).endswith("INFO    two")
        await it.clock.sleeping()
    async with yard(tmp_path) as it:
        assert [line[-3:] async for line in it.fleet.logs("cats", tail=1)] == ["two"]


async def test_what_is_unsafe_is_said(tmp_path: Path, server: ScriptedServer) -> None:
    """In the log of the connector, whenever it starts."""
    for begin in ("create", "open"):
        with capture_logs() as said:
            async with yard(tmp_path) as it:
                if begin == "create":
                    await it.fleet.create(defined(server, more="  tls: {verify: insecure}\n"))
                await it.clock.sleeping()
        (warning,) = [line for line in said if line["log_level"] == "warning"]
        assert (warning["connector"], warning["option"]) == ("cats", "tls.verify")
        assert "can read and change everything" in warning["event"]


async def test_whoever_asks_while_it_starts_waits(tmp_path: Path, server: ScriptedServer) -> None:
    """While what is kept is loaded nobody makes one of its names anew, and no change lets one run twice."""
    async with yard(tmp_path) as it:
        for name in ("ants", "bees", "cats"):
            await it.fleet.create(defined(server, name=name))
    # As a kill amid a deletion leaves it.
    (tmp_path / "connectors" / "dogs.gone").touch()
    async with Log.open(tmp_path) as log, CurlFetcher() as fetcher:
        engine = Engine(log, fetcher, clock=VirtualClock())
        fleet = Fleet(log, engine, Journal(tmp_path))
        opening = asyncio.create_task(fleet.open())
        # It has turned the loop over to others once.
        await asyncio.sleep(0)
        assert not opening.done()
        assert [found.status for found in await fleet.list()] == [Phase.INIT] * 3
        outcomes = await asyncio.gather(
            fleet.create(defined(server, name="cats")),
            fleet.restart("cats"),
            fleet.pause("bees"),
            fleet.delete("ants"),
            return_exceptions=True,
        )
        await opening
        assert isinstance(outcomes[0], ConnectorExistsError)
        assert list(outcomes[1:3]) == [None, None]
        assert sorted(engine.runs()) == ["cats"]
        polling = [task for task in asyncio.all_tasks() if "_supervise" in repr(task)]
        assert len(polling) == 1
        await fleet.close()


async def test_a_connector_that_moves_to_another_file(tmp_path: Path, server: ScriptedServer) -> None:
    """A file that gets another name takes its connectors along: they run on, and the new file is theirs."""
    cats = defined(server)
    async with yard(tmp_path) as it:
        await it.fleet.adopt({"a.yml": File([msgspec.structs.replace(cats, file="/a.yml")])}, {})
        await it.clock.sleeping()
        run = it.engine.runs()["cats"]
        await it.fleet.adopt({"b.yml": File([msgspec.structs.replace(cats, file="/b.yml")])}, {})
        (found,) = await it.fleet.list()
        assert found.origin == "b.yml"
        assert it.engine.runs()["cats"] is run
        await it.fleet.adopt({}, {"b.yml": "not YAML"})
        assert [found.name for found in await it.fleet.list()] == ["cats"]


async def test_what_was_prepared_in_vain_is_not_used(tmp_path: Path, server: ScriptedServer) -> None:
    """A chain that was loaded for a change that could not be kept never touches the records of the last good one."""
    (tmp_path / "shout.py").write_text(
        "from headwater import Record, smartmodule\n\n\n@smartmodule\n"
        "def shout(record: Record) -> Record:\n    return Record(record.value.upper())\n"
    )
    loud = defined(server, more=f"transforms: [{{uses: '{tmp_path}/shout.py:shout'}}]\n")
    async with yard(tmp_path / "data") as it:
        server.route("/x", Answer(body=b"quiet"))
        await it.fleet.create(defined(server))
        await it.clock.sleeping()
        connectors = tmp_path / "data" / "connectors"
        connectors.rename(tmp_path / "away")
        connectors.write_text("a file in its place")
        with pytest.raises(ManagerError, match="cannot be kept"):
            await it.fleet.update(loud)
        await it.fleet.restart("cats")
        await it.clock.sleeping()
        await it.clock.next_wake()
        await it.clock.sleeping()
        assert set(await it.values()) == {b"quiet"}


async def test_what_cannot_be_deleted_runs_on(tmp_path: Path, server: ScriptedServer) -> None:
    """When the disk refuses, deleting fails, and the connector polls as before."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
        await it.clock.sleeping()
        connectors = tmp_path / "connectors"
        connectors.rename(tmp_path / "away")
        connectors.write_text("a file in its place")
        with pytest.raises(ManagerError, match="cannot be deleted"):
            await it.fleet.delete("cats")
        await it.clock.next_wake()
        await it.clock.sleeping()
        assert await phase(it) is Phase.RUNNING
        assert await it.values() == [b"0", b"1"]
        connectors.unlink()
        (tmp_path / "away").rename(connectors)
        await it.fleet.delete("cats")
        assert list(connectors.iterdir()) == []


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_deletion_that_the_log_refuses(tmp_path: Path, server: ScriptedServer, restarted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Its checkpoint is forgotten before the next one of its name begins, over a restart too; secrets go at once."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server, more="  headers: {X: '${{ secrets.KEY }}'}\n", KEY="hush-hush"))
        await it.clock.sleeping()
        real = it.log.submit

        def full(append: Append) -> asyncio.Future[Receipt]:
            raise LogFullError("no space left")

        it.log.submit = full  # type: ignore[method-assign]
        await it.fleet.delete("cats")
        assert await it.fleet.list() == []
        assert [path.read_bytes() for path in (tmp_path / "connectors").iterdir()] == [b""]
        with pytest.raises(LogFullError):
            await it.fleet.create(defined(server))
        assert await it.fleet.list() == []
        it.log.submit = real  # type: ignore[method-assign]
        if not restarted:
            await it.fleet.create(defined(server))
            await it.clock.sleeping()
            assert server.received[-1].header("if-none-match") is None
    if restarted:
        async with yard(tmp_path) as it:
            assert list((tmp_path / "connectors").iterdir()) == []
            await it.fleet.create(defined(server))
            await it.clock.sleeping()
            assert server.received[-1].header("if-none-match") is None


async def test_how_far_the_gaps_of_a_stream_are_goes_with_it(tmp_path: Path, server: ScriptedServer) -> None:
    """What asks for them has a checkpoint of its own, which a deletion forgets as well."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
        filled = encode_checkpoint(Checkpoint(3, 7))
        await it.log.submit(Append(None, (), checkpoint=(f"cats{GAP_SUFFIX}", filled)))
        await it.fleet.delete("cats")
        assert await it.log.checkpoint(f"cats{GAP_SUFFIX}") == encode_checkpoint(Checkpoint())


async def test_what_is_remembered_of_items_goes_with_the_connector(tmp_path: Path, server: ScriptedServer) -> None:
    """A deletion that forgets the checkpoint forgets them too: the next one of the name tells of everything."""
    server.route("/same", Answer(body=b'{"id":1}'))
    wanted = Definition(
        "cats", f"name: cats\ntopic: cats\nparameters:\n  endpoint: {server.url}/same\n  changes: {{}}\n", {}
    )
    async with yard(tmp_path) as it:
        for records in (1, 2):
            await it.fleet.create(wanted)
            await it.clock.sleeping()
            assert len(await it.values()) == records
            found = await asyncio.to_thread(it.log.recall("cats").rows, [0])
            assert found[0].key == b"null"
            await it.fleet.delete("cats")
            assert await asyncio.to_thread(it.log.recall("cats").rows, [0]) == {}


async def test_one_that_could_not_begin_says_so(tmp_path: Path, server: ScriptedServer) -> None:
    """A restart that the log refuses is no start that never ends: the reason is there, and the next one is tried."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
        await it.clock.sleeping()
        await it.log.delete_topic("cats")
        real = it.log.create_topic

        async def full(name: str, spec: TopicSpec | None = None) -> TopicInfo:
            raise LogFullError("no space left")

        it.log.create_topic = full  # type: ignore[method-assign]
        with pytest.raises(LogFullError):
            await it.fleet.restart("cats")
        (found,) = await it.fleet.list()
        assert (found.status, found.reason) == (Phase.INVALID, "no space left")
        it.log.create_topic = real  # type: ignore[method-assign]
        await it.fleet.restart("cats")
        await it.clock.sleeping()
        assert await phase(it) is Phase.RUNNING


async def test_what_a_kill_left_half_written_goes(tmp_path: Path, server: ScriptedServer) -> None:
    """Secrets do not stay in files that nobody knows."""
    async with yard(tmp_path) as it:
        await it.fleet.create(defined(server))
    left = tmp_path / "connectors" / ".cats.json-abcdef"
    left.write_text("hush")
    async with yard(tmp_path) as it:
        assert [found.name for found in await it.fleet.list()] == ["cats"]
    assert not left.exists()


async def test_one_topic_that_cannot_be_keeps_nothing_back(tmp_path: Path, server: ScriptedServer) -> None:
    """One whose topic is impossible here, or refused by a disk without room, is Invalid; all others start."""
    text = defined(server, name="dogs").text.replace(
        "topic: dogs",
        "topic: {meta: {name: dogs}, deduplication: {bounds: {count: 5}, filter: {transform: {uses: mine/own}}}}",
    )
    dogs = Definition("dogs", text)
    async with yard(tmp_path) as it:
        assert await it.fleet.adopt({"a.yml": File([defined(server)]), "b.yml": File([dogs])}, {})
        await it.clock.sleeping()
        states = {found.name: (found.status, found.reason) for found in await it.fleet.list()}
        assert states["cats"] == (Phase.RUNNING, "")
        assert states["dogs"][0] is Phase.INVALID
        assert "not by mine/own" in states["dogs"][1]
        await it.fleet.create(defined(server, name="ants"))
        await it.clock.sleeping(2)
        await it.log.delete_topic("ants")
    journal = Journal(tmp_path)
    async with Log.open(tmp_path) as log, CurlFetcher() as fetcher:

        async def full(name: str, spec: TopicSpec | None = None) -> TopicInfo:
            raise LogFullError("no space left")

        log.create_topic = full  # type: ignore[method-assign]
        fleet = Fleet(log, Engine(log, fetcher, clock=VirtualClock()), journal)
        await fleet.open(watched=True)
        states = {found.name: (found.status, found.reason) for found in await fleet.list()}
        assert states["ants"] == (Phase.INVALID, "no space left")
        assert states["cats"][0] is not Phase.INVALID
        await fleet.close()
