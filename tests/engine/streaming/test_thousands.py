"""A thousand streams beside a thousand polls, in one process: none waits for another."""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from headwater.config import load_text
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log
from headwater.testing import Answer, Received, ScriptedServer, background

_STREAMS = _POLLS = 1000


async def _beat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say something each second until the other side has gone."""
    gone = asyncio.ensure_future(reader.read(1))
    with suppress(OSError):
        for number in count():
            writer.write(b"id: %d\ndata: %d\n\n" % (number, number))
            await writer.drain()
            done, _ = await asyncio.wait((gone,), timeout=1.0)
            if done:
                return
    gone.cancel()


@pytest.mark.long
async def test_a_thousand_streams_beside_a_thousand_polls(tmp_path: Path) -> None:
    """Each has what it should have had, and those that hang disturb nobody; all of it stops within its grace."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with background(ScriptedServer()) as server:

        def stream(request: Received) -> Answer:
            # One in a hundred never says anything, not even that it is there.
            hangs = int(request.query["n"]) % 100 == 50
            return Answer(headers=(("content-type", "text/event-stream"),), talk=_beat, hang=hangs)

        server.route("/stream", stream)
        server.route("/poll", Answer(body=b"polled"))
        documents = [
            _document(f"s{number}", {"endpoint": f"{server.url}/stream?n={number}", "format": "sse"}, "streams")
            for number in range(_STREAMS)
        ]
        poll: dict[str, object] = {"endpoint": f"{server.url}/poll", "interval": "1s"}
        documents += [_document(f"p{number}", poll, "polls") for number in range(_POLLS)]
        configs = [it for text in documents for it in load_text(text).connectors]
        try:
            async with Log.open(tmp_path) as log, CurlFetcher() as fetcher:
                engine = Engine(log, fetcher, grace=10)
                stop = asyncio.Event()
                task = asyncio.create_task(engine.run(configs, stop))
                await asyncio.sleep(6)
                before = {config.name: engine.figures.of(config.name).records for config in configs}
                loop = asyncio.get_running_loop()
                began = loop.time()
                await asyncio.sleep(20)
                lasted = loop.time() - began
                grown = {name: engine.figures.of(name).records - known for name, known in before.items()}
                stop.set()
                ending = loop.time()
                await task
                assert loop.time() - ending < 12
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    hanging = {f"s{number}" for number in range(50, _STREAMS, 100)}
    streams = [many for name, many in grown.items() if name[0] == "s" and name not in hanging]
    polls = [many for name, many in grown.items() if name[0] == "p"]
    print(f"{lasted:.1f} s: streams {min(streams)}-{max(streams)}, polls {min(polls)}-{max(polls)}")
    assert all(grown[name] == 0 for name in hanging)
    assert statistics.median(streams) >= lasted * 0.9
    assert min(streams) >= lasted * 0.75
    assert statistics.median(polls) >= lasted * 0.9
    assert min(polls) >= lasted * 0.75


def _document(name: str, http: dict[str, object], topic: str) -> str:
    return json.dumps(
        {"apiVersion": "0.1.0", "meta": {"name": name, "type": "http-source", "topic": topic}, "http": http}
    )
