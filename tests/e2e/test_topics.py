"""Topics from the command line: create, produce, consume, describe, delete."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from commandline import CommandLine
from headwater.cli.app import COMMANDS
from headwater.core.record import Record
from headwater.log import Log


@pytest.fixture
def cats(headwater: CommandLine) -> CommandLine:
    """Return a command line with a topic of five records with keys."""
    headwater.good("topic", "create", "cats")
    headwater.good("produce", "cats", "-k", ":", given="".join(f"k{number}:v{number}\n" for number in range(5)))
    return headwater


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        (["-B"], "01234"),
        (["-H", "2"], "234"),
        (["-T", "2"], "34"),
        (["-T", "99"], "01234"),
        (["--start", "3"], "34"),
        (["-B", "--end", "1"], "01"),
        (["--start", "1", "--end", "3"], "123"),
        ([], ""),
        (["--start", "99"], ""),
    ],
)
def test_where_consuming_begins_and_ends(cats: CommandLine, flags: list[str], values: str) -> None:
    """-B, -H, -T, --start and the inclusive --end choose the records; -d stops at the end."""
    assert cats.good("consume", "cats", "-d", *flags).split() == [f"v{value}" for value in values]


def test_an_end_stops_without_d(cats: CommandLine) -> None:
    """With --end in the past nothing is waited for."""
    assert cats.good("consume", "cats", "-B", "--end", "1") == "v0\nv1\n"


def test_how_records_look(cats: CommandLine) -> None:
    """Keys, templates and formats, as in Fluvio."""
    assert cats.good("consume", "cats", "-B", "-d", "-k", "--end", "0") == "[k0] v0\n"
    line = cats.good("consume", "cats", "-T1", "-d", "-F", "{{partition}}/{{offset}} {{key}}={{value}}\\t{{time}}")
    place, stamp = line.rstrip("\n").split("\t")
    assert place == "0/4 k4=v4"
    assert len(stamp) == len("2026-01-01T00:00:00.000Z")
    cats.good("produce", "cats", given='{"b":1,"a":"é"}\nnot json\n')
    assert cats.good("consume", "cats", "-T2", "-d", "-k") == '[null] {"b":1,"a":"é"}\n[null] not json\n'
    first, second = cats.good("consume", "cats", "-T2", "-d", "-O", "json").split("\n}\n", 1)
    assert first == '{\n  "b": 1,\n  "a": "é"'
    assert "error" in json.loads(second)
    assert cats.good("consume", "cats", "--start", "5", "--end", "5", "-O", "table") == "b  a\n1  é\n"
    assert "|v0|" in cats.good("consume", "cats", "-B", "-d", "-O", "binary")


def test_binary_records_survive(cats: CommandLine) -> None:
    """Any bytes go in and come out; on a terminal they are shown as a dump."""
    data = bytes(range(256))
    command = [sys.executable, "-m", "headwater"]
    subprocess.run([*command, "produce", "cats", "--raw"], input=data, check=True, env=cats.environment, timeout=30)
    taken = subprocess.run(
        [*command, "consume", "cats", "-T1", "-d", "-O", "raw"],
        capture_output=True,
        check=True,
        env=cats.environment,
        timeout=30,
    )
    assert taken.stdout == data + b"\n"
    assert "000000f0  f0 f1 f2" in cats.good("consume", "cats", "-T1", "-d")


def test_producing(cats: CommandLine) -> None:
    """Lines of a file, one key for all, another partition; what is wrong names its line."""
    path = cats.directory / "lines"
    path.write_bytes(b"a\r\nb\n\nlast without end")
    done = cats.run("produce", "cats", "-f", path, "--key", "K")
    assert (done.returncode, done.stderr) == (0, "4 records appended to cats\n")
    assert cats.good("consume", "cats", "-T4", "-d", "-k") == "[K] a\n[K] b\n[K] \n[K] last without end\n"
    wrong = cats.run("produce", "cats", "-k", "=>", given="a=>b\nc\n")
    assert wrong.returncode == 2
    assert "line 2 has no '=>' to part key and value" in wrong.stderr
    away = cats.run("produce", "cats", "-p", "7", given="x\n")
    assert (away.returncode, "partition not found: cats-7" in away.stderr) == (1, True)
    nowhere = cats.run("produce", "dogs", given="x\n")
    assert (nowhere.returncode, "topic not found: dogs" in nowhere.stderr) == (1, True)


def test_partitions(headwater: CommandLine) -> None:
    """Keys stay in their partition; -p reads some, -A all."""
    headwater.good("topic", "create", "cats", "-p", "3")
    headwater.good("produce", "cats", "-k", ":", given="".join(f"{number % 6}:{number}\n" for number in range(60)))
    lines = headwater.good("consume", "cats", "-A", "-B", "-d", "-F", "{{partition}} {{key}} {{value}}").splitlines()
    assert sorted(int(line.split()[2]) for line in lines) == list(range(60))
    assert len({tuple(line.split()[:2]) for line in lines}) == 6
    two = headwater.good("consume", "cats", "-B", "-d", "-p", "0", "-p", "2", "-F", "{{partition}}").split()
    assert set(two) <= {"0", "2"}


def test_topic_commands(headwater: CommandLine) -> None:
    """The messages, columns and errors that Fluvio's users know."""
    assert headwater.good("topic", "list") == "No topics found\n"
    assert headwater.good("topic", "create", "cats", "--retention-time", "2h", "-p", "2") == 'topic "cats" created\n'
    again = headwater.run("topic", "create", "cats")
    assert (again.returncode, again.stderr) == (1, "headwater: topic already exists: cats\n")
    bad = headwater.run("topic", "create", "Cats_1")
    assert bad.returncode == 1
    assert "hint: try cats-1" in bad.stderr
    assert headwater.good("topic", "list").splitlines() == [
        (
            "  NAME  TYPE      PARTITIONS  REPLICAS  RETENTION TIME  COMPRESSION  DEDUPLICATION  STATUS"
            "                   REASON"
        ),
        "  cats  computed  2           1         2h              any          none           resolution::provisioned",
    ]
    assert json.loads(headwater.good("topic", "list", "-O", "json"))[0]["retention_time"] == "2h"
    described = yaml.safe_load(headwater.good("topic", "describe", "cats", "-O", "yaml"))
    assert described["partitions"] == [{"partition": number, "start_offset": 0, "end_offset": 0} for number in (0, 1)]
    assert headwater.good("topic", "create", "dogs", "--dry-run") == 'topic "dogs" would be created\n'
    missing = headwater.run("topic", "delete", "dogs", "cats")
    assert (missing.returncode, missing.stderr.splitlines()[0]) == (1, "headwater: topic not found: dogs")
    both = headwater.run("topic", "delete", "-c", "dogs", "cats")
    assert (both.returncode, both.stdout) == (1, 'topic "cats" deleted\n')
    assert headwater.run("consume", "cats").returncode == 1
    soon = headwater.run("topic", "create", "dogs", "--retention-time", "soon")
    assert (soon.returncode, "'soon' is not a duration; write 10s" in soon.stderr) == (2, True)


def test_a_reader_that_goes_away(cats: CommandLine) -> None:
    """`| head` gets its lines and nothing on standard error."""
    cats.good("produce", "cats", given="x" * 100 + "\n" + "y\n" * 200_000)
    shell = f"'{sys.executable}' -m headwater consume cats -B -d | head -n 3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=True, env=cats.environment, timeout=30
    )
    assert (done.stdout.splitlines(), done.stderr) == (["v0", "v1", "v2", "141"], "")


def test_ctrl_c_ends_following(cats: CommandLine) -> None:
    """Ctrl-C ends a follower with 130, without a trace."""
    following = cats.start("consume", "cats", "-B")
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(5)] == [f"v{number}\n" for number in range(5)]
    assert cats.stop(following, signal.SIGINT) == (130, "", "")


def test_a_record_reaches_its_follower_at_once(cats: CommandLine) -> None:
    """Records come out of a follower in another process while it runs, in the order of their commits."""
    following = cats.start("consume", "cats", "-B")
    assert following.stdout is not None
    for _ in range(5):
        following.stdout.readline()
    delays: list[float] = []

    async def send() -> None:
        assert following.stdout is not None
        async with Log.open(cats.data) as log:
            topic = await log.topic("cats")
            for number in range(50):
                await topic.append([Record(b"%d" % number)])
                committed = time.monotonic()
                assert await asyncio.to_thread(following.stdout.readline) == f"{number}\n"
                delays.append(time.monotonic() - committed)

    asyncio.run(send())
    assert cats.stop(following)[0] == 130
    assert len(delays) == 50


def test_wrong_usage(cats: CommandLine) -> None:
    """Contradictions are told before anything is read."""
    for flags in (["-B", "-T1"], ["-A", "-p", "0"], ["-k", "-F", "x"], ["-H", "-1"], ["-O", "xml"]):
        assert cats.run("consume", "cats", *flags).returncode == 2
    away = cats.run("consume", "cats", "-p", "9", "-d")
    assert (away.returncode, "partition not found: cats-9" in away.stderr) == (1, True)


def test_help_is_there_for_every_command(headwater: CommandLine) -> None:
    """Each command has a help with a sentence and its options; the version is printed."""
    listed = headwater.good("--help")
    names = [line.split()[0] for line in listed.partition("Commands:\n")[2].splitlines() if line.startswith("  ")][:-1]
    assert list(COMMANDS) == names
    for name in names:
        assert headwater.good(name, "--help").startswith(f"Usage: headwater {name}")
    assert headwater.good("--version").startswith("headwater 0.")
    near = headwater.run("consum", "x")
    assert (near.returncode, "Did you mean 'consume'?" in near.stderr) == (2, True)


def test_the_default_data_directory(headwater: CommandLine) -> None:
    """Without --data-dir and $HEADWATER_DATA it is ~/.headwater, closed to others."""
    del headwater.environment["HEADWATER_DATA"]
    headwater.environment["HOME"] = str(headwater.directory)
    headwater.good("topic", "create", "cats")
    made = Path(headwater.directory, ".headwater")
    assert (made / "headwater.db").exists()
    assert made.stat().st_mode & 0o077 == 0
