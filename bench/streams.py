"""Streams into the log, end to end: floods of lines, events and messages; thousands that say little, and how late."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import uvloop

from bench.figures import Figure, cpu_seconds
from headwater.config import load_text
from headwater.core.errors import HeadwaterError
from headwater.core.limits import raise_file_limit
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.fluvio.batch import decode_values
from headwater.log import Append, Log, Receipt
from headwater.sources.websocket.handshake import accept_of

LINES, EVENTS, MESSAGES = 2_000_000, 600_000, 600_000
IDLE, SPEAKING = 5_000, 1_000
# Each of these says something so often (seconds); for so long that is looked at, after as long as it takes to connect.
EVERY, MEASURED = 1.0, 10.0
ROUNDS = 3
_TEXT = b'{"id":%09d,"symbol":"EURUSD","bid":1.08312,"ask":1.08319,"venue":"XETR","note":"%s"}'
_STREAM = "name: {name}\ntopic: t-{topic}\nparameters:\n  endpoint: {url}\n  {options}\n"
_OPTIONS = {"lines": "stream: true", "events": "format: sse", "messages": "websocket_config: {ping_interval_ms: 10000}"}


class Run(msgspec.Struct, frozen=True):
    """What one run came to: records, seconds by the clock and of processor time, and the most memory (bytes)."""

    records: int
    seconds: float
    processor: float
    most: int
    late: list[float] = []


def _text(number: int) -> bytes:
    text = _TEXT % (number, b"x" * 200)
    return text[:198] + b'"}'


def _said(kind: str, numbers: range) -> bytes:
    """Return what a flood says: texts of 200 bytes as lines, events or messages."""
    texts = map(_text, numbers)
    if kind == "lines":
        return b"".join(b"%b\n" % text for text in texts)
    if kind == "events":
        return b"".join(b"id: %d\ndata: %b\n\n" % (number, _text(number)) for number in numbers)
    return b"".join(b"\x81\x7e" + len(text).to_bytes(2) + text for text in texts)


class _Connection(asyncio.Protocol):
    """Serves one flood, or says something now and then."""

    floods: ClassVar[dict[str, bytes]] = {}
    repeats: ClassVar[dict[str, int]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._task is not None or not data.endswith(b"\r\n\r\n"):
            # Pings and closes of WebSockets: the first are answered, the others end by themselves.
            if self._task is not None and data[:1] == b"\x89":
                self._transport.write(b"\x8a\x00")
            return
        head = data.decode()
        _, path, _ = head.split(" ", 2)
        mode, kind = path.strip("/").split("/")
        if kind == "messages":
            lines = [line.partition(":") for line in head.splitlines()]
            accept = accept_of(next(value.strip() for name, _, value in lines if name.lower() == "sec-websocket-key"))
            upgrade = "upgrade: websocket\r\nconnection: upgrade"
            answer = f"101 Switching Protocols\r\n{upgrade}\r\nsec-websocket-accept: {accept}"
        else:
            answer = (
                f"200 OK\r\ncontent-type: text/{'event-stream' if kind == 'events' else 'plain'}\r\nconnection: close"
            )
        self._transport.write(f"HTTP/1.1 {answer}\r\n\r\n".encode())
        self._task = asyncio.get_running_loop().create_task(self._flood(kind) if mode == "flood" else self._speak(mode))

    async def _flood(self, kind: str) -> None:
        # Not before the other side has begun to count.
        for _ in range(self.repeats[kind]):
            await self._writable.wait()
            self._transport.write(self.floods[kind])
        if kind == "messages":
            self._transport.write(b"\x88\x02\x03\xe8")
        self._transport.close()

    async def _speak(self, mode: str) -> None:
        while mode == "speak":
            await asyncio.sleep(EVERY)
            self._transport.write(b"data: %d\n\n" % time.monotonic_ns())
        await asyncio.Event().wait()


_PART = 20_000


async def _serve() -> None:
    raise_file_limit()
    totals = {"lines": LINES, "events": EVENTS, "messages": MESSAGES}
    _Connection.floods = {kind: _said(kind, range(_PART)) for kind in totals}
    _Connection.repeats = {kind: total // _PART for kind, total in totals.items()}
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


@contextmanager
def _serving() -> Iterator[str]:
    """Run the server in a process of its own, on a core of its own; give its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.streams", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


class _Watched:
    """The log, with a look at what is stored and when."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.records = 0
        self.last = 0.0
        self.late: list[float] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        def received(outcome: Receipt | HeadwaterError) -> None:
            self.last = time.perf_counter()
            self.records += sum(batch.count for batch in append.batches)
            if self.late is not None:
                now = time.monotonic_ns()
                values = [value for batch in append.batches for value in decode_values(batch.data)]
                self.late += [(now - int(value)) / 1e6 for value in values]
            receive(outcome)

        self._log.store(append, received)


async def _work(mode: str, kind: str, address: str, directory: Path, count: int) -> Run:
    """Run streams in this process."""
    scheme = "ws" if kind == "messages" else "http"
    configs = [
        load_text(
            _STREAM.format(
                name=f"s-{number}", topic=number % 10, url=f"{scheme}://{address}/{mode}/{kind}", options=_OPTIONS[kind]
            )
        ).connectors[0]
        for number in range(count)
    ]
    async with Log.open(directory) as log, CurlFetcher() as fetcher:
        watched = _Watched(log)
        engine = Engine(watched, fetcher)  # type: ignore[arg-type]
        stop = asyncio.Event()
        await engine.prepare(configs)
        before, began = cpu_seconds(), time.perf_counter()
        running = asyncio.create_task(engine.run(configs, stop))
        if mode == "flood":
            total = {"lines": LINES, "events": EVENTS, "messages": MESSAGES}[kind]
            while watched.records < total and not running.done():  # noqa: ASYNC110 - records tell nobody
                await asyncio.sleep(0.002)
        else:
            figures = engine.figures.connectors
            deadline = time.perf_counter() + 60
            while time.perf_counter() < deadline:
                await asyncio.sleep(0.1)
                streams = [it.stream for it in figures.values()]
                if len(streams) == count and all(it is not None and it.connected for it in streams):
                    break
            else:
                raise RuntimeError("they did not connect")
            await asyncio.sleep(2)
            watched.late = [] if mode == "speak" else None
            before, began = cpu_seconds(), time.perf_counter()
            await asyncio.sleep(MEASURED)
            watched.last = time.perf_counter()
        run = Run(watched.records, watched.last - began, cpu_seconds() - before, _resident(), watched.late or [])
        stop.set()
        await running
    return run


def _resident() -> int:
    line = next(it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def _child(mode: str, kind: str, address: str, count: int = 1, *, one_core: bool = False) -> Run:
    """Run streams in a process of their own."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "bench.streams", mode, kind, address, name, str(count), str(int(one_core))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Run)


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Return the figures."""
    floods: dict[str, list[Run]] = {"lines": [], "events": [], "messages": []}
    with _serving() as address:
        for number in range(ROUNDS):
            say(f"streams, floods, round {number + 1} of {ROUNDS} ...")
            for kind, found in floods.items():
                found.append(_child("flood", kind, address, one_core=True))
        say(f"streams, {IDLE:,} WebSockets that say nothing ...")
        idle = _child("idle", "messages", address, IDLE)
        say(f"streams, {SPEAKING:,} that say something each second ...")
        speaking = _child("speak", "events", address, SPEAKING)
    figures = []
    promised = {"lines": 400_000, "events": 150_000, "messages": 80_000}
    words = {
        "lines": "lines of 200 bytes in one response",
        "events": "Server-Sent Events of 200 bytes",
        "messages": "WebSocket messages of 200 bytes",
    }
    for kind, runs in floods.items():
        rates = sorted(run.records / run.seconds for run in runs)
        by_processor = sorted(run.records / run.processor for run in runs)[ROUNDS // 2]
        rate = rates[ROUNDS // 2]
        figures.append(
            Figure(
                f"{words[kind]} into the log, one core",
                f"{rate / 1000:.0f}k records/s",
                f"{by_processor / 1000:.0f}k for each second of processor time",
                f"at least {promised[kind] // 1000}k records/s",
                rate >= promised[kind],
                {"rates": rates, "most_mb": max(run.most for run in runs) / 1e6},
            )
        )
    late = sorted(speaking.late)
    p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
    return [
        *figures,
        Figure(
            f"{IDLE:,} WebSockets that say nothing: memory",
            f"{idle.most / 1e6:.0f} MB",
            f"{idle.most / IDLE / 1000:.0f} KB each; {idle.processor / idle.seconds:.1%} of a core",
            "at most 250 MB",
            idle.most <= 250_000_000,
        ),
        Figure(
            f"{SPEAKING:,} streams of one event a second: from the server's write to the commit",
            f"p99 {p99:.1f} ms",
            f"p50 {p50:.1f} ms, {speaking.processor / speaking.seconds:.0%} of a core, {len(late):,} events",
            "p99 under 20 ms",
            p99 < 20,
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        uvloop.run(_serve())
    else:
        _, mode, kind, address, folder, count, core = sys.argv
        if core == "1":
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_work(mode, kind, address, Path(folder), int(count)))))
