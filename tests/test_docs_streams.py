"""The streams of README.md and docs/streaming.md, typed as they stand there, against the sample API."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.sample import SampleApi
from headwater.sample.facts import FACTS

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "README.md").read_text().partition("\n## Streams\n")[2].partition("\n## ")[0]
PAGE = (ROOT / "docs" / "streaming.md").read_text()
HERE = "127.0.0.1:8321"
NAMES = ("stream", "events", "websocket")


@pytest.fixture
def api() -> Iterator[SampleApi]:
    """Return a sample API that is in a hurry."""
    with SampleApi(every=0.05) as running:
        yield running


@pytest.fixture
def headwater(tmp_path: Path, api: SampleApi) -> Iterator[CommandLine]:
    """Return a command line in a directory with the examples, for the sample API of the test."""
    line = CommandLine(tmp_path)
    (tmp_path / "examples").mkdir()
    for name in NAMES:
        text = (ROOT / "examples" / f"{name}.yml").read_text()
        (tmp_path / "examples" / f"{name}.yml").write_text(here(text, api))
    yield line
    line.close()


def here(text: str, api: SampleApi) -> str:
    return text.replace(HERE, api.url.partition("://")[2])


def sessions(text: str) -> list[tuple[str, str]]:
    """Return the commands of a text, each with what it prints."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = piece.partition("\n")
            found.append((command, printed))
    return found


# What is otherwise each time.
_VARIES = (
    (r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?", "TIME"),
    (r"\d+(?:\.\d+)? (?:B|KiB|MiB)\b", "SIZE"),
    (r"\b\d+(?:\.\d+)?(?:ms|s|m|h)\b(?: \d+(?:ms|s|m|h)\b)*", "SPAN"),
    (r"@\d+(?:-\d+)?", "@#"),
    (r"\d+", "#"),
    (r" +", " "),
)


def alike(printed: str) -> str:
    """Return an output without what is otherwise each time: times, numbers, widths, and which fact it was."""
    printed = re.sub(r'"fact":"([^"]*)","length":(\d+)', _fact, printed)
    for pattern, word in _VARIES:
        printed = re.sub(pattern, word, printed)
    return printed


def _fact(found: re.Match[str]) -> str:
    assert found[1] in FACTS
    assert len(found[1]) == int(found[2])
    return "FACT"


def stored(headwater: CommandLine, topic: str) -> list[int]:
    done = headwater.run("consume", topic, "-B", "-d")
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_the_examples_of_the_readme_are_files() -> None:
    """What stands there is what is in examples/, without the comments at its top."""
    texts = [(ROOT / "examples" / f"{name}.yml").read_text() for name in NAMES]
    printed = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert printed == [re.sub(r"^#.*\n", "", text, flags=re.MULTILINE) for text in texts]


def test_the_streams_of_the_readme(headwater: CommandLine) -> None:
    """They run, end and go on without a gap and without a repeat; the commands print what stands there."""
    path = headwater.directory / "examples" / "stream.yml"
    path.write_text(path.read_text().replace("  gap:\n", "  gap:\n    shortest: 1ms\n"))
    (first, nothing), *commands = sessions(SECTION)
    assert (first.split()[:2], nothing) == (["headwater", "run"], "")
    topics = ("cat-stream", "cat-events", "cat-socket")
    for count in (4, 12):
        running = headwater.start(*shlex.split(first)[1:])
        # What is missing in between comes beside what is new.
        while any(len(stored(headwater, topic)) < count for topic in topics):
            assert running.poll() is None
        assert headwater.stop(running, signal.SIGTERM)[0] == 0
    for topic in ("cat-events", "cat-socket"):
        numbers = stored(headwater, topic)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), topic
    # Here two clocks meet at the ends of the gap: a fact of just that moment may be missing, or come twice.
    numbers = stored(headwater, "cat-stream")
    assert abs(max(numbers) - min(numbers) + 1 - len(numbers)) <= 2
    for command, printed in commands:
        shown = headwater.good(*shlex.split(command)[1:])
        assert alike(shown) == alike(printed), command


def test_each_is_tried(headwater: CommandLine) -> None:
    """As the section says, nothing is stored."""
    assert "headwater test examples/events.yml" in SECTION
    for name in NAMES:
        assert "record 20: key " in headwater.good("test", f"examples/{name}.yml")
    assert not headwater.data.exists()


def runnable() -> list[str]:
    """Return the configurations of the page that are of the sample API."""
    return [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if HERE in text]


@pytest.mark.parametrize("text", runnable())
def test_the_page_runs(headwater: CommandLine, api: SampleApi, text: str) -> None:
    """What is of the sample API brings records."""
    head = "" if "apiVersion" in text else "apiVersion: 0.1.0\nmeta: {name: facts, topic: facts}\nhttp:\n"
    indented = text if not head else re.sub(r"^", "  ", text, flags=re.MULTILINE).rstrip(" ")
    path = headwater.config(head + here(indented, api))
    assert "record 20: key " in headwater.good("test", path)


def test_the_pages_commands(headwater: CommandLine, api: SampleApi) -> None:
    """Each is typed as it stands there, and prints what stands there."""
    config = headwater.directory / "examples" / "events.yml"
    for _ in range(2):
        running = headwater.start("run", config)
        before = len(stored(headwater, "cat-events"))
        while len(stored(headwater, "cat-events")) < before + 3:
            assert running.poll() is None
        assert headwater.stop(running, signal.SIGTERM)[0] == 0
    commands = sessions(PAGE)
    assert {command.split()[1] for command, _ in commands} >= {"test", "ledger", "checkpoint"}
    for command, printed in commands:
        shown = headwater.good(*shlex.split(command)[1:])
        assert alike(shown).splitlines()[:1] == alike(printed).splitlines()[:1], command
        for line in alike(printed).splitlines():
            assert line in alike(shown).splitlines() or line == "...", (command, line)
