"""The client's side of the protocol in all cases of the Autobahn test-suite."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from autobahn.server import Fuzzer, fuzzing, lack
from headwater.sources.split.item import Bad
from headwater.sources.websocket.frames import BEGINS, BINARY, OPCODE, TEXT, Frames
from headwater.sources.websocket.handshake import agree, key_of, offer
from headwater.sources.websocket.session import Session
from sources.websocket.peers import head_of

AGENT = "headwater"
READ = 64 * 1024
MESSAGES = (TEXT, BINARY)
# What is waited for in the first group is time, in the others a server in Python 2: these have many large messages.
GROUPS = {
    "protocol": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
    "sizes": ["9.1.*", "9.2.*", "9.3.*", "9.4.*"],
    "chunks": ["9.5.*", "9.6.*", "9.7.*", "9.8.*"],
    **{f"compression-{number}": [f"12.{number}.*"] for number in range(1, 6)},
    **{f"parameters-{number}": [f"13.{number}.*"] for number in range(1, 8)},
}
AT_ONCE = {"protocol": 8}
# NON-STRICT: a message before a violation in the same chunk is not echoed any more, and a text that is not UTF-8 fails
# at its end. INFORMATIONAL: there is no right or wrong.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


@pytest.mark.long
@pytest.mark.skipif(lack() is not None, reason=lack() or "")
@pytest.mark.parametrize("group", GROUPS)
async def test_the_cases_of_autobahn(tmp_path: Path, group: str) -> None:
    """All are passed, their closing as well; none is left out, however large its messages are."""
    async with fuzzing(tmp_path, GROUPS[group]) as fuzzer:
        (number,) = await talk(fuzzer, "/getCaseCount", echo=False)
        count = int(json.loads(number))
        places = asyncio.Semaphore(AT_ONCE.get(group, 1))

        async def run(case: int) -> None:
            async with places:
                await talk(fuzzer, f"/runCase?case={case}&agent={AGENT}", echo=True)

        await asyncio.gather(*map(run, range(1, count + 1)))
        await talk(fuzzer, f"/updateReports?agent={AGENT}", echo=False)
        results = fuzzer.results(AGENT)
    assert len(results) == count
    kinds = {name: (result["behavior"], result["behaviorClose"]) for name, result in results.items()}
    assert {name: kind for name, kind in kinds.items() if not GOOD.issuperset(kind)} == {}


async def connect(fuzzer: Fuzzer, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Session]:
    """Open a WebSocket with everything that is offered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fuzzer.port)
    key = key_of(os.urandom(16))
    asked = [("Host", f"127.0.0.1:{fuzzer.port}"), *offer(compression=True, subprotocols=(), key=key)]
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in asked), "", ""]
    writer.write("\r\n".join(lines).encode())
    raw = await reader.readuntil(b"\r\n\r\n")
    agreed = agree(head_of(raw), key=key, compression=True, subprotocols=())
    return reader, writer, Session(agreed, max_message=16 * 1024 * 1024, mask=lambda: os.urandom(4))


async def talk(fuzzer: Fuzzer, path: str, *, echo: bool) -> list[bytes]:
    """Take what comes until the server closes, and send it back, of the kind that it is, or not; return it."""
    reader, writer, session = await connect(fuzzer, path)
    # Texts and binary messages are the same to us, but not to the test-suite: their frames say which one is.
    frames = Frames(compression=True)
    kinds: list[int] = []
    items: list[bytes] = []
    while data := await heard(reader, session):
        if not frames.fault:
            kinds += [mark & OPCODE for mark, _ in frames.feed(data) if mark & BEGINS and mark & OPCODE in MESSAGES]
        new = session.feed(data)
        writer.write(session.outgoing())
        for item in new:
            assert not isinstance(item, Bad)
            if echo:
                writer.write(session.text(item) if kinds[len(items)] == TEXT else session.binary(item))
            items.append(item)
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    return items


async def heard(reader: asyncio.StreamReader, session: Session) -> bytes:
    """Return what comes next; nothing once the server has closed. What comes behind the end is left unread."""
    async with asyncio.timeout(100):
        try:
            data = await reader.read(READ)
            while data and session.ended is not None:
                data = await reader.read(READ)
        except ConnectionResetError:
            return b""
    return data
