"""What connectors remember of items, at work: on the log itself, beside a server, and on a cluster with a keeper."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.faraway import faraway
from engine.test_connector import Bench, bench, ledger
from headwater.config import ConnectorConfig, InvalidConfigError
from headwater.core.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from headwater.core.exchange import Decision
from headwater.core.memory import MemoryChange
from headwater.engine import Engine
from headwater.log import Append, LogReader, TopicSpec
from headwater.server.remote import RemoteLog
from headwater.server.server import Listen, Server
from headwater.testing import Answer, Received, ScriptedServer

CHANGES = "  changes: {form: patch}\n"
# A patch is told where it is shorter than the item.
FILLER = "all work and no play makes jack a dull boy, " * 2


def answering(*values: object) -> Callable[[Received], Answer]:
    """Answer with one after the other, the last one again and again; each with a validator of its own."""
    left = list(values)

    def answer(received: Received) -> Answer:
        value = left.pop(0) if len(left) > 1 else left[0]
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        tag = f'"{hash(body)}"'
        if received.header("if-none-match") == tag:
            return Answer(304)
        return Answer(body=body, headers=(("etag", tag),))

    return answer


def status(up: bool, **more: Any) -> dict[str, Any]:  # noqa: FBT001 - what a status is
    return {"up": up, "text": FILLER, **more}


async def polls(it: Bench, count: int) -> None:
    """Let so many polls be done, the first of them the one that is due now."""
    for _ in range(count - 1):
        await it.clock.sleeping()
        await it.clock.next_wake()
    await it.clock.sleeping()


async def remembered(it: Bench, name: str = "cats") -> Checkpoint:
    stored = await it.log.checkpoint(name)
    assert stored is not None
    return decode_checkpoint(stored)


async def test_an_answer_that_changes_is_told_once(tmp_path: Path) -> None:
    """Its first form, then only what differs; the ledger says what there was, and a restart repeats nothing."""
    async with ScriptedServer() as server, bench(tmp_path, server) as it:
        server.route("/x", answering(status(True), status(True), status(False), status(True)))
        async with it.running(it.config(more=CHANGES)):
            await polls(it, 3)
        events = [json.loads(value) for value in await it.values()]
        assert [event["op"] for event in events] == ["added", "changed"]
        assert events[0]["after"] == status(True)
        assert events[1]["patch"] == [{"op": "replace", "path": "/up", "value": False}]
        reasons = [entry.reason.partition("; ")[2] for entry in ledger(tmp_path)]
        assert reasons == ["1 added, 1 known", "", "1 changed, 1 known"]
        checkpoint = await remembered(it)
        assert checkpoint.remembered is not None
        assert (checkpoint.remembered.known, checkpoint.records, checkpoint.exchanges) == (1, 2, 2)
        it.stop = asyncio.Event()
        async with it.running(it.config(more=CHANGES)):
            await polls(it, 3)
        events = [json.loads(value) for value in await it.values()]
        assert [event["op"] for event in events] == ["added", "changed", "changed"]


async def test_what_was_seen_before_is_left_out(tmp_path: Path) -> None:
    """By its value, within a window of two."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answering(b"a", b"b", b"a", b"c", b"d", b"a"))
        async with it.running(it.config(more="  conditional: false\n  deduplicate: {by: value, count: 2}\n")):
            await polls(it, 6)
        assert await it.values() == [b"a", b"b", b"c", b"d", b"a"]
        assert [entry.records for entry in ledger(tmp_path)] == [1, 1, 0, 1, 1, 1]
        assert "1 seen before" in ledger(tmp_path)[2].reason


async def test_records_go_to_partitions_by_the_items_keys(tmp_path: Path) -> None:
    """Nothing changed is no record in any of them."""
    async with bench(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=3))
        it.server.route("/x", answering({"id": 1}, {"id": 1, "v": 2}, {"id": 2}))
        more = "  conditional: false\n  changes: {key: /id, removed: both}\n"
        async with it.running(it.config(more=more)):
            await polls(it, 4)
        topic = await it.log.topic("cats")
        by_partition = [await topic.read(partition=number) for number in range(3)]
        keys = [{record.key for record in records} for records in by_partition]
        assert sorted(key or b"" for some in keys for key in some) == [b"1", b"2"], "a key is in one partition"
        told = [json.loads(record.value)["op"] if record.value else None for some in by_partition for record in some]
        assert sorted(map(str, told)) == ["None", "added", "added", "changed", "removed"]
        assert [entry.records for entry in ledger(tmp_path)] == [1, 1, 3, 0]


async def test_switched_on_it_begins_with_everything(tmp_path: Path) -> None:
    """Though the answer is the same as before, and the server would say so; switched off, it is forgotten."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answering(b'"a"'))
        for more, records in (("", 1), ("  changes: {}\n", 2), ("", 3)):
            it.stop = asyncio.Event()
            async with it.running(it.config(more=more)):
                await polls(it, 2)
            assert len(await it.values()) == records
            assert ((await remembered(it)).remembered is not None) is bool(more)
        assert count(tmp_path, "SELECT count(*) FROM memory WHERE connector IS NOT NULL") == 0


def count(directory: Path, sql: str) -> int:
    with LogReader(directory) as reader:
        found: int = reader._rows(sql)[0][0]
        return found


async def test_a_checkpoint_that_begins_anew_takes_the_memory_with_it(tmp_path: Path) -> None:
    """Whoever has set it back, and whether he has thought of the memory or not."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answering(b'"a"'))
        for forgetting in (None, MemoryChange("cats", anew=True)):
            stop = asyncio.Event()
            task = asyncio.create_task(
                Engine(it.log, it.fetcher, clock=it.clock).run([it.config(more="  changes: {}\n")], stop)
            )
            await it.clock.sleeping()
            stop.set()
            await task
            await it.log.submit(
                Append(None, (), checkpoint=("cats", encode_checkpoint(Checkpoint())), memory=forgetting)
            )
        assert [json.loads(value)["op"] for value in await it.values()] == ["added", "added"]
        assert count(tmp_path, "SELECT count(*) FROM memory WHERE connector IS NOT NULL") == 0
        await it.log.retain()
        assert count(tmp_path, "SELECT count(*) FROM item") == 0


async def test_a_collection_that_is_not_believed_is_a_failed_poll(tmp_path: Path) -> None:
    """The entry says why and what to do; the connector is failing until the collection is one again."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answering({"id": 1}, {"id": 2}, {"id": 1}))
        more = "  changes: {key: /id, max_items: 1, removed: ignore}\n"
        async with it.running(it.config(more=more)):
            await polls(it, 1)
        config = it.config(more="  changes: {key: /id, max_items: 1}\n")
        it.server.route("/x", answering({"id": 1}, {"id": 2}, {"id": 1, "v": 2}))
        it.stop = asyncio.Event()
        async with it.running(config):
            await polls(it, 1)
            assert it.engine.figures.of("cats").trouble is None
            await it.clock.next_wake()
            await it.clock.sleeping()
            trouble = it.engine.figures.of("cats").trouble
            assert trouble is not None
            assert "more than the 1 items that changes.max_items allows" in trouble.reason
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert it.engine.figures.of("cats").trouble is None
        entries = ledger(tmp_path)[1:]
        assert [entry.decision for entry in entries] == [Decision.ACCEPTED, Decision.FAILED, Decision.ACCEPTED]
        assert [json.loads(value)["op"] for value in await it.values()][1:] == ["added", "changed"]


async def test_it_commits_beside_a_server(tmp_path: Path) -> None:
    """Another process's connector asks the file itself; what it remembers goes over the socket with its records."""
    async with bench(tmp_path / "here") as it:
        it.server.route("/x", answering(status(True), status(False), status(False, more=1)))
        async with (
            bench(tmp_path / "served", it.server) as served,
            Server(served.log, Listen(sc_port=0, spu_port=0)),
        ):
            for _ in range(2):
                async with RemoteLog(tmp_path / "served") as remote:
                    stop = asyncio.Event()
                    running = Engine(remote, it.fetcher, clock=it.clock).run([it.config(more=CHANGES)], stop)
                    task = asyncio.create_task(running)
                    await it.clock.sleeping()
                    stop.set()
                    await task
            assert [json.loads(value)["op"] for value in await served.values()] == ["added", "changed"]
            assert count(tmp_path / "served", "SELECT count(*) FROM item") == 1


async def test_on_a_cluster_it_stays_with_the_checkpoint(tmp_path: Path) -> None:
    """In the data directory; where there is none that stays, it is refused."""
    async with faraway(tmp_path) as it:
        it.server.route("/x", answering(status(True), status(True), status(False)))
        more = f"  conditional: false\n{CHANGES}"
        for _ in range(3):
            async with it.running(it.config(more=more)):
                await it.polls(1)
        assert [json.loads(value)["op"] for value in await it.values()] == ["added", "changed"]
        assert count(it.keeper.directory, "SELECT count(*) FROM item") == 1
        assert count(it.theirs, "SELECT count(*) FROM item") == 0


@pytest.mark.parametrize("option", ["changes: {key: /id}", "deduplicate: {by: /id}"])
async def test_without_a_place_it_is_refused(tmp_path: Path, option: str) -> None:
    """Before anything is started, at its place in the file."""
    from headwater.engine.checkpoints import Checkpoints  # noqa: PLC0415 - beside what it is for
    from headwater.engine.oncluster import OnCluster  # noqa: PLC0415 - the same

    async with faraway(tmp_path) as it:
        config: ConnectorConfig = it.config(more=f"  {option}\n")
        async with it.target(config) as target, Checkpoints(target._cluster) as checkpoints:
            forgetful = OnCluster(target._cluster, it.keeper, [config], checkpoints=checkpoints)
            with pytest.raises(InvalidConfigError) as caught:
                await it.engine(forgetful).check([config])
            (problem,) = caught.value.problems
            assert problem.key == f"parameters.{option.split(':', maxsplit=1)[0]}"
            assert problem.line == 6
            assert "with the checkpoints in the cluster" in problem.message
            assert "--checkpoints local" in problem.suggestion


@pytest.mark.parametrize("records", ["", "  records: {split: /}\n"])
async def test_an_item_without_a_key_may_let_the_poll_fail(tmp_path: Path, records: str) -> None:
    """on_error: fail is for those as well that have no key to tell them apart: nothing of the answer is stored."""
    good, bad = ({"id": 1}, {"x": 1}) if not records else ([{"id": 1}, {"id": 2}], [{"id": 3}, {"x": 1}])
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer.json(good), Answer.json(bad))
        async with it.running(it.config(more=f"  on_error: fail\n  changes: {{key: /id}}\n{records}")):
            await polls(it, 1)
            before = await it.values()
            await polls(it, 2)
            assert await it.values() == before
    first, failed = ledger(tmp_path)[:2]
    assert (first.decision, failed.decision) == (Decision.ACCEPTED, Decision.FAILED)
    assert "there is nothing at /id, where its key should be" in failed.reason
