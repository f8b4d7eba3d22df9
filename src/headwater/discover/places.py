"""Owns the values that stand around a list of items, and what their names say: next pages, cursors. Pure.

What comes of them is `paging`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from headwater.core.pointer import Pointer
from headwater.discover.vocabulary import CURSORS, NEXT, pieces

_DEEPEST: Final = 6
_MOST_PLACES: Final = 3000
_LONGEST_TOKEN: Final = 4000


class Place(msgspec.Struct, frozen=True):
    """A value outside of the items: where it is, and what stands beside it."""

    pointer: Pointer
    value: Any
    beside: dict[str, Any]

    @property
    def name(self) -> str:
        """The last step to it."""
        return self.pointer.steps[-1]


def places(document: dict[str, Any], items: Pointer | None) -> Iterator[Place]:
    """Yield every scalar outside of the items, the nearest to the root first; of lists of links, those of rel=next."""
    waiting: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), document)]
    for _ in range(_MOST_PLACES):
        if not waiting:
            return
        steps, value = waiting.pop(0)
        for key, below in value.items():
            place = (*steps, key)
            if items is not None and place == items.steps:
                continue
            if isinstance(below, list):
                yield from _links(place, below)
            elif not isinstance(below, dict):
                yield Place(Pointer(place), below, value)
            elif len(place) < _DEEPEST:
                waiting.append((place, below))


def _links(steps: tuple[str, ...], listed: list[Any]) -> Iterator[Place]:
    for index, link in enumerate(listed[:20]):
        if isinstance(link, dict) and str(link.get("rel", link.get("relation"))).lower() == "next":
            for name in ("href", "url", "uri"):
                if isinstance(link.get(name), str):
                    yield Place(Pointer((*steps, str(index), name)), link[name], {"rel": "next"})


def means_next(pointer: Pointer) -> bool:
    """Return whether the last steps of a pointer speak of what is next."""
    steps = [step for step in pointer.steps if not step.isdigit()]
    if not steps:
        return False
    said = set(pieces(steps[-1]))
    above = set(pieces(steps[-2])) if len(steps) > 1 else set()
    if said & {"previous", "prev", "first", "self"}:
        return False
    if said & NEXT:
        return True
    linked = said & {"href", "url", "link", "uri"}
    return bool(linked and (above & NEXT or len(pointer.steps) != len(steps)))


def is_link_name(name: str) -> bool:
    """Return whether a name is that of a link."""
    return bool(set(pieces(name)) & {"url", "link", "href", "uri", "links"})


def is_address(value: str) -> bool:
    """Return whether a text is an address: whole, or a path, or a query."""
    return len(value) < _LONGEST_TOKEN and bool(re.match(r"https?://[^\s]+$|/[^\s]*[/?][^\s]*$|\?[^\s]*=", value))


def is_token(place: Place) -> bool:
    """Return whether a value is a cursor by its name, and by what it is."""
    value = place.value
    said = set(pieces(place.name))
    above = set(pieces(place.pointer.steps[-2])) if len(place.pointer.steps) > 1 else set()
    if said & {
        "previous",
        "prev",
        "before",
        "start",
        "has",
        "is",
        "total",
        "count",
        "access",
        "refresh",
        "auth",
        "csrf",
    }:
        return False
    if isinstance(value, str):
        if is_address(value) or len(value) > _LONGEST_TOKEN:
            return False
    elif value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        return False
    strong = (
        (said & NEXT and (said & (CURSORS | {"page", "key", "id", "marker", "position"}) or said == {"next"}))
        or said & {"cursor", "continuation", "endcursor", "bookmark", "skiptoken"}
        or (
            said & {"after", "cursor", "token", "offset", "marker"}
            and above & (NEXT | {"paging", "pagination", "cursors", "cursor"})
        )
        or place.name == "_scroll_id"
        or (place.name in {"after", "offset"} and isinstance(value, str))
    )
    if not strong:
        return False
    if value in {None, ""}:
        return True
    # A number is the number of a page, unless it is called a cursor.
    return isinstance(value, str) or bool(said & CURSORS) or (bool(said & NEXT) and "page" not in said)
