"""Owns cursors: what they take of the answers of a round, what becomes of it at the end, and what requests see. Pure.

Values are gathered page by page in `pending` and become the cursors' when the round ends: a list whose newest items
come first, and that is broken off in the middle, is asked for again from where it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Raw

from headwater.config.cursor import CursorOptions
from headwater.core.errors import RequestError
from headwater.core.expression import Number, moved_number, text_of
from headwater.core.extract import DocumentError, extract
from headwater.core.http import Headers
from headwater.core.instant import Instant
from headwater.core.pointer import Pointer
from headwater.sources.values import Kind, alive, configured, kind_of, rank_of, shown, stored, stored_text, time_of

Column = Sequence[Raw | None]
_NULL: Final = b"null"
NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_ZONE: Final = re.compile(rb'(?:Z|[+-]\d\d:?\d\d)"$')


class Cursor(msgspec.Struct, frozen=True):
    """One cursor. `best` is how two values of a round are chosen from: the place of the one that is kept."""

    name: str
    options: CursorOptions

    def kind(self, value: Any) -> Kind | None:
        """Return how values are compared when `value` is one of them."""
        return kind_of(value, self.options.type)

    def better(self, one: Any, other: Any) -> Any:
        """Return which of two stored values is kept; a value that cannot be compared with the first is not."""
        if one is None:
            return other if self._fits(other) else None
        taken = self.options.taken
        if taken == "first":
            return one
        if taken == "last":
            return other
        kind = self.kind(alive(one))
        first = None if kind is None else rank_of(alive(one), kind)
        second = None if kind is None else rank_of(alive(other), kind)
        if second is None:
            return one
        if first is None:
            return other
        return other if (second > first if taken == "max" else second < first) else one

    def _fits(self, value: Any) -> bool:
        return self.options.taken in {"first", "last"} or self.kind(alive(value)) is not None

    def of_column(self, column: Column, base: Any) -> Any:
        """Return the value that is kept of a page's, None when no item has one. `base` says what they are like."""
        values = [bytes(raw) for raw in column if raw is not None]
        values = [value for value in values if value != _NULL]
        if not values:
            return None
        taken = self.options.taken
        if taken == "first":
            return stored(values[0])
        if taken == "last":
            return stored(values[-1])
        integers = self.options.type in {"auto", "number"}
        quick = _quickest(values, max if taken == "max" else min, integers=integers)
        if quick is not None and (base is None or self.kind(alive(base)) == self.kind(alive(quick))):
            return quick
        # The base only says of which kind they are: it is compared when the round ends.
        kind = None if base is None else self.kind(alive(base))
        best = best_rank = None
        for value in values:
            try:
                candidate = stored(value)
            except ValueError:
                continue
            live = alive(candidate)
            kind = kind or (self.kind(live) if base is None else "text")
            rank = None if kind is None else rank_of(live, kind)
            if rank is not None and (best_rank is None or (rank > best_rank if taken == "max" else rank < best_rank)):
                best, best_rank = candidate, rank
        return best

    def below(self, column: Column, bound: Any) -> list[bool]:
        """Return of each value whether it is below a bound; what cannot be compared with it is."""
        kind = self.kind(bound)
        if kind is None:
            return [True] * len(column)
        limit = rank_of(bound, kind)
        return [(rank := _rank(raw, kind)) is None or rank < limit for raw in column]

    def beyond(self, column: Column, bound: Any) -> bool:
        """Return whether every value of a page is beyond a stored value, in the order in which the cursor goes."""
        kind = self.kind(alive(bound))
        if kind is None:
            return True
        limit = rank_of(alive(bound), kind)
        least = self.options.taken == "min"
        ranks = (_rank(raw, kind) for raw in column)
        return all(rank is None or (rank < limit if least else rank > limit) for rank in ranks)

    def stuck(self, column: Column, known: Any) -> bool:
        """Return whether a page has values, and none that can be compared with the one that is remembered."""
        if self.options.taken in {"first", "last"}:
            return False
        kind = self.kind(alive(known))
        given = False
        for raw in column:
            if raw is None or bytes(raw) == _NULL:
                continue
            if kind is not None and _rank(raw, kind) is not None:
                return False
            given = True
        return given


def _rank(raw: Raw | None, kind: Kind) -> Any:
    """Return what a raw value is compared by, None for one that cannot be."""
    if raw is None:
        return None
    try:
        return rank_of(alive(stored(raw)), kind)
    except ValueError:
        return None


def _quickest(values: list[bytes], choose: Callable[..., bytes], *, integers: bool) -> Any:
    """Return the largest or smallest of values that their bytes can be compared by: most columns by far.

    None for others: these are texts of times in one zone that are all as long, and integers.
    """
    first = values[0]
    zone = _ZONE.search(first)
    if zone is not None:
        length, end = len(first), zone[0]
        if all(len(value) == length and value.endswith(end) and value[11:12] == first[11:12] for value in values):
            found = stored(choose(values))
            return found if kind_of(found) == "time" else None
        return None
    try:
        return int(choose(values, key=int)) if integers and all(len(value) < 18 for value in values) else None
    except ValueError:
        return None


class Cursors:
    """The cursors of a configuration. `pointers` are taken out of every item: one for each cursor of items."""

    __slots__ = ("_answers", "_items", "by_name", "pointers")

    def __init__(self, options: Mapping[str, CursorOptions]) -> None:
        self.by_name = {name: Cursor(name, it) for name, it in options.items()}
        self._items = tuple(cursor for cursor in self.by_name.values() if cursor.options.where == "item")
        self._answers = tuple(cursor for cursor in self.by_name.values() if cursor.options.where != "item")
        self.pointers: tuple[Pointer, ...] = tuple(cursor.options.from_.pointer for cursor in self._items)

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def kept(self, columns: Sequence[Column]) -> list[bool] | None:
        """Return which items of a page are not left out, None when all are kept."""
        kept: list[bool] | None = None
        for cursor, column in zip(self._items, columns, strict=True):
            if cursor.options.until is not None:
                below = cursor.below(column, configured(cursor.options.until))
                kept = below if kept is None else [one and other for one, other in zip(kept, below, strict=True)]
        return None if kept is None or all(kept) else kept

    def column(self, name: str) -> int:
        """Return which of `pointers` is that of a cursor of items."""
        return [cursor.name for cursor in self._items].index(name)

    def scope(self, cursors: Mapping[str, Any]) -> dict[str, Any]:
        """Return what templates see: the values with what is looked back taken off, or the initial ones."""
        values = {}
        for name, cursor in self.by_name.items():
            if name in cursors:
                values[name] = self._looked_back(cursor, alive(cursors[name]))
            elif cursor.options.initial is not None:
                values[name] = configured(cursor.options.initial)
        return values

    @staticmethod
    def _looked_back(cursor: Cursor, value: Any) -> Any:
        back = cursor.options.look_back
        if back is None:
            return value
        kind = cursor.kind(value)
        if kind == "number" and back.number is not None:
            less = moved_number(value, f"-{back.number}")
            if isinstance(value, str):
                return less.text
            return int(less.text) if isinstance(value, int) and "." not in less.text else less
        instant = time_of(value) if kind in {"time", "number"} else None
        if instant is None or back.ns is None:
            raise RequestError(
                f"the cursor {cursor.name} is {text_of(value)[:60]!r}, which is no time to look back from",
                hint="say which type it is, or leave look_back out",
            )
        return _respelt(instant.moved(-back.ns), value)

    def gather_items(
        self, pending: Mapping[str, Any], cursors: Mapping[str, Any], columns: Sequence[Column]
    ) -> dict[str, Any]:
        """Return what is pending after more items of a round; `columns` are their values at `pointers`."""
        gathered = dict(pending)
        for cursor, column in zip(self._items, columns, strict=True):
            initial = cursor.options.initial
            base = gathered.get(cursor.name, cursors.get(cursor.name))
            if base is None and initial is not None:
                base = configured(initial)
            _keep(gathered, cursor, cursor.of_column(column, base))
        return gathered

    def gather_answer(
        self, pending: Mapping[str, Any], document: bytes | Raw | None, headers: Headers
    ) -> dict[str, Any]:
        """Return what is pending after one more answer, of which `document` is the JSON, if it is any."""
        gathered = dict(pending)
        for cursor in self._answers:
            _keep(gathered, cursor, _of_answer(cursor, document, headers))
        return gathered

    def promote(self, cursors: Mapping[str, Any], pending: Mapping[str, Any]) -> dict[str, Any]:
        """Return the cursors at the end of a round. Those that go to the largest or the smallest never go back."""
        promoted = {name: value for name, value in cursors.items() if name in self.by_name}
        for name, value in pending.items():
            cursor = self.by_name.get(name)
            if cursor is None:
                continue
            moves = cursor.options.taken in {"first", "last"}
            promoted[name] = value if moves else cursor.better(promoted.get(name), value)
        return promoted

    def missed(self, columns: Sequence[Column], cursors: Mapping[str, Any] = NONE) -> list[str]:
        """Return what is worth a word in the ledger: cursors that no item of a page has a value for, or none that fits.

        `cursors` are the values that are remembered.
        """
        said = []
        for cursor, column in zip(self._items, columns, strict=True):
            known = cursors.get(cursor.name)
            if column and all(raw is None for raw in column):
                said.append(f"no item has {cursor.options.from_} for the cursor {cursor.name}")
            elif known is not None and cursor.stuck(column, known):
                said.append(
                    f"the cursor {cursor.name} stays {shown(known)[:60]}, which nothing at {cursor.options.from_} can "
                    "be compared with: see headwater checkpoint set"
                )
        return said


def _keep(gathered: dict[str, Any], cursor: Cursor, found: Any) -> None:
    kept = None if found is None else cursor.better(gathered.get(cursor.name), found)
    if kept is not None:
        gathered[cursor.name] = kept


def _respelt(instant: Instant, value: Any) -> Any:
    """Return a time in the kind of JSON that the value had."""
    if isinstance(value, int):
        return int(instant.text)
    if isinstance(value, Number):
        return Number(instant.text)
    return instant if instant.form != "unix" else instant.text


def _of_answer(cursor: Cursor, document: bytes | Raw | None, headers: Headers) -> Any:
    """Return the stored value that an answer has for a cursor, None when it has none."""
    spot = cursor.options.from_
    try:
        if spot.header:
            values = [value for name, value in headers if name == spot.header]
            return stored_text(values[-1]) if values and values[-1] else None
        raw = None if document is None else extract(spot.pointer, document)
        if raw is None or bytes(raw) in {_NULL, b'""'}:
            return None
        return stored(raw)
    except (DocumentError, ValueError):
        return None
