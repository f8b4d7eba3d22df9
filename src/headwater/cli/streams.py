"""Owns what commands say that are for polls alone, when they are given a stream: before anything is begun."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.config import ConnectorConfig, InvalidConfigError
from headwater.config.streaming import NAMES, told_by


def refuse_streams(connectors: Sequence[ConnectorConfig], why: str, better: str) -> None:
    """Raise InvalidConfigError with a problem for each connector that is a stream.

    `why` is what the command is for, `better` what to do instead.
    """
    problems = [
        config.problem(("http", told_by(config.http)), f"this is {NAMES[config.http.source]}, and {why}", better)
        for config in connectors
        if config.http.source != "poll"
    ]
    if problems:
        raise InvalidConfigError(problems)
