"""Owns which items were seen before, within a window of the last ones. Pure but for what it asks of the memory.

An item's number says when it was seen last, and its mark at what time: the scheduled one of that round, ms since the
Unix epoch. To see an item again costs nothing as long as it is among the newer half of what is remembered, and its time
younger than an eighth of the age; otherwise it moves to the end. So what an answer has had is not forgotten before the
next one, and a window of many items is not written again with every answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from msgspec import Raw

from headwater.config.deduplicate import DeduplicateOptions
from headwater.core.extract import DocumentError, Extractor
from headwater.core.memory import MemoryChange, Nothing, Recall, Remembered, RowPacker, pack_numbers
from headwater.core.moment import Moment
from headwater.core.pointer import Pointer
from headwater.core.record import Record
from headwater.sources.sifted import Sifted, an_item

# So many items are looked up at once, and forgotten with one exchange.
_AT_ONCE, _MOST_DROPPED = 4096, 100_000
# What is longer is remembered by its digest.
_LONGEST = 64
# About how much a row needs (bytes).
_ROOM = 64
# What tells an item, as the first byte of what is remembered; large letters are digests.
_POINTER, _KEY, _VALUE = b"p", b"k", b"v"
_NULL = b"null"


class Dedup:
    """Leaves out the items of one connector that were seen before. `topic` is where the records go."""

    __slots__ = ("_extract", "_topic", "connector", "options")

    def __init__(self, options: DeduplicateOptions, *, connector: str, topic: str) -> None:
        self.options = options
        self.connector = connector
        self._topic = topic
        self._extract = Extractor((options.by,)) if isinstance(options.by, Pointer) else None

    @property
    def of(self) -> str:
        """What is remembered, and for which purpose. Validators of answers that served another one are of no use."""
        return f"dedup {self.options.by} {self._topic}"

    def begin(self, recall: Recall, before: Remembered | None, moment: Moment, *, going_on: bool = False) -> Window:  # noqa: ARG002 - a window needs not know
        """Begin with an exchange, or a step of one; see `Sifter`."""
        if before is None or before.of != self.of:
            return Window(self, Nothing(), Remembered(self.of, recall.salt()), moment, anew=True)
        return Window(self, recall, before, moment)

    def told_by(self, document: bytes | Raw, record: Callable[[int], Record], place: int) -> tuple[bytes, bytes | Raw]:
        """Return what tells an item, and of which kind that is."""
        if self._extract is not None:
            try:
                (found,) = self._extract(document)
            except DocumentError:
                found = None
            if found is not None and bytes(memoryview(found)[:4]) != _NULL:
                return _POINTER, found
        elif self.options.by == "key" and (key := record(place).key) is not None:
            return _KEY, key
        return _VALUE, document


class Window:
    """The items of one exchange, or of a step of one: `take` them, then `close`."""

    def __init__(self, rules: Dedup, recall: Recall, before: Remembered, moment: Moment, *, anew: bool = False) -> None:
        options = rules.options
        self._rules = rules
        self._recall = recall
        self._before = before
        self._now = moment.scheduled
        self._anew = anew
        self._count = options.count
        self._age = None if options.age is None else round(options.age.total_seconds() * 1000)
        # What is younger than this need not move, and what the last answer has had is not older.
        self._grain = 0 if self._age is None else self._age // 8
        self._digest = blake2b(digest_size=16, salt=before.salt)
        self._following = before.following
        self._records: list[Record] = []
        self._rows = RowPacker()
        self._met: set[bytes] = set()
        # Numbers that have moved, and how many of them are so old that they would be forgotten.
        self._gone: list[int] = []
        self._gone_old = 0
        self._new = self._repeats = self._size = 0

    @property
    def size(self) -> int:
        """How much it has for the records and the memory (bytes)."""
        return self._size

    def take(
        self,
        documents: Sequence[bytes | Raw],
        record: Callable[[int], Record],
        where: Callable[[int], str] = an_item,  # noqa: ARG002 - as of all that items are taken by
    ) -> None:
        """Take the next items; see `Sieve`."""
        for start in range(0, len(documents), _AT_ONCE):
            some = documents[start : start + _AT_ONCE]
            keys = [self._key(*self._rules.told_by(it, record, place)) for place, it in enumerate(some, start)]
            found = self._recall.find(keys)
            for place, (key, known) in enumerate(zip(keys, found, strict=True), start):
                if self._is_new(key, known):
                    made = record(place)
                    self._records.append(made)
                    self._size += len(made.value)

    def _key(self, kind: bytes, told: bytes | Raw) -> bytes:
        if kind is not _VALUE and len(told) <= _LONGEST:
            return kind + bytes(told)
        digest = self._digest.copy()
        digest.update(told)
        return kind.upper() + digest.digest()

    def _is_new(self, key: bytes, known: tuple[int, int] | None) -> bool:
        """See an item; return whether it was not seen before."""
        if key in self._met:
            self._repeats += 1
            return False
        if known is not None:
            number, at = known
            new = self._forgotten(at)
            if not new:
                self._repeats += 1
                young = self._age is None or at >= self._now - self._grain
                if young and self._following - number <= self._count // 2:
                    return False
            self._gone.append(number)
            self._gone_old += self._age is not None and at < self._now - self._age
        else:
            new = True
        self._new += new
        self._met.add(key)
        self._rows.add((self._following, key, self._now, b"", None))
        self._size += _ROOM
        self._following += 1
        return new

    def _forgotten(self, at: int) -> bool:
        """Return whether an item is too old: but what the last answer has had is not, however long ago that was."""
        return self._age is not None and at < self._now - self._age and at < self._before.last - self._grain

    def close(self, *, last: bool, unfit: bool = False, earlier: Sequence[int] = ()) -> Sifted:  # noqa: ARG002 - as of all that items are taken by
        """End the exchange, the `last` one of its round or another; see `Sieve`. Raises LogError."""
        if earlier:
            self._repeats, self._new = self._repeats + earlier[0], self._new + earlier[1]
        before = self._before
        known = before.known + self._following - before.following - len(self._gone)
        drop = max(0, known - self._count)
        if last and self._age is not None:
            drop = max(drop, self._recall.older(self._now - self._age) - self._gone_old)
        drop = min(drop, _MOST_DROPPED)
        remembered = Remembered(
            before.of,
            before.salt,
            self._following,
            known - drop,
            0 if last else self._now,
            last=self._now if last else before.last,
        )
        change = MemoryChange(
            self._rules.connector,
            anew=self._anew,
            gone=pack_numbers(self._gone),
            rows=self._rows.packed(),
            drop=drop,
        )
        needed = change.anew or change.gone or change.rows or change.drop
        return Sifted(
            self._records, remembered, change if needed else None, note=self._note(), counts=(self._repeats, self._new)
        )

    def _note(self) -> str:
        notes = [f"{self._repeats:,} seen before"] if self._repeats else []
        if self._new > self._count // 2 and not self._anew:
            notes.append(f"{self._new:,} new ones are many for deduplicate.count: {self._count:,}")
        return "; ".join(notes)
