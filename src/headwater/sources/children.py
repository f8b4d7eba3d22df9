"""Owns the requests about the items of an answer: what is asked about each, what an answer means, its records. Pure.

Sending them, some at a time, is the engine's. All of one answer's children are stored with that answer, so nothing is
remembered of them: a round that is broken off asks for them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from headwater.config.children import ChildrenOptions
from headwater.core.errors import FetchError, RequestError
from headwater.core.expression import Number
from headwater.core.extract import Extractor, checked
from headwater.core.http import Request, Response
from headwater.core.moment import Moment
from headwater.core.origin import origin, stripped
from headwater.core.record import Record
from headwater.core.secret import Masker, Text
from headwater.sources.following import PaginationError
from headwater.sources.items import About, Items
from headwater.sources.judge import IGNORED, Action, Attempt, Policy, Verdict, accept, judge, media_type
from headwater.sources.pages import Answer, Pager
from headwater.sources.reaped import BadItem
from headwater.sources.requesting import Requester, authority_of
from headwater.sources.split.item import BrokenBodyError, Item

# What says that an item is not there any more: it has no children.
_GONE: Final = frozenset({404, 410})
_NOTHING: Final = frozenset({b"null", b"false", b"0", b'""', b"[]", b"{}"})
# What all children of one answer may have together (bytes of their items).
MOST_BYTES: Final = 256 * 1024 * 1024
_ITEM: Final = msgspec.json.Decoder(float_hook=Number)


class ChildrenError(Exception):
    """The children of an answer cannot be had: the sentence says of which item, and why."""

    def __init__(self, reason: str, slug: str = "children", hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.slug = slug
        self.hint = hint


class Child:
    """The requests about one item under way: `state` is which page is next, `done` that none is."""

    __slots__ = ("bad", "done", "item", "number", "records", "size", "state")

    def __init__(self, number: int, item: Any) -> None:
        self.number = number
        self.item = item
        self.state: Mapping[str, Any] = {}
        self.records: list[Record] = []
        self.bad: list[BadItem] = []
        self.size = 0
        self.done = False


class Children:
    """The children of a configuration. `base` has what all requests of the connector have in common."""

    __slots__ = (
        "_items",
        "_most_pages",
        "_only_if",
        "_options",
        "_pager",
        "_policy",
        "_requester",
        "_usual",
        "concurrency",
    )

    def __init__(self, options: ChildrenOptions, base: Request, policy: Policy, masker: Masker) -> None:
        self._options = options
        self.concurrency = options.concurrency
        self._policy = msgspec.structs.replace(policy, method=options.method, body_only=True)
        # Rules know circumstances; what is judged without them then accepts nothing.
        self._usual = msgspec.structs.replace(self._policy, accepted=()) if policy.rules else self._policy
        self._requester = _requester(options, base, masker)
        pagination = options.pagination
        self._pager = Pager(
            pagination, self._requester.asked, self._requester.origin, templated="page" in self._requester.spaces
        )
        self._most_pages = 1 if pagination is None else pagination.max_pages
        self._items = Items(options.records)
        self._only_if = None if options.only_if is None else Extractor((options.only_if,))

    def of(self, parents: Sequence[bytes | Raw]) -> list[Child]:
        """Return what is to be asked about the items of an answer. Raises ChildrenError when that is too much."""
        wanted = [
            Child(number, _ITEM.decode(checked(parent))) for number, parent in enumerate(parents) if self._asks(parent)
        ]
        if len(wanted) > self._options.max:
            raise ChildrenError(
                f"{len(wanted)} items have children, and children.max is {self._options.max}",
                hint="ask for smaller pages, or raise children.max",
            )
        return wanted

    def _asks(self, parent: bytes | Raw) -> bool:
        if self._only_if is None:
            return True
        (raw,) = self._only_if(parent)
        return raw is not None and bytes(raw) not in _NOTHING

    def request(self, child: Child, scope: Mapping[str, Any], at: str) -> Request:
        """Return the next request about an item, of an answer that came from `at`. Raises RequestError."""
        seen = {**scope, "item": child.item, "page": self._pager.scope(child.state)}
        return self._requester.request(seen, self._pager.plan(child.state), child.state, at=at)

    def judge(self, outcome: Response | FetchError, attempt: Attempt) -> Verdict:
        """Decide what one attempt means. What is gone has no children."""
        verdict = judge(outcome, attempt, self._policy)
        if verdict.slug == IGNORED:
            return msgspec.structs.replace(verdict, action=Action.EMPTY)
        if verdict.action is Action.FAIL and isinstance(outcome, Response) and outcome.status in _GONE:
            return Verdict(Action.EMPTY, verdict.reason)
        return verdict

    def accept(self, response: Response) -> Verdict | None:
        """Decide what a response with an accepted status means."""
        return accept(response, self._usual, kind=media_type(response))

    def take(self, child: Child, response: Response, request: Request, moment: Moment, *, empty: bool) -> None:
        """Take in an accepted answer about an item. Raises ChildrenError for one that cannot be used."""
        page = child.state.get("n", 0) + 1
        about = About(request.shown_url, response.status, moment.now, page, dict(response.headers))
        splitter, making = self._items.splitter(response), self._items.making(about)
        try:
            found: list[Item] = []
            if response.body and not empty:
                found = [*splitter.feed(response.body), *splitter.finish()]
            batch = making.take(found, splitter.what)
        except BrokenBodyError as error:
            raise ChildrenError(f"the children of item {child.number + 1}: {error}", "body") from error
        child.records += batch.records()
        child.bad += batch.bad
        child.size += sum(map(len, batch.items))
        if empty or self._pager.single:
            child.done = True
            return
        items = batch.documents
        document = splitter.rest if response.body else None
        answer = Answer(
            document,
            response.headers,
            response.url,
            len(found),
            items[0] if items else None,
            items[-1] if items else None,
        )
        try:
            following, _ = self._pager.after(answer, child.state)
        except PaginationError as error:
            raise ChildrenError(f"the children of item {child.number + 1}, page {page}: {error}", "pages") from error
        if following is not None and page >= self._most_pages:
            raise ChildrenError(
                f"the children of item {child.number + 1} have more than {self._most_pages} pages",
                "pages",
                "raise children.pagination.max_pages",
            )
        child.state, child.done = following or {}, following is None

    def records(
        self, parents: Sequence[bytes | Raw], own: Sequence[Record], children: Sequence[Child]
    ) -> tuple[list[Record], list[BadItem]]:
        """Return the records of an answer with all children, in the order of its items; and what is none."""
        records = list(self._ordered(parents, own, children))
        bad = [
            msgspec.structs.replace(it, position=f"{it.position} of the children of item {child.number + 1}")
            for child in children
            for it in child.bad
        ]
        return records, bad

    def _ordered(
        self, parents: Sequence[bytes | Raw], own: Sequence[Record], children: Sequence[Child]
    ) -> Iterator[Record]:
        of = {child.number: child for child in children}
        parent = self._options.parent
        for number, item in enumerate(parents):
            if parent == "keep":
                yield own[number]
            found = of[number].records if number in of else []
            if parent == "embed":
                head = b'{"parent":' + bytes(item) + b',"child":'
                found = [msgspec.structs.replace(it, value=head + it.value + b"}") for it in found]
            yield from found


def _requester(options: ChildrenOptions, base: Request, masker: Masker) -> Requester:
    """Return what makes the requests about items: with the connector's credentials only at its own origin."""
    parts = options.parts
    text, home = parts.endpoint.reveal(), authority_of(base.url)
    if text.startswith("/"):
        spans = tuple((begin + len(home), end + len(home)) for begin, end in parts.endpoint.spans)
        endpoint = Text(home + text, home + str(parts.endpoint), parts.endpoint.parts, spans)
        parts = msgspec.structs.replace(parts, endpoint=endpoint)
    elif not parts.endpoint.spans or parts.endpoint.spans[0][0] > 0:
        there = f"{authority_of(text)}/"
        if origin(there) != origin(base.url):
            base = stripped(base, there)
    request = msgspec.structs.replace(
        base,
        method=options.method,
        body=None,
        secret_headers=base.secret_headers | {name.lower() for name, value in options.headers if value.secret},
        secret_params=base.secret_params | {name for name, value in options.params if value.secret},
    )
    return Requester(parts, request, masker, items=True)


def refused(child: Child, request: Request | None, verdict: Verdict, hint: str = "") -> ChildrenError:
    """Return the error for an item whose children could not be had."""
    where = "" if request is None else f" ({request.method} {request.shown_url})"
    return ChildrenError(f"the children of item {child.number + 1}{where}: {verdict.reason}", verdict.slug, hint)


def unrendered(child: Child, error: RequestError) -> ChildrenError:
    """Return the error for an item that no request can be made about."""
    return ChildrenError(f"the children of item {child.number + 1}: {error.message}", "request", error.hint)
