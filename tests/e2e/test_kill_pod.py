"""kill -9 of `headwater run --checkpoints cluster`, and its data directory gone: the next one goes on where it was."""

from __future__ import annotations

import shutil

import pytest

from commandline import CommandLine
from e2e.test_kill import start
from e2e.test_kill_cluster import NAMES, dawdle, scene, stored
from e2e.test_kill_server import seeded
from headwater.cluster import Cluster, Target
from headwater.core.checkpoint import decode_checkpoint
from headwater.engine.checkpoints import search


async def kill_pods(headwater: CommandLine, kills: int) -> None:
    """Kill the process so many times, and throw away what it kept on its disk each time."""
    chance = seeded()
    with scene(headwater) as (up, server, config):
        run = ("--profile", "far", "--checkpoints", "cluster")
        for _ in range(kills):
            process = start(headwater, config, *run)
            try:
                dawdle(server, chance)
            finally:
                process.kill()
                process.wait()
            shutil.rmtree(headwater.data)
        last = headwater.start("run", config, *run)
        server.wait_for(len(server.received) + 4 * len(NAMES))
        assert headwater.stop(last)[0] == 130
        async with Cluster(Target("127.0.0.1", up.port)) as cluster:
            found = await search(cluster, NAMES)
        for name in NAMES:
            values = list(stored(up.directory, name))
            seen = set(values)
            assert seen == set(range(len(seen))), "something is missing in between"
            checkpoint = decode_checkpoint(bytes(found[name].checkpoint))
            assert found[name].generation == kills + 1
            assert 2 * checkpoint.exchanges == len(seen), "the checkpoint is not that of the last exchange"
            most = 0 if name.startswith("distinct") else 2 * kills
            assert len(values) - len(seen) <= most, "more was repeated than was under way"


async def test_two_kills_of_a_pod(headwater: CommandLine) -> None:
    """Nothing is lost, and each kill repeats one exchange of a connector at most; with record ids none."""
    await kill_pods(headwater, 2)


@pytest.mark.long
async def test_thirty_kills_of_a_pod(headwater: CommandLine) -> None:
    await kill_pods(headwater, 30)
