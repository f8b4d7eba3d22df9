"""Cancelling at any await: what was committed is there once, and what was not is asked for again."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from itertools import count
from pathlib import Path

from headwater.config import load_text
from headwater.core.checkpoint import decode_checkpoint
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log
from headwater.testing import Answer, Received, ScriptedServer

ROUNDS = 60


async def test_cancelling_at_random_moments(tmp_path: Path) -> None:
    """Sixty cancellations, each after a random number of turns of the event loop, lose and double nothing.

    In every other round the turns are counted from the first request on: how many a start takes depends on the machine.
    """
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    numbers, sent, acknowledged = count(), list[int](), set[int]()
    asked = False

    def answer(_: Received) -> Answer:
        nonlocal asked
        if asked:
            # The connector asks again within one run only after its last answer was committed.
            acknowledged.add(sent[-1])
        asked = True
        sent.append(next(numbers))
        return Answer(body=b"%d" % sent[-1])

    async with ScriptedServer() as server, Log.open(tmp_path) as log, CurlFetcher() as fetcher:
        url = server.route("/x", answer)
        config = load_text(f"name: a\ntopic: a\nparameters:\n  endpoint: {url}\n  interval: 1ms\n").connectors[0]
        for number in range(ROUNDS):
            asked = False
            task = asyncio.create_task(Engine(log, fetcher).run([config], asyncio.Event()))
            async with asyncio.timeout(30):
                while number % 2 and not asked:  # noqa: ASYNC110 - turns of the loop are what is counted
                    await asyncio.sleep(0)
            for _ in range(chance.randrange(120)):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        # An append that was submitted before its connector was cancelled still commits; wait for it.
        await log.create_topic("after")
        values = [int(record.value) for record in await (await log.topic("a")).read(limit=100_000)]
        stored = await log.checkpoint("a")
    assert len(set(values)) == len(values)
    assert values == sorted(values)
    assert acknowledged <= set(values) <= set(sent)
    assert values
    assert stored is not None
    assert decode_checkpoint(stored).records == len(values)
