"""Owns those who wait for something to happen to the log, in the event loop. Knows not what it is."""

from __future__ import annotations

import asyncio

# Those who have gone away without being woken are cleared out whenever so many more have come.
_CLEAR_EVERY = 64


class Waiters:
    """Futures that are done at the next `wake`."""

    __slots__ = ("_clear_at", "_futures")

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []
        self._clear_at = _CLEAR_EVERY

    def add(self) -> asyncio.Future[None]:
        """Return a future that is done at the next `wake` after this call. Cancelling it is fine."""
        if len(self._futures) >= self._clear_at:
            self._futures = [future for future in self._futures if not future.done()]
            self._clear_at = len(self._futures) + _CLEAR_EVERY
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        return future

    def wake(self) -> None:
        """Let everybody go on."""
        futures, self._futures = self._futures, []
        self._clear_at = _CLEAR_EVERY
        for future in futures:
            if not future.done():
                future.set_result(None)
