"""kill -9 of a server under `headwater run`: what a commit acknowledged is in the topic once, and nothing else is."""

from __future__ import annotations

import os
import random

import pytest

from commandline import CommandLine
from e2e.test_kill import CONNECTORS, INTERVAL, Numbering, check
from e2e.upcluster import Up
from headwater.core.checkpoint import decode_checkpoint
from headwater.log import LogReader
from headwater.testing import ScriptedServer, background


def seeded() -> random.Random:
    """Return chance that can be repeated: its seed is printed, and taken from HEADWATER_SEED."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    return random.Random(seed)


def campaign(headwater: CommandLine, kills: int) -> tuple[int, int]:
    """Kill the server so many times under connectors that go on. Return the counts of answers and of records."""
    chance = seeded()
    numbering = Numbering()
    up = Up(headwater, headwater.data)
    try:
        with background(ScriptedServer()) as server:
            documents = []
            for index in range(CONNECTORS):
                url = server.route(f"/{index}", numbering)
                documents.append(
                    f"name: cats-{index}\ntopic: cats-{index}\nparameters:\n  endpoint: {url}\n  interval: {INTERVAL}\n"
                )
            running = headwater.start("run", headwater.config("---\n".join(documents)))
            for _ in range(kills):
                server.wait_for(len(server.received) + chance.randint(1, 25))
                for _ in range(chance.randrange(20_000)):
                    pass
                up.kill()
                check(headwater.data, numbering)
                up.start()
            server.wait_for(len(server.received) + 4 * CONNECTORS)
            code, _, error = headwater.stop(running)
            assert code == 130
        total = check(headwater.data, numbering)
        with LogReader(headwater.data) as reader:
            for index in range(CONNECTORS):
                # No answer is left out in between: a connector polls no more while it has something to store.
                _, end = reader.offsets(f"cats-{index}", 0)
                assert len(numbering.sent[f"/{index}"]) - end <= 1
                stored = reader.checkpoint(f"cats-{index}")
                assert stored is not None
                assert decode_checkpoint(stored).exchanges == end
        lines = [line for line in error.splitlines() if "connector" in line]
        assert sum("connector is failing" in line for line in lines) <= kills * CONNECTORS
        assert not [line for line in lines if "crashed" in line or "stopped" in line]
        return sum(map(len, numbering.sent.values())), total
    finally:
        up.close()


def test_two_kills_of_the_server(headwater: CommandLine) -> None:
    """Two kills lose and double nothing, and the connectors go on by themselves."""
    sent, records = campaign(headwater, 2)
    assert 0 < records <= sent


@pytest.mark.long
def test_twenty_kills_of_the_server(headwater: CommandLine) -> None:
    """Twenty kills during fifty polls a second."""
    sent, records = campaign(headwater, 20)
    print(f"20 kills, {sent} answers, {records} records")
    assert 0 < records <= sent
