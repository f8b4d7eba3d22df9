"""Connectors with transforms: what is stored, what becomes of refused records, and what survives a restart."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.test_connector import Bench, bench, ledger
from headwater.config import InvalidConfigError
from headwater.core.checkpoint import decode_checkpoint
from headwater.core.errors import HeadwaterError, LogFullError
from headwater.core.exchange import Decision
from headwater.core.record import Record
from headwater.log import Append, Receipt
from headwater.testing import Answer, Received
from headwater.transforms.store import Entry, Store
from transforms import guests

SPLIT = "transforms:\n  - uses: infinyon-labs/array-map-json\n"


def store(directory: Path, name: str, code: bytes) -> None:
    digest = hashlib.sha256(code).hexdigest()
    entry = Entry(name=name, digest=digest, size=len(code), kind="", loaded=0)
    Store(directory / "smartmodules").save(entry, code)


def bodies(*given: object) -> Callable[[Received], Answer]:
    """Answer with these, one after the other, then with the last for ever."""
    left = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in given]
    return lambda _: Answer(body=left.pop(0) if len(left) > 1 else left[0])


async def polls(it: Bench, config: Any, count: int) -> None:
    """Run a connector for so many polls."""
    async with it.running(config):
        for _ in range(count - 1):
            await it.clock.next_wake()
        await it.clock.sleeping()


async def letters(it: Bench, topic: str = "cats-dead-letter") -> list[dict[str, Any]]:
    return [json.loads(value) for value in await it.values(topic)]


async def test_the_pages_three_options(tmp_path: Path) -> None:
    """A filter, a map and an arraymap by name, in this order whatever the order in the file."""
    for name, code in (("keep", guests.letter_filter()), ("upper", guests.upper_map()), ("each", guests.letters())):
        store(tmp_path, name, code)
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(b"abc", b"xyz", b"za"))
        await polls(it, it.config(more="  arraymap: each\n  map: upper\n  filter: keep\n"), 3)
        assert await it.values() == [b"A", b"B", b"C", b"Z", b"A"]
        assert await it.values("cats-dead-letter") == []
    entries = ledger(tmp_path)
    assert [(entry.decision, entry.records) for entry in entries] == [
        (Decision.ACCEPTED, 3), (Decision.ACCEPTED, 0), (Decision.ACCEPTED, 2),
    ]  # fmt: skip
    assert entries[1].reason.endswith("no record passed the transforms")


async def test_a_refused_record_goes_to_the_dead_letters(tmp_path: Path) -> None:
    """With the reason, the stage and its bytes; the others pass; the ledger tells; trouble is logged once."""
    store(tmp_path, "keep", guests.letter_filter())
    more = SPLIT + "  - uses: keep\n"
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(["a", "no!"], ["b!", "a2"], ["a3"]))
        with capture_logs() as logs:
            await polls(it, it.config(more=more), 3)
        assert await it.values() == [b'"a"', b'"a2"', b'"a3"']
        first, second = await letters(it)
        assert first == {
            "connector": "cats",
            "topic": "cats",
            "time": first["time"],
            "stage": 2,
            "module": "keep",
            "error": "error",
            "reason": "no",
            "record": {"key": None, "value": '["a", "no!"]'},
            "entered": {"key": None, "value": '"no!"'},
        }
        assert second["entered"]["value"] == '"b!"'
        stored = await it.log.checkpoint("cats")
    assert stored is not None
    assert decode_checkpoint(stored).records == 3
    entry = ledger(tmp_path)[0]
    assert (entry.records, entry.rejected) == (1, 1)
    assert entry.reason.endswith("; 1 record to cats-dead-letter: stage 2 (keep): no")
    said = [(log["event"], log.get("module")) for log in logs if "transform" in log["event"]]
    assert said == [("a transform refuses records", "keep"), ("transforms refuse nothing any more", None)]
    assert it.engine.figures.of("cats").rejected == 2


async def test_bytes_that_are_no_text_are_kept_in_the_dead_letter(tmp_path: Path) -> None:
    """No byte is lost, and a crash is told from a refusal."""
    store(tmp_path, "keep", guests.letter_filter())
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(b"\xff*"))
        await polls(it, it.config(more="  filter: keep\n"), 1)
        (letter,) = await letters(it)
    assert (letter["error"], letter["record"]["value"]) == ("trap", {"base64": "/yo="})
    assert "entered" not in letter


async def test_skip_and_another_topic(tmp_path: Path) -> None:
    """`skip` leaves refused records out, and says so; another dead-letter topic may be named."""
    store(tmp_path, "keep", guests.letter_filter())
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(b"no!", b"a"))
        await polls(it, it.config(more="  filter: keep\n  on_error: skip\n"), 2)
        assert await it.values() == [b"a"]
        assert [topic.name for topic in await it.log.topics()] == ["cats"]
    assert "1 record left out: stage 1 (keep): no" in ledger(tmp_path)[0].reason
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(b"no!"))
        await polls(it, it.config(name="dogs", more="  filter: keep\n  dead_letter_topic: bad\n"), 1)
        assert len(await it.values("bad")) == 1


async def test_fail_stores_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    """The poll fails as a whole; the next begins where the last good one ended, also for an aggregate."""
    store(tmp_path, "count", guests.counter())
    more = SPLIT + "  - uses: count\n"
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(["x"], ["x", "x!", "x"], ["x", "x"]))
        await polls(it, it.config(more="  on_error: fail\n" + more), 3)
        assert await it.values() == [b"!", b'"', b"#"]
    entries = ledger(tmp_path)
    assert [(entry.decision, entry.rejected) for entry in entries] == [
        (Decision.ACCEPTED, 0), (Decision.FAILED, 1), (Decision.ACCEPTED, 0),
    ]  # fmt: skip
    assert entries[1].reason == "1 record refused: stage 2 (count): no"


@pytest.mark.parametrize("uses", ["count", "./mine.py:count"])
async def test_state_survives_a_restart(tmp_path: Path, uses: str) -> None:
    """An aggregate goes on where the last commit left it, in WebAssembly and in Python."""
    store(tmp_path, "count", guests.counter())
    (tmp_path / "mine.py").write_text(
        "from headwater import Record, smartmodule\n\n"
        "@smartmodule\ndef count(state: bytes, record: Record) -> bytes:\n"
        "    return bytes([(state or b' ')[0] + 1])\n"
    )
    for expected in ([b"!", b'"'], [b"!", b'"', b"#", b"$"]):
        async with bench(tmp_path) as it:
            it.server.route("/x", bodies(b"x"))
            text = f"transforms:\n  - uses: {uses.replace('./', f'{tmp_path}/')}\n"
            await polls(it, it.config(more=text), 2)
            assert await it.values() == expected


async def test_dedup_survives_a_restart(tmp_path: Path) -> None:
    """What was there before the restart is known after it."""
    more = "transforms:\n  - uses: infinyon-labs/dedup-filter\n    with: {count: '10'}\n"
    for given, expected in (((b"a", b"b", b"a"), [b"a", b"b"]), ((b"b", b"c", b"a"), [b"a", b"b", b"c"])):
        async with bench(tmp_path) as it:
            it.server.route("/x", bodies(*given))
            await polls(it, it.config(more=more), 3)
            assert await it.values() == expected


async def test_a_lookback_shows_the_last_records(tmp_path: Path) -> None:
    """When a connector starts, modules that look back see the last records of the topic, across its partitions."""
    more = "transforms:\n  - uses: infinyon-labs/dedup-filter\n    with: {count: '10'}\n    lookback: {last: 2}\n"
    async with bench(tmp_path) as it:
        await it.log.create_topic("cats")
        topic = await it.log.topic("cats")
        await topic.append([Record(b"a"), Record(b"b"), Record(b"c")])
        it.server.route("/x", bodies(b"b", b"c", b"a"))
        await polls(it, it.config(more=more), 3)
        assert await it.values() == [b"a", b"b", b"c", b"a"]


async def test_a_lookback_by_age(tmp_path: Path) -> None:
    """Records that are too old are not shown."""
    more = "transforms:\n  - uses: infinyon-labs/dedup-filter\n    with: {count: '10'}\n    lookback: {age: 60s}\n"
    async with bench(tmp_path) as it:
        await it.log.create_topic("cats")
        topic = await it.log.topic("cats")
        now = it.clock.time_ms()
        await topic.append([Record(b"old", None, now - 61_000), Record(b"new", None, now - 59_000)])
        it.server.route("/x", bodies(b"old", b"new"))
        await polls(it, it.config(more=more), 2)
        assert await it.values() == [b"old", b"new", b"old"]


async def test_a_module_that_fails_to_look_back(tmp_path: Path) -> None:
    """The connector says so and tries again; the others do not notice."""
    store(tmp_path, "back", guests.blunt(look_back=guests.says(-66, b"")))
    async with bench(tmp_path) as it:
        await it.log.create_topic("cats")
        await (await it.log.topic("cats")).append([Record(b"x")])
        it.server.route("/x", bodies(b"x"))
        config = it.config(more="transforms:\n  - uses: back\n    lookback: {last: 1}\n")
        with capture_logs() as logs:
            async with it.running(config, it.config(name="dogs")):
                await it.clock.sleeping(2)
        assert await it.values("dogs") == [b"x"]
    stopped = [log["reason"] for log in logs if log["event"] == "connector stopped"]
    assert "back failed when it looked back: look_back: it could not decode its input (status -66)" in stopped


async def test_a_full_disk_neither_loses_nor_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and dead letters wait in memory while the log takes none, and are counted once."""
    store(tmp_path, "count", guests.counter())
    more = SPLIT + "  - uses: count\n"
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(["x", "!"], ["x"]))
        real, failures = it.log.store, iter([True, True])

        def failing(append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
            if next(failures, False):
                asyncio.get_running_loop().call_soon(receive, LogFullError("no space"))
            else:
                real(append, receive)

        monkeypatch.setattr(it.log, "store", failing)
        async with it.running(it.config(more=more)):
            for _ in range(3):
                await it.clock.next_wake()
            await it.clock.sleeping()
        assert await it.values() == [b"!", b'"']
        assert len(await letters(it)) == 1


async def test_a_dead_letter_topic_that_was_deleted(tmp_path: Path) -> None:
    """The append is whole or not at all: nothing is stored without it, and the topic is made again."""
    store(tmp_path, "keep", guests.letter_filter())
    async with bench(tmp_path) as it:
        it.server.route("/x", bodies(b"a", ["a", "a!"]))
        async with it.running(it.config(more="  filter: keep\n")):
            await it.clock.sleeping()
            await it.log.delete_topic("cats-dead-letter")
            await it.clock.next_wake()
            await it.clock.sleeping()
            assert await it.values() == [b"a"]
            await it.clock.next_wake()
            await it.clock.sleeping()
        assert len(await letters(it)) == 1


async def test_a_topic_whose_name_leaves_no_room(tmp_path: Path) -> None:
    """A dead-letter topic must have a name; with one of its own, or none, the connector runs."""
    name = "c" * 60
    async with bench(tmp_path) as it:
        with pytest.raises(InvalidConfigError, match="too long for a topic"):
            await it.engine.prepare([it.config(name=name, more=SPLIT)])
        await it.engine.prepare([it.config(name=name, more="  on_error: skip\n" + SPLIT)])
        await it.engine.prepare([it.config(name=name, more="  dead_letter_topic: bad\n" + SPLIT)])


async def test_the_hacker_news_pipeline(tmp_path: Path) -> None:
    """Three modules of Fluvio's hub, as its tutorial chains them: an RSS feed becomes one record for each article."""
    more = (
        "transforms:\n  - uses: infinyon-labs/rss-json@0.1.0\n  - uses: infinyon/jolt@0.2.0\n    with:\n"
        "      spec:\n      - operation: shift\n        spec:\n          items: ''\n"
        "  - uses: infinyon-labs/array-map-json@0.1.0\n"
    )
    feed = (
        b"<rss><channel><title>t</title><item><title>one</title></item><item><title>two</title></item></channel></rss>"
    )
    async with bench(tmp_path) as it:
        it.server.route("/x", lambda _: Answer(body=feed, headers=(("Content-Type", "application/rss+xml"),)))
        await polls(it, it.config(more=more), 1)
        assert await it.values() == [b'{"title":"one"}', b'{"title":"two"}']
