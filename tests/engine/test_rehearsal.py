"""Rehearsals: what is recorded over the network is replayed without it, to the same end."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from headwater.config import ConnectorConfig, load_text
from headwater.core.exchange import Decision
from headwater.engine.rehearsal import Outcome, record, replay
from headwater.fetch import CurlFetcher
from headwater.log import Log
from headwater.recording.tape import Player, Tape
from headwater.recording.tapefile import read_tape, write_tape
from headwater.testing import Answer, Received, ScriptedServer
from headwater.testing.clock import VirtualClock

PAGES = 3


def paged(request: Received) -> Answer:
    """Answer with a page of two items, and a link to the next one."""
    page = int(request.query.get("page", "1"))
    items = [{"id": 2 * page - 1}, {"id": 2 * page}]
    link = (("link", f'<{request.target.partition("?")[0]}?page={page + 1}>; rel="next"'),) if page < PAGES else ()
    return Answer(200, json.dumps(items).encode(), (("content-type", "application/json"), *link))


def config_of(url: str, more: str = "") -> ConnectorConfig:
    text = f"name: orders\ntopic: orders\nparameters:\n  endpoint: {url}\n  interval: 200ms\n{more}"
    return load_text(text).connectors[0]


async def recorded(
    config: ConnectorConfig, directory: Path, rounds: int = 1, most: int = 100, most_bytes: int = 10**6
) -> tuple[Tape, Outcome, bool]:
    async with Log.open(directory / "record") as log, CurlFetcher() as fetcher:
        return await record(config, log, fetcher, directory=directory, rounds=rounds, most=most, most_bytes=most_bytes)


async def replayed(
    config: ConnectorConfig, tape: Tape, directory: Path, *, interrupted: bool = False
) -> tuple[Outcome, Player]:
    # Through the file, as always.
    tape = read_tape(write_tape(tape), "a test")
    clock = VirtualClock(unix=tape.rounds[0].scheduled / 1000)
    async with Log.open(directory, now_ms=clock.time_ms) as log:
        return await replay(config, tape, log, clock, directory=directory, interrupted=interrupted)


def values(outcome: Outcome) -> list[object]:
    return [json.loads(it.value) for _, it in outcome.records]


def told(outcome: Outcome) -> list[tuple[Decision, int | None, int, int]]:
    return [(it.decision, it.status, it.records, it.attempts) for it in outcome.entries]


async def test_pages_and_retries_are_replayed(tmp_path: Path) -> None:
    """Three rounds of pages with a 429 among them come to the same records, also when it is ended after each page."""
    async with ScriptedServer() as server:
        asked = 0

        def answer(request: Received) -> Answer:
            nonlocal asked
            asked += 1
            return Answer(429, headers=(("retry-after", "0"),)) if asked == 5 else paged(request)

        url = server.route("/orders", answer)
        config = config_of(url, "  pagination: {type: link}\n")
        tape, first, whole = await recorded(config, tmp_path, rounds=3)
    assert whole
    assert [len(it.takes) for it in tape.rounds] == [3, 4, 3]
    assert len(first.records) == 9
    for interrupted in (False, True):
        again, player = await replayed(config, tape, tmp_path / f"replay-{interrupted}", interrupted=interrupted)
        assert values(again) == values(first)
        assert told(again) == told(first)
        assert [it.scheduled for it in again.entries] == [it.scheduled for it in first.entries]
        assert (player.missed, player.left, again.crash) == ([], [], "")


async def test_times_are_those_of_the_recording(tmp_path: Path) -> None:
    """What depends on the scheduled time asks for the same, whenever it is replayed."""
    async with ScriptedServer() as server:
        url = server.route("/x", Answer.json({"a": 1}), Answer(204), Answer.json({"a": 2}))
        config = config_of(url, '  params: {at: "${{ scheduled | unix_ms }}"}\n')
        tape, first, _ = await recorded(config, tmp_path, rounds=3)
    again, player = await replayed(config, tape, tmp_path / "replay")
    assert player.missed == []
    assert told(again) == told(first)
    assert [it.decision for it in again.entries] == [Decision.ACCEPTED, Decision.EMPTY, Decision.ACCEPTED]


async def test_unchanged_answers_and_failures_are_replayed(tmp_path: Path) -> None:
    """Validators are sent as before, and what failed fails in the same way."""
    async with ScriptedServer() as server:
        etag = (("etag", '"a"'),)
        url = server.route("/x", Answer(200, b"x", etag), Answer(304, headers=etag), Answer(cut=-1), Answer(404))
        config = config_of(url, "  retry: {attempts: 1}\n")
        tape, first, _ = await recorded(config, tmp_path, rounds=4)
    again, _ = await replayed(config, tape, tmp_path / "replay")
    assert told(again) == told(first)
    assert [it.decision for it in again.entries] == [
        Decision.ACCEPTED,
        Decision.UNCHANGED,
        Decision.FAILED,
        Decision.FAILED,
    ]
    assert again.entries[2].reason == first.entries[2].reason


async def test_another_request_is_not_in_the_recording(tmp_path: Path) -> None:
    """A configuration that asks for something else fails, and both sides are told."""
    async with ScriptedServer() as server:
        url = server.route("/x", Answer.json({"a": 1}))
        tape, _, _ = await recorded(config_of(url), tmp_path)
    changed = config_of(url, "  params: {a: 1}\n")
    again, player = await replayed(changed, tape, tmp_path / "replay")
    assert player.missed == [f"GET {url}?a=1; next in the recording is GET {url}"]
    assert [it.asked.url for it in player.left] == [url]
    assert told(again) == [(Decision.FAILED, None, 0, 1)]
    assert "it is not in the recording" in again.entries[0].reason


@pytest.mark.parametrize(("most", "most_bytes"), [(2, 10**6), (100, 50)])
async def test_a_recording_is_bounded(tmp_path: Path, most: int, most_bytes: int) -> None:
    """So many exchanges and so many bytes are kept, and it is said that this is not all."""
    async with ScriptedServer() as server:
        url = server.route("/orders", paged)
        config = config_of(url, "  pagination: {type: link}\n")
        tape, _, whole = await recorded(config, tmp_path, most=most, most_bytes=most_bytes)
    assert not whole
    assert sum(len(it.takes) for it in tape.rounds) == 2


async def test_a_cron_is_replayed_at_its_times(tmp_path: Path) -> None:
    """A recording says when its rounds were; the schedule of the configuration is not waited for."""
    async with ScriptedServer() as server:
        url = server.route("/x", Answer.json({"a": 1}), Answer.json({"a": 2}))
        tape, _, _ = await recorded(config_of(url), tmp_path, rounds=2)
    rounds = [
        msgspec.structs.replace(it, scheduled=1_714_554_000_000 + 86_400_000 * n) for n, it in enumerate(tape.rounds)
    ]
    daily = load_text(f"name: orders\ntopic: orders\nparameters:\n  endpoint: {url}\n  cron: '0 9 * * *'\n").connectors[
        0
    ]
    again, player = await replayed(daily, Tape("orders", rounds), tmp_path / "replay")
    assert values(again) == [{"a": 1}, {"a": 2}]
    assert [it.scheduled for it in again.entries] == [it.scheduled for it in rounds]
    assert player.left == []


async def test_transforms_take_part(tmp_path: Path) -> None:
    """Records pass the chain, and what it refuses is a dead letter of the replay."""
    (tmp_path / "refuse.py").write_text(
        "from headwater import Record, smartmodule\n\n\n@smartmodule\ndef f(record: Record) -> Record:\n"
        "    if b'2' in record.value:\n        raise ValueError('no twos')\n    return record\n"
    )
    async with ScriptedServer() as server:
        url = server.route("/x", Answer.json({"a": 1}), Answer.json({"a": 2}))
        text = f"name: orders\ntopic: orders\nparameters:\n  endpoint: {url}\n  interval: 200ms\n"
        text += f"transforms:\n  - uses: {tmp_path}/refuse.py:f\n"
        config = load_text(text).connectors[0]
        tape, first, _ = await recorded(config, tmp_path, rounds=2)
    again, _ = await replayed(config, tape, tmp_path / "replay")
    assert [topic for topic, _ in again.records] == ["orders", "orders-dead-letter"]
    assert values(again)[0] == values(first)[0] == {"a": 1}
    assert again.entries[1].rejected == 1


async def test_a_body_that_is_cut_while_it_comes(tmp_path: Path) -> None:
    """What a connector takes in pieces is recorded whole, and comes to the same items again."""
    items = [{"id": number, "text": "x" * 100} for number in range(2000)]
    async with ScriptedServer() as server:
        url = server.route("/x", Answer.json(items))
        config = config_of(url, "  records: {split: /, key: /id, buffer: 64 KiB}\n")
        tape, first, whole = await recorded(config, tmp_path)
    assert whole
    assert len(first.records) == len(items)
    again, player = await replayed(config, tape, tmp_path / "replay")
    assert values(again) == values(first) == items
    assert player.left == []


async def test_tokens_that_were_fetched_are_masked(tmp_path: Path) -> None:
    """A token of a login is in no place of the recording, and the replay logs in with what stands there instead."""
    async with ScriptedServer() as server:
        server.route("/login", Answer.json({"data": {"key": "opaque-token-1"}}))

        def echo(request: Received) -> Answer:
            return Answer.json({"said": request.header("authorization")})

        url = server.route("/x", echo)
        auth = f"  auth: {{type: login, endpoint: '{server.url}/login', token: /data/key}}\n"
        config = config_of(url, auth)
        tape, _, _ = await recorded(config, tmp_path, rounds=2)
    text = write_tape(tape)
    assert "opaque-token-1" not in text
    assert '"said":"Bearer ***"' in text
    again, player = await replayed(config, tape, tmp_path / "replay")
    assert (player.missed, player.left) == ([], [])
    assert values(again) == [{"said": "Bearer ***"}] * 2
