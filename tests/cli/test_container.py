"""What the arguments of `docker run` mean."""

from __future__ import annotations

import pytest

from headwater.cli.app import COMMANDS
from headwater.cli.container import command_line

PAGE = ["--endpoint=https://catfact.ninja/fact", "--fluvio-topic=cat-facts"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--", *PAGE], ["http", *PAGE]),
        (PAGE, ["http", *PAGE]),
        (["--fluvio-topic", "x"], ["http", "--fluvio-topic", "x"]),
        (["--"], ["http"]),
        (["--", "--help"], ["http", "--help"]),
        (["-x"], ["http", "-x"]),
        ([], []),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["--version"], ["--version"]),
        (["-V"], ["-V"]),
        (["up", "--listen", "0.0.0.0"], ["up", "--listen", "0.0.0.0"]),
        (["sh"], ["sh"]),
    ],
)
def test_command_lines(given: list[str], meant: list[str]) -> None:
    """The page's arguments are `http`, whatever flag comes first; help, version and commands are themselves."""
    assert command_line(given) == meant


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command(name: str) -> None:
    """Each command works by its name, with flags of its own."""
    assert command_line([name, "--help"]) == [name, "--help"]
