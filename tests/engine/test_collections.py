"""Polled collections at work: over pages, over steps of a body, over bodies that break off and processes that end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.test_connector import Bench, bench, ledger
from engine.test_memory import polls
from headwater.core.errors import HeadwaterError
from headwater.core.exchange import Decision
from headwater.engine import inflow
from headwater.log import Append, Receipt
from headwater.sources import reaping
from headwater.testing import Answer, Received

RECORDS = "  records: {split: /items, buffer: 64KiB}\n  conditional: false\n"
CHANGES = "  changes: {key: /id, empty: accept}\n"


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bodies stored in steps of some kilobytes, of pieces that are as small."""
    monkeypatch.setattr(reaping, "STEP", 20_000)
    monkeypatch.setattr(inflow, "_PIECE", 64 * 1024)
    monkeypatch.setattr(inflow, "_WAITING", 64 * 1024)


def body(collection: dict[int, int]) -> bytes:
    items = [{"id": key, "v": version, "text": "all work and no play " * 40} for key, version in collection.items()]
    return json.dumps({"served": random.random(), "items": items}).encode()


async def told(it: Bench, topic: str = "cats") -> list[dict[str, Any]]:
    records = await (await it.log.topic(topic)).read(limit=1_000_000)
    return [json.loads(record.value) for record in records]


def replay(events: list[dict[str, Any]]) -> dict[int, int]:
    """Return the collection that the events tell of; each of them must be a change."""
    state: dict[int, Any] = {}
    for event in events:
        before = state.pop(event["key"], None)
        assert event.get("before") == before
        assert (event["op"] == "added") == (before is None)
        if "after" in event:
            assert event["after"] != before
            state[event["key"]] = event["after"]
    return {key: value["v"] for key, value in state.items()}


@contextmanager
def serving(it: Bench, answers: list[Answer]) -> Iterator[None]:
    """Answer with one after the other, and with none again."""
    it.server.route("/x", lambda _: answers.pop(0) if answers else Answer(503))
    yield
    assert not answers


async def test_a_large_body_in_steps(tmp_path: Path, small_steps: None) -> None:
    """Each step commits what it has told, and what is gone is told with the last; nothing new makes no steps."""
    everything = dict.fromkeys(range(2000), 1)
    some = {key: 2 if key % 500 == 0 else 1 for key in everything if key % 400 != 3}
    answers = [Answer(body=body(one)) for one in (everything, everything, some, {})]
    stored = [0] * 4
    async with bench(tmp_path) as it:
        store = it.log.store

        def counting(append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
            stored[3 - len(answers)] += append.memory is not None
            store(append, receive)

        it.log.store = counting  # type: ignore[method-assign]
        with serving(it, answers):
            async with it.running(it.config(more=RECORDS + CHANGES)):
                await polls(it, 4)
        events = await told(it)
        assert replay(events) == {}
        assert replay(events[: -len(some)]) == some
        assert [event["op"] for event in events[2000 : -len(some)]] == ["changed"] * 4 + ["removed"] * 5
        entries = ledger(tmp_path)
        assert [entry.records for entry in entries] == [2000, 0, 9, len(some)]
        assert "nothing changed, 2,000 known" in entries[1].reason
        assert stored[0] > 2, "one step and another"
        assert stored[1:] == [0, 1, 1]


async def test_the_entry_counts_all_steps(tmp_path: Path, small_steps: None) -> None:
    """Not only what the last of them had."""
    everything = dict.fromkeys(range(2000), 1)
    other = {key: 2 if key % 5 == 0 else 1 for key in everything if key != 7}
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=body(everything)), Answer(body=body(other)))
        async with it.running(it.config(more=RECORDS + CHANGES)):
            await polls(it, 2)
    first, second = ledger(tmp_path)
    assert "; 2,000 added, 2,000 known; in " in first.reason
    assert "; 400 changed, 1 removed, 1,999 known; in " in second.reason


async def test_repeats_are_counted_over_all_steps(tmp_path: Path, small_steps: None) -> None:
    """As of items that were seen before."""
    async with bench(tmp_path) as it:
        some, all_ = dict.fromkeys(range(300), 1), dict.fromkeys(range(2000), 1)
        it.server.route("/x", Answer(body=body(some)), Answer(body=body(all_)))
        async with it.running(it.config(more=RECORDS + "  deduplicate: {by: /id}\n")):
            await polls(it, 2)
    assert "; 300 seen before; in " in ledger(tmp_path)[1].reason


@pytest.mark.parametrize("same", [True, False], ids=["the same", "another"])
async def test_a_body_that_is_broken_off(tmp_path: Path, small_steps: None, same: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The next poll goes on where it was, or from the beginning when the body is another one; nothing is gone by it."""
    before = dict.fromkeys(range(1000), 1)
    after = {**{key: 2 for key in range(1000) if key % 7}, **dict.fromkeys(range(1000, 1500), 1)}
    other = after if same else {key: version for key, version in after.items() if key % 5}
    whole = body(after)
    again = whole if same else body(other)
    answers = [
        Answer(body=body(before)),
        Answer(body=whole, cut=len(whole) * 3 // 5),
        Answer(body=whole, cut=len(whole) // 5),
        # Another body is asked for again, to be had from its beginning.
        *([] if same else [Answer(body=again)]),
        Answer(body=again),
        Answer(body=again),
    ]
    async with bench(tmp_path) as it:
        with serving(it, answers):
            async with it.running(it.config(more=f"{RECORDS}{CHANGES}  retry: {{attempts: 1}}\n")):
                await polls(it, 3)
                assert all(event["op"] != "removed" for event in await told(it))
                assert set(replay(await told(it)).values()) == {1, 2}
                await polls(it, 2)
                await it.clock.next_wake()
                await it.clock.sleeping()
        assert replay(await told(it)) == other
        entries = ledger(tmp_path)
        assert sum(entry.decision is Decision.FAILED for entry in entries) == 2
        assert any("another one than was begun" in entry.reason for entry in entries) is not same
        assert "nothing changed" in entries[-1].reason


def paged(collection: Callable[[], dict[int, int]], size: int = 3) -> Callable[[Received], Answer]:
    def page(received: Received) -> Answer:
        number = int(received.query.get("page", "1"))
        items = [{"id": key, "v": version} for key, version in sorted(collection().items())]
        return Answer.json({"items": items[(number - 1) * size : number * size]})

    return page


async def test_a_collection_over_pages(tmp_path: Path) -> None:
    """What is gone is told at the end of the round, whatever is added between its pages; a restart goes on with it."""
    state = dict.fromkeys(range(10), 1)
    more = "  records: {split: /items}\n  pagination: {type: page, size: 3}\n" + CHANGES
    async with bench(tmp_path) as it:
        seen = 0

        def collection() -> dict[int, int]:
            nonlocal seen
            seen += 1
            if seen == 7:
                # In the middle of the second round: 0 was seen, and 6 moves to a page that was had already.
                del state[0]
            return state

        it.server.route("/x", paged(collection))
        async with it.running(it.config(more=more)):
            await polls(it, 3)
        events = await told(it)
        assert replay(events) == state
        assert [(event["op"], event["key"]) for event in events[10:]] == [("removed", 6), ("added", 6), ("removed", 0)]


async def test_a_process_that_ends_between_pages(tmp_path: Path) -> None:
    """The next one goes on with the page and with what the round has seen: nothing is told twice, nothing is gone."""
    state = dict.fromkeys(range(12), 1)
    more = "  records: {split: /items}\n  pagination: {type: page, size: 3}\n" + CHANGES
    async with bench(tmp_path) as it:
        hold = asyncio.Event()
        answer = paged(lambda: state)

        def held(received: Received) -> Answer:
            return Answer(hang=True) if received.query.get("page") == "3" and not hold.is_set() else answer(received)

        it.server.route("/x", held)
        task = asyncio.create_task(it.engine.run([it.config(more=more)], it.stop))
        await asyncio.to_thread(it.server.wait_for, 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(await told(it)) == 6
        hold.set()
        del state[11]
        state |= {1: 2, 7: 2}
        it.stop = asyncio.Event()
        async with it.running(it.config(more=more)):
            await polls(it, 1)
            assert replay(await told(it)) == {**state, 1: 1}
            await it.clock.next_wake()
            await it.clock.sleeping()
        assert replay(await told(it)) == state
        assert sum(event["op"] == "added" for event in await told(it)) == 11


async def test_bad_items_take_nothing_away(tmp_path: Path) -> None:
    """They go to the dead letters with their places; a collection that has one may lack another."""
    answers = [
        Answer.json({"items": [{"id": 1}, {"id": 2}]}),
        Answer.json({"items": [{"id": 2}, {"name": "nobody"}]}),
        Answer.json({"items": [{"id": 2}]}),
    ]
    async with bench(tmp_path) as it:
        with serving(it, answers):
            async with it.running(it.config(more="  records: {split: /items}\n" + CHANGES)):
                await polls(it, 3)
        assert [(event["op"], event["key"]) for event in await told(it)] == [("added", 1), ("added", 2), ("removed", 1)]
        (letter,) = await told(it, "cats-dead-letter")
        assert letter["reason"] == "there is nothing at /id, where its key should be"
        assert letter["position"] == "item 2"
        assert "nothing is taken to be gone" in ledger(tmp_path)[1].reason


async def test_a_truncated_or_failed_poll_takes_nothing_away(tmp_path: Path) -> None:
    """Neither does an answer without its array, nor one that is no JSON."""
    good = Answer.json({"items": [{"id": 1}, {"id": 2}]})
    answers = [
        good,
        Answer(500),
        Answer.json({"error": "try later"}),
        Answer(body=b'{"items":[{"id":1}', headers=(("content-type", "application/json"),)),
        Answer(body=good.body, cut=20),
        Answer(204),
        good,
    ]
    more = "  records: {split: /items}\n  retry: {attempts: 1}\n  changes: {key: /id, empty: fail}\n"
    async with bench(tmp_path) as it:
        with serving(it, answers):
            async with it.running(it.config(more=more)):
                await polls(it, 7)
        assert [event["op"] for event in await told(it)] == ["added", "added"]
        decisions = [entry.decision for entry in ledger(tmp_path)]
        assert decisions == [Decision.ACCEPTED, *[Decision.FAILED] * 4, Decision.EMPTY, Decision.ACCEPTED]


async def test_a_feed_without_repeats(tmp_path: Path, small_steps: None) -> None:
    """Each item once, in steps too, whatever is listed again."""
    first = {"items": [{"id": key} for key in range(3000)]}
    second = {"items": [{"id": key} for key in range(1000, 4000)]}
    async with bench(tmp_path) as it:
        with serving(it, [Answer.json(first), Answer.json(second), Answer.json(first)]):
            async with it.running(it.config(more=f"{RECORDS}  deduplicate: {{by: /id}}\n")):
                await polls(it, 3)
        assert [item["id"] for item in await told(it)] == list(range(4000))
        assert "3,000 seen before" in ledger(tmp_path)[-1].reason


async def test_a_promised_page_without_a_body_takes_nothing_away(tmp_path: Path) -> None:
    """It ends the round, but what did not come is not gone for it."""
    empty = [False]

    def serve(request: Received) -> Answer:
        if "page=2" not in request.target:
            return Answer.json({"items": [{"id": 1}], "next": "?page=2"})
        return Answer(204) if empty[0] else Answer.json({"items": [{"id": 2}]})

    async with bench(tmp_path) as it:
        it.server.route("/x", serve)
        more = "  pagination: {type: next-url, next: /next}\n"
        async with it.running(it.config(more=RECORDS + CHANGES + more)):
            await polls(it, 1)
            empty[0] = True
            await polls(it, 2)
        assert [(event["op"], event["key"]) for event in await told(it)] == [("added", 1), ("added", 2)]
    assert "nothing is taken to be gone" in ledger(tmp_path)[-1].reason
    assert ledger(tmp_path)[-1].decision is not Decision.FAILED
