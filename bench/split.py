"""A large JSON array into the log, end to end: fetched, cut, keyed, encoded, appended; held and while it arrives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

from bench.figures import Figure
from headwater.config import load_text
from headwater.core.exchange import Decision
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log, LogReader

SIZE = 100_000_000
ROUNDS = 3
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_CONFIG = """
name: items
topic: items
parameters:
  endpoint: {url}
  interval: 1h
  timeout: 5m
  max_body: 1 GiB
  records: {{split: /data, key: /id, buffer: {buffer}}}
"""


class Run(msgspec.Struct, frozen=True):
    """What one run came to: records, seconds from the request to the last receipt, and the most memory (bytes)."""

    records: int
    seconds: float
    before: int
    most: int


def body(size: int = SIZE) -> tuple[bytes, int]:
    """Return an array of items such as shops have, of so many bytes, and how many they are."""
    parts: list[bytes] = []
    length = 0
    while length < size:
        number = len(parts)
        parts.append(
            b'{"id":%d,"number":"A-%d","updated_at":"2024-05-01T10:00:%02dZ","total":%d.50,"currency":"EUR",'
            b'"customer":{"id":%d,"name":"Customer %d"},"lines":[{"sku":"X","count":1},{"sku":"Y","count":2}],'
            b'"note":"Please leave it at the door, and do not ring."}'
            % (number, number, number % 60, number % 1000, number % 977, number % 977)
        )
        length += len(parts[-1]) + 1
    return b'{"data":[' + b",".join(parts) + b'],"next":null}', len(parts)


class _Connection(asyncio.Protocol):
    """Answers each request with the body."""

    body = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(_HEAD % len(self.body))
            self._transport.write(self.body)


async def _serve() -> None:
    _Connection.body, count = body()
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], len(_Connection.body), count, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def _serving() -> Iterator[tuple[str, int, int]]:
    """Run the server in a process of its own; give its URL, the size of the body and the number of its items."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.split", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        port, size, count = map(int, process.stdout.readline().split())
        yield f"http://127.0.0.1:{port}/", size, count
    finally:
        process.communicate()


async def _poll(url: str, directory: Path, buffer: str) -> Run:
    """Do one poll in this process."""
    config = load_text(_CONFIG.format(url=url, buffer=buffer)).connectors[0]
    before = most_memory()
    async with Log.open(directory) as log, CurlFetcher() as fetcher:
        engine = Engine(log, fetcher)
        stop = asyncio.Event()
        began = time.perf_counter()
        running = asyncio.create_task(engine.run([config], stop))
        counters = engine.figures.of("items")
        while not (counters.decisions[Decision.ACCEPTED] or counters.trouble or running.done()):  # noqa: ASYNC110 - counters tell nobody
            await asyncio.sleep(0.002)
        took = time.perf_counter() - began
        stop.set()
        await running
        assert counters.trouble is None, counters.trouble
    return Run(counters.records, took, before, most_memory())


def most_memory() -> int:
    """Return the most memory that this process has had (bytes)."""
    line = next(it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _child(url: str, buffer: str) -> Run:
    """Do one poll in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, "-m", "bench.split", "poll", url, name, buffer], check=True, stdout=subprocess.PIPE
        )
        run = msgspec.json.decode(done.stdout, type=Run)
        with LogReader(Path(name)) as reader:
            assert sum(entry.records for entry in reader.ledger("items", 1000)) == run.records
    return run


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Return the figures."""
    with _serving() as (url, size, count):
        runs: dict[str, list[Run]] = {"1 GiB": [], "8 MiB": []}
        for number in range(ROUNDS):
            say(f"splitting, round {number + 1} of {ROUNDS} ...")
            for buffer, found in runs.items():
                found.append(_child(url, buffer))
                assert found[-1].records == count
    figures = []
    for buffer, name, bound in (("1 GiB", "held", 3 * size), ("8 MiB", "while it arrives", 120_000_000)):
        seconds = sorted(run.seconds for run in runs[buffer])[ROUNDS // 2]
        most = max(run.most for run in runs[buffer])
        rate = count / seconds
        figures += [
            Figure(
                f"a JSON array of {size / 1e6:.0f} MB into the log, {name}",
                f"{rate / 1000:.0f}k records/s",
                f"{seconds:.2f} s for {count:,}",
                "at least 300k records/s",
                rate >= 300_000,
            ),
            Figure(
                f"memory for it, {name}",
                f"{most / 1e6:.0f} MB at most",
                f"{runs[buffer][0].before / 1e6:.0f} MB before it",
                "at most three times the body" if bound > 120_000_000 else "under 120 MB",
                most <= bound,
            ),
        ]
    return figures


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(_serve())
    else:
        _, _, target, folder, held = sys.argv
        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_poll(target, Path(folder), held))))
