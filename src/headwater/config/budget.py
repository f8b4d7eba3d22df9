"""Owns the arithmetic of budgets: whether the schedules of those who share one fit into it. Says so when they do not.

Counting requests as they go is `sources.limits.budget`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from headwater.config.document import Node
from headwater.config.http import HttpOptions
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


def over_budget(limited: Sequence[tuple[ConnectorConfig, Node, str]]) -> Iterator[Problem]:
    """Yield a warning for each budget that is too small for the polls of those who share it.

    Connectors come with the node of their limits and their file. Each poll is one request at least.
    """
    shares: dict[object, list[tuple[ConnectorConfig, Node, str]]] = {}
    for one in limited:
        shares.setdefault(_share(one[0].name, one[0].http), []).append(one)
    for sharing in shares.values():
        budgets: dict[str, tuple[int, Node, str]] = {}
        for config, node, file in sharing:
            assert config.http.limits is not None
            for kind, count in config.http.limits.budgets.items():
                if kind not in budgets or count < budgets[kind][0]:
                    option = f"requests_per_{kind}"
                    at = node.child(option) or node.child(option.replace("_", "-")) or node
                    budgets[kind] = (count, at, file)
        configs = [config for config, _, _ in sharing]
        for kind, (budget, node, file) in budgets.items():
            needed = sum(polls(config, kind) for config in configs)
            if needed > budget:
                yield node.problem(file, *_told(configs, kind, needed, budget), warning=True)


def _share(name: str, options: HttpOptions) -> object:
    assert options.limits is not None
    share = options.limits.share
    if share == "host":
        return "host", host_of(options.endpoint.reveal())
    if share == "credential":
        return "credential", credential_of(options)
    return ("connector", name) if share == "connector" else ("name", share)


def _told(configs: Sequence[ConnectorConfig], kind: str, needed: int, budget: int) -> tuple[str, str]:
    """Return the arithmetic, and what would fit."""
    one = configs[0]
    if len(configs) > 1:
        who, more = f"{len(configs)} connectors that share it make", " for each of them"
    elif one.http.cron is not None:
        who, more = f"cron {one.http.cron!r} makes", ""
    else:
        who, more = f"every {format_duration(_usual(one))} makes", ""
    fitting = format_duration(timedelta(seconds=math.ceil(_SECONDS[kind] * len(configs) / budget)))
    used_up = f"it is used up after {budget / needed:.0%} of each {kind}"
    article = "an" if kind == "hour" else "a"
    message = f"{who} {needed:,} polls {article} {kind}, and the budget is {budget:,}: {used_up}"
    return message, f"an interval of {fitting} fits{more}"
