"""Owns one answer on its way to records, in as many pieces as its body comes in and as its records are stored in. Pure.

What is cut is the splitter's, what an item becomes `items`', what is asked for next the course's. What commits when is
decided here: an answer with few records is stored in one step, a larger one in several, each with the position in the
body that it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final, cast

import msgspec
from msgspec import Raw

from headwater.core.checkpoint import Checkpoint
from headwater.core.http import Response
from headwater.core.record import Record
from headwater.sources.course import Gleaning
from headwater.sources.items import Batch, Items, Making
from headwater.sources.reaped import BadItem, Reaped
from headwater.sources.sifted import CollectionError, Sieve
from headwater.sources.sifting import Sieves, failed, refusal, sifted_of
from headwater.sources.split.item import WINDOW, Bad, BrokenBodyError, Formed, Item, Splitter, all_plain
from headwater.sources.split.resume import Resumption

# Records are stored in steps of this much (bytes of their items), or of so many.
STEP: Final = 1024 * 1024
_MOST_RECORDS: Final = 20_000

ANOTHER: Final = "the body is another one than was begun: it is taken from its beginning"

# Returns what an answer comes to of which all items are taken: their number, what is around them, and of this step the
# records.
Conclude = Callable[[int, bytes | None, Sequence[Record]], Reaped]


class Given(msgspec.Struct, frozen=True):
    """What an answer is taken with.

    `before` is the checkpoint that was stored last. With `strict` a bad item lets the answer fail. `response` is its
    head; its body is given in pieces. `ignored`: there would be more in it, which is not looked at. `going_on`:
    something of its round is stored already.
    """

    response: Response
    before: Checkpoint
    strict: bool = False
    ignored: bool = False
    going_on: bool = False


class Reaping:
    """Takes in the body of one answer. `received` counts its bytes, `ended` is true when nothing more is to be given.

    Raises `split.resume.AnotherBodyError` when a body that was broken off is not the same any more.
    """

    __slots__ = (
        "_bad",
        "_conclude",
        "_counts",
        "_flowing",
        "_given",
        "_gleaned",
        "_items",
        "_latest",
        "_making",
        "_new",
        "_pending",
        "_records",
        "_resumption",
        "_sieve",
        "_sieves",
        "_size",
        "_splitter",
        "_unfit",
        "ended",
        "received",
    )

    def __init__(  # noqa: PLR0917 - what works together
        self,
        given: Given,
        items: Items,
        splitter: Splitter,
        making: Making,
        gleaned: Gleaning,
        resumption: Resumption,
        conclude: Conclude,
        sieves: Sieves | None = None,
    ) -> None:
        self._given = given
        self._items = items
        self._splitter = splitter
        self._making = making
        self._gleaned = gleaned
        self._resumption = resumption
        self._conclude = conclude
        self._sieves = sieves
        self._sieve: Sieve | None = None
        self._flowing = False
        self._latest = given.before
        self._records: list[Record] = []
        self._bad: list[BadItem] = []
        self._size = 0
        self._new = 0
        self._unfit = False
        # What the entry says of items, as far as steps are stored.
        self._counts: Sequence[int] = ()
        # Items whose digest is not needed before a step is stored.
        self._pending: list[Sequence[Item]] = []
        self.received = 0
        self.ended = False

    def whole(self, body: bytes) -> Reaped:
        """Take a whole body in one step, whatever it comes to."""
        view = memoryview(body)
        for start in range(0, len(body), WINDOW):
            chunk = body if len(body) <= WINDOW else bytes(view[start : start + WINDOW])
            failed = self._add(chunk)
            if failed is not None:
                return failed
        return self.finish()

    def feed(self, chunk: bytes) -> Reaped | None:
        """Take the next bytes of the body; return a step that is to be stored now."""
        self._flowing = True
        failed = self._add(chunk)
        size = self._size if self._sieve is None else self._sieve.size
        if failed is not None or (size < STEP and len(self._records) < _MOST_RECORDS):
            return failed
        try:
            return self._step()
        except CollectionError as error:
            return self._disbelieve(error)

    def _add(self, chunk: bytes) -> Reaped | None:
        """Take the next bytes; return what a body comes to that cannot be gone on with."""
        self.received += len(chunk)
        try:
            self._take(self._splitter.feed(chunk))
        except BrokenBodyError as error:
            return self._fail(f"{error}", "body")
        except CollectionError as error:
            return self._disbelieve(error)
        return self._refuse(self._bad[0]) if self._failing() else None

    def finish(self) -> Reaped:
        """Take the end of the body; return the last step."""
        self.ended = True
        try:
            if self.received:
                self._take(self._splitter.finish())
            self._resumption.finish()
            if self._failing():
                return self._refuse(self._bad[0])
            missing = self._splitter.missing
            if missing and self._items.required:
                return self._fail(f"the answer has no {self._items.where}", "body")
            notes = [f"there is no {self._items.where}"] if missing else []
            if self._resumption.skipped:
                notes.append(f"the first {self._resumption.skipped:,} {self._splitter.what}s were stored before")
            return self._last("; ".join(notes))
        except BrokenBodyError as error:
            return self._fail(f"{error}", "body")
        except CollectionError as error:
            return self._disbelieve(error)

    def _take(self, found: Sequence[Item]) -> None:
        if not found:
            return
        known = 0
        if self._resumption.resuming:
            known = self._resumption.take(found)
            # What is stored already counts for what is remembered of the answer, and is no record again.
            self._glean(found[:known], store=False)
        elif self._sieves is None:
            self._pending.append(found)
        elif self._flowing:
            # At once: what has not changed makes no step, however much of it there is.
            self._resumption.take(found)
        self._glean(found[known:], store=True)

    def _glean(self, found: Sequence[Item], *, store: bool) -> None:
        if not found:
            return
        batch = self._making.take(found, self._splitter.what)
        kept = self._gleaned.take(batch.documents, batch.values)
        self._gleaned.count += len(batch.bad)
        self._unfit |= bool(batch.bad)
        if not store:
            return
        self._bad += batch.bad
        if self._sieves is not None:
            if self._sieve is None:
                self._sieve = self._sieves(self._latest.remembered)
            self._sift(self._sieve, batch, kept)
            return
        records = batch.records()
        self._records += records if kept is None else compress(records, kept)
        self._size += sum(map(len, cast("Sequence[bytes]", found))) if all_plain(found) else sum(map(_size, found))

    def _sift(self, sieve: Sieve, batch: Batch, kept: list[bool] | None) -> None:
        what = self._splitter.what

        def where(place: int) -> str:
            return f"{what} {batch.numbers[place] + 1}"

        if kept is None:
            sieve.take(batch.documents, batch.record, where)
            return
        places = [place for place, stays in enumerate(kept) if stays]
        sieve.take(
            [batch.documents[place] for place in places],
            lambda place: batch.record(places[place]),
            lambda place: where(places[place]),
        )

    def _step(self) -> Reaped:
        """Return what is stored with a position in the body."""
        self._hash()
        records, bad = self._records, self._bad
        self._records, self._bad, self._size = [], [], 0
        kept = msgspec.structs.replace(
            self._latest, records=self._latest.records + len(records), body=self._resumption.position()
        )
        reaped = Reaped(records, kept, bad=bad, partial=True, first=self._new)
        if self._sieve is not None:
            # The next one asks what is remembered after this step.
            sieve, self._sieve = self._sieve, None
            sifted = sieve.close(last=False, unfit=self._unfit, earlier=self._counts)
            self._counts = sifted.counts
            if self._given.strict and sifted.bad:
                return self._refuse(sifted.bad[0])
            reaped = msgspec.structs.replace(sifted_of(reaped, sifted), note="")
        self._latest = reaped.checkpoint
        self._new += len(reaped.records)
        return reaped

    def _hash(self) -> None:
        for found in self._pending:
            self._resumption.take(found)
        self._pending.clear()

    def _last(self, note: str) -> Reaped:
        records: Sequence[Record] = self._records
        bad: Sequence[BadItem] = self._bad
        reaped = self._conclude(self._new + len(records), self._splitter.rest if self.received else b"", records)
        if reaped.failure:
            return msgspec.structs.replace(reaped, checkpoint=self._kept(reaped.checkpoint))
        progress = reaped.checkpoint.progress
        kept = msgspec.structs.replace(reaped, bad=bad, note="; ".join(it for it in (note, reaped.note) if it))
        if self._sieves is not None:
            sieve = self._sieve or self._sieves(self._latest.remembered)
            last = not reaped.more and not (progress and progress.round)
            sifted = sieve.close(last=last, unfit=self._lacks() or reaped.unsure, earlier=self._counts)
            if self._given.strict and sifted.bad:
                return self._refuse(sifted.bad[0])
            counted = msgspec.structs.replace(kept.checkpoint, records=self._latest.records)
            kept = sifted_of(msgspec.structs.replace(kept, checkpoint=counted), sifted)
        return msgspec.structs.replace(kept, first=self._new)

    def _lacks(self) -> bool:
        """Return whether there may be items in the collection that have not come: what is missing then is not gone.

        No body at all is the end of pages, but no collection without items.
        """
        given = self._given
        return self._unfit or given.ignored or (not self.received and not given.going_on)

    def _failing(self) -> bool:
        return self._given.strict and bool(self._bad)

    def _refuse(self, first: BadItem) -> Reaped:
        self.ended = True
        return refusal(first, self._latest)

    def _fail(self, reason: str, slug: str, hint: str = "") -> Reaped:
        """Return what a body comes to that cannot be gone on with: what is stored of it stays, and the rest is not."""
        self.ended = True
        hint = hint or "see what the answer is with: headwater test"
        return Reaped((), self._latest, failure=reason, slug=slug, hint=hint)

    def _disbelieve(self, error: CollectionError) -> Reaped:
        """Return what a body comes to that is not to be believed: its round is over."""
        self.ended = True
        return failed(error, self._latest)

    def _kept(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint that knows what of the body is stored already."""
        latest = self._latest
        return msgspec.structs.replace(
            checkpoint, records=latest.records, body=latest.body, remembered=latest.remembered
        )


def _size(item: Item) -> int:
    if isinstance(item, bytes | Raw):
        return len(item)
    if isinstance(item, Formed):
        return len(item.value)
    assert isinstance(item, Bad)
    return len(item.data)


def anew(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint that knows nothing of a body under way."""
    return msgspec.structs.replace(checkpoint, body=None)
