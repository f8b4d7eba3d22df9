"""Owns the permission to work: asked right before a request leaves, and before anything is stored.

Whoever shares connectors with other processes gives each of them a permit that ends by itself. A process that stood
still and goes on finds it ended, and sends nothing. Without a guard nobody asks and nothing is paid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from headwater.core.errors import FetchError
from headwater.core.http import Deliver, Fetcher, Fetching, Request, Response


class Permit:
    """Leave to work until a time on `clock`, unless it is extended before. Once it has ended it stays ended.

    `fence` grows from each holder to the next: what is stored under it counts over all that earlier ones store.
    """

    __slots__ = ("_clock", "_ended", "_until", "fence")

    def __init__(self, fence: int, until: float, clock: Callable[[], float]) -> None:
        self.fence = fence
        self._until = until
        self._clock = clock
        self._ended = False

    def holds(self) -> bool:
        """Return whether work may go on at this moment."""
        if not self._ended and self._clock() >= self._until:
            self._ended = True
        return not self._ended

    def extend(self, until: float) -> None:
        """Let it end later, if it has not ended yet."""
        if self.holds():
            self._until = max(self._until, until)

    def revoke(self) -> None:
        """Let it end now."""
        self._ended = True


# The permit under which a connector works now; None when it has none and may not.
Guard = Callable[[str], Permit | None]


class GuardedFetcher:
    """A `core.http.Fetcher` that sends only while a permit holds. Later it calls nobody back: all that ends anyway."""

    __slots__ = ("_fetcher", "_guarded", "_permit", "_request")

    def __init__(self, fetcher: Fetcher, permit: Permit) -> None:
        self._fetcher = fetcher
        self._permit = permit
        self._request: Request | None = None
        self._guarded: Request | None = None

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        """Begin one exchange; the permit is asked now, and by the fetcher when the connection is there."""
        if not self._permit.holds():
            return _Nothing()
        if self._guarded is None or request is not self._request:
            # The same request stays the same one: fetchers keep what they have set up for it.
            self._request, self._guarded = request, msgspec.structs.replace(request, permit=self._permit.holds)
        if request.upgrade:
            return _Guarded(self._fetcher.begin(self._guarded, partial(self._deliver, deliver)), self._permit)
        return self._fetcher.begin(self._guarded, partial(self._deliver, deliver))

    def _deliver(self, deliver: Deliver, outcome: Response | FetchError) -> None:
        if self._permit.holds():
            deliver(outcome)


class _Guarded:
    """What is under way, over which nothing is sent but while a permit holds."""

    __slots__ = ("_fetching", "_permit")

    def __init__(self, fetching: Fetching, permit: Permit) -> None:
        self._fetching = fetching
        self._permit = permit

    def cancel(self) -> None:
        """Cut it."""
        self._fetching.cancel()

    def resume(self) -> None:
        """Let what is held back go on."""
        self._fetching.resume()

    def send(self, data: bytes) -> None:
        """Send bytes, while the permit holds."""
        if self._permit.holds():
            self._fetching.send(data)

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return self._fetching.unsent


class _Nothing:
    """What is under way when nothing is."""

    __slots__ = ()

    def cancel(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""

    def send(self, data: bytes) -> None:
        """Do nothing."""

    @property
    def unsent(self) -> int:
        """Return that nothing waits."""
        return 0
