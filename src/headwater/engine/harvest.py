"""Owns what an accepted response leaves: records through the transforms, the next checkpoint, the entry, in one append.

Does not store it. It may run in a thread: whatever it reads stands still until the append is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint, encode_checkpoint
from headwater.core.exchange import Exchange
from headwater.core.record import Record
from headwater.core.units import format_size
from headwater.engine.deadletter import bad_letter, dead_letter, told, told_bad
from headwater.engine.identity import identified
from headwater.fluvio.batch import EncodedBatch, encode_batches, encode_value
from headwater.fluvio.compression import Compression
from headwater.fluvio.partition import grouped
from headwater.log import Append, Beside
from headwater.sources.reaped import BadItem, Reaped
from headwater.sources.split.item import PREVIEW
from headwater.transforms.chain import Chain, Rejection


class Harvest(msgspec.Struct, frozen=True, gc=False):
    """What an accepted response leaves: `append` commits `checkpoint` and `exchange`; transforms refused `rejections`.

    `at` is when it was reaped, ms since the Unix epoch. With `more` another exchange of the same round follows; it is
    `partial` where more of the same response follows. `bad` items were no records. `slug` and `hint` are about the
    trouble of an exchange that failed.
    """

    append: Append
    checkpoint: Checkpoint
    exchange: Exchange
    at: int
    rejections: Sequence[Rejection] = ()
    more: bool = False
    partial: bool = False
    bad: Sequence[BadItem] = ()
    slug: str = ""
    hint: str = ""


class Harvester:
    """Turns the accepted responses of one connector into appends. `mask` makes a reason fit to be stored and shown.

    `linger` is for how many seconds an append may wait for others to share its commit. Records of more than
    `most_record` bytes are bad: where they are to go does not take them.
    """

    __slots__ = (
        "_bare",
        "_chain",
        "_compression",
        "_identify",
        "_letters",
        "_mask",
        "_most_record",
        "_name",
        "_partitions",
        "_topic",
        "linger",
    )

    def __init__(
        self,
        config: ConnectorConfig,
        compression: Compression,
        chain: Chain | None,
        *,
        mask: Callable[[str], str],
        partitions: int = 1,
        most_record: int | None = None,
    ) -> None:
        self._name = config.name
        self._topic = config.topic.name
        self._letters = config.dead_letters
        self.linger = config.linger.total_seconds()
        self._compression = compression
        self._chain = chain
        self._mask = mask
        self._partitions = partitions
        self._identify = config.http.record_id
        # Whether a record is its value and nothing else, and goes where all do.
        self._bare = not self._identify and partitions == 1 and compression is Compression.NONE and most_record is None
        self._most_record = most_record

    def harvest(self, reaped: Reaped, before: Checkpoint, exchange: Exchange, *, now: int) -> Harvest:
        """Return what is left of a response at `now` (ms since the Unix epoch).

        `before` is the checkpoint of the exchange before. `exchange` is the entry as it is without transforms.
        """
        if reaped.note:
            exchange = msgspec.structs.replace(exchange, reason=f"{exchange.reason}; {self._mask(reaped.note)}")
        beside: Sequence[Beside] = ()
        if reaped.bad:
            words = told_bad(reaped.bad, whither=self._whither, mask=self._mask)
            exchange = msgspec.structs.replace(exchange, reason=f"{exchange.reason}; {words}", rejected=len(reaped.bad))
            beside = self._bad_letters(reaped.bad, now)
        if self._chain is not None:
            return self._through(self._chain, reaped, before, exchange, beside, now=now)
        return self._harvest(reaped.records, reaped, reaped.checkpoint, exchange, now=now, beside=beside)

    def harvest_one(self, value: bytes, checkpoint: Checkpoint, exchange: Exchange, *, now: int) -> Harvest:
        """Return what is left of a response that is one record of this value, without transforms: most are."""
        if not self._bare:
            records = (Record(value),)
            return self._harvest(records, Reaped(records, checkpoint), checkpoint, exchange, now=now)
        append = Append(
            self._topic,
            (encode_value(value, now),),
            None,
            (self._name, encode_checkpoint(checkpoint)),
            exchange,
            self.linger,
        )
        return Harvest(append, checkpoint, exchange, now)

    def _harvest(
        self,
        records: Sequence[Record],
        reaped: Reaped,
        checkpoint: Checkpoint,
        exchange: Exchange,
        *,
        now: int,
        rejections: Sequence[Rejection] = (),
        beside: Sequence[Beside] = (),
    ) -> Harvest:
        if self._identify:
            # An exchange is counted when all of it is there.
            number = checkpoint.exchanges + (1 if reaped.partial else 0)
            records = identified(records, self._name, number, reaped.first)
        large: Sequence[BadItem] = ()
        if self._most_record is not None and (large := too_large_of(records, self._most_record)):
            most = self._most_record
            records = [record for record in records if size_of(record) <= most]
            checkpoint = msgspec.structs.replace(checkpoint, records=checkpoint.records - len(large))
            words = told_bad(large, whither=self._whither, mask=self._mask)
            exchange = msgspec.structs.replace(
                exchange,
                reason=f"{exchange.reason}; {words}",
                records=exchange.records - len(large),
                rejected=exchange.rejected + len(large),
            )
            beside = (*beside, *self._bad_letters(large, now))
        place: int | None = None
        if self._partitions > 1:
            groups = grouped(records, self._partitions)
            place, records = next(iter(groups.items()))
            beside = (
                *(
                    Beside(self._topic, encode_batches(group, now, self._compression), number)
                    for number, group in groups.items()
                    if number != place
                ),
                *beside,
            )
        append = Append(
            self._topic,
            encode_batches(records, now, self._compression),
            place,
            (self._name, encode_checkpoint(checkpoint)),
            # An exchange has one entry, when all of it is there.
            None if reaped.partial else exchange,
            0.0 if reaped.partial else self.linger,
            beside,
            reaped.memory,
        )
        return Harvest(
            append,
            checkpoint,
            exchange,
            now,
            rejections,
            reaped.more,
            reaped.partial,
            (*reaped.bad, *large),
            reaped.slug,
            reaped.hint,
        )

    @property
    def _whither(self) -> str:
        return f"to {self._letters}" if self._letters else "left out"

    def _bad_letters(self, bad: Sequence[BadItem], now: int) -> Sequence[Beside]:
        if not self._letters:
            return ()
        letters = [bad_letter(it, connector=self._name, topic=self._topic, now_ms=now, mask=self._mask) for it in bad]
        return (Beside(self._letters, encode_batches(letters, now)),)

    def _through(
        self,
        chain: Chain,
        reaped: Reaped,
        before: Checkpoint,
        exchange: Exchange,
        beside: Sequence[Beside],
        *,
        now: int,
    ) -> Harvest:
        """Return what passes the transforms, and the dead letters of what does not."""
        passed = chain.run(reaped.records, base_timestamp=now)
        records, rejections = passed.records, passed.rejections
        checkpoint = msgspec.structs.replace(
            reaped.checkpoint, records=before.records + len(records), transforms=chain.state
        )
        reason = exchange.reason
        if rejections:
            reason = f"{reason}; {told(rejections, whither=self._whither, mask=self._mask)}"
            if self._letters:
                beside = (*beside, Beside(self._letters, self._dead_letters(rejections, reaped.records, now)))
        elif not records and reaped.records:
            reason = f"{reason}; no record passed the transforms"
        rejected = exchange.rejected + len(rejections)
        exchange = msgspec.structs.replace(exchange, records=len(records), rejected=rejected, reason=reason)
        return self._harvest(records, reaped, checkpoint, exchange, now=now, rejections=rejections, beside=beside)

    def _dead_letters(self, rejections: Sequence[Rejection], given: Sequence[Record], now: int) -> list[EncodedBatch]:
        letters = [
            dead_letter(it, given, connector=self._name, topic=self._topic, now_ms=now, mask=self._mask)
            for it in rejections
        ]
        return encode_batches(letters, now)


def size_of(record: Record) -> int:
    """Return how many bytes a record has, as those count them who bound it."""
    return len(record.value) + len(record.key or b"")


def too_large_of(records: Sequence[Record], most: int) -> list[BadItem]:
    """Return what is told of records that are larger than `most` bytes."""
    found = []
    for number, record in enumerate(records, 1):
        if (size := size_of(record)) > most:
            reason = f"it has {format_size(size)}, more than a cluster takes in one record ({format_size(most)})"
            digest = sha256(record.value).hexdigest()
            found.append(
                BadItem(f"record {number}", reason, record.value[:PREVIEW], "too-large", len(record.value), digest)
            )
    return found
