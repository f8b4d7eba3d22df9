"""Items of answers at work: keys, bad items, bodies that are stored while they arrive, and what breaks them off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.test_connector import Bench, bench, ledger
from headwater.core.checkpoint import decode_checkpoint
from headwater.core.errors import LogFullError
from headwater.core.exchange import Decision
from headwater.core.record import StoredRecord
from headwater.log import Append
from headwater.sources import reaping
from headwater.testing import Answer

JSON = (("content-type", "application/json"),)


def answer(body: bytes | str, **more: Any) -> Answer:
    return Answer(body=body if isinstance(body, bytes) else body.encode(), headers=JSON, **more)


def items(count: int, pad: int = 100, first: int = 0) -> list[bytes]:
    return [b'{"id":%d,"pad":"%s"}' % (number, b"x" * pad) for number in range(first, first + count)]


def array(parts: list[bytes]) -> bytes:
    return b'{"data":[' + b",".join(parts) + b'],"next":null}'


def config(it: Bench, records: str, more: str = "", options: str = "") -> Any:
    return it.config(more=f"  records: {{{records}}}\n{options}{more}")


async def records(it: Bench, topic: str = "cats") -> list[StoredRecord]:
    return await (await it.log.topic(topic)).read(limit=1_000_000)


async def values(it: Bench, topic: str = "cats") -> list[bytes]:
    return [record.value for record in await records(it, topic)]


async def settled(it: Bench, config: Any, polls: int = 1) -> None:
    """Run a connector for so many polls."""
    async with it.running(config):
        for _ in range(polls - 1):
            await it.clock.next_wake()
        await it.clock.sleeping()


async def test_each_item_is_a_record(tmp_path: Path) -> None:
    """One answer, many records, each with its key, its time and its own bytes, in one commit."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answer('{"data":[ {"id":1,"at":5000000000 },{"id":"b","at":"2024-05-01T10:00:00Z"}]}'))
        await settled(it, config(it, "split: /data, key: /id, timestamp: /at"))
        found = await records(it)
        stored = await it.log.checkpoint("cats")
    assert [(it.value, it.key, it.timestamp) for it in found] == [
        (b'{"id":1,"at":5000000000 }', b"1", 5_000_000_000_000),
        (b'{"id":"b","at":"2024-05-01T10:00:00Z"}', b"b", 1_714_557_600_000),
    ]
    assert stored is not None
    checkpoint = decode_checkpoint(stored)
    assert (checkpoint.exchanges, checkpoint.records, checkpoint.body) == (1, 2, None)
    (entry,) = ledger(tmp_path)
    assert (entry.records, entry.offset, entry.decision) == (2, 0, Decision.ACCEPTED)


async def test_bad_items_go_to_the_dead_letters(tmp_path: Path) -> None:
    """They commit with the good ones, with where they stood, why they are bad, and their bytes."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answer('[{"id":1},{"id":NaN},{"id":2}]'))
        await settled(it, config(it, "split: /, key: /id, max_item: 1 KiB"))
        assert await values(it) == [b'{"id":1}', b'{"id":2}']
        (letter,) = [json.loads(value) for value in await values(it, "cats-dead-letter")]
    assert letter.pop("time")
    assert letter.pop("reason").startswith("it is not JSON: invalid character")
    assert letter == {
        "connector": "cats",
        "topic": "cats",
        "stage": 0,
        "module": "records",
        "error": "bad-item",
        "record": {"key": None, "value": '{"id":NaN}'},
        "position": "item 2",
    }
    (entry,) = ledger(tmp_path)
    assert (entry.records, entry.rejected) == (2, 1)
    assert "1 bad item to cats-dead-letter: item 2: it is not JSON" in entry.reason


async def test_a_large_bad_item_is_shown_by_its_beginning(tmp_path: Path) -> None:
    """Its letter has its size and its digest."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array([b'"' + b"y" * 5000 + b'"', b"1"])))
        await settled(it, config(it, "split: /data, max_item: 1 KiB"))
        assert await values(it) == [b"1"]
        (letter,) = [json.loads(value) for value in await values(it, "cats-dead-letter")]
    assert (letter["size"], len(letter["sha256"]), len(letter["record"]["value"])) == (5002, 64, 1024)


async def test_bad_items_may_be_left_out(tmp_path: Path) -> None:
    """on_error: skip has no dead letters, and the ledger still tells."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answer("[1,nope]"))
        await settled(it, config(it, "split: /", options="  on_error: skip\n"))
        assert await values(it) == [b"1"]
        assert [topic.name for topic in await it.log.topics()] == ["cats"]
    assert "1 bad item left out: item 2" in ledger(tmp_path)[0].reason


@pytest.mark.parametrize("pad", [10, 400_000])
async def test_a_bad_item_may_let_the_poll_fail(tmp_path: Path, pad: int) -> None:
    """on_error: fail stores nothing of the answer, and says why; the next good one is stored."""
    async with bench(tmp_path) as it:
        body = b"[" + items(1, pad)[0] + b",nope]"
        it.server.route("/x", answer(body), answer("[7]"))
        await settled(it, config(it, "split: /", options="  on_error: fail\n"), polls=2)
        assert await values(it) == [b"7"]
    failed, good = ledger(tmp_path)
    assert (failed.decision, failed.records, good.decision) == (Decision.FAILED, 0, Decision.ACCEPTED)
    assert "item 2: it is not JSON" in failed.reason


@pytest.mark.parametrize(
    ("options", "body", "words"),
    [
        ("split: /data", "<html>", "the body is HTML or XML"),
        ("split: /data", '{"data":{"a":1}}', "/data is an object, not an array"),
        ("split: /data", '{"data":[1', "the body ends before"),
        ("split: /data, split_required: true", "{}", "the answer has no array at /data"),
        ("format: xml, element: item", "<a>", "the body is not XML"),
        ("", "nope", "the body: it is not JSON"),
    ],
)
async def test_an_answer_that_is_not_what_it_should_be_fails(
    tmp_path: Path, options: str, body: str, words: str
) -> None:
    """It is no record and no checkpoint; the connector is in trouble until a good answer comes."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=body.encode()))
        async with it.running(config(it, options)):
            await it.clock.sleeping()
            trouble = it.engine.figures.of("cats").trouble
            assert trouble is not None
            assert trouble.slug == "body"
        assert await values(it) == []
    (entry,) = ledger(tmp_path)
    assert entry.decision is Decision.FAILED
    assert words in entry.reason


async def test_an_array_that_is_not_there_is_no_item(tmp_path: Path) -> None:
    """Many APIs leave an empty list out."""
    async with bench(tmp_path) as it:
        it.server.route("/x", answer("{}"))
        await settled(it, config(it, "split: /data"))
        assert await values(it) == []
    (entry,) = ledger(tmp_path)
    assert (entry.decision, entry.records) == (Decision.ACCEPTED, 0)
    assert "there is no array at /data" in entry.reason


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("buffer", ["64 KiB", "64 MiB"])
async def test_a_large_body_is_stored_in_steps(tmp_path: Path, buffer: str, chunked: bool) -> None:  # noqa: FBT001
    """Held or while it arrives: every item once and in order, one entry in the ledger for all of them."""
    parts = items(40_000)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array(parts), chunked=chunked, gzip=chunked))
        await settled(it, config(it, f"split: /data, key: /id, buffer: {buffer}"))
        found = await records(it)
        stored = await it.log.checkpoint("cats")
    assert [it.value for it in found] == parts
    assert [it.key for it in found] == [b"%d" % number for number in range(40_000)]
    assert stored is not None
    checkpoint = decode_checkpoint(stored)
    assert (checkpoint.exchanges, checkpoint.records, checkpoint.body) == (1, 40_000, None)
    (entry,) = ledger(tmp_path)
    assert (entry.records, entry.partition, entry.offset) == (40_000, 0, 0)
    assert "steps" in entry.reason


async def test_every_format_in_steps(tmp_path: Path) -> None:
    """What is true of JSON is true of the others."""
    count = 20_000
    bodies = {
        "format: ndjson": b"\n".join(items(count)),
        "format: csv": b"id,pad\n" + b"".join(b"%d,%s\n" % (number, b"x" * 100) for number in range(count)),
        "format: xml, element: i": b"<r>"
        + b"".join(b"<i id='%d'>%s</i>" % (n, b"x" * 90) for n in range(count))
        + b"</r>",
        "format: delimited": b"".join(b"%d%s\n" % (number, b"x" * 100) for number in range(count)),
    }
    async with bench(tmp_path) as it:
        for number, (options, body) in enumerate(bodies.items()):
            it.server.route(f"/{number}", Answer(body=body))
            one = it.config(f"/{number}", f"t-{number}", f"  records: {{{options}, buffer: 64 KiB}}\n")
            async with it.running(one):
                await it.clock.sleeping()
            it.stop.clear()
            assert len(await values(it, f"t-{number}")) == count


async def test_a_body_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """What is stored of a body whose transfer fails is not stored again when it comes once more."""
    parts = items(40_000)
    body = array(parts)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(body, cut=len(body) // 2), answer(body))
        await settled(it, config(it, "split: /data, key: /id, buffer: 64 KiB"), polls=2)
        assert await values(it) == parts
    (entry,) = ledger(tmp_path)
    assert entry.attempts == 2
    assert "items were stored before" in entry.reason
    assert entry.records == 40_000


async def test_a_body_that_breaks_off_for_good_is_told(tmp_path: Path) -> None:
    """The entry of a poll that failed says how much of it is stored, and the next poll goes on."""
    parts = items(40_000)
    body = array(parts)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(body, cut=len(body) // 2), answer(body))
        one = config(it, "split: /data, key: /id, buffer: 64 KiB", options="  retry: {attempts: 1}\n")
        await settled(it, one, polls=2)
        assert await values(it) == parts
    failed, good = ledger(tmp_path)
    assert failed.decision is Decision.FAILED
    assert "records of it are stored" in failed.reason
    assert "items were stored before" in good.reason
    assert good.scheduled - failed.scheduled == 10_000


async def test_a_restart_in_the_middle_of_a_body(tmp_path: Path) -> None:
    """A connector that is ended in the middle goes on at once when it starts, and asks for the same."""
    parts = items(40_000)
    body = array(parts)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(body, cut=len(body) // 2), answer(body))
        one = config(it, "split: /data, buffer: 64 KiB", options="  retry: {attempts: 1}\n  spread: true\n")
        await settled(it, one, polls=2)
        some = await values(it)
        assert 0 < len(some) < len(parts)
        stored = await it.log.checkpoint("cats")
        assert stored is not None
        position = decode_checkpoint(stored).body
        assert position is not None
        assert (position.items, position.scheduled) == (len(some), ledger(tmp_path)[0].scheduled)
        it.stop.clear()
        began = it.clock.monotonic()
        await settled(it, one)
        assert it.clock.monotonic() == began
        assert await values(it) == parts


async def test_another_request_is_another_body(tmp_path: Path) -> None:
    """A position counts for nothing when the connector asks for something else now."""
    body = array(items(40_000))
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(body, cut=len(body) // 2), answer(body))
        await settled(it, config(it, "split: /data, buffer: 64 KiB", options="  retry: {attempts: 1}\n"))
        some = await values(it)
        it.stop.clear()
        await settled(it, config(it, "split: /data, buffer: 64 KiB", options="  params: {a: 1}\n"))
        assert await values(it) == some + items(40_000)


@pytest.mark.parametrize("held", ["64 KiB", "64 MiB"])
async def test_another_body_is_taken_from_its_beginning(tmp_path: Path, held: str) -> None:
    """When what comes the second time does not begin as what was stored, all of it is stored."""
    first, second = items(40_000), items(40_000, first=1)
    body = array(first)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(body, cut=len(body) // 2), answer(array(second)))
        one = config(it, "split: /data, buffer: 64 KiB", options="  retry: {attempts: 1}\n")
        await settled(it, one)
        some = await values(it)
        assert some
        it.stop.clear()
        await settled(it, config(it, f"split: /data, buffer: {held}"))
        assert await values(it) == some + second
    assert "another one than was begun" in ledger(tmp_path)[-1].reason


async def test_a_small_other_body_too(tmp_path: Path) -> None:
    """Also one that needs no steps."""
    body = array(items(40_000))
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(body, cut=len(body) // 2), answer(array([b"1"])))
        await settled(it, config(it, "split: /data, buffer: 64 KiB", options="  retry: {attempts: 1}\n"), polls=2)
        assert (await values(it))[-1] == b"1"
        stored = await it.log.checkpoint("cats")
    assert stored is not None
    assert decode_checkpoint(stored).body is None
    assert "another one than was begun" in ledger(tmp_path)[-1].reason


async def test_a_body_that_is_no_json_behind_its_middle(tmp_path: Path) -> None:
    """What came before the break is stored, and the poll has failed."""
    parts = items(40_000)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array(parts)[:-20] + b"}"))
        await settled(it, config(it, "split: /data, buffer: 64 KiB"))
        found = await values(it)
    assert 0 < len(found) < 40_000
    assert found == parts[: len(found)]
    (entry,) = ledger(tmp_path)
    assert entry.decision is Decision.FAILED
    assert "of it are stored" in entry.reason


async def test_records_of_steps_have_ids(tmp_path: Path) -> None:
    """With record_id the same item twice in one answer has two keys, in whatever step it is."""
    parts = [b'{"same":"%s"}' % (b"x" * 100)] * 30_000
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array(parts)))
        await settled(it, config(it, "split: /data, buffer: 64 KiB", options="  record_id: true\n"))
        keys = [record.key for record in await records(it)]
    assert len(set(keys)) == len(keys) == 30_000


async def test_transforms_see_every_step(tmp_path: Path) -> None:
    """Records of all steps go through the chain, and what it refuses is in the letters."""
    parts = [*items(20_000), b'"none"', *items(20_000)]
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array(parts)))
        module = tmp_path / "mine.py"
        module.write_text(
            "import json\nfrom headwater import Record, smartmodule\n\n@smartmodule\n"
            "def short(record: Record) -> Record:\n    return Record(b'%d' % json.loads(record.value)['id'])\n"
        )
        chain = f"transforms:\n  - uses: {module}:short\n"
        await settled(it, config(it, "split: /data, buffer: 64 KiB", more=chain))
        assert await values(it) == [b"%d" % number for number in range(20_000)] * 2
        assert len(await values(it, "cats-dead-letter")) == 1
        stored = await it.log.checkpoint("cats")
    assert stored is not None
    assert decode_checkpoint(stored).records == 40_000
    (entry,) = ledger(tmp_path)
    assert (entry.records, entry.rejected) == (40_000, 1)


async def test_a_full_disk_holds_a_body_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log refuses, the network is held back; afterwards all is there once."""
    parts = items(40_000)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array(parts)))
        store = it.log.store
        refusals = iter([False, True, False, True])

        def refusing(append: Append, receive: Callable[[Any], None]) -> None:
            if append.topic == "cats" and next(refusals, False):
                asyncio.get_running_loop().call_soon(receive, LogFullError("the disk is full"))
            else:
                store(append, receive)

        monkeypatch.setattr(it.log, "store", refusing)
        async with it.running(config(it, "split: /data, buffer: 64 KiB", options="  timeout: 5m\n")):
            for _ in range(2):
                await it.clock.next_wake()
            await it.clock.sleeping()
        assert await values(it) == parts


async def test_cancelled_at_any_moment(tmp_path: Path) -> None:
    """A connector that is cut off in the middle of a body has each item once when it has gone on to its end."""
    parts = items(20_000)
    async with bench(tmp_path) as it:
        it.server.route("/x", answer(array(parts), chunked=True))
        one = config(it, "split: /data, buffer: 64 KiB")
        for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.08):
            running = asyncio.create_task(it.engine.run([one], asyncio.Event()))
            done, _ = await asyncio.wait([running], timeout=delay)
            assert not done
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            stored = await it.log.checkpoint("cats") if await it.log.topics() else None
            if stored is not None and decode_checkpoint(stored).body is None:
                break
        else:
            it.stop.clear()
            await settled(it, one)
        found = await values(it)
    assert found[: len(parts)] == parts


def test_a_step_is_small() -> None:
    """What is under way at once is bounded by this."""
    assert reaping.STEP == 1024 * 1024
