"""The pages about init, plan and recordings show what these commands print, typed here as they stand there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.testing import Answer, Received, ScriptedServer, background

ROOT = Path(__file__).parents[1]
INIT = (ROOT / "docs/init.md").read_text()
TESTING = (ROOT / "docs/testing-configs.md").read_text()
EXAMPLES = ROOT / "examples/tests"
HOST = "https://api.example.com"
ORDERS = [
    {"id": number, "status": "open", "updated_at": f"2024-05-{20 - number:02}T10:00:00Z"} for number in range(1, 9)
]


def orders(request: Received) -> Answer:
    """Answer as the API of the page."""
    if request.header("authorization") != "Bearer t0ps3cret":
        return Answer(401, headers=(("www-authenticate", "Bearer"),))
    if request.header("if-none-match") == '"2cd"':
        return Answer(304)
    page, size = int(request.query.get("page", "1")), int(request.query["per_page"])
    body = {"orders": ORDERS[(page - 1) * size : page * size], "total": len(ORDERS)}
    headers = (
        ("content-type", "application/json"),
        ("etag", '"2cd"'),
        ("x-ratelimit-limit", "600"),
        ("x-ratelimit-remaining", "599"),
        ("x-ratelimit-reset", "3000"),
    )
    return Answer(200, json.dumps(body).encode(), headers)


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return a command line in a directory with the examples."""
    line = CommandLine(tmp_path)
    for path in EXAMPLES.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    yield line
    line.close()


def blocks(page: str, kind: str) -> list[str]:
    """Return the blocks of a kind on a page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def sessions(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page, each with what it prints."""
    found = []
    for block in blocks(page, "console"):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = piece.partition("\n")
            while command.endswith("\\"):
                more, _, printed = printed.partition("\n")
                command = f"{command[:-1].rstrip()} {more.lstrip()}"
            found.append((command, printed))
    return found


def test_the_page_about_init(headwater: CommandLine, tmp_path: Path) -> None:
    """The command prints what the page says, and writes the file that stands there."""
    with background(ScriptedServer()) as server:
        server.route("/v1/orders", orders)
        ((command, printed),) = sessions(INIT)
        words = [word.replace(HOST, server.url) for word in shlex.split(command)]
        assert words[0] == "headwater"
        done = headwater.run(*words[1:])
        assert (done.returncode, done.stdout) == (0, "")
        shown = {name: text.replace(server.url, HOST).replace("127.0.0.1", "api.example.com") for name, text in {
            "printed": done.stderr,
            "written": (tmp_path / "connect.yml").read_text(),
        }.items()}  # fmt: skip
        assert shown["printed"] == printed
        (written,) = blocks(INIT, "yaml")
        assert shown["written"] == written
        assert "record 1" in headwater.good("test", "connect.yml", "--secrets", "secrets.env")


def test_the_page_about_tests_of_configurations(headwater: CommandLine) -> None:
    """Each command prints what the page says, and ends as it does there."""
    headwater.environment["API_TOKEN"] = "t0ps3cret"
    told = sessions(TESTING)
    assert [command.split()[1] for command, _ in told] == ["plan", "test", "test"]
    for command, printed in told:
        done = headwater.run(*shlex.split(command)[1:])
        now = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", re.MULTILINE)
        shown = now.sub("2024-05-01 10:00:00+00:00", done.stdout + done.stderr)
        assert shown.strip() == printed.strip(), command


@pytest.mark.parametrize("how", [(), ("--interrupted",)])
def test_the_example_is_as_expected(headwater: CommandLine, how: tuple[str, ...]) -> None:
    """The recording in examples/ comes to the records beside it, also when the connector is ended in between."""
    done = headwater.run(
        "test", "--replay", "rocket-issues.recording.yml", "rocket-issues.yml",
        "--expect", "rocket-issues.expected.jsonl", *how,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
