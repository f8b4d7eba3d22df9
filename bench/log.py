"""The log: appends against a bare apsw loop that writes the same blobs, and a whole `consume` into a pipe."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import uvloop

from bench.figures import Figure
from headwater.core.record import Record
from headwater.fluvio.batch import encode_batches
from headwater.log import Append, Log

APPENDS = 400
AT_ONCE = 64
RECORDS = [Record(b"%4d" % number + b"x" * 1020) for number in range(100)]
MILLION = 1_000_000


def _bare(directory: Path, blob: bytes, rounds: int, each: int) -> float:
    """Return blobs per second of the plainest loop: so many rows a transaction, one fsync for each."""
    connection = apsw.Connection(str(directory / "bare.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", 2)
    connection.execute("CREATE TABLE batch (id INTEGER PRIMARY KEY, topic INT, partition INT, base INT, data BLOB)")
    connection.execute("CREATE UNIQUE INDEX place ON batch (topic, partition, base)")
    began = time.perf_counter()
    for number in range(rounds):
        with connection:
            connection.executemany(
                "INSERT INTO batch (topic, partition, base, data) VALUES (1, 0, ?, ?)",
                [(number * each + index, blob) for index in range(each)],
            )
    took = time.perf_counter() - began
    connection.close()
    return rounds * each / took


async def _appends(directory: Path, rounds: int, at_once: int) -> float:
    """Return appends per second through the log, so many waiting at once."""
    batches = encode_batches(RECORDS, 0)
    async with Log.open(directory) as log:
        await log.create_topic("cats")
        await log.submit(Append("cats", batches))
        began = time.perf_counter()
        for _ in range(rounds):
            await asyncio.gather(*(log.submit(Append("cats", batches)) for _ in range(at_once)))
        return rounds * at_once / (time.perf_counter() - began)


def _consume(directory: Path) -> float:
    """Return records per second of `headwater consume -B -d` into a pipe, its start included."""
    values = [Record(b"%7d" % number + b"y" * 93) for number in range(MILLION)]

    async def fill() -> None:
        async with Log.open(directory) as log:
            await log.create_topic("cats")
            topic = await log.topic("cats")
            for start in range(0, MILLION, 10_000):
                await topic.append(values[start : start + 10_000])

    uvloop.run(fill())
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "headwater", "consume", "cats", "-B", "-d", "--data-dir", directory],
        capture_output=True,
        check=True,
    )
    took = time.perf_counter() - began
    assert len(done.stdout) == MILLION * 101
    return MILLION / took


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure appends one after the other and sharing commits, each beside its bound, then consuming."""
    blob = encode_batches(RECORDS, 0)[0].data
    figures = []
    for name, rounds, at_once in (("one at a time", APPENDS, 1), (f"{AT_ONCE} at once", APPENDS // 8, AT_ONCE)):
        # Alternately, for the disk has moods: the medians of seven runs of each.
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(7):
            with tempfile.TemporaryDirectory() as directory:
                rates[0].append(_bare(Path(directory), blob, rounds, at_once))
            with tempfile.TemporaryDirectory() as directory:
                rates[1].append(uvloop.run(_appends(Path(directory), rounds, at_once)))
        bare, ours = (sorted(some)[3] for some in rates)
        say(f"append, {name}: {ours:,.0f}/s, bare apsw {bare:,.0f}/s")
        figures.append(
            Figure(
                f"appends of 100 records of 1 KiB with fsync, {name}",
                f"{ours:,.0f}/s ({ours * len(blob) / 1e6:,.0f} MB/s)",
                f"{bare:,.0f}/s (bare apsw)",
                "at least 0.8 of the bound",
                ours >= 0.8 * bare,
                {"ratio": ours / bare},
            )
        )
    with tempfile.TemporaryDirectory() as directory:
        rate = _consume(Path(directory))
    say(f"consume: {rate:,.0f} records/s")
    figures.append(
        Figure("consume -B -d, 1,000,000 x 100 bytes", f"{rate:,.0f}/s", "-", "at least 400,000/s", rate >= 400_000)
    )
    return figures
