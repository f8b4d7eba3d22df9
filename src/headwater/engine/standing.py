"""Owns how a connector stands: what is failing, since when, and the log lines that say so. Decides nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from headwater.config import ConnectorConfig
from headwater.core.clock import Clock
from headwater.core.units import format_duration
from headwater.engine.counters import Counters, Trouble
from headwater.engine.health import Change, Health
from headwater.transforms.chain import Rejection

logger = structlog.get_logger("headwater.connector")


class Standing:
    """The trouble of one connector. `mask` makes a reason fit to be shown."""

    __slots__ = ("_clock", "_config", "_counters", "_health", "_mask", "_passing")

    def __init__(self, config: ConnectorConfig, clock: Clock, counters: Counters) -> None:
        self._config = config
        self._clock = clock
        self._counters = counters
        self._counters.trouble = None
        self._mask = config.masker.mask
        self._health = Health()
        self._passing = Health()

    def told(self, reason: str) -> str:
        """Return a reason as it may be stored and shown: masked, and encodable whatever a server put into it."""
        masked = self._mask(reason)
        return masked if masked.isascii() else masked.encode("utf-8", "replace").decode()

    def good(self) -> None:
        """Take in that an exchange went well."""
        change = self._health.good(self._clock.monotonic())
        if change is not None:
            self._counters.trouble = None
            self._report(change)

    def bad(self, slug: str, reason: str, hint: str) -> None:
        """Take in a failure of the kind `slug`."""
        change = self._health.bad(slug, reason, self._clock.monotonic())
        if change is not None:
            before = self._counters.trouble
            since = self._clock.time_ms() if before is None else before.since
            self._counters.trouble = Trouble(slug, self._mask(reason), since)
            self._report(change, hint)

    def held(self, slug: str, reason: str) -> None:
        """Take in that a gate holds back what fails in the way `slug`. That is said once, and shown from now on."""
        self.bad(slug, reason, "")
        trouble = self._counters.trouble
        if trouble is not None and trouble.reason != (shown := self._mask(reason)):
            self._counters.trouble = Trouble(trouble.slug, shown, trouble.since)

    def passed(self, rejections: Sequence[Rejection]) -> None:
        """Say once that records are refused, and once that they pass again."""
        now = self._clock.monotonic()
        if not rejections:
            if self._passing.good(now) is not None:
                logger.info("transforms refuse nothing any more", connector=self._config.name)
            return
        first = rejections[0]
        if self._passing.bad(f"{first.stage} {first.slug}", first.reason, now) is not None:
            logger.warning(
                "a transform refuses records",
                connector=self._config.name,
                stage=first.stage,
                module=self.told(first.name),
                reason=self.told(first.reason),
                action=self._config.dead_letters or "left out",
            )

    def _report(self, change: Change, hint: str = "") -> None:
        lasted = format_duration(timedelta(milliseconds=round(change.seconds * 1000)))
        if change.healthy:
            logger.info("connector recovered", connector=self._config.name, failures=change.failures, after=lasted)
        else:
            logger.warning(
                "connector is failing",
                connector=self._config.name,
                reason=self._mask(change.reason),
                endpoint=str(self._config.http.endpoint),
                **({"hint": hint} if hint else {}),
            )
