"""Owns the arithmetic of budgets: whether the schedules of those who share one fit into it. Says so when they do not.

Counting requests as they go is `sources.limits.budget`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from cronsim import CronSim

from headwater.config.document import Node
from headwater.config.http import HttpOptions
from headwater.config.limits import LimitsOptions
from headwater.config.model import ConnectorConfig
from headwater.config.problem import Problem
from headwater.config.sharing import credential_of, host_of
from headwater.core.units import format_duration

# Seconds; of months the shortest: what fits into it fits into all.
_SECONDS = {"hour": 3600, "day": 86_400, "month": 28 * 86_400}
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def polls(config: ConnectorConfig, kind: str) -> int:
    """Return how many polls an hour, a day or a month has at the connector's usual pace, as nearly as can be told."""
    if config.http.cron is None:
        return math.ceil(_SECONDS[kind] / _usual(config).total_seconds())
    last = _ANY_DAY + timedelta(seconds=_SECONDS[kind])
    counted = 0
    for at in CronSim(config.http.cron, _ANY_DAY):
        if at > last:
            break
        counted += 1
    return counted


def _usual(config: ConnectorConfig) -> timedelta:
    usual = config.interval
    if config.http.adaptive is None:
        return usual
    fastest, slowest = config.http.adaptive.bounds(usual)
    return min(max(usual, fastest), slowest)


class _Limit(msgspec.Struct, frozen=True):
    """So many requests in an hour, a day or a month, as an option of a file says in other words."""

    kind: str
    count: float
    said: str
    node: Node
    file: str


def over_budget(limited: Sequence[tuple[ConnectorConfig, Node, str]]) -> Iterator[Problem]:
    """Yield a warning for each budget, and for a rate, that is too small for the polls of those who share it.

    Connectors come with the node of their limits and their file. Each poll is one request at least.
    """
    shares: dict[object, list[tuple[ConnectorConfig, Node, str]]] = {}
    for one in limited:
        shares.setdefault(_share(one[0].name, one[0].http), []).append(one)
    for sharing in shares.values():
        least: dict[str, _Limit] = {}
        for config, node, file in sharing:
            assert config.http.limits is not None
            for option, limit in _limits(config.http.limits, node, file):
                if option not in least or limit.count < least[option].count:
                    least[option] = limit
        configs = [config for config, _, _ in sharing]
        for limit in least.values():
            needed = sum(polls(config, limit.kind) for config in configs)
            if needed > limit.count:
                yield limit.node.problem(limit.file, *_told(configs, limit, needed), warning=True)


def _limits(limits: LimitsOptions, node: Node, file: str) -> Iterator[tuple[str, _Limit]]:
    for kind, count in limits.budgets.items():
        option = f"requests_per_{kind}"
        yield option, _Limit(kind, count, f"the budget is {count:,}", _option(node, option), file)
    if limits.rate is not None:
        allowed = limits.rate.count * _SECONDS["day"] / limits.rate.period
        said = f"a rate of {limits.rate} allows {allowed:,.6g}"
        yield "rate", _Limit("day", allowed, said, _option(node, "rate"), file)


def _option(node: Node, option: str) -> Node:
    return node.child(option) or node.child(option.replace("_", "-")) or node


def _share(name: str, options: HttpOptions) -> object:
    assert options.limits is not None
    share = options.limits.share
    if share == "host":
        return "host", host_of(options.endpoint.reveal())
    if share == "credential":
        return "credential", credential_of(options)
    return ("connector", name) if share == "connector" else ("name", share)


def _told(configs: Sequence[ConnectorConfig], limit: _Limit, needed: int) -> tuple[str, str]:
    """Return the arithmetic, and what would fit."""
    one = configs[0]
    if len(configs) > 1:
        who, more = f"{len(configs)} connectors that share it make", " for each of them"
    elif one.http.cron is not None:
        who, more = f"cron {one.http.cron!r} makes", ""
    else:
        who, more = f"every {format_duration(_usual(one))} makes", ""
    fitting = format_duration(timedelta(seconds=math.ceil(_SECONDS[limit.kind] * len(configs) / limit.count)))
    article = "an" if limit.kind == "hour" else "a"
    covered = f"that is enough for {limit.count / needed:.0%} of them"
    message = f"{who} {needed:,} polls {article} {limit.kind}, and {limit.said}: {covered}"
    return message, f"an interval of {fitting} fits{more}"
