"""Cancelling, stopping and breaking a stream at any moment: with event ids each event is stored once, in order."""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import decode_checkpoint
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log
from headwater.testing import Answer, Received, ScriptedServer
from headwater.testing.server import chunks, reset


class Events:
    """A server of numbered events that are cut anywhere, and end in every way."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.asked = 0

    def __call__(self, request: Received) -> Answer:
        """Answer with what is behind the last event."""
        self.asked += 1
        last = int(request.header("last-event-id") or 0)

        async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            chance, number = self._chance, last
            for _ in range(chance.randrange(60)):
                many = chance.choice((1, 1, 5, 200))
                said = b"".join(
                    b"id: %d\r\ndata: %d\r\n\r\n" % (one, one) for one in range(number + 1, number + many + 1)
                )
                number += many
                # Sometimes all but the last bytes: they come with the next, or never.
                for part in (said[: (place := chance.randrange(len(said)))], said[place:]):
                    if writer.is_closing():
                        return
                    if part:
                        writer.write(chunks(part, chance.choice((1, 100, 16_384)) if many < 200 else None))
                    await writer.drain()
                    if chance.random() < 0.005:
                        return
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
            elif chance.random() < 0.5:
                reset(writer)

        return Answer(headers=(("content-type", "text/event-stream"),), chunked=True, talk=talk)


def configured(url: str, linger: str) -> ConnectorConfig:
    """Return the connector."""
    document = {
        "apiVersion": "0.1.0",
        "meta": {"name": "a", "type": "http-source", "topic": "a", "producer": {"linger": linger} if linger else {}},
        "http": {"endpoint": url, "format": "sse", "reconnect": {"initial": "1ms", "max": "5ms"}},
    }
    return load_text(json.dumps(document)).connectors[0]


@pytest.mark.parametrize("linger", ["", "3ms"])
async def test_ending_at_random_moments(tmp_path: Path, linger: str) -> None:
    """Forty cancellations and stops, each after some turns of the event loop, and ends of connections between them."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    events = Events(chance)
    async with ScriptedServer() as server, Log.open(tmp_path) as log, CurlFetcher() as fetcher:
        config = configured(server.route("/x", events), linger)
        for _ in range(40):
            known, stop = events.asked, asyncio.Event()
            engine = Engine(log, fetcher)
            task = asyncio.create_task(engine.run([config], stop))
            wanted = known + chance.choice((0, 1, 1, 2, 5))
            async with asyncio.timeout(30):
                while events.asked < wanted:  # noqa: ASYNC110 - turns of the loop are what is counted
                    await asyncio.sleep(0)
            for _ in range(chance.randrange(chance.choice((30, 1000)))):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                stop.set()
            else:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert engine._shared.room.taken == 0
        # An append that was submitted before its connector was cancelled still commits; wait for it.
        await log.create_topic("after")
        values = [int(record.value) for record in await (await log.topic("a")).read(limit=10_000_000)]
        stored = await log.checkpoint("a")
    print(f"{len(values):,} records, {events.asked} connections")
    assert values == list(range(1, len(values) + 1))
    assert values
    assert stored is not None
    checkpoint = decode_checkpoint(stored)
    assert checkpoint.records == len(values)
    assert checkpoint.stream is not None
    assert int(checkpoint.stream.event_id) == len(values)
