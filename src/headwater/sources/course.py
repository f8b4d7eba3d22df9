"""Owns the course of a round: what is asked for next, and what is remembered when an answer has come. Pure.

It puts together what windows, pages and cursors say. How an answer becomes records is others' business; they tell what
items it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Final

import msgspec
from msgspec import Raw

from headwater.core.checkpoint import Progress
from headwater.core.empty import NO_NAMES
from headwater.core.errors import HeadwaterError
from headwater.core.http import Headers, Request
from headwater.core.instant import Instant
from headwater.core.moment import Moment
from headwater.core.pointer import Pointer
from headwater.sources.cursors import Cursors
from headwater.sources.following import PaginationError
from headwater.sources.pages import ONE_PAGE, Answer, Pager
from headwater.sources.requesting import Requester
from headwater.sources.window import Span, Windows

# What a server says that has forgotten where a page begins, or never knew (RFC 9110).
_FORGOTTEN: Final = frozenset({400, 404, 410, 422})
NOTHING: Final = Progress()


class NothingDueError(HeadwaterError):
    """There is nothing to ask for at this time."""


class Step(msgspec.Struct, frozen=True):
    """What follows from an answer: the progress that commits with its records, and whether another request follows.

    `note` is for the ledger. With a `failure` the round has ended in trouble: the answer's items are not to be stored.
    `unsure`: it has ended where it may not be complete.
    """

    progress: Progress
    more: bool = False
    note: str = ""
    failure: str = ""
    unsure: bool = False


class _Turn(msgspec.Struct, frozen=True):
    """An answer that was understood: when it came, what it leaves pending, of which window it is, and what is said."""

    progress: Progress
    moment: Moment
    pending: dict[str, Any]
    span: Span | None
    notes: tuple[str, ...]

    def told(self, *more: str) -> str:
        """Return what the ledger is told."""
        return "; ".join(it for it in (*more[:1], *self.notes, *more[1:]) if it)


class Gleaning:
    """What the items of one answer leave behind, in as many pieces as they come in."""

    __slots__ = ("_cursors", "_progress", "_watched", "beyond", "count", "first", "items", "last", "missed", "pending")

    def __init__(self, cursors: Cursors, progress: Progress, watched: int | None, *, collect: bool = False) -> None:
        self._cursors = cursors
        self._progress = progress
        self._watched = watched
        self.pending: Mapping[str, Any] = progress.pending
        self.count = 0
        self.first: bytes | Raw | None = None
        self.last: bytes | Raw | None = None
        # Whether all items are beyond the cursor that a list with the newest first is read up to.
        self.beyond = True
        self.missed: list[str] = []
        # All items that are to be stored, where somebody asks about them.
        self.items: list[bytes | Raw] | None = [] if collect else None

    def take(self, items: Sequence[bytes | Raw], values: Sequence[Sequence[Raw | None]]) -> list[bool] | None:
        """Take in items, in their order, and of each what is at the course's `pointers`.

        Return which of them are to be stored; None when all are.
        """
        if not items:
            return None
        if self.first is None:
            self.first = items[0]
        self.last = items[-1]
        self.count += len(items)
        kept = self._gather(values) if self._cursors.pointers else None
        if self.items is not None:
            self.items += items if kept is None else compress(items, kept)
        return kept

    def _gather(self, values: Sequence[Sequence[Raw | None]]) -> list[bool] | None:
        columns: list[Sequence[Raw | None]] = list(zip(*values, strict=True))
        self.missed = self._cursors.missed(columns, self._progress.cursors)
        kept = self._cursors.kept(columns)
        if kept is not None:
            columns = [list(compress(column, kept)) for column in columns]
        self.pending = self._cursors.gather_items(self.pending, self._progress.cursors, columns)
        if self._watched is not None:
            name, cursor = list(self._cursors.by_name.items())[self._watched]
            bound = self._progress.cursors.get(name)
            if bound is not None:
                self.beyond &= cursor.beyond(columns[self._cursors.column(name)], bound)
        return kept


class _Seen:
    """What expressions saw last."""

    __slots__ = ("cursor", "cursors", "scheduled", "span", "window")

    def __init__(self) -> None:
        self.cursors: Mapping[str, Any] | None = None
        self.cursor: dict[str, Any] = {}
        self.scheduled: Instant | None = None
        self.span: Span | None = None
        self.window: dict[str, Any] = {}


class Course:
    """The course of the rounds of a configuration. Holds no state: that is the checkpoint's progress.

    `pointers` are to be taken out of every item, for `gleaning(...)`.
    """

    __slots__ = (
        "_beyond",
        "_cursors",
        "_most",
        "_pager",
        "_requester",
        "_seen",
        "_spaces",
        "_stop_at",
        "_windows",
        "gathers",
        "plain",
        "pointers",
    )

    def __init__(
        self,
        requester: Requester,
        pager: Pager,
        cursors: Cursors,
        windows: Windows | None = None,
        *,
        most: int = 1000,
        ignores_beyond: bool = False,
        stop_at: str | None = None,
        spaces: frozenset[str] = frozenset(),
    ) -> None:
        self._requester = requester
        # What requests ask for, and those about items.
        self._spaces = requester.spaces | spaces | ({"page"} if not pager.single else set()) or NO_NAMES
        self._seen = _Seen()
        self._pager = pager
        self._cursors = cursors
        self._windows = windows
        self._most = most
        self._beyond = ignores_beyond
        self._stop_at = list(cursors.by_name).index(stop_at) if stop_at is not None else None
        self.pointers: tuple[Pointer, ...] = cursors.pointers
        # Whether there are cursors.
        self.gathers = bool(cursors)
        # Whether every request is the same, and nothing is remembered for the next.
        self.plain = requester.plain and pager.single and not cursors and windows is None

    @property
    def pages(self) -> bool:
        """Whether a round may have several exchanges."""
        return not self._pager.single or self._windows is not None

    def done(self, progress: Progress | None) -> bool:
        """Return whether nothing is left to ask for: the last window has ended."""
        until = None if self._windows is None else self._windows.until
        return until is not None and progress is not None and progress.window >= until

    def scope(self, progress: Progress, moment: Moment) -> dict[str, Any]:
        """Return what expressions see. Raises NothingDueError when no window is due."""
        spaces, seen = self._spaces, self._seen
        scope: dict[str, Any] = {"page": self._pager.scope(progress.page)} if "page" in spaces else {}
        # What is the same for all pages of a round is the same value: templates know what became of it.
        if self._cursors:
            if seen.cursors is not progress.cursors:
                seen.cursors, seen.cursor = progress.cursors, self._cursors.scope(progress.cursors)
            scope["cursor"] = seen.cursor
        if "scheduled" in spaces:
            if seen.scheduled is None or seen.scheduled.ns != moment.scheduled * 1_000_000:
                seen.scheduled = Instant.of_ms(moment.scheduled)
            scope["scheduled"] = seen.scheduled
        if self._windows is not None:
            span = self._span(progress, moment)
            if seen.span != span:
                seen.span, seen.window = span, self._windows.scope(span)
            scope["window"] = seen.window
        return scope

    def _span(self, progress: Progress, moment: Moment) -> Span:
        assert self._windows is not None
        begun = progress.page.get("window")
        if begun is not None:
            # Of a round that is under way: what it asks for does not change with the configuration.
            return Span(*begun)
        span = self._windows.following(progress.window, moment.scheduled)
        if span is None:
            raise NothingDueError("no window of time has ended since the last")
        return span

    def request(self, progress: Progress | None, moment: Moment) -> Request:
        """Return the request that is due. Raises RequestError, or NothingDueError."""
        progress = progress or NOTHING
        if self.plain:
            return self._requester.request({}, ONE_PAGE)
        return self._requester.request(self.scope(progress, moment), self._pager.plan(progress.page), progress.page)

    def gleaning(self, progress: Progress | None, *, collect: bool = False) -> Gleaning:
        """Return what takes in the items of an answer; with `collect` it has them in the end."""
        return Gleaning(self._cursors, progress or NOTHING, self._stop_at, collect=collect)

    def step(
        self,
        progress: Progress | None,
        moment: Moment,
        gleaned: Gleaning,
        document: bytes | Raw | None,
        *,
        headers: Headers,
        url: str,
    ) -> Step:
        """Return what follows from an accepted answer, of which `document` is the JSON around the items, or all."""
        progress = progress or NOTHING
        pending = self._cursors.gather_answer(gleaned.pending, document, headers)
        span = None if self._windows is None else self._span(progress, moment)
        answer = Answer(document, headers, url, gleaned.count, gleaned.first, gleaned.last)
        try:
            following, note = self._pager.after(answer, progress.page)
        except PaginationError as error:
            # Nothing was lost: the next round begins where this one did.
            kept = msgspec.structs.replace(progress, round=0, page={}, pending={})
            number = progress.page.get("n", 0) + 1
            return Step(kept, failure=f"page {number}: {error}")
        notes = (*gleaned.missed, note)
        if following is not None and not gleaned.beyond:
            following, notes = None, (*notes, "it goes back to what was there before")
        turn = _Turn(progress, moment, pending, span, notes)
        if following is not None:
            return self._page(turn, following)
        # A page that the one before has promised, and that has no body: the list may go on behind it.
        empty = document is not None and not len(document)
        unsure = empty and bool(progress.page.get("n")) and self._pager.tells(progress.page)
        step = self._end(turn)
        return msgspec.structs.replace(step, unsure=True) if unsure else step

    def _page(self, turn: _Turn, following: dict[str, Any]) -> Step:
        """Go on with another page of the same window."""
        progress, done = turn.progress, following["n"]
        following["tick"] = 1 if turn.moment.first else progress.page.get("tick", 0) + 1
        if turn.span is not None:
            following["window"] = [turn.span.start, turn.span.end]
        if self._beyond and done >= self._most:
            return self._end(turn, f"page {done} is the last that is asked for")
        where = _page_of(done, turn.span)
        kept = Progress(progress.cursors, progress.window, turn.moment.scheduled, following, turn.pending)
        if following["tick"] >= self._most:
            return Step(kept, note=turn.told(where, "the next round goes on with it"))
        return Step(kept, more=True, note=turn.told(where, "more follow"))

    def _end(self, turn: _Turn, why: str = "") -> Step:
        """End the pages of a round or of one of its windows."""
        progress, moment, span = turn.progress, turn.moment, turn.span
        cursors = self._cursors.promote(progress.cursors, turn.pending)
        done = progress.page.get("n", 0) + 1
        where = _page_of(done, span) + (", the last" if done > 1 else "") if done > 1 or span is not None else ""
        note = turn.told(where, why)
        if span is None or self._windows is None:
            return Step(Progress(cursors, progress.window), note=note)
        ended = Progress(cursors, span.end)
        number = 1 if moment.first else progress.page.get("windows", 0) + 1
        if number >= self._windows.most or self._windows.following(span.end, moment.scheduled) is None:
            return Step(ended, note=note)
        page = {"windows": number, "tick": 1 if moment.first else progress.page.get("tick", 0) + 1}
        return Step(msgspec.structs.replace(ended, round=moment.scheduled, page=page), more=True, note=note)

    def forgotten(self, progress: Progress | None, moment: Moment, status: int) -> Step | None:
        """Return what follows when a server refuses a page of a round that was broken off: the round begins anew.

        None for any other refusal. What the pages before had is stored, and comes again.
        """
        if progress is None or not moment.first or status not in _FORGOTTEN or not progress.page.get("n"):
            return None
        if not progress.page.keys() & {"url", "token"}:
            return None
        window = progress.page.get("window")
        kept = msgspec.structs.replace(progress, page={} if window is None else {"window": window}, pending={})
        number = progress.page["n"] + 1
        return Step(
            kept,
            more=True,
            note=f"the server does not know any more where page {number} begins: the round begins again at its first",
        )


def _page_of(number: int, span: Span | None) -> str:
    said = "" if span is None else f"{span}"
    return ", ".join(it for it in (said, f"page {number}" if number > 1 or span is None else "") if it)
