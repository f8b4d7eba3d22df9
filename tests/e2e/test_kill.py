"""kill -9 at random moments: what a commit acknowledged is in the topic once, and nothing else ever is."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from itertools import count
from pathlib import Path

import pytest

import forked
from commandline import CommandLine
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.core.record import StoredRecord
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from headwater.testing import Answer, Received, ScriptedServer, background

# Five connectors, each ten times a second, are the fifty polls a second of the promise.
CONNECTORS = 5
INTERVAL = "100ms"


class Numbering:
    """Answers each connector with numbers that never repeat, and remembers which answers a request followed.

    A connector asks again only after the records of its last answer were committed, so within one run an answer that
    was followed by another request is acknowledged.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self.sent: dict[str, list[int]] = defaultdict(list)
        self.acknowledged: dict[str, set[int]] = defaultdict(set)
        self._last: dict[str, int] = {}

    def begin_run(self) -> None:
        """Forget which answers wait to be acknowledged: the process that was to do it is dead."""
        self._last.clear()

    def __call__(self, request: Received) -> Answer:
        """Answer with the next number."""
        name = request.path
        if name in self._last:
            self.acknowledged[name].add(self._last[name])
        number = next(self._numbers)
        self.sent[name].append(number)
        self._last[name] = number
        # Some bodies are large, so that kills fall into the middle of large commits too.
        return Answer(body=b"%d %s" % (number, b"x" * (number % 7 * 3000)))


def start(headwater: CommandLine, config: Path, *options: str) -> subprocess.Popen[bytes]:
    return forked.Popen(
        [sys.executable, "-m", "headwater", "run", config, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=headwater.environment,
    )


def check(directory: Path, numbering: Numbering) -> int:
    """Check every topic against what was sent; return how many records there are."""
    total = 0
    with LogReader(directory) as reader:
        for index in range(CONNECTORS):
            name = f"cats-{index}"
            first, end = reader.offsets(name, 0)
            records: list[StoredRecord] = []
            while len(records) < end:
                for batch in reader.read(name, 0, len(records), 1 << 20):
                    records += decode_records(batch.data)
            values = [int(record.value.split()[0]) for record in records]
            assert first == 0
            assert [record.offset for record in records] == list(range(end)), "offsets have a gap"
            assert len(set(values)) == len(values), "a response is there twice"
            assert values == sorted(values), "the order is not that of the server"
            lost = numbering.acknowledged[f"/{index}"] - set(values)
            assert not lost, f"acknowledged, but not in the topic: {sorted(lost)}"
            assert set(values) <= set(numbering.sent[f"/{index}"])
            stored = reader.checkpoint(name)
            checkpoint = Checkpoint() if stored is None else decode_checkpoint(stored)
            assert (checkpoint.records, checkpoint.exchanges) == (end, end), "the checkpoint does not agree"
            entries = [entry for entry in reader.ledger(name, 10_000) if entry.records]
            assert [entry.offset for entry in entries] == list(range(end - len(entries), end)), "the ledger has a gap"
            total += end
    return total


def campaign(headwater: CommandLine, kills: int) -> tuple[int, int]:
    """Kill a running process so many times at random moments. Return the counts of answers and of records."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    numbering = Numbering()
    with background(ScriptedServer()) as server:
        documents = []
        for index in range(CONNECTORS):
            url = server.route(f"/{index}", numbering)
            documents.append(
                f"name: cats-{index}\ntopic: cats-{index}\nparameters:\n  endpoint: {url}\n  interval: {INTERVAL}\n"
            )
        config = headwater.config("---\n".join(documents))
        for _ in range(kills):
            numbering.begin_run()
            before = len(server.received)
            process = start(headwater, config)
            try:
                # A moment in terms of requests, and then some way into what follows the last of them.
                server.wait_for(before + chance.randint(1, 25))
                for _ in range(chance.randrange(20_000)):
                    pass
            finally:
                process.kill()
                process.wait()
            check(headwater.data, numbering)
        numbering.begin_run()
        before = len(server.received)
        last = headwater.start("run", config)
        server.wait_for(before + 20)
        assert headwater.stop(last)[0] == 130
        sent = len(server.received)
    return sent, check(headwater.data, numbering)


def test_four_kills(headwater: CommandLine) -> None:
    """Four kills lose and double nothing."""
    sent, records = campaign(headwater, 4)
    assert 0 < records <= sent


@pytest.mark.long
def test_two_hundred_kills(headwater: CommandLine) -> None:
    """Two hundred kills during fifty polls a second lose and double nothing."""
    sent, records = campaign(headwater, 200)
    print(f"200 kills, {sent} answers, {records} records")
    assert 0 < records <= sent
