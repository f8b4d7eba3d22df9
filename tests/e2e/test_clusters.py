"""The command line over a cluster: the same commands, with a profile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from commandline import CommandLine
from e2e.upcluster import Up
from headwater.testing import Answer, ScriptedServer, background
from transforms import guests


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Return a command line whose current profile is a cluster."""
    made = CommandLine(tmp_path_factory.mktemp("cluster"))
    up = Up(made, made.directory / "theirs")
    made.good("profile", "add", "far", up.endpoint)
    made.environment["FAR"] = up.endpoint
    yield made
    made.close()
    up.close()


@pytest.fixture(scope="module")
def cats(line: CommandLine) -> CommandLine:
    """Return a command line with a topic of five records with keys on its cluster."""
    line.good("topic", "create", "cats")
    line.good("produce", "cats", "-k", ":", given="".join(f"k{number}:v{number}\n" for number in range(5)))
    return line


def line_of(headwater: CommandLine) -> str:
    return f"profile far (Fluvio at {headwater.environment['FAR']})"


def test_which_profile_is_meant_is_said(line: CommandLine) -> None:
    """One line on standard error, with where the choice comes from; none for the embedded log that nobody chose."""
    chosen = line.run("topic", "list")
    assert chosen.stderr == f"{line_of(line)}, from ~/.fluvio/config\n"
    assert line.run("topic", "list", "--profile", "far").stderr == f"{line_of(line)}\n"
    line.environment["HEADWATER_PROFILE"] = "far"
    assert line.run("topic", "list").stderr == f"{line_of(line)}, from $HEADWATER_PROFILE\n"
    line.environment["HEADWATER_PROFILE"] = "local"
    assert line.run("topic", "list").stderr == "profile local (embedded log in ~/data), from $HEADWATER_PROFILE\n"
    del line.environment["HEADWATER_PROFILE"]
    near = line.run("topic", "list", "--profile", "local")
    assert (near.stdout, near.stderr) == ("No topics found\n", "")


def test_topics(line: CommandLine) -> None:
    """Created with every option, listed, described and deleted, with Fluvio's messages."""
    assert line.good("topic", "create", "dogs", "-p", "3", "--retention-time", "2h", "--max-partition-size", "1 GiB",
                     "--compression-type", "gzip", "--segment-size", "64 MB", "-i",
                     "--dedup", "--dedup-count", "7", "--dedup-age", "3s") == 'topic "dogs" created\n'  # fmt: skip
    described = json.loads(line.good("topic", "describe", "dogs", "-O", "json"))
    assert described == {
        "name": "dogs",
        "type": "computed",
        "partition_count": 3,
        "replication": 1,
        "retention_time": "2h",
        "max_partition_size": "1 GiB",
        "compression": "gzip",
        "deduplication": "dedup-filter: 7, 3s",
        "status": "resolution::provisioned",
        "reason": None,
        "partitions": [{"partition": number, "start_offset": 0, "end_offset": 0} for number in range(3)],
    }
    assert "dogs" in line.good("topic", "list")
    assert line.good("topic", "create", "dry", "-d") == 'topic "dry" would be created\n'
    again = line.run("topic", "create", "dogs")
    assert (again.returncode, again.stderr.splitlines()[1]) == (1, "headwater: topic already exists: dogs")
    assert line.good("topic", "delete", "dogs") == 'topic "dogs" deleted\n'
    gone = line.run("topic", "delete", "-c", "dogs", "dogs")
    assert (gone.returncode, gone.stderr.count("topic not found: dogs")) == (1, 2)
    assert "dogs" not in line.good("topic", "list")
    assert line.run("topic", "create", "Dogs_").returncode == 1


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        (["-B"], "01234"),
        (["-H", "2"], "234"),
        (["-T", "2"], "34"),
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
    """Keys, templates and formats."""
    assert cats.good("consume", "cats", "-B", "-d", "-k", "--end", "0") == "[k0] v0\n"
    shown = cats.good("consume", "cats", "-T1", "-d", "-F", "{{partition}}/{{offset}} {{key}}={{value}}")
    assert shown == "0/4 k4=v4\n"
    assert "|v0|" in cats.good("consume", "cats", "-B", "-d", "-O", "binary")
    assert cats.good("consume", "cats", "--start", "4", "-d", "-O", "table") == "value\nv4\n"


def test_partitions(line: CommandLine) -> None:
    """Keys stay in their partition, records without one go in turn; -p reads some, -A all, -p chooses one."""
    line.good("topic", "create", "mice", "-p", "3")
    line.good("produce", "mice", "-k", ":", given="".join(f"{number % 6}:{number}\n" for number in range(60)))
    every = line.good("consume", "mice", "-A", "-B", "-d", "-F", "{{partition}} {{key}} {{value}}").splitlines()
    assert sorted(int(it.split()[2]) for it in every) == list(range(60))
    assert len({tuple(it.split()[:2]) for it in every}) == 6
    two = line.good("consume", "mice", "-B", "-d", "-p", "0", "-p", "2", "-F", "{{partition}}").split()
    assert set(two) <= {"0", "2"}
    line.good("topic", "create", "rats", "-p", "2")
    line.good("produce", "rats", given="a\nb\nc\nd\n")
    assert line.good("consume", "rats", "-B", "-d", "-p", "1") == "b\nd\n"
    line.good("produce", "rats", "-p", "1", "--key", "K", given="only\n")
    assert line.good("consume", "rats", "-T1", "-d", "-p", "1", "-k") == "[K] only\n"


def test_producing_files_and_bytes(line: CommandLine) -> None:
    """Lines of a file, or all of it as one record."""
    path = line.directory / "lines"
    path.write_bytes(b"a\r\nb\n\nlast without end")
    line.good("topic", "create", "files")
    done = line.run("produce", "files", "-f", path)
    assert done.stderr.endswith("\n4 records appended to files\n")
    line.good("produce", "files", "--raw", "-f", path)
    assert line.good("consume", "files", "-B", "-d") == "a\nb\n\nlast without end\na\nb\n\nlast without end\n"


def test_following(line: CommandLine) -> None:
    """Records come out as they arrive, of all partitions; Ctrl-C ends with 130 and no trace."""
    line.good("topic", "create", "live", "-p", "2")
    line.good("produce", "live", given="0\n")
    following = line.start("consume", "live", "-B")
    assert following.stdout is not None
    assert following.stdout.readline() == "0\n"
    for value in ("1", "2", "3"):
        line.good("produce", "live", given=f"{value}\n")
        assert following.stdout.readline() == f"{value}\n"
    code, out, error = line.stop(following, signal.SIGINT)
    assert (code, out, error) == (130, "", f"{line_of(line)}, from ~/.fluvio/config\n")


def test_smartmodules_of_the_cluster(line: CommandLine) -> None:
    """One by its name, loaded there; a chain in a file, with those that come along; what is nowhere is told."""
    path = line.directory / "upper.wasm"
    path.write_bytes(guests.upper_map())
    line.good("smartmodule", "load", "upper", "--wasm-file", path, "--data-dir", line.directory / "theirs")
    line.good("topic", "create", "lists")
    line.good("produce", "lists", given='["a","b"]\n["c"]\n')
    assert line.good("consume", "lists", "-B", "-d", "--smartmodule", "upper") == '["A","B"]\n["C"]\n'
    chain = line.config("transforms:\n  - uses: upper\n  - uses: infinyon-labs/array-map-json\n", "chain.yml")
    assert line.good("consume", "lists", "-B", "-d", "--transforms", chain) == '"A"\n"B"\n"C"\n'
    assert line.good("consume", "lists", "-T1", "-d", "--smartmodule-path", path) == '["C"]\n'
    regex = ("--smartmodule", "infinyon/regex-filter", "-e", "regex=b")
    assert line.good("consume", "lists", "-B", "-d", *regex, "-F", "{{offset}} {{value}}") == '0 ["a","b"]\n'
    missing = line.run("consume", "lists", "-B", "-d", "--smartmodule", "nowhere")
    assert missing.returncode == 3
    assert "nowhere" in missing.stderr


def test_running_connectors(line: CommandLine) -> None:
    """Run and http bring records to the cluster, say which one it is, and keep the ledger here."""
    with background(ScriptedServer()) as server:
        url = server.route("/x", Answer(body=b"meow"))
        config = line.config(f"name: runs\ntopic: runs\nparameters:\n  endpoint: {url}\n  interval: 50ms\n")
        running = line.start("run", config)
        server.wait_for(3)
        code, _, error = line.stop(running)
        assert code == 130
        assert f"{line_of(line)}, from ~/.fluvio/config" in error
        assert line.good("consume", "runs", "-B", "-d").split()[:2] == ["meow", "meow"]
        assert "accepted" in line.good("ledger", "runs")
        assert line.good("topic", "list", "--profile", "local") == "No topics found\n"
        before = len(server.received)
        flags = ("--endpoint", url, "--fluvio-topic", "flags", "--interval", "50ms", "--profile", "far")
        running = line.start("http", *flags)
        server.wait_for(before + 2)
        assert line.stop(running, signal.SIGTERM)[0] == 0
        assert line.good("consume", "flags", "-B", "-d").split()[0] == "meow"
