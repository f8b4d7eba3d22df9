from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headwater.testing.kubernetes.containerlog import Choice, ContainerLog


async def written(path: Path, *data: bytes) -> ContainerLog:
    log = ContainerLog(path / "log")
    stream = asyncio.StreamReader()
    for each in data:
        stream.feed_data(each)
    stream.feed_eof()
    await log.take(stream)
    return log


async def text(log: ContainerLog, choice: Choice) -> bytes:
    return b"".join([part async for part in log.read(choice)])


async def test_lines_are_chosen(tmp_path: Path) -> None:
    """All lines, the last of them, those since a time, and their times."""
    log = await written(tmp_path, b"one\ntwo", b"\nthree\n")
    log.close()
    assert await text(log, Choice()) == b"one\ntwo\nthree\n"
    assert await text(log, Choice(tail=2)) == b"two\nthree\n"
    assert await text(log, Choice(tail=0)) == b""
    assert await text(log, Choice(since=datetime.now(UTC) + timedelta(minutes=1))) == b""
    stamped = await text(log, Choice(tail=1, timestamps=True))
    assert datetime.fromisoformat(stamped.split()[0].decode()) <= datetime.now(UTC)


async def test_a_line_that_has_no_end(tmp_path: Path) -> None:
    """A long line comes back whole, and one without line feed without."""
    log = await written(tmp_path, b"x" * 40_000, b"\nend")
    log.close()
    assert await text(log, Choice()) == b"x" * 40_000 + b"\nend"


async def test_followers_get_what_comes_until_the_end(tmp_path: Path) -> None:
    """Who follows gets what is there, then what comes, and ends when the container does."""
    log = await written(tmp_path, b"one\n")
    parts = log.read(Choice(follow=True))
    assert await anext(parts) == b"one\n"
    stream = asyncio.StreamReader()
    stream.feed_data(b"two\n")
    stream.feed_eof()
    waiting = asyncio.ensure_future(anext(parts))
    await log.take(stream)
    assert await waiting == b"two\n"
    log.close()
    assert [part async for part in parts] == []
