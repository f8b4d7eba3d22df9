"""Owns whose turn it is among those who want to send: fair among connectors, at a rate, so many at one time. Pure.

Each connector's requests keep their order. Connectors take turns in the order in which they came, so that one with a
hundred requests waiting delays another by a single one. Who is turned away because its turn would come too late keeps
its place for the next time: where the rate is too small for all, none of them goes without for ever.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from itertools import count

from headwater.sources.limits.bucket import Bucket, Rate, wait_for

# When somebody came: seconds, and a number that tells those apart who came in the same moment.
_Stamp = tuple[float, int]


class Place:
    """One request's place in a line. `called`: its turn has come, and it is under way."""

    __slots__ = ("called", "full", "who")

    def __init__(self, who: str) -> None:
        self.who = who
        self.called = False
        # What the bucket was once it had been called.
        self.full = 0.0


class Line:
    """Requests that wait for their turn, and how many wait and are under way. `rate` and `at_once` may change.

    Times are seconds on one scale that never goes back.
    """

    __slots__ = (
        "_bucket",
        "_numbers",
        "_order",
        "_stamps",
        "_turned_away",
        "_waiting",
        "at_once",
        "rate",
        "under_way",
        "waiting",
    )

    def __init__(self, rate: Rate | None = None, at_once: int | None = None) -> None:
        self.rate = rate
        self.at_once = at_once
        self.under_way = 0
        self.waiting = 0
        self._bucket = Bucket()
        self._numbers = count()
        self._waiting: dict[str, deque[Place]] = {}
        # When each that waits came, the same in their order, and when those came that were turned away.
        self._stamps: dict[str, _Stamp] = {}
        self._order: list[tuple[_Stamp, str]] = []
        self._turned_away: dict[str, _Stamp] = {}

    def join(self, who: str, now: float) -> Place:
        """Take the last place of a connector, which comes at `now` unless it waits or was turned away before."""
        place = Place(who)
        self.waiting += 1
        places = self._waiting.get(who)
        if places is not None:
            places.append(place)
            return place
        self._waiting[who] = deque([place])
        before = self._turned_away.pop(who) if who in self._turned_away else (now, next(self._numbers))
        self._line_up(who, before)
        return place

    def _line_up(self, who: str, stamp: _Stamp) -> None:
        self._stamps[who] = stamp
        insort(self._order, (stamp, who))

    def leave(self, place: Place) -> None:
        """Give a place up: nobody waits there any more, or what was called is not sent."""
        if place.called:
            self.under_way -= 1
            # What has not gone out leaves no trace, unless somebody was called after it.
            if self.rate is not None and self._bucket.full == place.full:
                self._bucket = Bucket(self._bucket.full - self.rate.interval)
            return
        places = self._waiting.get(place.who)
        if places is not None and place in places:
            self.waiting -= 1
            places.remove(place)
            if not places:
                self._gone(place.who)

    def turn_away(self, place: Place) -> None:
        """Give a place up for which there is no time, and remember when its connector came."""
        stamp = self._stamps[place.who]
        self.leave(place)
        if place.who not in self._waiting:
            self._turned_away[place.who] = stamp

    def forget(self, who: str) -> None:
        """Forget that a connector was turned away: it does not come back."""
        self._turned_away.pop(who, None)

    def _gone(self, who: str) -> None:
        del self._order[bisect_left(self._order, (self._stamps.pop(who), who))]
        del self._waiting[who]

    def ended(self) -> None:
        """Take in that a request that was called has come to its end."""
        self.under_way -= 1

    def call(self, now: float) -> Place | None:
        """Return the place whose turn it is at `now`, which is under way from now on; None when nobody's is."""
        if not self._waiting or self._crowded() or self._next() > now:
            return None
        stamp, who = self._order[0]
        places = self._waiting[who]
        place = places.popleft()
        self.waiting -= 1
        if places:
            del self._order[0]
            self._line_up(who, (max(now, stamp[0]), next(self._numbers)))
        else:
            self._gone(who)
        if self.rate is not None:
            self._bucket = self._bucket.taken(self.rate, now)
        place.called, place.full = True, self._bucket.full
        self.under_way += 1
        return place

    def due(self) -> float | None:
        """Return when to call next; None when that does not depend on time."""
        return None if not self._waiting or self._crowded() else self._next()

    def wait(self, place: Place, now: float) -> float:
        """Return for how many seconds at least the rate keeps a place waiting."""
        if self.rate is None:
            return 0.0
        who = place.who
        ahead = bisect_left(self._order, (self._stamps[who], who)) + self._waiting[who].index(place)
        return wait_for(self._bucket, self.rate, ahead, now)

    def _crowded(self) -> bool:
        return self.at_once is not None and self.under_way >= self.at_once

    def _next(self) -> float:
        return -math.inf if self.rate is None else self._bucket.ready(self.rate)
