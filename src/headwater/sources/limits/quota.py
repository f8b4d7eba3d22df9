"""Owns when quotas of servers are used up, how much of them is left for others, and how long that is believed. Pure.

Reading headers is `headers`'.
"""

from __future__ import annotations

import math

import msgspec

from headwater.core.http import Response
from headwater.sources.limits.headers import Names, Quota, quotas
from headwater.sources.retry import retry_after

# Statuses with which servers refuse who asks too often; the third one only where something else says so as well.
_REFUSALS = frozenset({429, 503, 403})
# Where nobody says when a quota is there again, it is asked once a minute; no answer is shorter than a second.
_UNKNOWN, _SHORTEST = 60.0, 1.0
# A server has few quotas for one client; one that names ever new ones shall not fill the memory.
_MOST_SCOPES = 16

HeaderNames = Names


class Reserve(msgspec.Struct, frozen=True):
    """How much of a quota is left for others: a number of requests, or a share of the limit."""

    count: float = 0.0
    share: float = 0.0

    def of(self, limit: float | None) -> float:
        """Return the number of requests; a share of a limit that nobody knows is none."""
        return math.floor(limit * self.share) if self.share and limit is not None else self.count


def asks_for_quiet(response: Response, *, now: float, quota: bool = True, names: Names | None = None) -> float | None:
    """Return for how many seconds a refusal asks to be left alone; None when it asks for nothing, or is none.

    Retry-After says so. Without it, and unless `quota` is false, the headers about quotas do.
    """
    if response.status not in _REFUSALS:
        return None
    asked = retry_after(response.header("retry-after"), now=now)
    if asked is not None or not quota:
        return asked
    # Of a refused request a quota that says nothing of what is left can only be used up.
    refused = response.status == 429
    waits = [
        _until(one)
        for one in quotas(response.headers, now=now, names=names)
        if (one.remaining is None and refused) or (one.remaining is not None and one.remaining < 1)
    ]
    known = [wait for wait in waits if wait is not None]
    return max(known, default=None)


def _until(quota: Quota) -> float | None:
    """Return the seconds until a quota that is used up is there again, None where nobody says."""
    if quota.refill:
        return _SHORTEST
    return quota.window if quota.reset is None else max(quota.reset, _SHORTEST)


class _Heard(msgspec.Struct, frozen=True):
    """A quota, and when it was heard of (monotonic seconds)."""

    quota: Quota
    at: float


class Allowance:
    """What one client may still ask of a server, as its last answers say. Times are monotonic seconds.

    `flying` counts requests that were sent and not answered: no answer knows of them. `quiet_until` is how long a
    refusal has asked to be left alone.
    """

    __slots__ = ("_heard", "flying", "quiet_until")

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}
        self.flying = 0
        self.quiet_until = 0.0

    def heard(self, said: tuple[Quota, ...], now: float) -> None:
        """Take in what an answer says."""
        for quota in said:
            if quota.remaining is None:
                continue
            self._heard.pop(quota.scope, None)
            self._heard[quota.scope] = _Heard(quota, now)
            if len(self._heard) > _MOST_SCOPES:
                del self._heard[next(iter(self._heard))]

    def held(self, reserve: Reserve, longest: float, now: float, scopes: frozenset[str] | None = None) -> Hold | None:
        """Return the quota that is used up for the longest time, None when a request may go.

        `scopes` are those that count; None counts all. No server is believed for more than `longest` seconds after its
        answer: then one request asks again.
        """
        worst: Hold | None = None
        for scope, heard in list(self._heard.items()):
            quota = heard.quota
            if scopes is not None and scope not in scopes:
                continue
            if quota.reset is not None and heard.at + max(quota.reset, _SHORTEST) <= now:
                # Nobody knows what is left by now: the next answer says so.
                del self._heard[scope]
                continue
            kept = reserve.of(quota.limit)
            assert quota.remaining is not None
            if quota.remaining - self.flying > kept:
                continue
            end = heard.at + min(_wait(quota, kept, self.flying), longest)
            if end <= now and self.flying:
                # One asks whether it is there again.
                end = now + _SHORTEST
            if end > now and (worst is None or end > worst.until):
                worst = Hold(quota, kept, end, self.flying)
        return worst

    def left(self) -> dict[str, Quota]:
        """Return what was heard last of each quota."""
        return {scope: heard.quota for scope, heard in self._heard.items()}


class Hold(msgspec.Struct, frozen=True):
    """A quota that is used up until a time: `kept` requests of it are for others, `flying` ones are under way."""

    quota: Quota
    kept: float
    until: float
    flying: int = 0

    @property
    def sentence(self) -> str:
        """What is used up, in words."""
        quota = self.quota
        name = f"the quota {quota.scope!r}" if quota.scope else "the quota"
        left = f"{quota.remaining:g} of {quota.limit:g}" if quota.limit is not None else f"{quota.remaining:g}"
        kept = f", {self.kept:g} of them kept for others" if self.kept else ""
        flying = f", {self.flying} under way" if self.flying else ""
        return f"{name} of the server is used up: {left} left{kept}{flying}"


def _wait(quota: Quota, kept: float, flying: int) -> float:
    """Return for how many seconds after its answer a quota that is used up holds requests back."""
    assert quota.remaining is not None
    if quota.refill:
        return max((kept + 1 - (quota.remaining - flying)) / quota.refill, 0.0)
    known = _until(quota)
    return _UNKNOWN if known is None else known
