"""The command line as tests use it: as a subprocess, with a data directory of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import forked

_PATIENCE = 30


class CommandLine:
    """Runs `headwater` with a data directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER", "API_", "FLV_"))},
            # Nobody's own ~/.fluvio/config says what the tests talk to.
            "HOME": str(directory),
            "HEADWATER_DATA": str(self.data),
            "COLUMNS": "100",
            # What tests poll is on this machine, where a server's connectors may not go by themselves.
            "HEADWATER_EGRESS_ALLOW": "127.0.0.0/8, ::1",
        }
        self._started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: object, given: str | bytes = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = [sys.executable, "-m", "headwater", *map(str, arguments)]
        with forked.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.directory,
        ) as process:
            try:
                out, error = process.communicate(given if isinstance(given, str) else given.decode(), _PATIENCE)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    def good(self, *arguments: object, given: str | bytes = "") -> str:
        """Run a command that must succeed, and return what it printed on standard output."""
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: object, anew: bool = False) -> subprocess.Popen[str]:
        """Start a command; it is killed at the end of the test if it still runs. `anew`: it is not forked."""
        make: type[subprocess.Popen[str]] = subprocess.Popen if anew else forked.Popen
        process = make(
            [sys.executable, "-m", "headwater", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.directory,
        )
        self._started.append(process)
        return process

    def stop(self, process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal and return the exit status and both outputs."""
        process.send_signal(number)
        out, error = process.communicate(timeout=_PATIENCE)
        return process.returncode, out, error

    def config(self, text: str, name: str = "connect.yml") -> Path:
        """Write a configuration and return its path."""
        path = self.directory / name
        path.write_text(text)
        return path

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def wait_for_topic(self, topic: str) -> None:
        """Wait until a topic is there: following it before would be an error, as it is for a user."""
        for _ in range(100):
            if topic in self.run("topic", "list").stdout:
                return
        raise TimeoutError(f"there is no topic {topic}")
