"""The logs of connectors: on disk, bounded, followed."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

import headwater.control.journal as module
from headwater.control.journal import Journal, render


def following(journal: Journal, name: str, tail: int | None = None) -> Any:
    lines: AsyncIterator[str] = journal.follow(name, tail)
    return aclosing(cast("Any", lines))


def test_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is put aside when it is full; what is read is whole lines, the newest ones."""
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    journal = Journal(tmp_path)
    for number in range(200):
        journal.write("cats", "info", f"line {number:03}")
    lines = [line[-8:] for line in journal.read("cats")]
    assert lines == [f"line {number:03}" for number in range(200 - len(lines), 200)]
    assert 20 <= len(lines) < 50
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) <= 2000
    assert len(list(journal.read("cats", 3))) == 3
    assert list(journal.read("cats", 0)) == []
    journal.forget("cats")
    assert list(journal.read("cats")) == []
    journal.forget("cats")


def test_what_a_line_looks_like() -> None:
    """One line, whatever is in it: nobody writes a second one into the log through a server's answer."""
    line = render(
        datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
        "warning",
        "connector is failing",
        {"event": "x", "connector": "cats", "reason": 'a "bad"\nline', "n": 3, "empty": "", "exception": "a trace"},
    )
    assert line == ('2026-01-02T03:04:05.678Z WARNING connector is failing reason="a \\"bad\\"\\nline" n=3 empty=""')


def test_the_tap_takes_what_names_a_connector(tmp_path: Path) -> None:
    """Everything else passes by, and so do names that are none."""
    journal = Journal(tmp_path)
    for event in (
        {"event": "one", "connector": "cats", "level": "info"},
        {"event": "two"},
        {"event": "three", "connector": "../cats"},
        {"event": "four", "connector": 7},
    ):
        assert journal.tap(None, "info", event) is event
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["cats.log"]
    assert [line[-3:] for line in journal.read("cats")] == ["one"]


async def test_a_disk_that_refuses(tmp_path: Path) -> None:
    """What cannot be written still reaches whoever follows, and nothing is raised."""
    (tmp_path / "logs").write_text("a file in its place")
    journal = Journal(tmp_path)
    async with following(journal, "cats") as lines:
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        journal.write("cats", "info", "one")
        assert (await waiting).endswith("one")
    assert list(journal.read("cats")) == []
    journal.forget("cats")


async def test_a_slow_follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not fetch in time is dropped, and it is told how much."""
    monkeypatch.setattr(module, "_MOST_BEHIND", 5)
    journal = Journal(tmp_path)
    async with following(journal, "cats") as lines:
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        for number in range(10):
            journal.write("cats", "info", f"{number}")
        assert (await waiting).startswith("... 5 lines")
        assert [(await anext(lines))[-1] for _ in range(5)] == list("56789")
        journal.close()
        assert [line async for line in lines] == []
    assert not journal._followers


async def test_the_log_of_one_that_is_deleted_ends(tmp_path: Path) -> None:
    """Whoever follows it reads to the end, and waits for nothing that will never come."""
    journal = Journal(tmp_path)
    async with following(journal, "cats") as lines:
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        journal.write("cats", "info", "connector deleted")
        journal.forget("cats")
        assert (await waiting).endswith("connector deleted")
        assert [line async for line in lines] == []
    assert not journal._followers


async def test_many_who_read_slowly_take_no_memory(tmp_path: Path) -> None:
    """A log is read line by line as it is asked for, and as it was then, even when its file is put aside meanwhile."""
    journal = Journal(tmp_path)
    for number in range(3000):
        journal.write("cats", "info", f"{number:04} {'x' * 600}")
    tracemalloc.start()
    try:
        readers = [journal.read("cats", tail) for tail in (None, 2000) for _ in range(50)]
        first = [next(reader) for reader in readers]
        assert tracemalloc.get_traced_memory()[0] < 3_000_000
    finally:
        tracemalloc.stop()
    assert len(set(first)) == 2
    for number in range(3000):
        journal.write("cats", "info", f"later {number} {'x' * 600}")
    journal.forget("cats")
    numbers = [line.split()[2] for line in readers[-1]]
    assert numbers == [f"{number:04}" for number in range(1001, 3000)]
    for reader in readers:
        assert not any("later" in line for line in reader)
