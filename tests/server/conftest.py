"""What the tests with stock clients share: one client of a version, connected only when a test says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import CommandLine
from server.clients import Stock
from stock.client import lacks


@pytest.fixture
def stock(version: str) -> Iterator[Stock]:
    """Return a stock client of the version that a test is parametrized with."""
    lack = lacks(version)
    if lack is not None:
        pytest.skip(lack)
    with Stock(version) as client:
        yield client


@pytest.fixture
def headwater(tmp_path: Path) -> Iterator[CommandLine]:
    """Return the command line."""
    line = CommandLine(tmp_path)
    yield line
    line.close()
