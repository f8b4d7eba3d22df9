"""Each format through the engine: what a server sends, cut anywhere, is in the topic as records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.streaming.streamed import SSE, decisions, streamed
from headwater.core.exchange import Decision

TEXTS = [b'{"id":1,"name":"a"}', '{"id":2,"name":"ü"}'.encode(), b'{"id":3,"name":"ccc"}']
BODIES: dict[str, tuple[dict[str, Any], bytes]] = {
    "delimited": ({"stream": True}, b"".join(it + b"\n" for it in TEXTS)),
    "own delimiter": ({"delimiter": "\\r\\n--\\xff"}, b"".join(it + b"\r\n--\xff" for it in TEXTS)),
    "ndjson": ({"format": "ndjson"}, b"\r\n".join([b"", *TEXTS, b""])),
    "json-seq": ({"format": "json-seq"}, b"".join(b"\x1e" + it + b"\n" for it in TEXTS)),
    "length-prefixed": (
        {"format": "length-prefixed", "length_prefix": {"size": 2}},
        b"".join(len(it).to_bytes(2, "big") + it for it in TEXTS),
    ),
    "varint": (
        {"format": "length-prefixed", "length_prefix": {"size": "varint"}},
        b"".join(bytes([len(it)]) + it for it in TEXTS),
    ),
    "sse": ({"format": "sse"}, b"".join(b": a comment\r\ndata: " + it + b"\r\n\r\n" for it in TEXTS)),
}


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize("most", [1, 7, None])
async def test_each_format(tmp_path: Path, form: str, most: int | None) -> None:
    """Records are the frames, unchanged, wherever the network cuts them, and there before the response has ended."""
    options, body = BODIES[form]
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE if form == "sse" else ())
        async with it.running(it.config(options)):
            line = await outlet.next()
            await line.say(body, most)
            assert await it.values(count=3) == TEXTS
        entries = it.ledger()
    assert decisions(entries)[0] == "connected"
    assert decisions(entries)[-1] == "ended"
    assert entries[-1].reason.startswith("stopped, after")
    assert sum(entry.records for entry in entries) == 3


async def test_a_clean_end_leaves_the_text_behind_the_last_delimiter(tmp_path: Path) -> None:
    """It is a record where the response has ended as it should, and none behind a reset, a lost chunk, or our stop."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config()):
            line = await outlet.next()
            await line.say(b"one\ntwo")
            await line.end()
            assert await it.values(count=2) == [b"one", b"two"]
            await it.reconnect()
            line = await outlet.next()
            await line.say(b"three\nfour")
            await it.values(count=3)
            await line.reset()
            await it.reconnect()
            line = await outlet.next()
            await line.say(b"five\nsix")
            await it.values(count=4)
            await line.end(clean=False)
            await it.reconnect()
            line = await outlet.next()
            await line.say(b"seven\neigh")
            await it.values(count=5)
        assert await it.values() == [b"one", b"two", b"three", b"five", b"seven"]
        entries = it.ledger()
    assert [entry.decision for entry in entries if not entry.records or entry.decision is not Decision.ACCEPTED] == [
        "connected", "ended", "connected", "failed", "connected", "failed", "connected", "ended",
    ]  # fmt: skip


async def test_a_response_that_ends_with_its_connection(tmp_path: Path) -> None:
    """Without chunks and length the end of the connection is the end of the response."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", chunked=False)
        async with it.running(it.config()):
            line = await outlet.next()
            await line.say(b"one\ntwo")
            await line.end()
            assert await it.values(count=2) == [b"one", b"two"]


@pytest.mark.parametrize("parts", ["body", "full"])
@pytest.mark.parametrize("kind", ["text", "json"])
async def test_all_four_outputs(tmp_path: Path, kind: str, parts: str) -> None:
    """Each frame has the output that a poll's answer has; status and headers are those of the response."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", (("x-a", "b"),))
        async with it.running(it.config({"output_type": kind, "output_parts": parts})):
            line = await outlet.next()
            await line.say(b"hello\nyou\n")
            first, second = await it.values(count=2)
    if kind == "json":
        told = [json.loads(value) for value in (first, second)]
        assert [one["body"] for one in told] == ["hello", "you"]
        assert all(("status" in one) == (parts == "full") for one in told)
        if parts == "full":
            assert "x-a" in json.dumps(told[0]["header"])
    elif parts == "full":
        assert first.startswith(b"HTTP/1.1 200 OK\nx-a: b\n")
        assert first.endswith(b"\n\nhello")
        assert second.endswith(b"\n\nyou")
    else:
        assert (first, second) == (b"hello", b"you")


async def test_what_is_too_large_goes_to_the_dead_letters(tmp_path: Path) -> None:
    """A frame beyond max_record is told with its place, size and digest; the stream goes on behind it."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config({"max_record": "1 KiB"})):
            line = await outlet.next()
            await line.say(b"one\n" + b"x" * 5000 + b"\nthree\n", 100)
            assert await it.values(count=2) == [b"one", b"three"]
            (letter,) = await it.values(it.config().dead_letters or "", count=1)
        entries = it.ledger()
    assert b"line 2" in letter
    assert b"5000" in letter
    assert sum(entry.rejected for entry in entries) == 1
    assert it.engine.figures.of("cats").rejected == 1


async def test_lines_that_are_no_json(tmp_path: Path) -> None:
    """They are dead letters with their number, counted over groups; the others are records."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config({"format": "ndjson"})):
            line = await outlet.next()
            await line.say(b'{"a":1}\n')
            await it.values(count=1)
            await line.say(b'no\n\n{"a":2}\n{"a":\n')
            assert await it.values(count=2) == [b'{"a":1}', b'{"a":2}']
            letters = await it.values(it.config().dead_letters or "", count=2)
    assert [b"line 2" in letters[0], b"line 5" in letters[1]] == [True, True]


async def test_any_number_of_bad_lines(tmp_path: Path) -> None:
    """However many lines in a row are none, the stream goes on behind them."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        async with it.running(it.config({"records": {"key": "/id", "key_required": True}})):
            line = await outlet.next()
            await line.say(b"{}\n" * 10_500 + b'{"id":1}\n')
            await it.until(lambda: it.engine.figures.of("cats").records == 1)
        assert it.engine.figures.of("cats").rejected == 10_500
        assert len(outlet.lines) == 1


@pytest.mark.parametrize("policy", ["dead-letter", "skip"])
async def test_on_error(tmp_path: Path, policy: str) -> None:
    """What is no record is a dead letter, or left out."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        config = it.config({"format": "ndjson", "on_error": policy})
        async with it.running(config):
            line = await outlet.next()
            await line.say(b"1\nno\n3\n")
            assert await it.values(count=2) == [b"1", b"3"]
            letters = config.dead_letters
            assert (letters is None) == (policy == "skip")
            assert letters is None or len(await it.values(letters)) == 1


async def test_on_error_fail_ends_the_connection(tmp_path: Path) -> None:
    """Nothing of its group is stored; the next connection asks again, and the trouble is told."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse", "records": {"key": "/id"}, "on_error": "fail"})):
            line = await outlet.next()
            await line.say(b'id: 1\ndata: {"id":1}\n\n')
            await it.values(count=1)
            await line.say(b"id: 2\ndata: no\n\n")
            await it.until(lambda: it.engine.figures.of("cats").trouble is not None)
            await it.reconnect()
            line = await outlet.next()
            assert line.request.header("last-event-id") == "1"
            await line.say(b'id: 2\ndata: {"id":2}\n\n')
            assert await it.values(count=2) == [b'{"id":1}', b'{"id":2}']
        entries = it.ledger()
    failed = next(entry for entry in entries if entry.decision is Decision.FAILED)
    assert "refused" in failed.reason
    assert sum(entry.records for entry in entries) == 2


async def test_records_are_taken_apart(tmp_path: Path) -> None:
    """An array in each frame, keys, times and metadata; each item is counted through the frames before it."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet()
        options = {
            "records": {
                "split": "/trades",
                "key": "/id",
                "key_required": True,
                "timestamp": "/time",
                "timestamp_format": "ms",
                "metadata": True,
            }
        }
        async with it.running(it.config(options)):
            line = await outlet.next()
            await line.say(b'{"trades":[{"id":1,"time":1000},{"id":2,"time":2000}]}\n{"trades":[]}\n')
            await it.values(count=2)
            await line.say(b'no\n{"trades":[{"time":1},{"id":"x","time":3000}]}\n{"other":1}\n')
            await it.values(count=3)
            records = await it.records()
            letters = await it.values(it.config().dead_letters or "", count=2)
    assert [record.key for record in records] == [b"1", b"2", b"x"]
    assert [record.timestamp for record in records] == [1000, 2000, 3000]
    told = [json.loads(record.value) for record in records]
    assert [one["record"]["id"] for one in told] == [1, 2, "x"]
    # Two, then a line that is none, one without a key, this one.
    assert [one["meta"]["item"] for one in told] == [0, 1, 4]
    assert told[0]["meta"]["url"].endswith("/x")
    assert b"no key" in letters[1]


async def test_keys_of_events(tmp_path: Path) -> None:
    """The id of an event, or its name, is the key of its record; others have none."""
    events = b"data: a\n\nid: 7\nevent: order\ndata: b\n\ndata: c\n\n"
    for which, keys in (("id", [None, b"7", b"7"]), ("event", [b"message", b"order", b"message"])):
        async with streamed(tmp_path / which) as it:
            outlet = it.outlet("/x", SSE)
            async with it.running(it.config({"format": "sse", "sse": {"key": which}})):
                await (await outlet.next()).say(events)
                await it.values(count=3)
            assert [record.key for record in await it.records()] == keys


async def test_events_are_left_out_by_name(tmp_path: Path) -> None:
    """Only those that are wanted are records; the ids of the others count all the same."""
    async with streamed(tmp_path) as it:
        outlet = it.outlet("/x", SSE)
        async with it.running(it.config({"format": "sse", "sse": {"events": ["order"]}})):
            line = await outlet.next()
            await line.say(b"id: 1\ndata: a\n\nid: 2\nevent: order\ndata: b\n\nid: 3\ndata: c\n\n")
            assert await it.values(count=1) == [b"b"]
        assert (await it.position()).event_id == "3"
