"""Owns taking in the items of one exchange: each against what is remembered of it, and what is gone in the end.

Pure but for what it asks of the memory. The records that tell of changes are `events`', cutting an answer into items is
`split`'s, and when the round ends is the poll's to say.

An item is known by its key. Items have numbers, so that a byte for each says which were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add
from typing import NamedTuple

import msgspec
from msgspec import Raw

from headwater.config.changes import ChangesOptions
from headwater.core.memory import Kept, MemoryChange, Recall, Remembered, RowPacker
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.core.squeeze import squeeze, unsqueeze
from headwater.sources.absence import absence
from headwater.sources.canonical import BROKEN
from headwater.sources.events import Teller
from headwater.sources.identity import Identify, Identity, ItemError
from headwater.sources.prints import Prints
from headwater.sources.reaped import BadItem
from headwater.sources.seen import Sightings
from headwater.sources.sifted import CollectionError, Sifted, an_item

# So many items are looked up at once.
_AT_ONCE = 4096
# About how much a row needs beside what is in it (bytes).
_ROOM = 64
# How much of an item that is none goes into the dead letter (bytes).
_SHOWN = 64 * 1024

Document = bytes | Raw


class Rules(msgspec.Struct, frozen=True):
    """What a connector's options say of its collection.

    `partial`: answers have only a part of it, so that whatever they have is compared with what was last seen of it, and
    nothing is ever gone. `keeps_values`: items are remembered whole.
    """

    connector: str
    options: ChangesOptions
    partial: bool
    keeps_values: bool
    identify: Identify
    teller: Teller
    sightings: Sightings


class _Item(NamedTuple):
    """An item, what it is looked up by, and its place among those that are taken."""

    document: Document
    key: bytes
    mark: bytes
    place: int


class Census:
    """The items of one exchange, or of a step of one: `take` them, then `close`. It needs room for what has changed."""

    def __init__(
        self,
        rules: Rules,
        recall: Recall,
        before: Remembered,
        moment: Moment,
        *,
        anew: bool = False,
        going_on: bool = False,
    ) -> None:
        self._rules = rules
        self._options = rules.options
        self._recall = recall
        self._before = before
        self._moment = moment
        self._anew = anew
        self._prints = Prints(before.salt, rules.options.ignore)
        # How many parts of the round are stored. One that was broken off for good is forgotten with the next.
        self._part = before.part if going_on else 0
        self._round = before.round if self._part else moment.scheduled
        self._seen = None if rules.partial else rules.sightings.of(recall, before, self._part)
        self._vacant = self._vacancies()
        self._following = before.following
        self._records: list[Record] = []
        self._rows = RowPacker()
        # What this exchange has changed, and is not in the memory yet: numbers by key, what is kept by number.
        self._fresh: dict[bytes, int] = {}
        self._touched: dict[int, Kept] = {}
        self._bad: list[BadItem] = []
        # Of those that are taken: what makes their records, and says where they stood.
        self._record: Callable[[int], Record]
        self._where: Callable[[int], str] = an_item
        self._known = self._added = self._changed = self._removed = self._doubles = self._size = 0

    @property
    def size(self) -> int:
        """How much it has for the records and the memory (bytes)."""
        return self._size

    # Taking items.

    def take(
        self, documents: Sequence[Document], record: Callable[[int], Record], where: Callable[[int], str] = an_item
    ) -> None:
        """Take the next items; see `Sieve`."""
        self._record, self._where = record, where
        for start in range(0, len(documents), _AT_ONCE):
            self._take(documents[start : start + _AT_ONCE], start)

    def _take(self, documents: Sequence[Document], start: int) -> None:
        places: Sequence[int] = range(start, start + len(documents))
        try:
            keys = list(map(self._rules.identify, documents))
            marks = list(map(self._prints.mark, documents))
        except (ItemError, *BROKEN):
            places, documents, keys, marks = self._good(documents, start)
        found = self._recall.compare([mark + key for mark, key in zip(marks, keys, strict=True)])
        if self._as_they_were(found):
            if self._options.emit != "changes":
                self._append(_with_key(self._record(place), key) for place, key in zip(places, keys, strict=True))
            return
        known = self._recall.rows([-1 - number for number in found if number is not None and number < 0])
        for item, number in zip(map(_Item, documents, keys, marks, places), found, strict=True):
            # What was added just now the memory does not know yet.
            number_of = self._fresh.get(item.key)
            if number_of is None and number is not None:
                number_of = max(number, -1 - number)
            try:
                self._take_one(item, number_of, known)
            except BROKEN as error:
                self._refuse(item.document, item.place, error)

    def _good(
        self, documents: Sequence[Document], start: int
    ) -> tuple[list[int], list[Document], list[bytes], list[bytes]]:
        """Return those items that can be told apart: places, documents, keys, marks. The others are bad."""
        places, good, keys, marks = [], [], [], []
        for place, document in enumerate(documents, start):
            try:
                key, mark = self._rules.identify(document), self._prints.mark(document)
            except (ItemError, *BROKEN) as error:
                self._refuse(document, place, error)
                continue
            places.append(place)
            good.append(document)
            keys.append(key)
            marks.append(mark)
        return places, good, keys, marks

    def _refuse(self, document: Document, place: int, error: Exception) -> None:
        reason = str(error) if isinstance(error, ItemError) else f"it cannot be read: {error}"
        self._bad.append(BadItem(self._where(place), reason, bytes(memoryview(document)[:_SHOWN])))

    def _as_they_were(self, found: list[int | None]) -> bool:
        """Return whether all are known, as they are, and seen for the first time; if so, see them."""
        if not found:
            return True
        if None in found:
            return False
        numbers: list[int] = found  # type: ignore[assignment]
        if min(numbers) < 0 or not self._touched.keys().isdisjoint(numbers):
            return False
        return self._seen is None or self._seen.all(numbers)

    def _take_one(self, item: _Item, number: int | None, known: dict[int, Kept]) -> None:
        """Take an item that may not be as it was. Raises one of BROKEN."""
        kept = None
        if number is not None:
            if self._seen is not None and not self._seen.first(number):
                # The first one counts: of two that stay, there would be a change in every poll otherwise.
                self._doubles += 1
                return
            kept = self._touched.get(number) or known.get(number)
            if kept is not None and kept.key != item.key:
                # Forgotten just now, for another one.
                number = kept = None
        record = _with_key(self._record(item.place), item.key) if self._options.emit != "changes" else None
        if number is None:
            event = self._add(item)
        elif kept is None or kept.mark == item.mark:
            event = None
        else:
            event = self._compare(item, number, kept)
        self._append(it for it in (record, event if self._options.emit != "snapshot" else None) if it is not None)

    def _append(self, records: Iterable[Record]) -> None:
        for record in records:
            self._records.append(record)
            self._size += len(record.value)

    def _add(self, item: _Item) -> Record:
        """Take in an item that is not known."""
        print_ = self._prints.print(item.document)
        number = self._free()
        if self._seen is not None:
            self._seen.first(number)
        self._fresh[item.key] = number
        self._added += 1
        self._put(item, number, print_)
        time = self._record(item.place).timestamp
        return self._rules.teller.added(Identity.of(item.key), item.document, self._moment.now, time)

    def _compare(self, item: _Item, number: int, kept: Kept) -> Record | None:
        """Take in an item that was remembered with another mark."""
        print_ = self._prints.print(item.document)
        before = None if kept.data is None else unsqueeze(kept.data)
        if self._prints.same(item.mark, print_, kept, before, item.document):
            if self._prints.outdated(item.mark, print_, kept):
                self._put(item, number, print_)
            return None
        self._changed += 1
        self._put(item, number, print_)
        who, time = Identity.of(item.key), self._record(item.place).timestamp
        return self._rules.teller.changed(who, before, item.document, self._moment.now, time)

    def _put(self, item: _Item, number: int, print_: bytes) -> None:
        data = squeeze(bytes(item.document)) if self._rules.keeps_values else None
        self._rows.add((number, item.key, item.mark, print_, data))
        self._size += len(item.key) + len(data or b"") + _ROOM
        if self._seen is None:
            self._touched[number] = Kept(item.key, item.mark, print_, data)

    def _free(self) -> int:
        """Return the number of an item that is not known yet. Raises CollectionError."""
        most = self._options.max_items
        vacant = next(self._vacant, None)
        if vacant is not None:
            return vacant
        number = self._following
        if self._seen is None:
            number %= most
        if number >= most or self._added >= most:
            raise CollectionError(
                f"the collection has more than the {most:,} items that changes.max_items allows",
                "collection",
                "allow more, or ask for a part of it",
            )
        self._following += 1
        return number

    def _vacancies(self) -> Iterator[int]:
        """Yield the numbers that are free again."""
        after = -1
        while numbers := self._recall.vacant(after, _AT_ONCE):
            yield from numbers
            after = numbers[-1]

    # What is not there.

    def close(self, *, last: bool, unfit: bool = False, earlier: Sequence[int] = ()) -> Sifted:
        """End the exchange; the `last` one of a round decides what is gone.

        `earlier` are the counts of the step before. `unfit`: there were items that could not be read. Nothing is gone
        then, for it may be one of them. Raises CollectionError and LogError.
        """
        before, part = self._before, self._part
        unfit = unfit or bool(self._bad) or (part > 0 and before.unfit)
        self._known = before.known + self._added
        if self._seen is None:
            self._known = min(self._known, self._options.max_items)
        seen, absent, notes = b"", None, []
        if last and unfit and self._seen is not None:
            notes.append("nothing is taken to be gone, for there were items that could not be read")
        elif last and self._seen is not None:
            absent = absence(self._recall, self._seen, self._known, before, self._options)
            self._known = absent.known
            self._remove(absent.gone)
            notes += [absent.note] if absent.note else []
        elif self._seen is not None:
            seen = self._seen.packed()
            self._rules.sightings.hold(self._round, part + 1, self._seen)
        counts = (self._added, self._changed, self._doubles)
        if earlier:
            counts = tuple(map(add, counts, earlier))
        self._added, self._changed, self._doubles = counts
        if self._doubles:
            notes.append(f"{self._doubles:,} had the key of one before them, which counts")
        remembered = Remembered(
            before.of,
            before.salt,
            self._following,
            self._known,
            0 if last else self._round,
            0 if last else part + 1,
            unfit=unfit and not last,
            missing=before.missing if absent is None else len(absent.missing),
        )
        change = MemoryChange(
            self._rules.connector,
            anew=self._anew,
            rows=self._rows.packed(),
            part=part,
            seen=seen,
            settled=before.part > 0 and (last or not part),
            missed=None if absent is None else absent.packed(before),
        )
        needed = change.anew or change.rows or change.seen or change.settled or change.missed is not None
        return Sifted(
            self._records,
            remembered,
            change if needed else None,
            self._bad,
            "; ".join([self._said(), *notes]),
            counts,
        )

    def _said(self) -> str:
        counts = ((self._added, "added"), (self._changed, "changed"), (self._removed, "removed"))
        said = ", ".join(f"{count:,} {what}" for count, what in counts if count) or "nothing changed"
        return f"{said}, {self._known:,} known"

    def _remove(self, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            kept = self._recall.rows(some)
            for number in some:
                item = kept[number]
                before = None if item.data is None else unsqueeze(item.data)
                self._records += self._rules.teller.removed(Identity.of(item.key), before, self._moment.now)
                self._rows.add((number, b"", b"", b"", None))
        self._removed = len(numbers)
        self._known -= len(numbers)


def _with_key(record: Record, key: bytes) -> Record:
    """Return the record of an item, whose key is the item's unless it has one of its own."""
    return record if record.key is not None else Record(record.value, Identity.of(key).key, record.timestamp)
