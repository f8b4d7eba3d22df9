"""Owns the way from one page of a round to the next: what an answer says about it, and when it is the last. Pure.

It does not build requests, and does not know cursors or windows. What it remembers is a map of JSON values, which is
kept with the page's records: `n` pages were asked for, which had `items`; `url`, `token`, `number` or `offset` is where
the next one is; `found` is what was recognised at the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Raw

from headwater.config.pagination import DEFAULT_PARAMS, PaginationOptions
from headwater.core.extract import DocumentError, Extractor, extract
from headwater.core.http import Headers
from headwater.core.link import next_link
from headwater.core.origin import Origin
from headwater.core.paging import Asked, outline, recognise
from headwater.core.pointer import Pointer, parse_pointer
from headwater.core.spot import Slot, Spot, parse_slot, parse_spot
from headwater.sources.following import LONGEST_URL, PaginationError, resolve
from headwater.sources.values import alive, stored

State = Mapping[str, Any]

_NOTHING: Final = frozenset({b"null", b"false", b'""', b"0"})
_NO: Final = frozenset({b"null", b"false", b'""', b"0", b'"false"', b'"0"', b'"no"', b'"n"'})
# By how much the stretch grows in which a place is compared with one before it (Brent's algorithm).
_STRETCH: Final = 2
# What an answer may say about the next page, by the names of the options.
_SAID: Final = ("next", "total", "pages", "has_more", "end")


class Answer(msgspec.Struct, frozen=True):
    """What the way to the next page may depend on.

    `document` is the JSON around the items, or the whole of it; None for what is no JSON, and nothing where no body
    came. `url` is where it came from.
    `count` is the number of its items, `first` and `last` are the first and the last.
    """

    document: bytes | Raw | None
    headers: Headers
    url: str
    count: int
    first: bytes | Raw | None = None
    last: bytes | Raw | None = None


class Plan(msgspec.Struct, frozen=True):
    """How pages follow each other, once that is decided. The fields are those of `PaginationOptions`."""

    type: str
    next: Spot | None = None
    last: Pointer | None = None
    param: Slot | None = None
    size: int | None = None
    size_param: Slot | None = None
    start: int = 0
    total: Spot | None = None
    pages: Spot | None = None
    has_more: Spot | None = None
    end: Spot | None = None

    @property
    def numbered(self) -> bool:
        """Whether the next page can be asked for without having seen this one."""
        return self.type in {"page", "offset"}


ONE_PAGE: Final = Plan("none")


@cache
def _no_pages() -> PaginationOptions:
    """Return what holds where nothing is said: one for all, as most have it. Not made before it is wanted."""
    return PaginationOptions(type="none")


class Pager:
    """Walks through the pages of a configuration's rounds. `asked` is what the first request has.

    `given` is the start that stands in the request already, `templated` whether it has expressions of pages itself.
    """

    __slots__ = ("_asked", "_extractors", "_fixed", "_foreign", "_given", "_options", "_origin", "_plans", "_templated")

    def __init__(
        self,
        options: PaginationOptions | None,
        asked: Asked,
        origin: Origin,
        *,
        templated: bool = False,
    ) -> None:
        self._options = options or _no_pages()
        self._asked = asked
        self._origin = origin
        self._templated = templated
        self._foreign = self._options.other_origins == "without-credentials"
        self._plans: dict[bytes, Plan] = {}
        self._extractors: dict[Plan, tuple[dict[str, Spot], Extractor]] = {}
        self._fixed = None if self._options.type == "auto" else self._made({})

    @property
    def single(self) -> bool:
        """Whether every round is one page."""
        return self._options.type == "none"

    def plan(self, state: State) -> Plan:
        """Return how the pages of the round under way follow each other."""
        if self._fixed is not None:
            return self._fixed
        found = state.get("found")
        return (
            self._plan(found) if found else Plan("auto", size=self._options.size, size_param=self._options.size_param)
        )

    def _plan(self, found: Mapping[str, Any]) -> Plan:
        key = msgspec.json.encode(found)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) > 16:
                self._plans.clear()
                self._extractors.clear()
            plan = self._plans[key] = self._made(found)
        return plan

    def _made(self, found: Mapping[str, Any]) -> Plan:
        options = self._options
        kind = str(found.get("type", options.type))
        default = None if self._templated else DEFAULT_PARAMS.get(kind)
        param = options.param or _read(found, "param", parse_slot) or (Slot(param=default) if default else None)
        start = options.start if options.start is not None else found.get("start")
        if start is None:
            given = self._asked.params.get(param.param, "") if param is not None else ""
            start = int(given) if given.isdigit() and len(given) < 16 else int(kind == "page")
        return Plan(
            type=kind,
            next=options.next or _read(found, "next", parse_spot),
            last=options.last or _read(found, "last", parse_pointer),
            param=param,
            size=options.size or found.get("size"),
            size_param=options.size_param,
            start=start,
            total=options.total or _read(found, "total", parse_spot),
            pages=options.pages or _read(found, "pages", parse_spot),
            has_more=options.has_more or _read(found, "has_more", parse_spot),
            end=options.end or _read(found, "end", parse_spot),
        )

    def tells(self, state: State) -> bool:
        """Return whether the bodies of the round under way say which page follows, or whether one does."""
        plan = self.plan(state)
        spots: list[Spot | None] = [getattr(plan, name) for name in _SAID]
        return any(spot is not None and not spot.header for spot in spots)

    def scope(self, state: State) -> dict[str, Any]:
        """Return what templates see of the page that is asked for."""
        plan = self.plan(state)
        done = state.get("n", 0)
        number = state.get("number", plan.start if plan.type == "page" else done + 1)
        offset = state.get("offset", plan.start if plan.type == "offset" else state.get("items", 0))
        token = alive(state.get("token")) if "token" in state else state.get("url")
        return {"number": number, "offset": offset, "token": token, "size": plan.size}

    def after(self, answer: Answer, state: State) -> tuple[dict[str, Any] | None, str]:
        """Return the state that asks for the page after an answer, None when it is the last; and a word for the ledger.

        Raises PaginationError when the pages lead nowhere.
        """
        note = ""
        following = dict(state)
        following["n"] = state.get("n", 0) + 1
        following["items"] = state.get("items", 0) + answer.count
        if self._options.type == "auto" and "found" not in state:
            recognised = recognise(
                answer.headers, self._surroundings(answer), self._asked, count=answer.count, last=answer.last
            )
            if recognised is None:
                return None, ""
            following["found"] = recognised.options
            note = f"pagination: {recognised.options['type']}, for there is {recognised.reason}"
        plan = self.plan(following)
        if plan.type in {"none", "auto"}:
            return None, note
        said = self._said(plan, answer)
        more = self._step(plan, answer, said, state, following)
        if plan.has_more is not None and "has_more" not in said and not state.get("n"):
            note = f"{note}; " * bool(note) + f"nothing is at {plan.has_more}, so this is taken for the last page"
        return (following if more else None), note

    @staticmethod
    def _surroundings(answer: Answer) -> Any:
        return None if answer.document is None else outline(answer.document)

    def _step(
        self, plan: Plan, answer: Answer, said: Mapping[str, bytes], state: State, following: dict[str, Any]
    ) -> bool:
        if plan.type == "link":
            return self._to_url(next_link(answer.headers), answer, following)
        if _says_no(plan, said):
            return False
        if plan.type == "next-url":
            return self._to_url(_text_of(said.get("next"), plan), answer, following)
        if plan.type == "cursor":
            return _to_token(plan, answer, said, state, following)
        return _to_number(plan, answer, said, state, following)

    def _said(self, plan: Plan, answer: Answer) -> dict[str, bytes]:
        """Return what an answer says at the places that the plan names: raw JSON, by the names of the options."""
        found = self._extractors.get(plan)
        if found is None:
            spots = {name: spot for name in _SAID if (spot := getattr(plan, name)) is not None}
            if plan.total is not None and plan.total.pointer.steps[-1:] == ("value",):
                spots["relation"] = Spot(Pointer((*plan.total.pointer.steps[:-1], "relation")))
            found = spots, Extractor([spot.pointer for spot in spots.values() if not spot.header])
            self._extractors[plan] = found
        spots, extractor = found
        wanted = sum(not spot.header for spot in spots.values())
        values = iter(_extracted(extractor, answer, wanted=wanted))
        said: dict[str, bytes] = {}
        for name, spot in spots.items():
            raw: bytes | None
            if spot.header:
                texts = [value for header, value in answer.headers if header == spot.header]
                raw = msgspec.json.encode(texts[-1]) if texts else None
            else:
                value = next(values)
                raw = None if value is None else bytes(value)
            if raw is not None:
                said[name] = raw
        if said.get("relation") == b'"gte"':
            # Elasticsearch stops counting at 10,000: there are at least so many.
            said.pop("total", None)
        return said

    def _to_url(self, target: str | None, answer: Answer, following: dict[str, Any]) -> bool:
        if target is None:
            return False
        url = resolve(target, answer.url, self._origin, foreign=self._foreign)
        if url == answer.url:
            raise PaginationError("the next page is this one again: the pages go in circles")
        _mark(following, url)
        following["url"] = url
        return True


def _read(found: Mapping[str, Any], name: str, parse: Any) -> Any:
    value = found.get(name)
    return parse(value) if isinstance(value, str) else None


def _extracted(extractor: Extractor, answer: Answer, *, wanted: int) -> tuple[Raw | None, ...]:
    if not wanted:
        return ()
    if answer.document is not None and not len(answer.document):
        # Such as 204: it says nothing, and so not that there is more.
        return (None,) * wanted
    if answer.document is None:
        raise PaginationError("the answer is not JSON, and so does not say where the next page is")
    try:
        return extractor(answer.document)
    except DocumentError as error:
        raise PaginationError(f"the answer does not say where the next page is: {error}") from None


def _says_no(plan: Plan, said: Mapping[str, bytes]) -> bool:
    """Return whether an answer says that no page follows. Where nothing is said, nothing more is to be expected."""
    if plan.has_more is not None and said.get("has_more", b"null") in _NO:
        return True
    return plan.end is not None and said.get("end", b"null") not in _NO


def _text_of(raw: bytes | None, plan: Plan) -> str | None:
    if raw is None or raw in _NOTHING:
        return None
    value = alive(stored(raw)) if len(raw) <= LONGEST_URL else raw.decode(errors="replace")
    if not isinstance(value, str):
        raise PaginationError(f"at {plan.next} is no URL but {raw[:60].decode(errors='replace')}")
    return value


def _to_token(plan: Plan, answer: Answer, said: Mapping[str, bytes], state: State, following: dict[str, Any]) -> bool:
    """Go on with the token of an answer, or behind its last item."""
    if plan.last is not None:
        if answer.count == 0 or answer.last is None or _is_last(plan, answer, said, following):
            return False
        try:
            raw = extract(plan.last, answer.last)
        except DocumentError as error:
            raise PaginationError(f"the last item has nothing at {plan.last}: {error}") from None
        if raw is None or bytes(raw) == b"null":
            raise PaginationError(f"the last item has nothing at {plan.last}, where the next page would begin")
        token = bytes(raw)
    else:
        token = said.get("next", b"null")
        if token in _NOTHING:
            return False
    try:
        value = stored(token)
    except ValueError as error:
        raise PaginationError(f"the token of the next page cannot be used: {error}") from None
    if answer.count == 0 and "token" in state and state["token"] == value:
        # It has caught up: there is nothing behind the token that was sent.
        return False
    _mark(following, token.decode(errors="replace"))
    following["token"] = value
    return True


def _to_number(plan: Plan, answer: Answer, said: Mapping[str, bytes], state: State, following: dict[str, Any]) -> bool:
    """Go on with the next number, or behind the items that there were."""
    if plan.type == "page":
        number = state.get("number", plan.start)
        following["number"] = number + 1
    else:
        following["offset"] = state.get("offset", plan.start) + answer.count
    if _is_last(plan, answer, said, following):
        return False
    if answer.count:
        digest = _digest(answer)
        if state.get("digest") == digest:
            where = "number" if plan.type == "page" else "offset"
            raise PaginationError(
                f"the page has the same items as the one before: the {where} that is sent makes no difference"
            )
        following["digest"] = digest
    return True


def _is_last(plan: Plan, answer: Answer, said: Mapping[str, bytes], following: Mapping[str, Any]) -> bool:
    """Return whether the number of items, or of pages, says that there are no more."""
    if plan.pages is not None and (pages := _count(said.get("pages"))) is not None:
        return bool(following["number"] - plan.start >= pages)
    if plan.total is not None and (total := _count(said.get("total"))) is not None:
        skipped = plan.start if plan.type == "offset" else 0
        return answer.count == 0 or bool(following["items"] + skipped >= total)
    if plan.has_more is not None or plan.end is not None:
        # It said that there is more, and knows better than the size of this page.
        return False
    return answer.count == 0 or (plan.size is not None and answer.count < plan.size)


def _count(raw: bytes | None) -> int | None:
    text = b"" if raw is None else raw.strip(b'"')
    return int(text) if text.isdigit() and len(text) < 18 else None


def _digest(answer: Answer) -> str:
    digest = blake2b(b"%d " % answer.count, digest_size=9)
    for item in (answer.first, answer.last):
        digest.update(b"" if item is None else item)
        digest.update(b"\0")
    return digest.hexdigest()


def _mark(following: dict[str, Any], place: str) -> None:
    """Remember where the way leads, as far as is needed to tell a circle. Raises PaginationError in one.

    One place is compared with those that follow, and replaced by the newest after twice as many steps each time: so a
    circle of any length is told, soon after it has been gone round.
    """
    digest = blake2b(place.encode("utf-8", "replace"), digest_size=9).hexdigest()
    mark, stretch, steps = following.get("mark", ("", 1, 0))
    if digest in {mark, following.get("place")}:
        raise PaginationError("the next page is one that was asked for before: the pages go in circles")
    following["place"] = digest
    if steps + 1 >= stretch:
        following["mark"] = [digest, stretch * _STRETCH, 0]
    else:
        following["mark"] = [mark, stretch, steps + 1]
