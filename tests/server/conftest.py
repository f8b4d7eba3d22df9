"""What the tests with stock clients share: one client of a version, connected only when a test says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
