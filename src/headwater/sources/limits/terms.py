"""Owns what connectors say of limits that they share, and what holds for all of them: the strictest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headwater.config.limits import LimitsOptions
from headwater.sources.limits.breaker import Fuse
from headwater.sources.limits.bucket import Rate
from headwater.sources.limits.budget import PERIODS


class Terms(msgspec.Struct, frozen=True):
    """What one connector says of the limits that it shares. None, and a budget that is not there, is no limit."""

    rate: Rate | None = None
    at_once: int | None = None
    budgets: tuple[tuple[str, int], ...] = ()
    zone: str = "UTC"
    fuse: Fuse | None = None


def terms_of(options: LimitsOptions) -> Terms:
    """Return what a connector's options say."""
    rate = options.rate
    fuse = Fuse(options.breaker_failures, options.breaker_pause.total_seconds(), options.breaker_max.total_seconds())
    return Terms(
        None if rate is None else Rate(rate.count, rate.period, options.burst),
        options.concurrent,
        tuple(options.budgets.items()),
        options.timezone,
        fuse if options.breaker_failures else None,
    )


def strictest(terms: Iterable[Terms]) -> tuple[Terms, list[str]]:
    """Return what holds for all who say these terms, and the names of what they do not agree on."""
    said = list(terms)
    options: dict[str, set[Any]] = {
        "rate": {it.rate for it in said},
        "concurrent": {it.at_once for it in said},
        **{f"requests_per_{kind}": {dict(it.budgets).get(kind) for it in said} for kind in PERIODS},
        "timezone": {it.zone for it in said if it.budgets},
        "breaker": {it.fuse for it in said},
    }
    apart = [option for option, values in options.items() if len(values - {None}) > 1]
    rates = [it.rate for it in said if it.rate is not None]
    rate = min(rates, key=lambda it: it.count / it.period, default=None)
    if rate is not None:
        rate = msgspec.structs.replace(rate, burst=min(it.burst for it in rates))
    budgets: dict[str, int] = {}
    for it in said:
        for kind, count in it.budgets:
            budgets[kind] = min(count, budgets.get(kind, count))
    fuses = [it.fuse for it in said if it.fuse is not None]
    fuse = None
    if fuses:
        fuse = Fuse(min(it.failures for it in fuses), max(it.pause for it in fuses), max(it.longest for it in fuses))
    at_once = min((it.at_once for it in said if it.at_once is not None), default=None)
    zone = min((it.zone for it in said if it.budgets), default="UTC")
    return Terms(rate, at_once, tuple(budgets.items()), zone, fuse), apart
