"""What the tests of managed connectors share: a fleet over a real log and server, with a clock turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headwater.config import SecretSource, define_text
from headwater.control.fleet import Fleet
from headwater.control.journal import Journal
from headwater.core.managed import Definition
from headwater.engine import Engine
from headwater.fetch import CurlFetcher
from headwater.log import Log
from headwater.testing import ScriptedServer, VirtualClock


def defined(server: ScriptedServer, path: str = "/x", name: str = "cats", more: str = "", **secrets: str) -> Definition:
    """Return the definition of a connector that polls a path of the server every ten seconds."""
    text = f"name: {name}\ntopic: {name}\nparameters:\n  endpoint: {server.url}{path}\n  interval: 10s\n{more}"
    return define_text(text, secrets=SecretSource(secrets, "a test")).definitions[0]


class Yard:
    """A fleet and what it works with."""

    def __init__(self, fleet: Fleet, log: Log, engine: Engine, journal: Journal, clock: VirtualClock) -> None:
        self.fleet = fleet
        self.log = log
        self.engine = engine
        self.journal = journal
        self.clock = clock

    async def values(self, topic: str = "cats") -> list[bytes]:
        """Return the values in a topic."""
        return [record.value for record in await (await self.log.topic(topic)).read()]


@asynccontextmanager
async def yard(directory: Path, *, watched: bool = False) -> AsyncIterator[Yard]:
    """Open the fleet of a data directory."""
    clock = VirtualClock()
    journal = Journal(directory)
    async with Log.open(directory, now_ms=clock.time_ms) as log, CurlFetcher() as fetcher:
        engine = Engine(log, fetcher, clock=clock, chance=lambda: 0.5, grace=5)
        fleet = Fleet(log, engine, journal, now=clock.time_ms)
        await fleet.open(watched=watched)
        try:
            yield Yard(fleet, log, engine, journal, clock)
        finally:
            journal.close()
            await fleet.close()
