"""Owns what connectors ask of the place that their records go to. The embedded log is one such place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from headwater.core.errors import HeadwaterError
from headwater.core.exchange import Exchange
from headwater.core.memory import Recall
from headwater.core.record import StoredRecord
from headwater.log import Append, Receipt, TopicInfo, TopicSpec


class Target(Protocol):
    """Where records go, with the checkpoints and the ledger entries that belong to them.

    `directory` is the data directory, where SmartModules are.
    """

    directory: Path

    async def topics(self) -> Sequence[TopicInfo]:
        """Return every topic."""
        ...

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> TopicInfo:
        """Create a topic. Raises TopicError, or LogError when the target refuses."""
        ...

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Take an append; call back in the event loop once it is durable or refused: later, never from within.

        Everything in it commits in one step, in the order of the calls. The call back must not raise.
        """
        ...

    def note(self, exchange: Exchange) -> None:
        """Enter an exchange that left no records into the ledger, when there is occasion."""
        ...

    async def checkpoint(self, connector: str) -> bytes | None:
        """Return the encoded checkpoint of a connector, as of every append that was stored before this call."""
        ...

    @property
    def most_record(self) -> int | None:
        """The largest record that it takes (bytes of key and value), None where it takes any."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether what connectors remember of items is kept."""
        ...

    def recall(self, connector: str) -> Recall:
        """Return what a connector remembers of items, as of its last append that was stored. Asked in a thread."""
        ...

    async def modules(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the code of those of these SmartModules that are kept where the topics are, by their names."""
        ...

    async def last(self, topic: str, most: int) -> list[StoredRecord]:
        """Return at most so many of the newest records of a topic, of all partitions by time, oldest first."""
        ...
