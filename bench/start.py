"""How long a person waits: for the help, and for the first request of a connector; and for a record to come out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.figures import Figure
from headwater.core.record import Record
from headwater.log import Log
from headwater.testing import Answer, ScriptedServer, background

RUNS = 7
RECORDS = 300


def _help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "headwater", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _first_request(scratch: Path) -> float:
    with background(ScriptedServer()) as server:
        url = server.route("/fact", Answer(body=b"x"))
        config = scratch / "connect.yml"
        config.write_text(f"name: cats\ntype: http\ntopic: cats\nparameters:\n  endpoint: {url}\n")
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "run", config, "--data-dir", scratch / "data"],
            stderr=subprocess.DEVNULL,
        )
        server.wait_for(1)
        took = time.perf_counter() - began
        process.terminate()
        process.wait()
    return took


async def _follow(scratch: Path) -> list[float]:
    """Return the seconds from each commit to the moment its line is read from `headwater consume`."""
    delays = []
    async with Log.open(scratch) as log:
        await log.create_topic("cats")
        topic = await log.topic("cats")
        await topic.append([Record(b"first")])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headwater", "consume", "cats", "-B", "--data-dir", str(scratch)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        for number in range(RECORDS):
            await topic.append([Record(b"%d" % number)])
            committed = time.perf_counter()
            assert int(await process.stdout.readline()) == number
            delays.append(time.perf_counter() - committed)
            await asyncio.sleep(0.005)
        process.terminate()
        await process.wait()
    return sorted(delays)


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure each several times and take the median."""
    middle = RUNS // 2
    helps = sorted(_help() for _ in range(RUNS))[middle]
    firsts = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as scratch:
            firsts.append(_first_request(Path(scratch)))
    first = sorted(firsts)[middle]
    with tempfile.TemporaryDirectory() as scratch:
        delays = uvloop.run(_follow(Path(scratch)))
    p99 = delays[int(len(delays) * 0.99)]
    say(f"start: --help {helps:.3f} s, first request {first:.3f} s; follow p99 {p99 * 1000:.1f} ms")
    return [
        Figure("headwater --help", f"{helps:.3f} s", "-", "under 0.2 s", helps < 0.2),
        Figure("headwater run to its first request", f"{first:.3f} s", "-", "under 0.5 s", first < 0.5),
        Figure("consume behind a commit, p99", f"{p99 * 1000:.1f} ms", "-", "under 50 ms", p99 < 0.05),
    ]
