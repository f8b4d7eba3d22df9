"""Owns the telling of how an endpoint's pages follow one another, and what the next request would be. Pure.

What it finds are proposals, the likeliest first: whoever may ask can see which of them is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import msgspec

from headwater.core.http import Response
from headwater.core.pointer import Pointer
from headwater.discover.asking import Ask, clean, from_url, query_pairs
from headwater.discover.finding import Certainty, Finding
from headwater.discover.items import Items
from headwater.discover.places import Place, is_address, is_link_name, is_token, means_next, places
from headwater.discover.vocabulary import (
    CURSORS,
    END,
    MORE,
    NEXT,
    OFFSETS,
    PAGES,
    SIZES,
    TOTAL_PAGES,
    TOTALS,
    number_of,
    pieces,
)

_LINK = re.compile(r"<([^<>]*)>\s*((?:;\s*[\w*-]+\s*=\s*(?:\"[^\"]*\"|[^\s,;\"]+)\s*)*)")
_GRAPHQL_AFTER = re.compile(r"after\s*:\s*\$(\w+)")
# Which parameter takes what is called so in the answer; what is not here is tried by its own name.
_TAKERS: Final = {
    "next_cursor": ("cursor", "start_cursor"),
    "next_page_token": ("page_token",),
    "next_page_id": ("page_id",),
    "end_cursor": ("after",),
    "after_cursor": ("cursor", "after"),
    "continuation_token": ("continuation_token",),
    "next_page_key": ("page_key",),
    "next_marker": ("marker",),
    "next_offset": ("offset",),
    "_scroll_id": ("scroll_id",),
    "next": ("cursor", "next", "page_token", "after"),
    "next_token": ("next_token", "pagination_token"),
}
# Which parameter says where a page begins when this one says how long it is.
_BESIDE_SIZE: Final = {
    "$limit": ("offset", "$offset"), "$top": ("offset", "$skip"), "limit": ("offset", "offset"),
    "per_page": ("page", "page"), "perPage": ("page", "page"), "per-page": ("page", "page"),
    "page_size": ("page", "page"), "pageSize": ("page", "page"), "pagesize": ("page", "page"),
    "page[size]": ("page", "page[number]"), "page[limit]": ("offset", "page[offset]"), "rows": ("offset", "start"),
    "maxResults": ("offset", "startAt"), "max_results": ("offset", "start"), "size": ("page", "page"),
    "_limit": ("page", "_page"), "sysparm_limit": ("offset", "sysparm_offset"), "hitsPerPage": ("page", "page"),
    "pagelen": ("page", "page"),
}  # fmt: skip


class Proposal(msgspec.Struct, frozen=True):
    """A way in which pages may follow: the findings, and what would be asked for next (None: it cannot be told)."""

    findings: tuple[Finding, ...]
    following: Ask | None
    # Parameters of the request that the pagination sets from now on.
    takes: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """The word of `pagination.type`."""
        return str(self.findings[0].value)


def find_paging(ask: Ask, response: Response, document: Any, items: Items) -> list[Proposal]:
    """Return how pages may follow, the likeliest first; nothing when the answer seems to be whole."""
    looking = _Looking(ask, response, document, items)
    found: list[Proposal] = []
    for look in (looking.link, looking.next_url, looking.cursor, looking.header_cursor, looking.last, looking.numbered):
        found += look()
    unique: dict[tuple[Any, ...], Proposal] = {}
    for proposal in found:
        unique.setdefault(tuple((it.option, str(it.value)) for it in proposal.findings[:3]), proposal)
    return list(unique.values())


class _Looking:
    """Looks at one answer for each of the ways."""

    def __init__(self, ask: Ask, response: Response, document: Any, items: Items) -> None:
        self._ask = ask
        self._response = response
        self._items = items
        self._places = list(places(document, items.split)) if isinstance(document, dict) else []
        self._named = dict(ask.params)

    # The four kinds.

    def link(self) -> Iterator[Proposal]:
        """Look for a header Link with rel=next (RFC 8288)."""
        for name, value in self._response.headers:
            if name.lower() != "link":
                continue
            for target, parameters in _LINK.findall(value[:16384]):
                if re.search(r"""rel\s*=\s*"?(?:[^"]*\s)?next(?:\s|"|;|,|$)""", parameters, re.IGNORECASE):
                    why = 'the header Link has rel="next"'
                    yield self._proposal("link", why, Certainty.SURE, self._asked(target))
                    return

    def next_url(self) -> Iterator[Proposal]:
        """Look for the address of the next page in the body."""
        for place in self._places:
            if not means_next(place.pointer):
                continue
            value = place.value
            if isinstance(value, str) and is_address(value):
                why = f"{place.pointer} is the address of the next page"
                more = [Finding("pagination.next", str(place.pointer), "where it stands", Certainty.SURE)]
                if any(step.isdigit() for step in place.pointer.steps):
                    why = f"{why}, one of a list of links: it may stand elsewhere on other pages"
                yield self._proposal("next-url", why, Certainty.SURE, self._asked(value), more)
            elif value is None and (is_link_name(place.name) or {"previous", "prev"} & place.beside.keys()):
                why = f"{place.pointer} is null here, as on the last page"
                more = [Finding("pagination.next", str(place.pointer), "where the address would stand")]
                yield self._proposal("next-url", why, Certainty.LIKELY, None, more)

    def cursor(self) -> Iterator[Proposal]:
        """Look for what the next request is to carry."""
        for place in self._places:
            if not is_token(place):
                continue
            more = [Finding("pagination.next", str(place.pointer), "what the next request carries", Certainty.SURE)]
            more += self._ends(place)
            why = f"{place.pointer} is what the next page is asked for with"
            if not place.value:
                why = f"{place.pointer} is empty here, as on the last page"
            elif place.value in {None, ""} or self._says_end():
                why = f"{why}, though this is the last one"
            for param, said, sure in self._takers(place):
                option = Finding("pagination.param", param, said, sure)
                following = self._setting({param: str(place.value)}) if place.value and not self._says_end() else None
                certainty = Certainty.LIKELY if following is None else sure
                yield self._proposal("cursor", why, certainty, following, [*more[:1], option, *more[1:]], {param})

    def header_cursor(self) -> Iterator[Proposal]:
        """Look for it in a header."""
        for name, value in self._response.headers:
            said = set(pieces(name))
            if said & {"next", "continuation"} and said & CURSORS and value and "page" not in said - CURSORS - NEXT:
                words = [it for it in pieces(name) if it not in {"x", "ms", "next"}]
                param = "_".join(words) or "cursor"
                more = [
                    Finding("pagination.next", f"header:{name.lower()}", "what the next request carries"),
                    Finding("pagination.param", param, "by the header's name", Certainty.GUESS),
                ]
                why = f"the header {name} is what the next page is asked for with"
                yield self._proposal("cursor", why, Certainty.LIKELY, self._setting({param: value}), more, {param})

    def last(self) -> Iterator[Proposal]:
        """Look for lists that go on after their last item, as Elasticsearch's and Stripe's."""
        items = self._items.items
        if not items or not isinstance(items[-1], dict):
            return
        body = self._ask.body if isinstance(self._ask.body, dict) else {}
        if "sort" in body and isinstance(items[-1].get("sort"), list):
            more = [
                Finding("pagination.last", "/sort", "the sort values of the last hit", Certainty.SURE),
                Finding("pagination.param", "body:/search_after", "where a search goes on", Certainty.SURE),
            ]
            full = len(items) >= self._size()[1]
            following = self._ask.replace(body={**body, "search_after": items[-1]["sort"]}) if full else None
            more += self._total()[1]
            yield self._proposal("cursor", "a search goes on after its last hit", Certainty.SURE, following, more)
            return
        more_there = next((it for it in self._places if it.name in MORE and it.value is True), None)
        if more_there is None or any(is_token(it) for it in self._places) or not self._items.key:
            return
        key = self._items.key
        value = Pointer(tuple(key[1:].split("/"))).find(items[-1])
        for param in ("starting_after", "after", "after_id", "last_id"):
            more = [
                Finding("pagination.last", key, "the id of the last item", Certainty.LIKELY),
                Finding("pagination.param", param, "as other APIs call it", Certainty.GUESS),
                Finding("pagination.has_more", str(more_there.pointer), "says whether there is more", Certainty.SURE),
            ]
            why = f"{more_there.pointer} is true, and there is no cursor: the next page begins after the last item"
            yield self._proposal("cursor", why, Certainty.LIKELY, self._setting({param: str(value)}), more, {param})

    def numbered(self) -> Iterator[Proposal]:
        """Look for numbers of pages and offsets: in the request, in the answer, in its headers."""
        total, total_option = self._total()
        count = len(self._items.items)
        pages = self._number(TOTAL_PAGES)
        header_pages = self._header_number({"pages"}, {"total", "count"})
        for kind, names in (("page", PAGES), ("offset", OFFSETS)):
            param = next((name for name in self._named if name in names), None)
            in_body = self._in_body(names)
            echoed = self._number(names)
            if param is None and in_body is None and echoed is None:
                continue
            if kind == "offset" and param is None and in_body is None and self._number(SIZES) is None and total is None:
                continue
            shown = param or (f"body:/{in_body}" if in_body else echoed[0].name if echoed else names[0])
            start = self._start(kind, param, echoed)
            whole = (pages is not None and pages[1] <= 1) or (total is not None and total <= count)
            why = (
                f"the request has {shown}"
                if param or in_body
                else f"the answer says {shown}: {echoed[1] if echoed else 0}"
            )
            if pages is not None:
                why = f"{why}, and {pages[0].pointer}: {pages[1]}"
            sure = Certainty.SURE if (param or in_body) and (pages or total_option) else Certainty.LIKELY
            size = self._size()[1] or count
            more = [
                Finding("pagination.param", shown, "the parameter that names it", sure),
                Finding("pagination.start", start, "the first page" if kind == "page" else "the first offset", sure),
            ]
            following = None
            if count and not whole and not shown.startswith("body:"):
                following = self._setting({shown: str(start + (1 if kind == "page" else size))})
            yield self._proposal(kind, why, sure, following, [*more, *total_option], {shown})
        size_param, size = self._size()
        full = bool(size and count >= size)
        if (header_pages or total_option) and not (total is not None and total <= count):
            said = "the number of pages" if header_pages else "how many there are in all"
            kind, param = _BESIDE_SIZE.get(size_param, ("page", "page"))
            yield self._guessed(kind, param, f"the answer says {said}", total_option)
        elif full and size_param in _BESIDE_SIZE:
            kind, param = _BESIDE_SIZE[size_param]
            yield self._guessed(kind, param, f"the page is full: {count} items with {size_param}={size}", [])

    # What they share.

    def _guessed(self, kind: str, param: str, why: str, total: list[Finding]) -> Proposal:
        start = 1 if kind == "page" else 0
        size = self._size()[1] or len(self._items.items)
        more = [
            Finding("pagination.param", param, "as APIs of this kind call it", Certainty.GUESS),
            Finding("pagination.start", start, "the first one"),
            *total,
        ]
        following = self._setting({param: str(start + (1 if kind == "page" else size))})
        return self._proposal(kind, why, Certainty.GUESS, following, more, {param})

    def _proposal(  # noqa: PLR0917 - the parts of a proposal
        self,
        kind: str,
        why: str,
        certainty: Certainty,
        following: Ask | None,
        more: list[Finding] | None = None,
        takes: set[str] | None = None,
    ) -> Proposal:
        findings = [Finding("pagination.type", kind, why, certainty), *(more or [])]
        taken = set(takes or ())
        size_param, size = self._size()
        if size_param and size:
            findings += [
                Finding("pagination.size", size, "how many items a page has, as the request says", Certainty.SURE),
                Finding("pagination.size_param", size_param, "the parameter that says so", Certainty.SURE),
            ]
            taken.add(size_param)
        return Proposal(tuple(findings), following, frozenset(taken))

    def _asked(self, target: str) -> Ask | None:
        """Return what a link leads to, None when that is another host: nothing is sent there unasked."""
        url = urljoin(self._response.url, clean(target.strip()))
        try:
            parts, own = urlsplit(url), urlsplit(self._ask.url)
            if (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
                return None
            there = from_url(url)
        except ValueError:
            return None
        # A key among the parameters is the auth's, and stands there already.
        key = self._ask.auth.options.get("name", "") if self._ask.auth is not None else ""
        params = tuple(it for it in there.params if it[0] != key)
        return self._ask.replace(url=there.url, params=params)

    def _setting(self, values: dict[str, str]) -> Ask | None:
        ask = self._ask
        for name, value in values.items():
            if name.startswith("body:"):
                changed = _put(ask.body, Pointer(tuple(name[6:].split("/"))).steps, value)
                if changed is None:
                    return None
                ask = ask.replace(body=changed)
            else:
                kept = tuple(it for it in ask.params if it[0] != name)
                ask = ask.replace(params=(*kept, (name, value)))
        return ask

    def _takers(self, place: Place) -> Iterator[tuple[str, str, Certainty]]:
        """Yield the parameters that may take a cursor, the likeliest first, each with the reason."""
        body = self._ask.body if isinstance(self._ask.body, dict) else None
        if body is not None and isinstance(body.get("query"), str) and "{" in body["query"]:
            if found := _GRAPHQL_AFTER.search(body["query"]):
                yield f"body:/variables/{found[1]}", f"the query has after: ${found[1]}", Certainty.SURE
            return
        yield from self._seen_in_links(place)
        takers = _TAKERS.get("_".join(pieces(place.name)), _TAKERS.get(place.name.lower(), ()))
        # Bodies prefer the longer names that say what begins there.
        styled = [_styled(it, place.name) for it in (takers if body is None else takers[::-1])]
        names = list(dict.fromkeys([*styled, place.name]))
        known = [name for name in names if name in self._named or (body is not None and name in body)]
        prefix = "" if body is None else "body:/"
        for name in known:
            yield f"{'' if name in self._named else prefix}{name}", "the request has it already", Certainty.SURE
        for name in names:
            if name not in known and re.fullmatch(r"[\w.$\[\]-]{1,60}", name):
                yield f"{prefix}{name}", f"by the name {place.name}", Certainty.LIKELY

    def _seen_in_links(self, place: Place) -> Iterator[tuple[str, str, Certainty]]:
        """Yield the parameter that has the cursor in a URL of the answer."""
        for other in self._places:
            if isinstance(other.value, str) and "://" in other.value and place.value:
                for name, value in query_pairs(urlsplit(clean(other.value)).query):
                    if value == str(place.value):
                        yield name, f"{other.pointer} has it so", Certainty.SURE

    def _ends(self, near: Place) -> list[Finding]:
        """Return what says whether there are more pages, the nearest first."""
        for names, option in ((MORE, "pagination.has_more"), (END, "pagination.end")):
            found = [it for it in self._places if it.name in names and isinstance(it.value, bool)]
            found.sort(key=lambda it: it.pointer.steps[:-1] != near.pointer.steps[:-1])
            if found:
                what = "says whether there is more" if option.endswith("has_more") else "says whether this is the end"
                return [Finding(option, str(found[0].pointer), what, Certainty.SURE)]
        return []

    def _says_end(self) -> bool:
        return any(
            (it.name in MORE and it.value is False) or (it.name in END and it.value is True) for it in self._places
        )

    def _number(self, names: tuple[str, ...]) -> tuple[Place, int] | None:
        for name in names:
            for place in self._places:
                if place.name == name and isinstance(place.value, int) and not isinstance(place.value, bool):
                    return place, place.value
        return None

    def _in_body(self, names: tuple[str, ...]) -> str | None:
        if not isinstance(self._ask.body, dict):
            return None
        return next((name for name in names if isinstance(self._ask.body.get(name), int)), None)

    def _total(self) -> tuple[int | None, list[Finding]]:
        count = len(self._items.items)
        for name in TOTALS:
            for place in self._places:
                value = place.value
                steps = place.pointer.steps
                nested = len(steps) > 1 and steps[-1] == "value" and steps[-2] in TOTALS
                if (steps[-1] == name or nested) and isinstance(value, int) and not isinstance(value, bool):
                    if value < count or (name in {"count", "resultCount"} and value == count):
                        continue
                    said = Finding(
                        "pagination.total", str(place.pointer), f"how many there are: {value}", Certainty.SURE
                    )
                    return value, [said]
        header = self._header_number({"total"}, {"count", "items", "results", "wp", "x"})
        if header is not None and header[1] >= count:
            why = f"how many there are: {header[1]}"
            return header[1], [Finding("pagination.total", f"header:{header[0]}", why, Certainty.SURE)]
        return None, []

    def _header_number(self, needed: set[str], beside: set[str]) -> tuple[str, int] | None:
        for name, value in self._response.headers:
            said = set(pieces(name))
            number = number_of(value.strip())
            if number is not None and needed <= said and said - needed <= beside | {"x", "wp", "pagination"}:
                return name.lower(), number
        return None

    def _size(self) -> tuple[str, int]:
        """Return the parameter that says how long a page is, and its value."""
        for name in SIZES:
            value = self._named.get(name, "")
            size = number_of(value)
            if size and size < 1_000_000:
                return name, size
        if isinstance(self._ask.body, dict):
            for name in SIZES:
                given = self._ask.body.get(name)
                if isinstance(given, int) and not isinstance(given, bool) and given > 0:
                    return f"body:/{name}", given
        return "", 0

    def _start(self, kind: str, param: str | None, echoed: tuple[Place, int] | None) -> int:
        given = self._named.get(param or "", "")
        first = number_of(given)
        if first is None and echoed is not None:
            first = echoed[1]
        if kind == "page":
            return 0 if first == 0 else 1
        return 1 if first == 1 else 0


def _styled(name: str, like: str) -> str:
    """Return a name in snake case as another one is written: in camel case, or with a capital, if that one is."""
    if "_" in like or like.lower() == like:
        return name
    first, *others = name.split("_")
    first = first.capitalize() if like[:1].isupper() else first
    return "".join([first, *(it.capitalize() for it in others)])


def _put(value: Any, steps: tuple[str, ...], new: Any) -> Any:
    """Return a JSON value with another one at a place, None when there is no such place to be made."""
    if not steps:
        return new
    if not isinstance(value, dict):
        return None
    below = _put(value.get(steps[0], {}) if len(steps) > 1 else None, steps[1:], new)
    return None if below is None else {**value, steps[0]: below}
