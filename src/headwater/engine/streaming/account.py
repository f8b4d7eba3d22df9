"""Owns what the ledger says of a stream: when an entry is due, and which groups it stands for. Pure."""

from __future__ import annotations

from datetime import timedelta

from headwater.core.exchange import Decision, Exchange
from headwater.core.units import format_duration, format_size
from headwater.engine.harvest import Harvest
from headwater.log import Receipt

# A busy stream has an entry so often (ms): one for each group would push out all others.
_EVERY = 10_000


class Account:
    """The entries of one connection that was asked for at `begun`. Times are ms since the Unix epoch.

    An entry stands for what was stored since the one before: the first group has one of its own, then there is one at
    most every ten seconds, and one at the end. `records` counts what the connection has brought.
    """

    __slots__ = (
        "_begun",
        "_connector",
        "_first",
        "_groups",
        "_received",
        "_rejected",
        "_since",
        "_status",
        "_told",
        "_topic",
        "_unsaid",
        "_words",
        "records",
    )

    def __init__(self, connector: str, topic: str, begun: int) -> None:
        self._connector = connector
        self._topic = topic
        self._begun = self._since = begun
        self._status: int | None = None
        # Whether a group has had its entry.
        self._told = False
        self._words = ""
        # What is stored and in no entry yet; where its first record is; how many bytes are in entries.
        self._groups = self._unsaid = self._rejected = self._received = 0
        self._first: tuple[int, int] | None = None
        self.records = 0

    def connected(self, status: int, words: str, gap: int | None, now: int) -> Exchange:
        """Return the entry of a connection that is there; `gap` is for how long there was none, ms."""
        self._status, self._words = status, words
        reason = f"{words}: connected"
        if gap is not None:
            reason = f"{reason} again, after {_span(gap)} without a connection"
        return self._entry(Decision.CONNECTED, reason, now, gap=gap or 0)

    def due(self, now: int) -> bool:
        """Return whether a group that is to be stored now has an entry."""
        return not self._told or now - self._since >= _EVERY

    def with_group(self, harvest: Harvest, received: int, now: int) -> Exchange:
        """Return the entry that goes with a group, which stands for those before it as well.

        `received` is how many bytes have come over the connection.
        """
        grown, self._received = received - self._received, received
        reason = f"{self._words}, {format_size(grown)}"
        if self._groups:
            reason = f"{reason}; in {self._groups + 1} groups"
        # What the harvester had to say of the group itself: transforms, dead letters.
        made = harvest.exchange
        if made.reason:
            reason = f"{reason}{made.reason}"
        return self._entry(
            Decision.ACCEPTED,
            reason,
            now,
            received=grown,
            records=self._unsaid + made.records,
            rejected=self._rejected + made.rejected,
        )

    def stored(self, harvest: Harvest, receipt: Receipt, *, said: bool, now: int) -> None:
        """Take in that a group is stored; `said`: with an entry."""
        made = harvest.exchange
        self.records += made.records
        if said:
            self._told = True
            self._since = now
            self._groups = self._unsaid = self._rejected = 0
            self._first = None
            return
        if self._first is None and made.records:
            self._first = receipt.partition, receipt.base_offset
        self._groups += 1
        self._unsaid += made.records
        self._rejected += made.rejected

    def ended(self, words: str, *, failed: bool, received: int, now: int) -> Exchange:
        """Return the last entry of a connection, which stands for what is in none yet."""
        grown, self._received = received - self._received, received
        lasted = _span(max(0, now - self._begun))
        reason = f"{words}, after {lasted} and {self.records:,} record{'' if self.records == 1 else 's'}"
        return self._entry(
            Decision.FAILED if failed else Decision.ENDED,
            reason,
            now,
            received=grown,
            records=self._unsaid,
            rejected=self._rejected,
        )

    def _entry(
        self,
        decision: Decision,
        reason: str,
        now: int,
        *,
        received: int = 0,
        records: int = 0,
        rejected: int = 0,
        gap: int = 0,
    ) -> Exchange:
        partition, offset = self._first or (None, None)
        return Exchange(
            self._connector,
            self._since,
            self._since,
            max(0, now - self._since) * 1000,
            decision,
            reason,
            self._status,
            received,
            1,
            records,
            self._topic if records else None,
            partition,
            offset,
            rejected=rejected,
            gap=gap,
        )


def _span(milliseconds: int) -> str:
    return format_duration(timedelta(milliseconds=milliseconds))
