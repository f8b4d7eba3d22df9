"""Owns the limits of an engine: which connectors share what, and the gate that each of their requests passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache

from headwater.config import ConnectorConfig
from headwater.config.limits import LimitsOptions
from headwater.config.sharing import credential_of, host_of, slow_key
from headwater.config.url import over_http
from headwater.core.clock import Clock
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.core.units import format_duration
from headwater.engine.counters import Figures
from headwater.engine.gate import Gate
from headwater.engine.share import Obstacle, Share
from headwater.engine.target import Target
from headwater.sources.limits.headers import quota_names, quotas
from headwater.sources.limits.quota import Allowance, Reserve, asks_for_quiet
from headwater.sources.limits.terms import terms_of
from headwater.sources.output import phrase

# A connector whose requests go to ever new hosts keeps the limits of this many apart, and those of the rest together.
_MOST_HOSTS = 64
_REST = "other hosts"
# Longer than the time-outs of a request, by which it would be over (seconds).
_LEEWAY = 5.0

# So long before the next round nobody waits any more (seconds).
_MARGIN = 0.05

_host = lru_cache(maxsize=4096)(host_of)


class Limits:
    """The shares of an engine, made when the first connector needs them and dropped with the last."""

    def __init__(self, target: Target, clock: Clock, figures: Figures) -> None:
        self._target = target
        self._clock = clock
        self._figures = figures
        self._shares: dict[tuple[str, object], Share] = {}
        self._gates: dict[str, LimitGate] = {}

    def gate(self, config: ConnectorConfig) -> LimitGate | None:
        """Return the gate of a connector that is to start, None when it has no limits."""
        options = config.http.limits
        if options is None:
            return None
        gate = self._gates[config.name] = LimitGate(self, config, options, self._clock)
        return gate

    async def leave(self, connectors: Iterable[str]) -> None:
        """Let connectors go that have ended."""
        left: list[tuple[str, tuple[str, object], Share]] = []
        for name in connectors:
            gate = self._gates.pop(name, None)
            left += [(name, place, share) for place, share in gate.shares.items()] if gate is not None else []
        await asyncio.gather(*(share.leave(name) for name, _, share in left))
        for _, place, share in left:
            if not len(share) and self._shares.get(place) is share:
                del self._shares[place]
                self._figures.shares.pop(share.name, None)

    def share(self, kind: str, what: object, connector: str) -> Share:
        """Return the limits of a host, a credential, a connector or a name; a new one is called after the connector."""
        known = self._shares.get((kind, what))
        if known is not None:
            return known
        names = {"name": f"limits {what}", "credential": f"the credential of {connector}"}
        name = names.get(kind, f"{kind} {what}")

        async def key() -> str:
            # Slow on purpose.
            told = await asyncio.to_thread(slow_key, what) if isinstance(what, bytes) else what
            return f"{kind}/{told}"

        share = self._shares[kind, what] = Share(name, key, self._clock, self._target, self._figures.share(name))
        return share


class LimitGate(Gate):
    """What each request of one connector passes: quotas, breaker, budget, and its turn at the rate."""

    def __init__(self, limits: Limits, config: ConnectorConfig, options: LimitsOptions, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._name = config.name
        self._mask = config.masker.mask
        self._kind = options.share if options.share in {"host", "credential", "connector"} else "name"
        self._credential = credential_of(config.http)
        self._what: object = {"credential": self._credential, "connector": config.name}.get(self._kind, options.share)
        self._terms = terms_of(options)
        self._quota = options.quota == "auto"
        self._names = quota_names(options.quota_headers)
        self._reserve = Reserve(options.quota_reserve.count, options.quota_reserve.share)
        self._longest = options.quota_longest.total_seconds()
        # The quotas that the last answer told of; before any all count.
        self._scopes: frozenset[str] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self.shares: dict[tuple[str, object], Share] = {}
        url = over_http(config.http.endpoint.reveal())
        # At once, so that what this one says holds for others from now on.
        if self._kind != "host" or "{" not in url.partition("://")[2].partition("/")[0]:
            self._share(self._place(url))

    async def admit(self, request: Request, left: float) -> Request:
        """Return the request when it may go, after at most `left` seconds. Raises HeldError."""
        # Who gives up just before the next round is due does not miss it.
        deadline = self._clock.monotonic() + left - min(_MARGIN, left / 20)
        share = self._share(self._place(request.url))
        await share.budget.ready()
        allowance = self._allowance(share)
        while True:
            obstacle = self._obstacle(share, allowance)
            if obstacle is None:
                place = await share.turn(self._name, deadline, self._waiting)
                obstacle = self._obstacle(share, allowance)
                if obstacle is None:
                    await self._send(share, allowance, request)
                    return request
                # Something has happened while it waited.
                share.give_back(place)
            if obstacle.until > deadline and not (obstacle.open and self._clock.monotonic() < deadline):
                raise obstacle.error(deadline)
            await share.rest(min(obstacle.until, deadline), self._waiting, watch=obstacle.open)

    async def _send(self, share: Share, allowance: Allowance, request: Request) -> None:
        """Let a request go whose turn it is."""
        share.sent(allowance, request.connect_timeout + request.total_timeout + _LEEWAY)
        try:
            await share.budget.spend()
        except BaseException:
            share.ended(allowance, None, str)
            raise

    def heard(self, request: Request, outcome: Response | FetchError) -> None:
        """Take in what came of a request that was admitted."""
        share = self._share(self._place(request.url))
        allowance = self._allowance(share)
        if self._quota and isinstance(outcome, Response):
            self._listen(share, allowance, outcome)
        share.ended(allowance, outcome, lambda: self._told(outcome))

    def dropped(self, request: Request) -> None:
        """Take in that nobody waits for a request any more that was admitted."""
        share = self._share(self._place(request.url))
        share.ended(self._allowance(share), None, str)

    async def renew(self, request: Request, left: float) -> bool:  # noqa: ARG002 - what every gate has
        """Renew nothing."""
        return False

    def stop(self) -> None:
        """Let nobody wait here: whoever does is cancelled."""
        for future in list(self._waiting):
            future.cancel()

    def _place(self, url: str) -> tuple[str, object]:
        if self._kind != "host":
            return self._kind, self._what
        place = ("host", _host(url))
        if place in self.shares or len(self.shares) < _MOST_HOSTS:
            return place
        return "host", _REST

    def _share(self, place: tuple[str, object]) -> Share:
        share = self.shares.get(place)
        if share is None:
            share = self.shares[place] = self._limits.share(*place, self._name)
            share.join(self._name, self._terms)
        return share

    def _allowance(self, share: Share) -> Allowance:
        # A host counts its clients apart; a credential and a name are one client.
        return share.allowance(self._credential if self._kind == "host" else None)

    def _obstacle(self, share: Share, allowance: Allowance) -> Obstacle | None:
        """Return what keeps the request back for the longest time."""
        found = share.obstacle()
        if not self._quota or (found is not None and found.trouble):
            return found
        now = self._clock.monotonic()
        if allowance.quiet_until > now:
            lasts = format_duration(timedelta(seconds=round(allowance.quiet_until - now)))
            reason = f"{share.name} has asked to be left alone for {lasts} more"
            found = _later(found, Obstacle(reason, "quota", allowance.quiet_until))
        hold = allowance.held(self._reserve, self._longest, now, self._scopes)
        if hold is not None:
            lasts = format_duration(timedelta(seconds=max(1, round(hold.until - now))))
            reason = f"{hold.sentence}; {share.name} is asked again in {lasts}"
            share.tell(hold.sentence, hold.until - now)
            # What is under way may bring better news.
            found = _later(found, Obstacle(reason, "quota", hold.until, open=hold.flying > 0))
        return found

    def _listen(self, share: Share, allowance: Allowance, response: Response) -> None:
        now, wall = self._clock.monotonic(), self._clock.time_ms() / 1000
        said = quotas(response.headers, now=wall, names=self._names)
        if said:
            self._scopes = frozenset(quota.scope for quota in said)
            allowance.heard(said, now)
            share.publish(allowance)
        quiet = asks_for_quiet(response, now=wall, names=self._names)
        if quiet is not None:
            allowance.quiet_until = max(allowance.quiet_until, now + min(quiet, self._longest))

    def _told(self, outcome: Response | FetchError) -> str:
        if isinstance(outcome, FetchError):
            # Others read this as well, who do not know what is secret here.
            return self._mask(outcome.message)
        return f"{outcome.status} {phrase(outcome.status)}".rstrip()


def _later(one: Obstacle | None, other: Obstacle) -> Obstacle:
    return other if one is None or other.until > one.until else one
