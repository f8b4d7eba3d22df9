"""Starts stock Fluvio clients for tests, and talks to them: each a subprocess of its own with a clean environment.

What they can do is `driver`'s; fetching them is `install`'s.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_HERE = Path(__file__).parent
_PATIENCE = 30.0

FOLDER = Path(os.environ.get("HEADWATER_STOCK", _HERE.parents[1] / ".stock"))
"""Where `install` put the clients."""

MISSING = "the stock Fluvio clients are not here: fetch them with `make stock`"


class StockError(Exception):
    """The stock client reported an error: its text."""


class StockUnsupportedError(Exception):
    """The version of the stock client has no such thing."""


class StockTimeoutError(Exception):
    """The stock client gave no answer in time, and was ended; with what it wrote to standard error."""


@dataclass(frozen=True, slots=True)
class StockRecord:
    """A record as the stock client showed it; a null key is None."""

    offset: int
    key: bytes | None
    value: bytes
    timestamp: int

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """Make a record of an answer's part."""
        key = answer["key"]
        return cls(
            answer["offset"],
            None if key is None else key.encode("latin-1"),
            answer["value"].encode("latin-1"),
            answer.get("timestamp", -1),
        )


def versions(kind: str = "pypi") -> list[str]:
    """List what is installed, newest first: of "pypi" by their bare version, of "npm" as `npm-0.14.9`."""
    found = [path.parent.name for path in FOLDER.glob("*/.complete")]
    chosen = [name for name in found if name.startswith("npm-") == (kind == "npm")]
    return sorted(chosen, key=lambda name: [int(part) for part in name.removeprefix("npm-").split(".")], reverse=True)


def lacks(version: str) -> str | None:
    """Return why a version cannot be started, for `pytest.mark.skipif` or `pytest.skip`; None when it can."""
    if not (FOLDER / version / ".complete").is_file():
        return f"{MISSING} ({version})" if versions() else MISSING
    if version.startswith("npm-") and shutil.which("node") is None:
        return "there is no node"
    return None


class StockClient:
    """One stock client in a process of its own; connected, when an endpoint is given."""

    def __init__(
        self,
        version: str,
        endpoint: str | None = None,
        *,
        environment: dict[str, str] | None = None,
        patience: float = _PATIENCE,
        **connect: Any,
    ) -> None:
        lack = lacks(version)
        if lack is not None:
            raise FileNotFoundError(lack)
        self.version = version
        self._patience = patience
        self._home = tempfile.TemporaryDirectory(prefix="stock-")
        self._complaints = (Path(self._home.name) / "stderr").open("w+b")
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        node = version.startswith("npm-")
        self._process = subprocess.Popen(
            ["node", _HERE / "driver.js"] if node else [sys.executable, _HERE / "driver.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            cwd=self._home.name,
            env={
                "HOME": self._home.name,
                "PATH": os.environ.get("PATH", ""),
                "PYTHONDONTWRITEBYTECODE": "1",
                **({"STOCK": str((FOLDER / version).resolve())} if node else {}),
                **({} if node else {"PYTHONPATH": str((FOLDER / version).resolve())}),
                **(environment or {}),
            },
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if endpoint is not None or connect:
            try:
                self.call("connect", endpoint=endpoint, **connect)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process, for tests that stop or kill it."""
        return self._process.pid

    def call(self, command: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Give a command and return its result; blocks until then."""
        for item in self._exchange(command, arguments, timeout):
            if "result" in item:
                return item["result"]
        raise AssertionError("an exchange ends with a result")

    async def ask(self, command: str, *, timeout: float | None = None, **arguments: Any) -> Any:  # noqa: ASYNC109
        """Do the same from a coroutine, without blocking the loop in which the server may run."""
        return await asyncio.to_thread(self.call, command, timeout=timeout, **arguments)

    def stream(self, command: str, *, timeout: float | None = None, **arguments: Any) -> Iterator[Any]:
        """Give a command that streams; yield its items. `timeout` is for each. The command starts at once."""
        self._send(command, arguments)
        return self._items(self._received(command, timeout))

    def consume(self, topic: str, *, timeout: float | None = None, **how: Any) -> list[StockRecord]:
        """Return the records that the client's `consume` gives."""
        return [StockRecord.of(one) for one in self.call("consume", timeout=timeout, topic=topic, **how)]

    def follow(self, topic: str, *, timeout: float | None = None, **how: Any) -> Iterator[StockRecord]:
        """Follow a topic: return when the stream is open, and yield each record as it comes."""
        items = self.stream("follow", timeout=timeout, topic=topic, **how)
        first = next(items)
        assert first == "ready"
        return (StockRecord.of(one) for one in items)

    def kill(self) -> None:
        """End the process without warning, as a crash would."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process, whatever it does, and leave nothing behind."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._complaints):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # a command that it no longer took
                    continue
        self._home.cleanup()

    def complaints(self) -> str:
        """Return what the client wrote to standard error: its log, with RUST_LOG in the environment."""
        return (Path(self._home.name) / "stderr").read_text(errors="replace")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                self._answers.put(line)
            else:  # the client for Node logs there
                self._complaints.write(line)
                self._complaints.flush()
        self._answers.put(None)

    def _send(self, command: str, arguments: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            self._process.stdin.write(json.dumps({"command": command, **given}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise StockError(f"{self.version} had ended before {command}: {self.complaints()[-2000:]}") from None

    def _exchange(self, command: str, arguments: dict[str, Any], timeout: float | None) -> Iterator[dict[str, Any]]:
        self._send(command, arguments)
        return self._received(command, timeout)

    @staticmethod
    def _items(answers: Iterator[dict[str, Any]]) -> Iterator[Any]:
        for answer in answers:
            if "item" in answer:
                yield answer["item"]

    def _received(self, command: str, timeout: float | None) -> Iterator[dict[str, Any]]:
        """Yield the answers of a command up to its result; raise its error."""
        patience = self._patience if timeout is None else timeout
        while True:
            started = time.monotonic()
            try:
                line = self._answers.get(timeout=patience)
            except queue.Empty:
                self._process.kill()
                waited = time.monotonic() - started
                raise StockTimeoutError(
                    f"{self.version} gave no answer to {command} in {waited:.0f} s: {self.complaints()[-2000:]}"
                ) from None
            if line is None:
                raise StockError(f"{self.version} ended during {command}: {self.complaints()[-2000:]}")
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise StockError(answer["error"])
            if "unsupported" in answer:
                raise StockUnsupportedError(f"{self.version}: {answer['unsupported']}")
            yield answer
            if "result" in answer:
                return
