"""Owns how much may be under way at once, and the queue of those who wait for room. Knows not what for."""

from __future__ import annotations

import asyncio
from collections import deque

from headwater.core.errors import HeadwaterError


class Room:
    """So many bytes may be taken. Who comes while nothing is left waits, and gets room in the order of coming.

    One taker may pass the bound, so that it need not be larger than the largest that is taken at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._for_empty: list[asyncio.Future[None]] = []

    @property
    def taken(self) -> int:
        """How many bytes are under way."""
        return self._taken

    def take(self, size: int) -> asyncio.Future[None] | None:
        """Take room; a future is one to wait for first. Who gives it up while it is done must `release`."""
        if not self._waiting and self._taken < self._most:
            self._taken += size
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        return turn

    def force(self, size: int) -> None:
        """Take room that may not be there."""
        self._taken += size

    def release(self, size: int) -> None:
        """Give room back, and let in who waits for it."""
        self._taken -= size
        while self._waiting and self._taken < self._most:
            turn, wanted = self._waiting.popleft()
            if not turn.done():
                self._taken += wanted
                turn.set_result(None)
        if not self._taken:
            for empty in self._for_empty:
                if not empty.done():
                    empty.set_result(None)
            self._for_empty.clear()

    async def empty(self) -> None:
        """Wait until nothing is under way."""
        while self._taken:
            empty: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._for_empty.append(empty)
            await empty

    def close(self, error: HeadwaterError) -> None:
        """Turn away who waits."""
        for turn, _ in self._waiting:
            if not turn.done():
                turn.set_exception(error)
        self._waiting.clear()
