"""Managed connectors: how long a server takes to have ten thousand of them running, and an edit to apply."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figure
from bench.server import serving
from headwater.control.client import Client
from headwater.control.store import Kept, Store
from headwater.core.managed import Definition

CONNECTORS = 10_000
EDITS = 7
_TEXT = "name: c-{0}\ntype: http\ntopic: t-{0}\nparameters:\n  endpoint: {1}/{0}\n  interval: 60s\n"


class _Server:
    """`headwater up` over a data directory; `took` is how many seconds until its connectors ran."""

    def __init__(self, data: Path, *arguments: object) -> None:
        began = time.perf_counter()
        # What they poll is on this machine.
        here = ("--sc-port", "0", "--spu-port", "0", "--egress", "open")
        command = [sys.executable, "-m", "headwater", "up", *here, *map(str, arguments)]
        environment = {**os.environ, "HEADWATER_DATA": str(data)}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            said = json.loads(line)
            if said["event"] == "running managed connectors":
                assert said["connectors"] == CONNECTORS, said
                break
        self.took = time.perf_counter() - began

    def stop(self) -> None:
        """End it in peace."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()


def _kept(scratch: Path, url: str) -> float:
    """Return how long a server with connectors that were created takes to start."""
    store = Store(scratch)
    for number in range(CONNECTORS):
        store.put(Kept(Definition(f"c-{number}", _TEXT.format(number, url)), 1, 1, origin=""))
    server = _Server(scratch)
    server.stop()
    # Topics are there now, as after any restart.
    server = _Server(scratch)
    server.stop()
    return server.took


def _watched(scratch: Path, url: str) -> tuple[float, float, list[float]]:
    """Return how long a server takes to start a directory at first and again, and how long edits take to apply."""
    files, data = scratch / "files", scratch / "data"
    files.mkdir()
    for number in range(CONNECTORS):
        (files / f"{number:05}.yml").write_text(_TEXT.format(number, url))
    first = _Server(data, "--connectors", files)
    first.stop()
    again = _Server(data, "--connectors", files)
    edits = []
    manager = Client(data)
    for number in range(EDITS):
        file = files / f"{number:05}.yml"
        began = time.perf_counter()
        file.write_text(file.read_text().replace("60s", "61s"))
        while b"61s" not in manager._exchange("GET", f"/c-{number}/config", None):  # noqa: SLF001 - without an event loop
            time.sleep(0.005)
        edits.append(time.perf_counter() - began)
    again.stop()
    return first.took, again.took, edits


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Start a server of ten thousand connectors both ways, and edit files."""
    with serving() as url, tempfile.TemporaryDirectory() as scratch:
        for name in ("kept", "watched"):
            Path(scratch, name).mkdir()
        kept = _kept(Path(scratch, "kept"), url)
        first, again, edits = _watched(Path(scratch, "watched"), url)
    say(f"managed: start {kept:.1f} s; a directory {first:.1f} s at first, {again:.1f} s again; edits {edits}")
    name = f"{CONNECTORS:,} managed connectors: "
    worst = max(edits)
    return [
        Figure(f"{name}start of the server", f"{kept:.1f} s", "-", "under 10 s", kept < 10),
        Figure(
            f"{name}start from a directory of files, new and again",
            f"{first:.1f} s, {again:.1f} s",
            "-",
            "under 10 s",
            max(first, again) < 10,
        ),
        Figure(
            f"{name}an edit of a file applies after",
            f"{statistics.median(edits):.2f} s, at most {worst:.2f} s",
            "-",
            "within 1 s",
            worst <= 1,
        ),
    ]
