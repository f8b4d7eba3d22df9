"""A polled collection of a million items, end to end: fetched, cut, each looked up; and the memory that it takes."""

from __future__ import annotations

import asyncio
import random
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
from bench.split import most_memory
from headwater.config import load_text
from headwater.core.exchange import Decision
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log

ITEMS = 1_000_000
ROUNDS = 3
_NOTE = b"Please leave it at the door."
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_CONFIG = """
name: items
topic: items
parameters:
  endpoint: {url}
  interval: 1h
  timeout: 5m
  max_body: 1 GiB
  records: {{split: /data}}
  changes: {{key: /id, form: item{more}}}
"""
# What is asked for, and what more the connector is told.
KINDS = {
    "in their order": ("ordered", ""),
    "in any order, with random keys": ("random", ""),
    "with a member that always differs, ignored": ("stamped", ", ignore: [/served_at]"),
}


class Run(msgspec.Struct, frozen=True):
    """What one poll came to: records, seconds from its begin to its receipt, and the most memory so far (bytes)."""

    records: int
    seconds: float
    most: int


def bodies(kind: str) -> list[bytes]:
    """Return the collection as it is served one time after the other: never the same body."""
    keys = [b"%d" % number for number in range(ITEMS)]
    if kind == "random":
        chance = random.Random(7)
        keys = [b'"%032x"' % chance.getrandbits(128) for _ in keys]
    made = []
    for served in range(ROUNDS + 1):
        stamp = served if kind == "stamped" else 0
        if kind == "random":
            random.Random(served).shuffle(keys)
        items = (
            b'{"id":%b,"name":"item","price":12.50,"tags":["a","b"],"served_at":%d,"note":"%b"}' % (key, stamp, _NOTE)
            for key in keys
        )
        made.append(b'{"served":%d,"data":[%b]}' % (served, b",".join(items)))
    return made


class _Connection(asyncio.Protocol):
    """Answers each request with the collection."""

    bodies: Iterator[bytes] = iter(())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            made = next(self.bodies)
            self._transport.write(_HEAD % len(made))
            self._transport.write(made)


async def _serve(kind: str) -> None:
    made = bodies(kind)
    _Connection.bodies = iter(made)
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], len(made[0]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def _serving(kind: str) -> Iterator[tuple[str, int]]:
    """Run the server in a process of its own; give its URL and the size of a body."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.changes", "serve", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        port, size = process.stdout.readline().split()
        yield f"http://127.0.0.1:{port}/", int(size)
    finally:
        process.communicate()


async def _polls(url: str, directory: Path, more: str, count: int) -> list[Run]:
    """Do so many polls in this process."""
    config = load_text(_CONFIG.format(url=url, more=more)).connectors[0]
    runs = []
    async with Log.open(directory) as log, CurlFetcher() as fetcher:
        for _ in range(count):
            engine = Engine(log, fetcher)
            counters = engine.figures.of("items")
            stop = asyncio.Event()
            began = time.perf_counter()
            running = asyncio.create_task(engine.run([config], stop))
            while not (counters.decisions[Decision.ACCEPTED] or counters.trouble or running.done()):  # noqa: ASYNC110 - counters tell nobody
                await asyncio.sleep(0.002)
            took = time.perf_counter() - began
            stop.set()
            await running
            assert counters.trouble is None, counters.trouble
            runs.append(Run(counters.records, took, most_memory()))
    return runs


def _child(url: str, directory: str, more: str, count: int) -> list[Run]:
    """Do so many polls in a process of their own."""
    command = [sys.executable, "-m", "bench.changes", "poll", url, directory, more, str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=list[Run])


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Return the figures: of the first poll, which tells of everything, and of those in which nothing has changed."""
    figures = []
    for name, (kind, more) in KINDS.items():
        with _serving(kind) as (url, size), tempfile.TemporaryDirectory() as directory:
            (first,) = _child(url, directory, more, 1)
            runs = _child(url, directory, more, ROUNDS)
        assert first.records == ITEMS
        assert not any(run.records for run in runs)
        seconds = sorted(run.seconds for run in runs)[ROUNDS // 2]
        most = max(run.most for run in runs)
        rate = ITEMS / seconds
        say(
            f"changes, {name}: first {ITEMS / first.seconds:,.0f}/s with {first.most / 1e6:.0f} MB, then {rate:,.0f}/s "
            f"with {most / 1e6:.0f} MB"
        )
        figures.append(
            Figure(
                f"a collection of {ITEMS:,} items ({size / 1e6:.0f} MB), nothing changed, {name}",
                f"{rate / 1000:.0f}k items/s, {most / 1e6:.0f} MB of memory",
                f"{seconds:.2f} s; the first poll {first.seconds:.1f} s, {first.most / 1e6:.0f} MB",
                "at least 150k items/s",
                rate >= 150_000,
                {"rate": rate, "memory": most, "first": first.seconds, "first_memory": first.most},
            )
        )
    return figures


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(_serve(sys.argv[2]))
    else:
        _, _, target, folder, told, times = sys.argv
        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_polls(target, Path(folder), told, int(times)))))
