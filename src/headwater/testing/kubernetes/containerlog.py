"""Owns what a container has written: a file of lines with their times, and the choice that a reader makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

_MOST_LINE = 16 * 1024


class Choice(msgspec.Struct, frozen=True):
    """Which lines a reader wants: the last `tail` (None: all), not older than `since`, with their times or without."""

    tail: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    follow: bool = False


class ContainerLog:
    """The log of one run of a container, appended to by its two streams. Belongs to one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._changed = asyncio.Event()
        self._open = True

    async def take(self, stream: asyncio.StreamReader) -> None:
        """Write down a stream to its end, line by line. A longer line than 16 KiB is written in parts."""
        rest = b""
        while data := await stream.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._write(b"F", line)
            while len(rest) > _MOST_LINE:
                self._write(b"P", rest[:_MOST_LINE])
                rest = rest[_MOST_LINE:]
        if rest:
            self._write(b"P", rest)

    def close(self) -> None:
        """Say that nothing more will come; followers end."""
        self._open = False
        self._file.close()
        self._changed.set()

    async def read(self, choice: Choice) -> AsyncIterator[bytes]:
        """Return the chosen lines, each with its line feed; with `follow` for as long as more may come."""
        with self._path.open("rb") as file:
            text = b"".join(_shown(line, choice) for line in _last(file.readlines(), choice))
            if text:
                yield text
            while choice.follow:
                changed, last = self._changed, not self._open
                more = b"".join(_shown(line, choice) for line in file.readlines())
                if more:
                    yield more
                elif last:
                    return
                else:
                    await changed.wait()

    def end(self, lines: int, most: int) -> str:
        """Return the last lines as text, at most so many bytes of it."""
        last = self._path.read_bytes().splitlines(keepends=True)[-lines:]
        return b"".join(_shown(line, Choice()) for line in last)[-most:].decode(errors="replace")

    def _write(self, kind: bytes, line: bytes) -> None:
        self._file.write(
            datetime.now(UTC).isoformat().replace("+00:00", "Z").encode() + b" " + kind + b" " + line + b"\n"
        )
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _last(lines: list[bytes], choice: Choice) -> list[bytes]:
    if choice.since is not None:
        lines = [line for line in lines if datetime.fromisoformat(line.split(b" ", 1)[0].decode()) >= choice.since]
    return lines if choice.tail is None else lines[len(lines) - min(choice.tail, len(lines)) :]


def _shown(line: bytes, choice: Choice) -> bytes:
    time, kind, text = line.split(b" ", 2)
    if kind == b"P":
        text = text.removesuffix(b"\n")
    return time + b" " + text if choice.timestamps else text
