"""Owns the lines of each connector's log: on disk, bounded, and to whoever follows.

A healthy connector says next to nothing, so a line is written as it comes.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from headwater.core.names import is_name

_FOLDER = "logs"
# A log's file is put aside at this size, and the one that was put aside before is deleted (bytes).
_MOST_BYTES = 1024 * 1024
# Lines that a slow follower may be behind; older ones are dropped, and it is told so.
_MOST_BEHIND = 10_000
_LONGEST_LINE = 1024 * 1024
_HIDDEN = frozenset({"event", "level", "connector", "timestamp", "exc_info", "exception"})


class Journal:
    """The logs of connectors in a data directory. Lines that cannot be written go to the followers alone.

    `tap` is a processor of structlog: it takes the lines that name a connector.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / _FOLDER
        self._followers: dict[str, set[_Follower]] = {}

    def tap(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG002 - structlog's signature
        """Take a line for the log of the connector that it names, and let it pass."""
        name = event.get("connector")
        if isinstance(name, str) and is_name(name):
            self.write(name, event.get("level", method), str(event.get("event", "")), event)
        return event

    def write(self, name: str, level: str, event: str, fields: MutableMapping[str, Any] | None = None) -> None:
        """Write one line into the log of a connector."""
        line = render(datetime.now(UTC), level, event, fields or {})
        for follower in self._followers.get(name, ()):
            follower.add(line)
        # A full disk must not stop a connector from saying so elsewhere.
        with suppress(OSError):
            self._append(self._path(name), line)

    def read(self, name: str, tail: int | None = None) -> Iterator[str]:
        """Return the lines that a connector's log has now, oldest first; the last `tail` ones when that is given.

        They are read as they are asked for: many who read slowly take no memory.
        """
        files: list[tuple[BinaryIO, int]] = []
        for path in (self._aside(name), self._path(name)):
            # What cannot be read is no reason to refuse what comes.
            with suppress(OSError):
                file = path.open("rb")
                files.append((file, os.fstat(file.fileno()).st_size))
        return _lines(files, tail)

    async def follow(self, name: str, tail: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of a connector's log, and those that come, until `close` or nobody asks any more."""
        follower = _Follower()
        followers = self._followers.setdefault(name, set())
        followers.add(follower)
        try:
            for line in self.read(name, tail):
                yield line
            while (fresh := await follower.next()) is not None:
                yield fresh
        finally:
            followers.discard(follower)
            if not followers and self._followers.get(name) is followers:
                del self._followers[name]

    def close(self) -> None:
        """End what follows."""
        for followers in self._followers.values():
            for follower in followers:
                follower.close()

    def forget(self, name: str) -> None:
        """Delete the log of a connector that is no more, and end what follows it."""
        for follower in self._followers.pop(name, ()):
            follower.close()
        for path in (self._aside(name), self._path(name)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _append(self, path: Path, line: str) -> None:
        data = f"{line}\n".encode(errors="replace")
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            size = 0
        if size + len(data) > _MOST_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as file:
            file.write(data)

    def _path(self, name: str) -> Path:
        assert is_name(name)
        return self.directory / f"{name}.log"

    def _aside(self, name: str) -> Path:
        return self._path(name).with_suffix(".log.1")


def _lines(files: Sequence[tuple[BinaryIO, int]], tail: int | None) -> Iterator[str]:
    """Yield the lines in the first so many bytes of files, the last `tail` of all; close the files at the end."""
    with ExitStack() as cleanup:
        for file, _ in files:
            cleanup.enter_context(file)
        skipped = 0
        if tail is not None:
            skipped = max(0, sum(1 for _ in _raw_lines(files)) - tail)
            for file, _ in files:
                file.seek(0)
        for line in islice(_raw_lines(files), skipped, None):
            yield line.decode(errors="replace").rstrip("\n")


def _raw_lines(files: Sequence[tuple[BinaryIO, int]]) -> Iterator[bytes]:
    for file, size in files:
        left = size
        # What is no log may have lines without an end.
        while left > 0 and (line := file.readline(min(left, _LONGEST_LINE))):
            left -= len(line)
            yield line


class _Follower:
    """Who follows a log: the lines that have not been fetched yet."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._arrival = asyncio.Event()
        self._closed = False

    def add(self, line: str) -> None:
        if len(self._lines) >= _MOST_BEHIND:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append(line)
        self._arrival.set()

    def close(self) -> None:
        self._closed = True
        self._arrival.set()

    async def next(self) -> str | None:
        """Return the next line, None when there will be no more."""
        while not self._lines:
            if self._closed:
                return None
            self._arrival.clear()
            await self._arrival.wait()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return f"... {dropped} lines were not fetched in time"
        return self._lines.popleft()


def render(time: datetime, level: str, event: str, fields: MutableMapping[str, Any]) -> str:
    """Return one line: the time in UTC, the level, what happened, and the rest as key=value."""
    more = [f"{key}={_shown(value)}" for key, value in fields.items() if key not in _HIDDEN]
    stamp = f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
    return " ".join([stamp, level.upper().ljust(7), event, *more])


def _shown(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(letter in text for letter in ' "=')
    return text if plain and text else '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
