"""Owns the figures of a running engine: plain integers that cost nothing to count. Publishing them is metrics' work."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from headwater.core.exchange import Decision

# Seconds. The request histogram ends where the default total time-out does, the lag histogram where a person notices.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

# The kinds of trouble that are not the endpoint's.
OUR_SIDE = frozenset({"log", "cluster"})


class Histogram:
    """Counts of observations by upper bound, and their sum; `counts` has one more place, for those beyond all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def quantile(self, share: float) -> float:
        """Return the upper bound below which `share` of the observations lie; infinity beyond the last bound."""
        wanted = share * sum(self.counts)
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")


class Trouble(msgspec.Struct, frozen=True):
    """What keeps a connector from working: the kind, one masked sentence, and since when (ms since the Unix epoch)."""

    slug: str
    reason: str
    since: int

    @property
    def ours(self) -> bool:
        """Whether it is on this side: the log or the cluster refuses. Everything else is the endpoint's."""
        return self.slug in OUR_SIDE


class StreamFigures:
    """How the stream of one connector stands.

    `gap` is for how many seconds there was no connection, up to the last one; `lost` since when there is none, in ms
    since the Unix epoch, None while there is one and before the first.
    """

    __slots__ = ("connected", "gap", "lost")

    def __init__(self) -> None:
        self.connected = False
        self.gap = 0.0
        self.lost: int | None = None

    def without(self, now: int) -> float:
        """Return for how many seconds there was no connection, up to `now` (ms)."""
        return self.gap if self.lost is None else self.gap + max(0, now - self.lost) / 1000


class Counters:
    """What one connector has done since it started."""

    __slots__ = ("attempts", "bytes", "decisions", "held", "last_record", "records", "rejected", "stream", "trouble")

    def __init__(self) -> None:
        self.decisions: dict[Decision, int] = dict.fromkeys(Decision, 0)
        self.attempts = 0
        self.bytes = 0
        self.records = 0
        self.rejected = 0
        self.held: dict[str, int] = {}  # rounds that a gate held, by the kind of reason
        self.last_record: int | None = None  # ms since the Unix epoch
        self.trouble: Trouble | None = None  # None while healthy
        self.stream: StreamFigures | None = None  # None for what is polled

    def polls(self) -> int:
        """Return how many scheduled polls were decided."""
        return sum(self.decisions.values())


class ShareFigures:
    """How limits stand that connectors share. Counts are of requests; what is replaced is replaced whole.

    `breaker` is its state and `opened` how often it has opened; `waited` is seconds that requests were kept waiting.
    `quotas` are what a server says: the limit, None when it says none, and what is left; `budgets` the same of ours.
    """

    __slots__ = ("breaker", "budgets", "opened", "quotas", "under_way", "waited", "waiting")

    def __init__(self) -> None:
        self.breaker = "closed"
        self.opened = 0
        self.under_way = 0
        self.waiting = 0
        self.waited = 0.0
        self.quotas: dict[str, tuple[float | None, float]] = {}
        self.budgets: dict[str, tuple[int, int]] = {}


class Figures:
    """What the whole process has done: the counters of connectors and shares, and the histograms they have together."""

    __slots__ = ("connectors", "lag", "requests", "shares")

    def __init__(self) -> None:
        self.connectors: dict[str, Counters] = {}
        self.shares: dict[str, ShareFigures] = {}
        self.requests = Histogram(REQUEST_BUCKETS)
        self.lag = Histogram(LAG_BUCKETS)

    def of(self, connector: str) -> Counters:
        """Return the counters of a connector, made when they are first asked for."""
        counters = self.connectors.get(connector)
        if counters is None:
            counters = self.connectors[connector] = Counters()
        return counters

    def share(self, name: str) -> ShareFigures:
        """Return the figures of limits that are shared, made when they are first asked for."""
        return self.shares.setdefault(name, ShareFigures())

    def forget(self, connector: str) -> None:
        """Drop the counters of a connector that is no more."""
        self.connectors.pop(connector, None)
