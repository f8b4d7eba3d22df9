"""A full disk, a read-only one, damaged files: clear errors, no lost record, and on it goes when the cause is gone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from headwater.core.errors import LogCorruptError, LogError, LogIOError, LogReadOnlyError
from headwater.core.record import Record
from headwater.log import Log, LogReader

IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


PROGRAM = """
import asyncio, pathlib, sys
from headwater.core.errors import LogError, LogFullError, LogReadOnlyError
from headwater.core.record import Record
from headwater.log import Log

async def main(directory):
{body}

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def on_a_disk(directory: Path, mount: str, body: str) -> str:
    """Run the body of an async function of `directory`, a disk of its own; return what it prints."""
    probe = subprocess.run([*IN_A_NAMESPACE, f"mount {mount} {directory}"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine allows no mounts in a namespace: {probe.stderr.strip()}")
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    done = subprocess.run(
        [*IN_A_NAMESPACE, f'mount {mount} {directory} && exec "$0" -c "$1" {directory}', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """On a disk that is really full appends fail with LogFullError; what was appended stays; with space it goes on."""
    said = on_a_disk(
        tmp_path,
        "-t tmpfs -o size=4m tmpfs",
        """
        filler = directory / "filler"
        filler.write_bytes(bytes(2_000_000))
        async with Log.open(directory / "data") as log:
            await log.create_topic("cats")
            topic = await log.topic("cats")
            good = 0
            try:
                while True:
                    await topic.append([Record(b"%d" % good + b" " * 50_000)])
                    good += 1
            except LogFullError as error:
                print(error, "|", error.hint)
            # Small appends fail or not, each by itself; none that failed may show.
            filler.unlink()
            await topic.append([Record(b"%d" % good + b" " * 50_000)])
            found = [int(record.value) for record in await topic.read()]
            assert found == list(range(good + 1)), found
        async with Log.open(directory / "data") as log:
            found = [record.offset for record in await (await log.topic("cats")).read()]
            assert found == list(range(good + 1)), found
            print(good > 5)
        """,
    )
    first, second = said.splitlines()
    assert first.startswith("no space left for ")
    assert "free some space" in first
    assert second == "True"


def test_a_disk_without_room_to_begin(tmp_path: Path) -> None:
    """A log that cannot even be made says so."""
    said = on_a_disk(
        tmp_path,
        "-t tmpfs -o size=64k tmpfs",
        """
        (directory / "filler").write_bytes(bytes(57344))
        try:
            async with Log.open(directory / "data"):
                print("opened")
        except LogError as error:
            print(type(error).__name__, error)
        """,
    )
    assert said.startswith(("LogFullError", "LogIOError"))


def test_a_read_only_disk(tmp_path: Path) -> None:
    """A read-only disk is a LogReadOnlyError that names the directory."""
    said = on_a_disk(
        tmp_path,
        "-t tmpfs -o ro tmpfs",
        """
        try:
            async with Log.open(directory / "data"):
                pass
        except LogReadOnlyError as error:
            print(error, "|", error.hint)
        """,
    )
    assert said.startswith(str(tmp_path))
    assert "another --data-dir" in said


async def test_what_is_no_directory(tmp_path: Path) -> None:
    """A file, or a place where nothing can be made, is an error that names it."""
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises((LogIOError, LogReadOnlyError), match=str(place)) as caught:
            async with Log.open(place):
                pass
        assert caught.value.hint


async def test_damaged_pages(tmp_path: Path) -> None:
    """Damage is told as such, by the writer and by readers, and never as an empty topic."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        topic = await log.topic("cats")
        for _ in range(50):
            await topic.append([Record(bytes(5000))])
    file = tmp_path / "headwater.db"
    pages = bytearray(file.read_bytes())
    pages[4096 * 3 :] = b"\x55" * (len(pages) - 4096 * 3)
    file.write_bytes(pages)
    with pytest.raises(LogCorruptError, match=r"headwater\.db is damaged"):
        async with Log.open(tmp_path) as log:
            await (await log.topic("cats")).append([Record(b"x")])
    with LogReader(tmp_path) as reader, pytest.raises(LogError):
        reader.read("cats", 0, 0, 1_000_000)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"y" * 5000], ids=["text", "half a database"])
async def test_a_file_that_is_no_log(tmp_path: Path, content: bytes) -> None:
    """Another file under the log's name is left alone."""
    (tmp_path / "headwater.db").write_bytes(content)
    with pytest.raises(LogCorruptError, match="not a Headwater log"):
        async with Log.open(tmp_path):
            pass
    with pytest.raises(LogCorruptError, match="not a Headwater log"):
        LogReader(tmp_path)
    assert (tmp_path / "headwater.db").read_bytes() == content
