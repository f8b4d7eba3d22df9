"""Owns a body on its way from the network: held up to a bound, and beyond that handed on while it arrives.

It never has more of it than that bound: the network is held back. What is done with a body is others' business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from headwater.core.callback import settle
from headwater.core.errors import FetchError
from headwater.core.http import Fetching, Response, Sink

# What is handed on at once, and how much may wait (bytes).
_PIECE, _WAITING = 512 * 1024, 2 * 1024 * 1024
# A body that was held and is larger than this is given out by pieces as well: as one it would be there twice (bytes).
_WHOLE = 8 * 1024 * 1024


class Inflow:
    """The bodies of one connector, one at a time: what a request's `open` is.

    A body of at most `most` bytes is held, and is in the response that `arrived` returns. When a larger one comes,
    `flood` is called, once; then `pieces` gives it out, and `outcome` is what the exchange came to in the end. `wanted`
    says by the head of a response whether it is taken in at all.
    """

    __slots__ = (
        "_chunks",
        "_fetching",
        "_flooding",
        "_most",
        "_piece",
        "_size",
        "_waiter",
        "flood",
        "head",
        "outcome",
        "wanted",
    )

    def __init__(self, most: int, wanted: Callable[[Response], bool]) -> None:
        self._most = most
        self.wanted = wanted
        self.reset()

    def reset(self) -> None:
        """Begin with another request."""
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._flooding = False
        self._fetching: Fetching | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.flood: Callable[[], None] | None = None
        self.head: Response | None = None
        self.outcome: Response | FetchError | None = None

    def begun(self, fetching: Fetching, flood: Callable[[], None]) -> None:
        """Know the exchange that is under way, and what is to be done when its body is large."""
        self._fetching = fetching
        self.flood = flood

    def open(self, head: Response) -> Sink | None:
        """Take the head of a response; return what takes its body in."""
        if not self.wanted(head):
            return None
        self.head = head
        return self

    def write(self, chunk: bytes) -> bool:
        """Take the next bytes; return whether more may come."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        if not self._flooding:
            if self._size <= self._most:
                return True
            self._begin()
        self._wake()
        return self._size < _WAITING

    def arrived(self, outcome: Response | FetchError) -> Response | FetchError | None:
        """Take what an exchange came to; return it with its body, or None when that is given out by pieces."""
        if self._size > _WHOLE and isinstance(outcome, Response):
            self._begin()
        if self._flooding:
            self.outcome = outcome
            self._wake()
            return None
        if self.head is not None and isinstance(outcome, Response):
            outcome = msgspec.structs.replace(outcome, body=b"".join(self._chunks))
        self._chunks.clear()
        return outcome

    async def _next(self) -> bytes | None:
        """Return the next bytes of a large body, None at its end."""
        while self._size < _PIECE and self.outcome is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        parts: list[bytes] = []
        size = 0
        while self._chunks and size < _PIECE:
            parts.append(self._chunks.popleft())
            size += len(parts[-1])
        self._size -= size
        if self._fetching is not None and self._size < _WAITING:
            self._fetching.resume()
        return b"".join(parts) if parts else None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give out a large body to its end. Raises the FetchError that its exchange came to."""
        while (piece := await self._next()) is not None:
            yield piece
        if isinstance(self.outcome, FetchError):
            raise self.outcome

    def cancel(self) -> None:
        """Cut the exchange."""
        if self._fetching is not None:
            self._fetching.cancel()
        self._chunks.clear()

    def _begin(self) -> None:
        self._flooding = True
        if self.flood is not None:
            self.flood()

    def _wake(self) -> None:
        if self._waiter is not None and (self._size >= _PIECE or self.outcome is not None):
            waiter, self._waiter = self._waiter, None
            settle(waiter, None)
