"""Owns what the engine asks of whatever does a connector's work: rounds of polls, or a stream."""

from __future__ import annotations

from typing import Protocol

from headwater.config import ConnectorConfig


class Worker(Protocol):
    """A connector at work."""

    @property
    def config(self) -> ConnectorConfig:
        """What it is to do."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do for it, ever."""
        ...

    async def run(self) -> None:
        """Work until it is cancelled, or until `stop` was called and nothing is under way.

        Raises LogError: unless retryable, the log is beyond repair. Other trouble is counted.
        """
        ...

    def stop(self) -> None:
        """Ask it to end: at once when it only waits, else after what is under way."""
        ...

    def next_poll(self) -> int | None:
        """Return when it is to ask for something next, ms since the Unix epoch; None while it does, and when never."""
        ...
