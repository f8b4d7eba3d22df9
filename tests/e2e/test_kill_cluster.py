"""kill -9 of `headwater run` into a cluster: nothing is lost, and each kill repeats one exchange at most."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commandline import CommandLine
from e2e.test_kill import start
from e2e.test_kill_server import seeded
from e2e.upcluster import Up
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from headwater.testing import Answer, Received, ScriptedServer, background

NAMES = ("plain-0", "plain-1", "distinct-0", "distinct-1")

DOCUMENT = """
apiVersion: 0.2.0
meta:
  name: {name}
  type: http-source
  version: 0.3.0
  topic:
    meta: {{name: {name}}}
    {drops}
http:
  endpoint: {url}
  interval: 20ms
  record_id: {record_id}
transforms:
  - uses: infinyon-labs/array-map-json
"""
DROPS = "deduplication: {bounds: {count: 1000, age: 1m}, filter: {transform: {uses: dedup-filter}}}"


def answer(request: Received) -> Answer:
    """Answer with the two numbers that follow those that the connector has, which its ETag says."""
    number = int(request.header("if-none-match") or 0)
    return Answer(body=b"[%d,%d]" % (2 * number, 2 * number + 1), headers=(("etag", str(number + 1)),))


def stored(directory: Path, topic: str) -> Iterator[int]:
    with LogReader(directory) as reader:
        position, end = reader.offsets(topic, 0)
        while position < end:
            for batch in reader.read(topic, 0, position, 1 << 20):
                records = decode_records(batch.data)
                assert records[0].offset == position, "offsets have a gap"
                position += len(records)
                yield from (int(record.value) for record in records)


def check(headwater: CommandLine, cluster: Path, kills: int) -> int:
    """Check every topic against its checkpoint; return how many records were repeated."""
    repeats = 0
    for name in NAMES:
        with LogReader(headwater.data) as reader:
            kept = reader.checkpoint(name)
        checkpoint = Checkpoint() if kept is None else decode_checkpoint(kept)
        values = list(stored(cluster, name))
        seen = set(values)
        assert seen == set(range(len(seen))), "something is missing in between"
        assert 2 * checkpoint.exchanges <= len(seen), "the checkpoint is ahead of the cluster"
        repeated = len(values) - len(seen)
        assert repeated <= (0 if name.startswith("distinct") else 2 * kills), "more was repeated than was under way"
        repeats += repeated
    return repeats


@contextmanager
def scene(headwater: CommandLine) -> Iterator[tuple[Up, ScriptedServer, Path]]:
    """Give a cluster with the profile `far`, a server of numbers, and the configuration of connectors between them."""
    up = Up(headwater, headwater.directory / "theirs")
    try:
        headwater.good("profile", "add", "far", up.endpoint)
        with background(ScriptedServer()) as server:
            documents = []
            for name in NAMES:
                url = server.route(f"/{name}", answer)
                distinct = name.startswith("distinct")
                text = DOCUMENT.format(
                    name=name, url=url, drops=DROPS if distinct else "", record_id=str(distinct).lower()
                )
                documents.append(text)
            yield up, server, headwater.config("---".join(documents))
    finally:
        up.close()


def dawdle(server: ScriptedServer, chance: random.Random) -> None:
    """Wait for a moment in terms of requests, and then some way into what follows the last of them."""
    server.wait_for(len(server.received) + chance.randint(1, 60))
    for _ in range(chance.randrange(20_000)):
        pass


def kill_connectors(headwater: CommandLine, kills: int) -> None:
    """Kill running connectors so many times."""
    chance = seeded()
    with scene(headwater) as (up, server, config):
        for _ in range(kills):
            process = start(headwater, config, "--profile", "far")
            try:
                dawdle(server, chance)
            finally:
                process.kill()
                process.wait()
        before = check(headwater, up.directory, kills)
        last = headwater.start("run", config, "--profile", "far")
        server.wait_for(len(server.received) + 4 * len(NAMES))
        assert headwater.stop(last)[0] == 130
        repeats = check(headwater, up.directory, kills)
    print(f"{kills} kills, {before} and then {repeats} records repeated")


def kill_cluster(headwater: CommandLine, kills: int) -> None:
    """Kill the cluster so many times under connectors that go on."""
    chance = seeded()
    with scene(headwater) as (up, server, config):
        running = headwater.start("run", config, "--profile", "far")
        for _ in range(kills):
            dawdle(server, chance)
            up.kill()
            up.start()
        server.wait_for(len(server.received) + 4 * len(NAMES))
        code, _, error = headwater.stop(running)
        assert code == 130
        repeats = check(headwater, up.directory, kills)
        assert not [line for line in error.splitlines() if "crashed" in line or "stopped" in line], error
    print(f"{kills} kills, {repeats} records repeated")


def test_two_kills_of_connectors(headwater: CommandLine) -> None:
    """Two kills lose nothing and repeat two exchanges of a connector at most; with record ids none."""
    kill_connectors(headwater, 2)


def test_two_kills_of_the_cluster(headwater: CommandLine) -> None:
    """The same of a cluster that is killed; the connectors go on by themselves."""
    kill_cluster(headwater, 2)


@pytest.mark.long
def test_thirty_kills_of_connectors(headwater: CommandLine) -> None:
    kill_connectors(headwater, 30)


@pytest.mark.long
def test_thirty_kills_of_the_cluster(headwater: CommandLine) -> None:
    kill_cluster(headwater, 30)
