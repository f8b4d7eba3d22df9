"""kill -9 while streaming: what can be asked for again is stored once; of the rest nothing is broken or doubled."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from commandline import CommandLine
from e2e.test_kill_body import wait_until
from headwater.core.checkpoint import Checkpoint, decode_checkpoint
from headwater.core.errors import HeadwaterError
from headwater.core.record import StoredRecord
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from headwater.sources.websocket.handshake import accept_of
from headwater.testing import Answer, Received, ScriptedServer, background
from sources.websocket.peers import unmasked, wire

NAMES = ("events", "socket", "lines")
CONFIG = """apiVersion: 0.1.0
meta: {{name: events, type: http-source, topic: events}}
http: {{endpoint: "{url}/events", format: sse, sse: {{key: id}}}}
---
apiVersion: 0.1.0
meta: {{name: socket, type: http-source, topic: socket}}
http:
  endpoint: {socket}/socket
  websocket_config:
    subscription_messages: [{{op: subscribe}}]
    resume_message: {{op: resume, after: "${{{{ cursor.id }}}}"}}
  cursor: {{id: {{from: /id}}}}
---
apiVersion: 0.1.0
meta: {{name: lines, type: http-source, topic: lines}}
http: {{endpoint: "{url}/lines", format: ndjson}}
"""


def told(number: int) -> bytes:
    """Return what is said of a number: sometimes little, sometimes more than one chunk."""
    return b'{"id":%d,"pad":"%s"}' % (number, b"x" * (number * 37 % 400 if number % 501 else 20_000))


class Sources:
    """A server of three streams, which say one thing after the other without end."""

    def __init__(self, server: ScriptedServer) -> None:
        server.route("/events", self._events)
        server.route("/socket", self._socket)
        server.route("/lines", self._lines)
        self._line = count(1)
        self.went_on = 0

    def _events(self, request: Received) -> Answer:
        last = int(request.header("last-event-id") or 0)
        self.went_on += bool(last)

        def event(number: int) -> bytes:
            return b"id: %d\ndata: %b\n\n" % (number, told(number))

        return Answer(
            headers=(("content-type", "text/event-stream"),),
            talk=lambda _, writer: _tell(writer, map(event, count(last + 1))),
        )

    def _lines(self, _: Received) -> Answer:
        # Nobody says anything twice here: what was on its way to a process that died is lost.
        return Answer(talk=lambda _, writer: _tell(writer, (told(number) + b"\n" for number in self._line)))

    def _socket(self, request: Received) -> Answer:
        key = request.header("sec-websocket-key") or ""
        headers = (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept_of(key)))
        return Answer(101, headers=headers, talk=self._converse)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(2)
        message = json.loads(unmasked(head + await reader.readexactly(4 + head[1] % 128))[1])
        last = message.get("after", 0) if message["op"] == "resume" else 0
        await _tell(writer, (wire(0x81, told(number)) for number in count(last + 1)))


async def _tell(writer: asyncio.StreamWriter, parts: Iterator[bytes]) -> None:
    for number, part in enumerate(parts):
        if writer.is_closing():
            return
        writer.write(part)
        if number % 20 == 0:
            await writer.drain()
            # A pace at which there are many groups, and the others have their turn.
            await asyncio.sleep(0.002)


def stored(directory: Path, topic: str) -> list[StoredRecord]:
    """Return all records of a topic."""
    records: list[StoredRecord] = []
    with LogReader(directory) as reader:
        _, end = reader.offsets(topic, 0)
        while len(records) < end:
            for batch in reader.read(topic, 0, len(records), 8 << 20):
                records += decode_records(batch.data)
    return records


def checkpoint(directory: Path, name: str) -> Checkpoint:
    with LogReader(directory) as reader:
        data = reader.checkpoint(name)
    return Checkpoint() if data is None else decode_checkpoint(data)


def ends(directory: Path) -> list[int]:
    """Return how many records there are in each topic; none while there are no topics yet."""
    with suppress(HeadwaterError), LogReader(directory) as reader:
        return [reader.offsets(name, 0)[1] for name in NAMES]
    return [0] * len(NAMES)


def check(directory: Path) -> None:
    """Check what is stored against what was said, and the checkpoints against what is stored."""
    for name in NAMES:
        records, known = stored(directory, name), checkpoint(directory, name)
        numbers = [json.loads(record.value)["id"] for record in records]
        assert [record.value for record in records] == [told(number) for number in numbers]
        assert known.records == len(records)
        if name == "lines":
            assert numbers == sorted(set(numbers))
            continue
        assert numbers == list(range(1, len(numbers) + 1))
        if name == "events":
            assert known.stream is not None
            assert known.stream.event_id == str(numbers[-1])
            assert [record.key for record in records] == [b"%d" % number for number in numbers]
        else:
            assert known.progress is not None
            assert known.progress.cursors["id"] == numbers[-1]


def campaign(headwater: CommandLine, kills: int) -> int:
    """Kill a process so many times while it streams; return how many records there are in the end."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    with background(ScriptedServer()) as server:
        sources = Sources(server)
        text = CONFIG.format(url=server.url, socket=server.url.replace("http", "ws"))
        config = headwater.config(text)
        for _ in range(kills):
            before = ends(headwater.data)
            process = headwater.start("run", config)
            # Sometimes before anything is stored.
            if chance.random() < 0.8:
                wait_until(process, grown(headwater.data, before))
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.0, 0.15))
            process.kill()
            process.communicate()
        process = headwater.start("run", config)
        wait_until(process, grown(headwater.data, ends(headwater.data)))
        code, _, error = headwater.stop(process)
        assert code == 130, error
    check(headwater.data)
    assert sources.went_on > kills // 6
    return sum(ends(headwater.data))


def grown(directory: Path, before: list[int]) -> Callable[[], bool]:
    """Return whether there is something more in each topic, when it is asked."""
    return lambda: all(now > then for now, then in zip(ends(directory), before, strict=True))


def test_five_kills(headwater: CommandLine) -> None:
    """Five kills in the middle of it lose nothing that can be asked for again, and double nothing."""
    assert campaign(headwater, 5) > 100


@pytest.mark.long
def test_a_hundred_kills(headwater: CommandLine) -> None:
    """The same a hundred times."""
    found = campaign(headwater, 100)
    print(f"100 kills, {found:,} records")
    assert found > 10_000
