"""Owns a circuit breaker: what keeps failing is left alone, then tried by one request, ever more rarely. Pure.

closed --(so many failures in a row)--> open --(pause is over)--> half-open --(a failure)--> open, for longer
any    --(an answer)------------------> closed
"""

from __future__ import annotations

from enum import Enum

import msgspec

from headwater.core.errors import BodyTooLargeError, FetchError, RedirectError, RequestError
from headwater.core.http import Response

# These say nothing of the server's health: what was asked for was not to be had, or not to be sent.
_NEUTRAL = (BodyTooLargeError, RedirectError, RequestError)
_PATIENT = frozenset({408, 425, 429})  # it is there, and says "later"
_PERMANENT = frozenset({501, 505})  # it is there, and says "never"


class State(Enum):
    """Requests go; none goes; one goes to see whether others may."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Fuse(msgspec.Struct, frozen=True):
    """When a breaker opens, and for how long: the first pause, doubled each time, at most `longest` (seconds)."""

    failures: int
    pause: float
    longest: float


class Breaker(msgspec.Struct, frozen=True):
    """A breaker's state. `failures` counts those in a row, `until` is when the pause ends, `pause` how long it is.

    `since` is when it opened, `reason` the last failure in words, `slug` its kind. Times are monotonic seconds.
    """

    state: State = State.CLOSED
    failures: int = 0
    until: float = 0.0
    pause: float = 0.0
    since: float = 0.0
    reason: str = ""
    slug: str = ""

    def admits(self, now: float) -> bool:
        """Return whether a request may go at `now`. In half-open state one is under way, unless it took too long."""
        return self.state is State.CLOSED or now >= self.until

    def sent(self, now: float, patience: float) -> Breaker:
        """Return what follows when a request goes: from an open breaker it is the one that tries.

        Others are kept back until it is answered, at most for `patience` seconds.
        """
        if self.state is State.CLOSED:
            return self
        return msgspec.structs.replace(self, state=State.HALF_OPEN, until=now + patience)

    def dropped(self, now: float) -> Breaker:
        """Return what follows when nobody waits for the answer any more: another request may try."""
        if self.state is not State.HALF_OPEN:
            return self
        return msgspec.structs.replace(self, state=State.OPEN, until=now)

    def good(self) -> Breaker:
        """Return what follows an answer."""
        return _CLOSED if self is not _CLOSED else self

    def bad(self, reason: str, slug: str, now: float, fuse: Fuse) -> Breaker:
        """Return what follows a failure."""
        failures = self.failures + 1
        if self.state is State.CLOSED:
            if failures < fuse.failures:
                return Breaker(State.CLOSED, failures, reason=reason, slug=slug)
            return Breaker(State.OPEN, failures, now + fuse.pause, fuse.pause, now, reason, slug)
        if self.state is State.OPEN:
            # It was sent before.
            return msgspec.structs.replace(self, failures=failures)
        pause = min(self.pause * 2, max(fuse.longest, fuse.pause))
        return Breaker(State.OPEN, failures, now + pause, pause, self.since, reason, slug)


_CLOSED = Breaker()


def is_failure(outcome: Response | FetchError) -> bool | None:
    """Return whether an outcome speaks against the server (true), for it (false), or says nothing of it (None)."""
    if isinstance(outcome, FetchError):
        return None if isinstance(outcome, _NEUTRAL) else True
    if outcome.status in _PATIENT:
        return None
    return outcome.status >= 500 and outcome.status not in _PERMANENT
