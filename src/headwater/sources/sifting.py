"""Owns what a connector's items go through on their way to records: which sieve, and what that leaves of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from headwater.config import ConnectorConfig, RecordsOptions, partial
from headwater.core.checkpoint import Checkpoint
from headwater.core.memory import MemoryChange, Recall, Remembered
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources.canonical import BROKEN, decode, text_of
from headwater.sources.changes import Changes
from headwater.sources.dedup import Dedup
from headwater.sources.reaped import BadItem, Reaped
from headwater.sources.sifted import CollectionError, Sieve, Sifted, Sifter, an_item

# Makes the sieve for a step of an answer, given what is remembered after the step before it.
Sieves = Callable[[Remembered | None], Sieve]


class Sifting:
    """What the items of one connector go through; not `active` where they are records as they are."""

    __slots__ = ("_connector", "_sifter", "_strict", "_texts")

    def __init__(self, config: ConnectorConfig) -> None:
        self._connector = config.name
        self._sifter = _sifter(config)
        self._strict = config.on_error == "fail"
        records = config.http.records
        self._texts = records is not None and not records.are_json

    @property
    def active(self) -> bool:
        """Whether items go through anything, which asks what is remembered of them."""
        return self._sifter is not None

    @property
    def purpose(self) -> str:
        """What tells one sifting from another."""
        return "" if self._sifter is None else f" {self._sifter.of}"

    def sieves(
        self, remembered: Remembered | None, moment: Moment, recall: Callable[[], Recall], *, going_on: bool
    ) -> Sieves | None:
        """Return what makes the sieves of an answer; None where there are none.

        `going_on`: something of its round is stored already. `recall` is asked when a sieve is made.
        """
        sifter = self._sifter
        if sifter is None:
            return None

        def sieve(latest: Remembered | None) -> Sieve:
            made = sifter.begin(recall(), latest, moment, going_on=going_on or latest is not remembered)
            return _Texts(made) if self._texts else made

        return sieve

    def whole(
        self, reaped: Reaped, body: bytes, before: Checkpoint, moment: Moment, recall: Callable[[], Recall]
    ) -> Reaped:
        """Return what is left of an answer that is one item, or none. Raises LogError."""
        if self._sifter is None:
            return self.forgetting(reaped, before)
        progress = reaped.checkpoint.progress
        kept = msgspec.structs.replace(reaped.checkpoint, records=before.records, remembered=before.remembered)
        if reaped.failure:
            return msgspec.structs.replace(reaped, checkpoint=kept)
        going_on = before.progress is not None and before.progress.round > 0
        sieve = self._sifter.begin(recall(), before.remembered, moment, going_on=going_on)
        try:
            if reaped.records:
                sieve.take([_document(body)], reaped.records.__getitem__)
            # Nothing may be the end of pages; alone it is not that the one item is gone.
            last = not reaped.more and not (progress is not None and progress.round)
            sifted = sieve.close(last=last, unfit=(not reaped.records and not going_on) or reaped.unsure)
        except CollectionError as error:
            return failed(error, before)
        if self._strict and sifted.bad:
            return refusal(sifted.bad[0], before)
        return sifted_of(msgspec.structs.replace(reaped, checkpoint=kept), sifted)

    def forgetting(self, reaped: Reaped, before: Checkpoint) -> Reaped:
        """Return an answer with which items are forgotten of which nothing is to be remembered any more."""
        if self._sifter is not None or before.remembered is None or reaped.checkpoint.remembered is not None:
            return reaped
        return msgspec.structs.replace(reaped, memory=MemoryChange(self._connector, anew=True))


def sifted_of(reaped: Reaped, sifted: Sifted) -> Reaped:
    """Return an answer with what a sieve has left of its items; its checkpoint counts the records before them."""
    checkpoint = msgspec.structs.replace(
        reaped.checkpoint,
        records=reaped.checkpoint.records + len(sifted.records),
        remembered=sifted.remembered,
    )
    return msgspec.structs.replace(
        reaped,
        records=sifted.records,
        checkpoint=checkpoint,
        bad=(*reaped.bad, *sifted.bad),
        note="; ".join(it for it in (sifted.note, reaped.note) if it),
        memory=sifted.memory,
    )


def refusal(first: BadItem, latest: Checkpoint) -> Reaped:
    """Return what an answer comes to that a bad item lets fail: what is stored of it stays."""
    reason = f"{first.position}: {first.reason}"
    return Reaped((), latest, failure=reason, slug=first.slug, hint="on_error: fail is why the poll failed")


def failed(error: CollectionError, latest: Checkpoint) -> Reaped:
    """Return what an answer comes to that is not to be believed: its round is over, and the next one begins anew."""
    progress = latest.progress
    if progress is not None:
        progress = msgspec.structs.replace(progress, round=0, page={}, pending={})
    kept = msgspec.structs.replace(latest, progress=progress, body=None)
    return Reaped((), kept, failure=error.reason, slug=error.slug, hint=error.hint)


def _sifter(config: ConnectorConfig) -> Sifter | None:
    http, topic = config.http, config.topic.name
    if http.changes is not None:
        records = http.records
        key = () if records is None or records.key is None else (records.key,)
        return Changes(
            http.changes,
            connector=config.name,
            topic=topic,
            key=key,
            whole=_one_item(records),
            partial=bool(partial(http)),
        )
    if http.deduplicate is not None:
        return Dedup(http.deduplicate, connector=config.name, topic=topic)
    return None


def _one_item(records: RecordsOptions | None) -> bool:
    return records is None or (records.split is None and records.format in {"json", "text"})


def _document(body: bytes) -> bytes:
    """Return a body as JSON: as it is when it is JSON, else as a text."""
    try:
        decode(body)
    except BROKEN:
        return text_of(body)
    return body


class _Texts:
    """A sieve for items that are no JSON: it gets them as texts."""

    def __init__(self, sieve: Sieve) -> None:
        self._sieve = sieve

    @property
    def size(self) -> int:
        """How much it has for the records and the memory (bytes)."""
        return self._sieve.size

    def take(
        self, documents: Sequence[bytes | Raw], record: Callable[[int], Record], where: Callable[[int], str] = an_item
    ) -> None:
        """Take the next items."""
        self._sieve.take(list(map(text_of, documents)), record, where)

    def close(self, *, last: bool, unfit: bool = False, earlier: Sequence[int] = ()) -> Sifted:
        """End the exchange, or a step of it."""
        return self._sieve.close(last=last, unfit=unfit, earlier=earlier)
