"""A watched directory: what its files define is what runs, whatever happens to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from control.managing import Yard, defined, yard
from headwater.control.watch import Watcher
from headwater.core.errors import LogFullError
from headwater.core.managed import Phase
from headwater.log import TopicInfo, TopicSpec
from headwater.testing import Answer, ScriptedServer, background


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a server with one answer."""
    with background(ScriptedServer()) as running:
        running.route("/x", Answer(body=b"cat"))
        yield running


async def names(it: Yard) -> list[str]:
    return [found.name for found in await it.fleet.list()]


async def test_files_come_change_break_and_go(tmp_path: Path, server: ScriptedServer) -> None:
    """Each look applies what has changed since the last one, and nothing else."""
    directory = tmp_path / "files"
    directory.mkdir()
    cats, dogs = (defined(server, name=name).text for name in ("cats", "dogs"))
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, None, it.fleet)
        await watcher.look()
        assert await names(it) == []
        (directory / "a.yml").write_text(cats)
        (directory / "b.yaml").write_text(f"{dogs}---\n{dogs.replace('dogs', 'more')}")
        (directory / "c.txt").write_text("not mine")
        (directory / ".d.yml").write_text("an editor's")
        (directory / "e.yml").mkdir()
        await watcher.look()
        assert await names(it) == ["cats", "dogs", "more"]
        (directory / "b.yaml").write_text(dogs.replace("10s", "20s"))
        await watcher.look()
        assert await names(it) == ["cats", "dogs"]
        assert "20s" in await it.fleet.config("dogs")
        with capture_logs() as lines:
            (directory / "a.yml").write_text("name: [")
            await watcher.look()
            await watcher.look()
        assert [line["event"] for line in lines] == [
            "a file cannot be used",
            "its file cannot be used; the last good one stays",
        ]
        assert await names(it) == ["cats", "dogs"]
        (directory / "a.yml").unlink()
        await watcher.look()
        assert await names(it) == ["dogs"]


async def test_a_directory_that_is_away(tmp_path: Path, server: ScriptedServer) -> None:
    """A mount that goes takes no connector with it; it is said once, and once when it is back."""
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "a.yml").write_text(defined(server).text)
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, None, it.fleet)
        await watcher.look()
        with capture_logs() as lines:
            directory.rename(tmp_path / "away")
            await watcher.look()
            await watcher.look()
            assert await names(it) == ["cats"]
            (tmp_path / "away").rename(directory)
            await watcher.look()
        assert [line["event"] for line in lines] == [
            "the watched directory is away; its connectors stay",
            "the watched directory is back",
        ]


async def test_secrets_that_change(tmp_path: Path, server: ScriptedServer) -> None:
    """A new value in the file of secrets is a change of every connector that uses it; a missing one changes nothing."""
    directory, secrets = tmp_path / "files", tmp_path / "secrets"
    directory.mkdir()
    secrets.write_text("KEY=one\n")
    more = "  headers: {X: '${{ secrets.KEY }}'}\n"
    (directory / "a.yml").write_text(defined(server, more=more, KEY="x").text)
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, secrets, it.fleet)
        await watcher.look()
        await it.clock.sleeping()
        secrets.write_text("KEY=another\n")
        await watcher.look()
        await it.clock.sleeping()
        assert [request.header("x") for request in server.received] == ["one", "another"]
        secrets.write_text("KEYS=gone\n")
        await watcher.look()
        assert (await it.fleet.get("cats")).status is Phase.RUNNING


async def test_names_that_meet(tmp_path: Path, server: ScriptedServer) -> None:
    """Of two files with one name the first is used; what was created by command stays until it is deleted."""
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "a.yml").write_text(defined(server).text)
    (directory / "b.yml").write_text(defined(server).text.replace("10s", "20s"))
    (directory / "c.yml").write_text(defined(server, name="mine").text.replace("10s", "20s"))
    async with yard(tmp_path / "data") as it:
        await it.fleet.create(defined(server, name="mine"))
        watcher = Watcher(directory, None, it.fleet)
        with capture_logs() as lines:
            await watcher.look()
            await watcher.look()
        assert "10s" in await it.fleet.config("cats")
        assert "10s" in await it.fleet.config("mine")
        assert [(line["event"], line["connector"], line["reason"]) for line in lines] == [
            ("connector is ignored", "cats", f"it is in {directory / 'a.yml'} already"),
            ("connector is ignored", "mine", "one of that name was created already"),
        ]
        await it.fleet.delete("mine")
        await watcher.look()
        assert "20s" in await it.fleet.config("mine")


async def test_after_a_restart_only_what_changed_is_read(tmp_path: Path, server: ScriptedServer) -> None:
    """What was read before is known to be true by its file's mark, unless it uses secrets."""
    directory = tmp_path / "files"
    directory.mkdir()
    more = "  headers: {X: '${{ secrets.KEY }}'}\n"
    secret = defined(server, name="secret", more=more, KEY="x").text
    for name, text in (("a", "cats"), ("b", "dogs")):
        (directory / f"{name}.yml").write_text(defined(server, name=text).text)
    (directory / "c.yml").write_text(secret)
    secrets = tmp_path / "secrets"
    secrets.write_text("KEY=one\n")
    async with yard(tmp_path / "data", watched=True) as it:
        await Watcher(directory, secrets, it.fleet).look()
    (directory / "b.yml").write_text(defined(server, name="dogs").text.replace("10s", "20s"))
    secrets.write_text("KEY=other\n")
    async with yard(tmp_path / "data", watched=True) as it:
        watcher = Watcher(directory, secrets, it.fleet)
        read: list[str] = []
        real = watcher._read

        def noted(files: list[str], marks: dict[str, tuple[int, int, int]]) -> None:
            read.extend(Path(file).name for file in files)
            real(files, marks)

        watcher._read = noted  # type: ignore[method-assign,assignment]
        await watcher.look()
        assert sorted(read) == ["b.yml", "c.yml"]
        assert await names(it) == ["cats", "dogs", "secret"]
        assert "20s" in await it.fleet.config("dogs")
        await it.clock.sleeping(3)
        assert server.received[-1].header("x") == "other" or "other" in {it.header("x") for it in server.received}


async def test_what_could_not_be_started_is_tried_again(tmp_path: Path, server: ScriptedServer) -> None:
    """A log that refuses for a while keeps nothing out for good, and it is said once."""
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "a.yml").write_text(defined(server).text)
    async with yard(tmp_path / "data") as it:
        real, refusals = it.log.create_topic, iter([LogFullError("no space left"), LogFullError("no space left")])

        async def refusing(name: str, spec: TopicSpec | None = None) -> TopicInfo:
            if refusal := next(refusals, None):
                raise refusal
            return await real(name, spec)

        it.log.create_topic = refusing  # type: ignore[method-assign]
        watcher = Watcher(directory, None, it.fleet)
        with capture_logs() as lines:
            await watcher.look()
            await watcher.look()
            assert await names(it) == []
            await watcher.look()
        assert await names(it) == ["cats"]
        assert [line["event"] for line in lines] == [
            "connectors of the watched directory cannot be started",
            "connectors of the watched directory could be started",
        ]


async def test_what_is_no_file_is_in_nobodys_way(tmp_path: Path, server: ScriptedServer) -> None:
    """Pipes that nobody writes to, links in circles and into nothing: each is said once, and all others are used."""
    directory = tmp_path / "files"
    directory.mkdir()
    os.mkfifo(directory / "a.yml")
    (directory / "b.yml").symlink_to("b.yml")
    (directory / "c.yml").symlink_to("nothing.yml")
    (directory / "d.yml").symlink_to("/dev/zero")
    (directory / "e.yml").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text(defined(server).text)
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, None, it.fleet)
        with capture_logs() as lines:
            await asyncio.wait_for(watcher.look(), 10)
            await watcher.look()
        assert await names(it) == ["cats"]
        assert [
            (Path(line["file"]).name, line["reason"].partition("error: ")[2]) for line in lines if "file" in line
        ] == [
            ("a.yml", "it is no regular file"),
            ("b.yml", "the file cannot be read: Too many levels of symbolic links"),
            ("d.yml", "it is no regular file"),
        ]
        (directory / "e.yml").unlink()
        os.mkfifo(directory / "e.yml")
        await asyncio.wait_for(watcher.look(), 10)
        assert await names(it) == ["cats"]


async def test_an_edit_that_keeps_the_time(tmp_path: Path, server: ScriptedServer) -> None:
    """What somebody writes in place, with the size and the time of before, is an edit like any other."""
    directory = tmp_path / "files"
    directory.mkdir()
    file = directory / "a.yml"
    file.write_text(defined(server).text)
    before = file.stat()
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, None, it.fleet)
        await watcher.look()
        file.write_text(defined(server).text.replace("10s", "20s"))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        await watcher.look()
        assert "20s" in await it.fleet.config("cats")


async def test_an_edit_that_could_not_be_kept_is_tried_again(tmp_path: Path, server: ScriptedServer) -> None:
    """A change and a deletion wait for a disk that refuses them; it is said once."""
    directory = tmp_path / "files"
    directory.mkdir()
    for name in ("cats", "dogs"):
        (directory / f"{name}.yml").write_text(defined(server, name=name).text)
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, None, it.fleet)
        await watcher.look()
        kept = tmp_path / "data" / "connectors"
        kept.rename(tmp_path / "away")
        kept.write_text("a file in its place")
        (directory / "cats.yml").write_text(defined(server).text.replace("10s", "20s"))
        (directory / "dogs.yml").unlink()
        with capture_logs() as lines:
            await watcher.look()
            await watcher.look()
        assert [(line["event"], line["connector"]) for line in lines] == [
            ("connector cannot be changed", "cats"),
            ("connector cannot be changed", "dogs"),
        ]
        assert sorted(it.engine.runs()) == ["cats", "dogs"]
        kept.unlink()
        (tmp_path / "away").rename(kept)
        await watcher.look()
        assert await names(it) == ["cats"]
        assert "20s" in await it.fleet.config("cats")


async def test_secrets_that_are_away(tmp_path: Path, server: ScriptedServer) -> None:
    """It is the file of secrets that is named then."""
    directory, secrets = tmp_path / "files", tmp_path / "secrets"
    directory.mkdir()
    async with yard(tmp_path / "data") as it:
        with capture_logs() as lines:
            await Watcher(directory, secrets, it.fleet).look()
        assert [line["reason"] for line in lines] == [f"{secrets} cannot be read: No such file or directory"]


async def test_a_defect_of_one_look_ends_nothing(tmp_path: Path, server: ScriptedServer) -> None:
    """Whatever the reading of one file raises, the others are used."""
    directory = tmp_path / "files"
    directory.mkdir()
    for name in ("cats", "dogs"):
        (directory / f"{name}.yml").write_text(defined(server, name=name).text)
    async with yard(tmp_path / "data") as it:
        watcher = Watcher(directory, None, it.fleet)
        # A name that no system has.
        marks = watcher._scan()
        marks[f"{directory}/\0.yml"] = (1, 1, 1)
        watcher._scan = lambda: marks  # type: ignore[method-assign]
        with capture_logs() as lines:
            await watcher.look()
        assert await names(it) == ["cats", "dogs"]
        assert [line["event"] for line in lines] == ["the reading of a file ran into a defect"]
