"""A cluster for tests of the command line: `headwater up` over a directory of its own, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import forked
from commandline import CommandLine

_PATIENCE = 30


class Up:
    """`headwater up` over a data directory. `port` is where profiles find it; it keeps its ports when started again."""

    def __init__(self, line: CommandLine, directory: Path, *options: object) -> None:
        self.directory = directory
        self._line = line
        self._options = options
        self.port = self.spu_port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        """The address that a profile names."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        ports = ("--sc-port", self.port, "--spu-port", self.spu_port)
        self._process = forked.Popen(
            [
                *(sys.executable, "-m", "headwater", "up", "--data-dir", str(self.directory), "--log-format", "json"),
                *map(str, (*ports, *self._options)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._line.environment,
            process_group=0,
        )
        assert self._process.stderr is not None
        while line := self._process.stderr.readline():
            said = json.loads(line)
            if said["event"] == "serving":
                self.port, self.spu_port = int(said["endpoint"].rpartition(":")[2]), said["spu_port"]
                return
        raise AssertionError(f"headwater up ended with {self._process.wait(_PATIENCE)}")

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        self._process.wait(_PATIENCE)
        assert self._process.stderr is not None
        self._process.stderr.close()
