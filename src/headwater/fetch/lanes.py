"""Owns the lanes of a fetcher: one more when those there are full, and others for requests that share no connections.

What is in a lane is `lane`'s.
"""

from __future__ import annotations

import asyncio

from headwater.core.http import Transport
from headwater.fetch.lane import CAPACITY, Done, Failed, Lane

# Lanes that are kept for transports of their own while nothing is under way on them; the longest unused go first.
_MOST_IDLE = 128


class Lanes:
    """The lanes of a fetcher, in the running event loop; each has room for `capacity` exchanges at once."""

    __slots__ = ("_apart", "_capacity", "_done", "_failed", "_last", "_loop", "_sweep", "_usual")

    def __init__(self, done: Done, failed: Failed, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._done = done
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._usual: list[Lane] = []
        self._last: Lane | None = None
        # By what their requests have in common; the longest unused first.
        self._apart: dict[Transport, list[Lane]] = {}
        self._sweep: asyncio.Handle | None = None

    def of(self, shared: Transport | None) -> Lane:
        """Return a lane with room, for requests with this in common: the last one or else the first.

        So that few exchanges share few connections.
        """
        if shared is None:
            if self._last is None or self._last.load >= self._capacity:
                self._last = self._roomy(self._usual)
            return self._last
        lanes = self._apart.pop(shared, None)
        if lanes is None:
            lanes = []
            if self._sweep is None and len(self._apart) >= _MOST_IDLE:
                # Not from here: it may be called by one of them.
                self._sweep = self._loop.call_soon(self._close_idle)
        self._apart[shared] = lanes
        return self._roomy(lanes)

    def _roomy(self, lanes: list[Lane]) -> Lane:
        for lane in lanes:
            if lane.load < self._capacity:
                return lane
        lanes.append(Lane(self._done, self._failed))
        return lanes[-1]

    def _close_idle(self) -> None:
        self._sweep = None
        for shared, lanes in list(self._apart.items()):
            if len(self._apart) <= _MOST_IDLE:
                return
            if not any(lane.load for lane in lanes):
                del self._apart[shared]
                for lane in lanes:
                    lane.close()

    def forget(self, descriptor: int) -> None:
        """Tell every lane of a new socket, so that a handle need not be told of its lane: new sockets are rare."""
        for lane in self._usual:
            lane.forget(descriptor)
        for lanes in self._apart.values():
            for lane in lanes:
                lane.forget(descriptor)

    def close(self) -> None:
        """Close all lanes. Every transfer must have been removed."""
        if self._sweep is not None:
            self._sweep.cancel()
        for lane in (*self._usual, *(lane for lanes in self._apart.values() for lane in lanes)):
            lane.close()
        self._usual.clear()
        self._apart.clear()
        self._last = None
