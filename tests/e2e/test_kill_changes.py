"""kill -9 at random moments: a change log replayed is the collection, each change told once, no item repeated."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forked
from commandline import CommandLine
from headwater.core.record import StoredRecord
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from headwater.testing import Answer, Received, ScriptedServer, background

PAGE = 20
CONFIG = """
name: shop
topic: shop
parameters:
  endpoint: {url}/shop
  interval: 50ms
  records: {{split: /items}}
  pagination: {{type: page, size: {page}}}
  changes: {{key: /id, empty: accept, ignore: [/served]}}
---
name: news
topic: news
parameters:
  endpoint: {url}/news
  interval: 20ms
  conditional: false
  records: {{split: /}}
  deduplicate: {{by: /id, count: 100}}
"""


class World:
    """A shop whose items change between the rounds that look at it, and news of which the last ones are listed."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.items: dict[int, int] = {}
        self.frozen = False
        self.rounds = 0
        self.newest = 10

    def shop(self, received: Received) -> Answer:
        """Answer with a page. What there is changes with the first one of a round."""
        page = int(received.query["page"])
        if page == 1:
            self.rounds += 1
            if not self.frozen:
                self._change()
        served = self.chance.random()
        listed = [{"id": key, "v": self.items[key], "served": served} for key in sorted(self.items)]
        return Answer.json({"items": listed[(page - 1) * PAGE : page * PAGE]})

    def _change(self) -> None:
        for _ in range(self.chance.randrange(8)):
            key = self.chance.randrange(120)
            match self.chance.randrange(3):
                case 0:
                    self.items.pop(key, None)
                case _:
                    self.items[key] = self.chance.randrange(1000)

    def news(self, _: Received) -> Answer:
        """Answer with the last twenty, and have some more the next time."""
        listed = [{"id": number} for number in range(max(0, self.newest - 20), self.newest)]
        if not self.frozen:
            self.newest += self.chance.randrange(6)
        return Answer.json(listed)


def records(directory: Path, topic: str) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    with LogReader(directory) as reader:
        _, end = reader.offsets(topic, 0)
        while len(found) < end:
            for batch in reader.read(topic, 0, len(found), 1 << 20):
                found += decode_records(batch.data)
    return found


def replay(directory: Path) -> dict[int, int]:
    """Return the shop that its change log tells of; each of its events must be a change."""
    state: dict[int, Any] = {}
    for record in records(directory, "shop"):
        event = json.loads(record.value)
        before = state.pop(event["key"], None)
        told = event.get("before")
        assert (told and told["v"]) == (before and before["v"])
        assert (event["op"] == "added") == (before is None)
        if event["op"] == "changed":
            assert event["after"]["v"] != before["v"]
        if event["op"] != "removed":
            state[event["key"]] = event["after"]
    return {key: item["v"] for key, item in state.items()}


def campaign(headwater: CommandLine, kills: int) -> tuple[int, int]:
    """Kill a running process so many times at random moments. Return how many events and how many news there are."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    world = World(random.Random(seed + 1))
    with background(ScriptedServer()) as server:
        server.route("/shop", world.shop)
        server.route("/news", world.news)
        config = headwater.config(CONFIG.format(url=server.url, page=PAGE))
        for _ in range(kills):
            before = len(server.received)
            process = forked.Popen(
                [sys.executable, "-m", "headwater", "run", config],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=headwater.environment,
            )
            try:
                server.wait_for(before + chance.randint(1, 40))
                for _ in range(chance.randrange(20_000)):
                    pass
            finally:
                process.kill()
                process.wait()
            if (headwater.data / "headwater.db").exists():
                check(headwater.data, world)
        world.frozen = True
        last = headwater.start("run", config)
        rounds = world.rounds
        before = len(server.received)
        while world.rounds < rounds + 3 or len(server.received) < before + 40:
            server.wait_for(len(server.received) + 5)
        assert headwater.stop(last)[0] == 128 + signal.SIGINT
        assert replay(headwater.data) == world.items
    values = check(headwater.data, world)
    assert values == list(range(world.newest))
    return len(records(headwater.data, "shop")), len(values)


def check(directory: Path, world: World) -> list[int]:
    """Check what there is so far; return the news."""
    with LogReader(directory) as reader:
        topics = {info.name for info in reader.topics()}
    if not topics >= {"shop", "news"}:
        return []
    replay(directory)
    values = [json.loads(record.value)["id"] for record in records(directory, "news")]
    assert values == list(range(len(values))), "each once, in order"
    assert len(values) <= world.newest
    return values


def test_six_kills(headwater: CommandLine) -> None:
    """Six kills lose and repeat nothing."""
    events, news = campaign(headwater, 6)
    assert events
    assert news


@pytest.mark.long
def test_two_hundred_kills_between_pages(headwater: CommandLine) -> None:
    """Two hundred kills in the middle of rounds lose and repeat nothing."""
    events, news = campaign(headwater, 200)
    print(f"200 kills, {events} events, {news} news")
    assert events > 200
