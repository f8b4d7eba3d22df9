"""kill -9 in the middle of a large body: each of its items is stored once, and in order."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.core.errors import HeadwaterError
from headwater.core.record import StoredRecord
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from headwater.testing import Answer, Received, ScriptedServer, background

ITEMS = 150_000
BODIES = {
    "json": (b'{"data":[', b",\n", b'],"next":null}', "split: /data, key: /id"),
    "ndjson": (b"", b"\n", b"", "format: ndjson, key: /id"),
}


def stored(directory: Path) -> list[StoredRecord]:
    """Return all records of the topic."""
    records: list[StoredRecord] = []
    with LogReader(directory) as reader:
        _, end = reader.offsets("items", 0)
        while len(records) < end:
            for batch in reader.read("items", 0, len(records), 8 << 20):
                records += decode_records(batch.data)
    return records


def checkpoint(directory: Path) -> Checkpoint:
    with LogReader(directory) as reader:
        data = reader.checkpoint("items")
    return Checkpoint() if data is None else decode_checkpoint(data)


def end(directory: Path) -> int:
    """Return how many records there are; none while there is no topic yet."""
    with suppress(HeadwaterError), LogReader(directory) as reader:
        return reader.offsets("items", 0)[1]
    return 0


def wait_until(process: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    """Wait until something is true of what is on disk; the process may not end before."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)
            raise AssertionError("the process has ended")


@pytest.mark.parametrize("form", sorted(BODIES))
def test_a_large_body_through_kills(headwater: CommandLine, form: str) -> None:
    """Whatever moments the process dies at, it goes on with the item that is next."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    parts = [b'{"id":%d,"pad":"%s"}' % (number, b"x" * (number % 200)) for number in range(ITEMS)]
    before, between, behind, options = BODIES[form]
    body = before + between.join(parts) + behind

    def answer(request: Received) -> Answer:
        if request.header("if-none-match"):
            return Answer(304, headers=(("etag", '"x"'),))
        return Answer(body=body, headers=(("content-type", "application/json"), ("etag", '"x"')))

    with background(ScriptedServer()) as server:
        url = server.route("/x", answer)
        config = headwater.config(
            f"name: items\ntopic: items\nparameters:\n  endpoint: {url}\n  interval: 1h\n  timeout: 1m\n"
            f"  records: {{{options}, buffer: 64 KiB}}\n"
        )
        kills = 0
        while kills < 4:
            process = headwater.start("run", config)
            target = min(end(headwater.data) + chance.randrange(1, ITEMS // 8), ITEMS)
            wait_until(process, lambda: end(headwater.data) >= target)  # noqa: B023 - called here
            process.kill()
            process.communicate()
            kills += 1
            position = checkpoint(headwater.data).body
            if position is None:
                break
            assert position.items == end(headwater.data)
        assert kills > 1
        process = headwater.start("run", config)
        wait_until(process, lambda: checkpoint(headwater.data).exchanges > 0)
        process.kill()
        process.communicate()
    records = stored(headwater.data)
    assert [record.value for record in records] == parts
    assert [record.key for record in records] == [b"%d" % number for number in range(ITEMS)]
    assert checkpoint(headwater.data).records == ITEMS
    assert checkpoint(headwater.data).body is None
