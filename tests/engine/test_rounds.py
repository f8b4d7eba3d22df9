"""Rounds of several exchanges through the engine: a real server, a real log on disk, a clock turned by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.test_connector import Bench, bench, ledger
from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import Progress, decode_checkpoint
from headwater.core.exchange import Decision
from headwater.testing import Answer, Received


def config(it: Bench, http: dict[str, Any]) -> ConnectorConfig:
    """Return a connector of the server's path /x with options of `http:`."""
    document = {
        "apiVersion": "0.1.0",
        "meta": {"name": "cats", "topic": "cats"},
        "http": {"endpoint": f"{it.server.url}/x", "interval": "10s", "retry": {"attempts": 1}, **http},
    }
    return load_text(json.dumps(document)).connectors[0]


def shelf(count: int, size: int = 2) -> Callable[[Received], Answer]:
    """Answer with pages of items, and a token for the next."""

    def serve(request: Received) -> Answer:
        start = int(request.query.get("cursor", "t0")[1:])
        more = start + size < count
        items = [{"id": it} for it in range(start, min(count, start + size))]
        return Answer.json({"items": items, "next_cursor": f"t{start + size}" if more else None})

    return serve


async def ids(it: Bench) -> list[int]:
    """Return the ids of all items in the topic, in order."""
    return [item["id"] for value in await it.values() for item in json.loads(value)["items"]]


async def progress(it: Bench) -> Progress | None:
    """Return how far the connector is."""
    stored = await it.log.checkpoint("cats")
    return None if stored is None else decode_checkpoint(stored).progress


TOKEN = {"pagination": {"type": "cursor", "next": "/next_cursor", "param": "cursor"}}


async def test_a_round_has_all_pages_one_after_the_other(tmp_path: Path) -> None:
    """They follow at once; each has its own entry, which says where in the round it is."""
    async with bench(tmp_path) as it:
        it.server.route("/x", shelf(5))
        async with it.running(config(it, TOKEN)):
            await it.clock.sleeping()
            assert await ids(it) == [0, 1, 2, 3, 4]
            assert await progress(it) == Progress(asked=(await progress(it) or Progress()).asked)
            await it.clock.next_wake()
            await it.clock.sleeping()
        assert await ids(it) == [0, 1, 2, 3, 4] * 2
    entries = ledger(tmp_path)
    assert len(entries) == 6
    assert [entry.reason.partition("; ")[2] for entry in entries[:3]] == [
        "page 1; more follow",
        "page 2; more follow",
        "page 3, the last",
    ]
    assert entries[0].scheduled == entries[1].scheduled == entries[2].scheduled


async def test_a_round_that_fails_goes_on_where_it_was(tmp_path: Path) -> None:
    """The next scheduled time asks for the page that failed; what was stored is not asked for again."""
    async with bench(tmp_path) as it:
        serve, failing = shelf(6), [True]

        def trouble(request: Received) -> Answer:
            if request.query.get("cursor") == "t2" and failing.pop():
                return Answer(503)
            return serve(request)

        failing.insert(0, False)
        it.server.route("/x", trouble)
        async with it.running(config(it, TOKEN)):
            await it.clock.sleeping()
            assert await ids(it) == [0, 1]
            kept = await progress(it)
            assert kept is not None
            assert (kept.round > 0, kept.page["token"], kept.page["n"]) == (True, "t2", 1)
            failing.clear()
            failing.append(False)
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert await ids(it) == [0, 1, 2, 3, 4, 5]
        assert [request.query.get("cursor") for request in it.server.received] == [None, "t2", "t2", "t4"]


async def test_a_process_that_ends_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    """Another engine on the same log asks for the page that was under way, and for the same window."""
    options: dict[str, Any] = {
        **TOKEN,
        "params": {"to": "${{ window.end }}"},
        "window": {"size": "1h", "initial": "2023-11-14T22:00:00Z"},
    }
    reached = asyncio.Event()
    async with bench(tmp_path) as it:
        serve = shelf(6)

        def hanging(request: Received) -> Answer:
            if request.query.get("cursor") == "t4":
                reached.set()
                return Answer(hang=True)
            return serve(request)

        it.server.route("/x", hanging)
        task = asyncio.create_task(it.engine.run([config(it, options)], asyncio.Event()))
        await asyncio.wait_for(reached.wait(), 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await ids(it) == [0, 1, 2, 3]
    async with bench(tmp_path) as it:
        it.clock.advance(7200)
        it.server.route("/x", shelf(6))
        async with it.running(config(it, {**options, "window": {**options["window"], "max_windows": 1}})):
            await it.clock.sleeping()
            assert await ids(it) == [0, 1, 2, 3, 4, 5]
            kept = await progress(it)
        (request,) = it.server.received
        assert (request.query["cursor"], request.query["to"]) == ("t4", "2023-11-14T22:13:20Z")
        assert kept is not None
        assert kept.window == 1_700_000_000_000


async def test_cursors_are_asked_for_in_the_next_round(tmp_path: Path) -> None:
    """Gathered over all pages, and kept when the round has ended."""
    async with bench(tmp_path) as it:
        it.server.route("/x", shelf(3))
        options = {
            **TOKEN,
            "cursor": {"id": {"from": "/items/0/id", "initial": "none", "source": "body", "take": "last"}},
            "params": {"since": "${{ cursor.id }}"},
        }
        async with it.running(config(it, options)):
            await it.clock.next_wake()
            await it.clock.sleeping()
            kept = await progress(it)
        assert kept is not None
        assert kept.cursors == {"id": 2}
        assert [request.query["since"] for request in it.server.received] == ["none", "none", "2", "2"]


async def test_windows_catch_up_at_once(tmp_path: Path) -> None:
    """And nothing is sent, and nothing entered, while no window has ended."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer.json({"items": []}))
        options = {
            "params": {"from": "${{ window.start | date('%H:%M') }}", "to": "${{ window.end | date('%H:%M') }}"},
            "window": {"size": "1h", "initial": "2023-11-14T20:00:00Z", "whole": True},
        }
        async with it.running(config(it, options)):
            await it.clock.sleeping()
            assert [request.query["to"] for request in it.server.received] == ["21:00", "22:00"]
            for _ in range(3):
                await it.clock.next_wake()
            await it.clock.sleeping()
            assert len(it.server.received) == 2
            it.clock.advance(2800)
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert [request.query["from"] for request in it.server.received] == ["20:00", "21:00", "22:00"]
    assert [entry.reason.partition("; ")[2] for entry in ledger(tmp_path)][:2] == [
        "2023-11-14T20:00:00Z to 2023-11-14T21:00:00Z",
        "2023-11-14T21:00:00Z to 2023-11-14T22:00:00Z",
    ]
    assert {entry.decision for entry in ledger(tmp_path)} == {Decision.ACCEPTED}


async def test_a_forgotten_page_begins_the_round_again(tmp_path: Path) -> None:
    """After a break the server may refuse the token: then the first page follows at once."""
    async with bench(tmp_path) as it:
        serve = shelf(4)
        answers = iter([serve, lambda _: Answer(503), lambda _: Answer(410), serve, serve])
        it.server.route("/x", lambda request: next(answers)(request))  # noqa: PLW0108 - each its own
        async with it.running(config(it, TOKEN)):
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert await ids(it) == [0, 1, 0, 1, 2, 3]
            kept = await progress(it)
        assert [request.query.get("cursor") for request in it.server.received] == [None, "t2", "t2", None, "t2"]
        assert kept is not None
        assert kept.round == 0
    entries = ledger(tmp_path)
    assert [entry.decision for entry in entries] == [
        Decision.ACCEPTED,
        Decision.FAILED,
        Decision.FAILED,
        Decision.ACCEPTED,
        Decision.ACCEPTED,
    ]
    assert "where page 2 begins: the round begins again at its first" in entries[2].reason


async def test_a_page_that_is_refused_in_the_middle_of_a_round_fails(tmp_path: Path) -> None:
    """A 400 that follows at once on the page before says something else; only the next time begins anew."""
    async with bench(tmp_path) as it:
        serve = shelf(4)
        answers = iter([serve, lambda _: Answer(400), lambda _: Answer(400), serve, serve])
        it.server.route("/x", lambda request: next(answers)(request))  # noqa: PLW0108 - each its own
        async with it.running(config(it, TOKEN)):
            await it.clock.sleeping()
            assert len(it.server.received) == 2
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert len(it.server.received) == 5


async def test_pages_that_repeat_themselves_are_trouble(tmp_path: Path) -> None:
    """The items that come again are not stored, the connector is failing, and it recovers."""
    async with bench(tmp_path) as it:
        same = Answer.json([{"id": 1}])
        it.server.route("/x", same, same, Answer.json([]))
        with capture_logs() as logs:
            async with it.running(config(it, {"pagination": "page"})):
                await it.clock.next_wake()
                await it.clock.sleeping()
        assert (await it.values())[0] == same.body
        assert len(await it.values()) == 2
    entries = ledger(tmp_path)
    assert [entry.decision for entry in entries] == [Decision.ACCEPTED, Decision.FAILED, Decision.ACCEPTED]
    assert "the page has the same items as the one before" in entries[1].reason
    events = [log["event"] for log in logs if log.get("connector") == "cats"]
    assert events == ["connector is failing", "connector recovered"]


async def test_a_value_that_is_missing_is_a_failure_of_the_poll(tmp_path: Path) -> None:
    """Nothing is sent; the reason names the expression, and the next poll tries again."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer.json({"at": "soon"}))
        options = {
            "cursor": {"at": {"from": "/at", "initial": "2024-01-01", "type": "text"}},
            "params": {"since": "${{ cursor.at | unix }}"},
        }
        with capture_logs() as logs:
            async with it.running(config(it, options)):
                for _ in range(2):
                    await it.clock.next_wake()
                await it.clock.sleeping()
        assert len(it.server.received) == 1
        # Once more time for the first value: the largest text of both is kept.
    entries = ledger(tmp_path)
    assert [entry.decision for entry in entries] == [Decision.ACCEPTED, Decision.FAILED, Decision.FAILED]
    assert "${{ cursor.at | unix }} has no value: 'soon' is no time" in entries[1].reason
    assert any("give a default" in log.get("hint", "") for log in logs)


async def test_a_page_without_content_ends_the_round(tmp_path: Path) -> None:
    """204 is an answer like any other: what was gathered counts."""
    async with bench(tmp_path) as it:
        answers = iter([Answer.json({"items": [{"id": 1}], "n": 7}), Answer(204), Answer(204)])
        it.server.route("/x", lambda _: next(answers))
        options = {
            "pagination": {"type": "page"},
            "cursor": {"n": {"from": "/n", "source": "body"}},
            "params": {"n": "${{ cursor.n | default('-') }}"},
        }
        async with it.running(config(it, options)):
            await it.clock.next_wake()
            await it.clock.sleeping()
            kept = await progress(it)
        assert [request.query["n"] for request in it.server.received] == ["-", "-", "7"]
        assert kept is not None
        assert (kept.round, kept.cursors) == (0, {"n": 7})
    assert [entry.decision for entry in ledger(tmp_path)] == [Decision.ACCEPTED, Decision.EMPTY, Decision.EMPTY]
    assert [entry.records for entry in ledger(tmp_path)] == [1, 0, 0]


async def test_validators_belong_to_the_request_that_they_came_with(tmp_path: Path) -> None:
    """An answer that was its whole round is asked for conditionally, as long as the same is asked."""
    async with bench(tmp_path) as it:
        tagged = Answer(200, b'{"n":1,"items":[]}', (("content-type", "application/json"), ("etag", '"a"')))
        more = Answer(200, b'{"items":[1],"next":"?page=2"}', (("content-type", "application/json"), ("etag", '"b"')))
        answers = iter([tagged, tagged, Answer(304), more, tagged, tagged])
        it.server.route("/x", lambda _: next(answers))
        options = {
            "pagination": {"type": "next-url", "next": "/next"},
            "cursor": {"n": {"from": "/n", "source": "body"}},
            "params": {"n": "${{ cursor.n | default('-') }}"},
        }
        async with it.running(config(it, options)):
            for _ in range(4):
                await it.clock.next_wake()
            await it.clock.sleeping()
        sent = [(request.target, request.header("if-none-match")) for request in it.server.received]
        assert sent == [
            ("/x?n=-", None),
            ("/x?n=1", None),
            ("/x?n=1", '"a"'),
            ("/x?n=1", '"a"'),
            ("/x?page=2", None),
            ("/x?n=1", None),
        ]


async def test_a_large_page_is_worked_on_in_a_thread(tmp_path: Path) -> None:
    """With the same outcome."""
    async with bench(tmp_path) as it:
        pad = "x" * 300_000
        answers = iter(
            [Answer.json({"items": [{"id": 1}], "next_cursor": "t", "pad": pad}), Answer.json({"items": [{"id": 2}]})]
        )
        it.server.route("/x", lambda _: next(answers))
        async with it.running(config(it, TOKEN)):
            await it.clock.sleeping()
            assert await ids(it) == [1, 2]


async def test_pages_that_are_cut_while_they_arrive(tmp_path: Path) -> None:
    """Several steps for each page, the cursor over all of them, and the next page behind the last."""
    async with bench(tmp_path) as it:
        serve = shelf(20_000, size=7_000)
        it.server.route("/x", serve)
        options = {
            **TOKEN,
            "records": {"split": "/items", "key": "/id", "buffer": 65_536},
            "cursor": {"id": "/id"},
            "params": {"since": "${{ cursor.id | default(null) }}"},
        }
        async with it.running(config(it, options)):
            await it.clock.sleeping()
            stored = await (await it.log.topic("cats")).read(limit=30_000)
            keys = [int(record.key or b"") for record in stored]
            kept = await progress(it)
        assert keys == list(range(20_000))
        assert kept is not None
        assert kept.cursors == {"id": 19_999}
        assert [request.query.get("cursor") for request in it.server.received] == [None, "t7000", "t14000"]


async def test_a_topic_with_partitions_takes_pages_without_records(tmp_path: Path) -> None:
    """What is remembered commits also where there is nothing to append."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(204))
        made = config(it, {"pagination": "page", "params": {"a": "${{ page.number }}"}})
        document = made.model_copy(update={"topic": made.topic.model_copy(update={"partitions": 3})})
        async with it.running(document):
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert await progress(it) is not None


@pytest.mark.parametrize("options", [TOKEN, {"pagination": {"type": "next-url", "next": "/next"}}])
@pytest.mark.parametrize("records", [{}, {"records": {"split": "/items"}}])
@pytest.mark.parametrize("status", [200, 204])
async def test_an_answer_without_a_body_is_the_last_page(
    tmp_path: Path, options: dict[str, Any], records: dict[str, Any], status: int
) -> None:
    """As 204 where nothing is new: it says nothing of a next page, and is no failure for it."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(status))
        async with it.running(config(it, {**options, **records})):
            await it.clock.sleeping()
        assert await it.values() in ([], [b""])
    (entry,) = ledger(tmp_path)
    assert entry.decision is not Decision.FAILED
