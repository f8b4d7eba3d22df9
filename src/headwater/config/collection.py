"""Owns what can be wrong between `changes:`, `deduplicate:` and the options that say what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headwater.config.finding import Finding
from headwater.config.problem import Problem

if TYPE_CHECKING:
    from headwater.config.http import HttpOptions
    from headwater.config.model import ConnectorConfig


def partial(http: HttpOptions) -> str:
    """Return which option has answers with only a part of a collection; empty when a round has the whole of it."""
    pagination = http.pagination
    if http.cursor:
        return "cursor"
    if http.window is not None:
        return "window"
    if pagination is not None and pagination.stop_at is not None:
        return "pagination.stop_at"
    if pagination is not None and pagination.beyond == "ignore":
        return "pagination.beyond: ignore"
    return ""


def check(http: HttpOptions) -> Iterator[Finding]:
    """Yield what does not fit together."""
    changes = http.changes
    if http.children is not None:
        for name in ("changes", "deduplicate"):
            if getattr(http, name) is not None:
                message = f"{name} is about the items of one answer, and children makes records of several"
                yield Finding((name,), message, "use two connectors")
    if changes is None:
        return
    if http.deduplicate is not None:
        yield Finding(("deduplicate",), "changes appends no item again as it is", "leave deduplicate out")
    why = partial(http)
    if why and changes.removed not in {None, "ignore"}:
        yield Finding(
            ("changes", "removed"),
            f"with {why} an answer has only a part of the collection: what is not in it is not gone",
            "write removed: ignore, or leave it out",
        )


def forgetful(config: ConnectorConfig) -> list[Problem]:
    """Return what is wrong with a connector whose checkpoints are in a cluster: items are not remembered there."""
    options = (("changes", config.http.changes), ("deduplicate", config.http.deduplicate))
    return [
        config.problem(
            ("http", name),
            "it remembers items, and with the checkpoints in the cluster there is no place for that",
            "keep the checkpoints in a data directory that stays: --checkpoints local, or storage in Kubernetes",
        )
        for name, given in options
        if given is not None
    ]
