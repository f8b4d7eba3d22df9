"""What the tests of the command line share: a command line, and a scripted server in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.testing import ScriptedServer, background


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return the command line."""
    line = CommandLine(tmp_path)
    yield line
    line.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a scripted server that runs in a thread."""
    with background(ScriptedServer()) as running:
        yield running
