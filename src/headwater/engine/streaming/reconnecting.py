"""Owns how long a stream waits for its next connection. Pure: time and chance are parameters."""

from __future__ import annotations

import msgspec

from headwater.sources.retry import back_off

# A connection that brought something and was ended properly did well if it lasted so long (seconds).
_BRIEF = 1.0
# A server may not keep us away for longer (seconds).
_LONGEST_ASKED = 3600.0


class Connection(msgspec.Struct, frozen=True):
    """How a connection went. `lasted` is in seconds, 0 for one that never was there; `records` is what it brought.

    `failed`: it was no proper end. `wait` is how long the server asked to be left alone (seconds), and `retry` how long
    it wants that after every connection (ms; 0 when it said nothing). `held`: it was not even asked for.
    """

    lasted: float = 0.0
    records: int = 0
    failed: bool = False
    wait: float = 0.0
    retry: int = 0
    held: bool = False


class Reconnecting:
    """The pauses of one stream, in seconds. A connection that lasted `healthy` lets them begin anew."""

    __slots__ = ("_healthy", "_initial", "_longest", "failures")

    def __init__(self, initial: float, longest: float, healthy: float) -> None:
        self._initial = initial
        self._longest = longest
        self._healthy = healthy
        # Connections in a row that did not do well.
        self.failures = 0

    def well(self, connection: Connection) -> bool:
        """Return whether a connection went as connections should."""
        if connection.lasted >= self._healthy:
            return True
        return not connection.failed and connection.records > 0 and connection.lasted >= _BRIEF

    def after(self, connection: Connection, chance: float) -> float:
        """Return for how long to wait after a connection. `chance` is a random number in [0, 1)."""
        if connection.held:
            return max(connection.wait, self._initial * (0.5 + chance / 2))
        self.failures = 0 if self.well(connection) else self.failures + 1
        initial = self._initial
        if connection.retry:
            # A server that asks for no pause at all gets a short one.
            initial = max(min(connection.retry / 1000, _LONGEST_ASKED), self._initial / 2)
        longest = max(self._longest, initial)
        pause = back_off(max(1, self.failures), initial=initial, longest=longest, chance=chance)
        if connection.retry:
            # What a server asks for is not cut short by chance.
            pause = max(pause, initial)
        return max(pause, min(connection.wait, _LONGEST_ASKED))
