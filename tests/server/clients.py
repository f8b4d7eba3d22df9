"""Stock clients beside a server in the test's own event loop: they are processes, and nothing here blocks the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from headwater.server.server import Server
from stock.client import StockClient, StockRecord, StockUnsupportedError
from stock.install import NPM, PYPI

PYTHON = tuple(PYPI)
NODE = tuple(f"npm-{version}" for version in NPM)
ALL = (*PYTHON, *NODE)
# Those that know the offsets of consumers, and compression.
NEWEST = ("0.21.0", "0.20.0")


class Stock(StockClient):
    """A stock client for asynchronous tests. What its version does not have skips the test."""

    async def to(self, server: Server, **how: Any) -> None:
        """Connect it."""
        await self.ask("connect", endpoint=server.endpoint, **how)

    async def ask(self, command: str, *, timeout: float | None = None, **arguments: Any) -> Any:  # noqa: ASYNC109
        """Give a command and return its result."""
        try:
            return await super().ask(command, timeout=timeout, **arguments)
        except StockUnsupportedError as lack:
            pytest.skip(str(lack))

    async def records(self, topic: str, **how: Any) -> list[StockRecord]:
        """Return what the client consumes."""
        return [StockRecord.of(one) for one in await self.ask("consume", topic=topic, **how)]

    async def taken(self, count: int) -> list[StockRecord]:
        """Return the next records of the stream that was opened."""
        return [StockRecord.of(one) for one in await self.ask("take", count=count)]

    async def following(self, topic: str, **how: Any) -> Following:
        """Follow a topic; return when the stream is open."""
        return Following(await asyncio.to_thread(self.follow, topic, **how))


class Following:
    """A topic that a stock client follows."""

    def __init__(self, items: Iterator[StockRecord]) -> None:
        self._items = items

    async def take(self, count: int) -> list[StockRecord]:
        """Return so many records."""
        found = [await asyncio.to_thread(next, self._items, None) for _ in range(count)]
        return [record for record in found if record is not None]
