"""Ten thousand connectors in one `headwater run`: memory, processor time, lateness, and that nothing is missed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from bench.figures import Figure, process_cpu
from bench.server import serving
from headwater.core.exchange import Decision, Exchange
from headwater.log import LogReader

CONNECTORS = 10_000
INTERVAL = 10
# Two rounds to settle (the first one connects), then what is measured (seconds).
SETTLING, MEASURED = 2 * INTERVAL, 3 * INTERVAL


def _memory(process: int, name: str) -> float:
    """Return a line of /proc/PID/status in MB."""
    text = Path(f"/proc/{process}/status").read_text()
    return float(text.partition(f"{name}:")[2].split()[0]) * 1024 / 1e6


def _gaps(accepted: list[Exchange]) -> int:
    """Return how many polls are missing between the scheduled times of each connector."""
    times: dict[str, list[int]] = defaultdict(list)
    for entry in accepted:
        times[entry.connector].append(entry.scheduled)
    steps = (b - a for scheduled in times.values() for a, b in pairwise(scheduled))
    return CONNECTORS - len(times) + sum(round(step / (INTERVAL * 1000)) - 1 for step in steps)


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Run the fleet for a minute and read its own ledger."""
    with serving() as url, tempfile.TemporaryDirectory() as scratch:
        configs, data = Path(scratch, "configs"), Path(scratch, "data")
        configs.mkdir()
        for number in range(CONNECTORS):
            (configs / f"{number:05}.yml").write_text(
                f"name: c-{number}\ntype: http\ntopic: t-{number % 100}\nparameters:\n"
                f"  endpoint: {url}/{number}\n  interval: {INTERVAL}\n"
            )
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "run", configs, "--data-dir", data],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        started = json.loads(process.stderr.readline())
        assert started["event"] == "running", started
        time.sleep(SETTLING)
        cpu, began, from_ms = process_cpu(process.pid), time.monotonic(), time.time() * 1000
        time.sleep(MEASURED)
        share = (process_cpu(process.pid) - cpu) / (time.monotonic() - began)
        to_ms = time.time() * 1000
        rss, peak = _memory(process.pid, "VmRSS"), _memory(process.pid, "VmHWM")
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        with LogReader(data) as reader:
            entries = reader.ledger(None, 2_000_000)
            stored = sum(reader.offsets(info.name, 0)[1] for info in reader.topics())
    accepted = [entry for entry in entries if entry.decision is Decision.ACCEPTED]
    measured = [entry for entry in accepted if from_ms <= entry.scheduled < to_ms - 1000]
    late = sorted(entry.started - entry.scheduled for entry in measured)
    p50, p99, worst = (late[min(len(late) - 1, int(len(late) * share))] for share in (0.5, 0.99, 1.0))
    others = len(entries) - len(accepted)
    missed = others + _gaps(accepted)
    say(f"fleet: RSS {rss:.0f} MB (peak {peak:.0f}), {share:.1%} of a core, late p50 {p50} p99 {p99} max {worst} ms")
    say(f"fleet: {len(measured)} polls measured {others} not accepted, {stored} records")
    details = {"peak_mb": peak, "late_p50_ms": p50, "late_max_ms": worst, "polls": len(measured), "said": said[-500:]}
    name = f"{CONNECTORS:,} connectors at {INTERVAL} s: "
    return [
        Figure(f"{name}memory", f"{rss:.0f} MB", "-", "at most 400 MB", rss <= 400, details),
        Figure(f"{name}processor", f"{share:.1%} of a core", "-", "at most 35 %", share <= 0.35),
        Figure(f"{name}lateness p99", f"{p99} ms", "-", "at most 10 ms", p99 <= 10),
        Figure(f"{name}polls missed", str(missed), f"{len(accepted):,} polls", "none", missed == 0),
        Figure(
            f"{name}records",
            f"{stored:,}",
            f"{len(accepted):,} accepted polls",
            "all in the log",
            stored == len(accepted),
        ),
    ]
