"""Pages, cursors and windows against a server that is simulated: any page size, any crash, items arriving meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.http import Request
from headwater.core.moment import Moment
from headwater.sources.course import NothingDueError
from sources.coursing import Crash, Reply, Walk, course, query

URL = "https://api.test/items"
CRASHES = st.lists(st.sampled_from(Crash), max_size=30)


class Shelf:
    """A list of items that only grows at its end. Items have an id and a time."""

    def __init__(self, count: int, arrivals: list[int]) -> None:
        self.ids = list(range(1, count + 1))
        self._arrivals = iter(arrivals)

    def page(self, start: int, size: int) -> list[dict[str, Any]]:
        """Return some items; then more may arrive."""
        shown = [self.item(it) for it in self.ids[start : start + size]]
        for _ in range(next(self._arrivals, 0)):
            self.ids.append(len(self.ids) + 1)
        return shown

    @staticmethod
    def item(number: int) -> dict[str, Any]:
        """Return an item."""
        return {"id": number, "at": f"2024-01-01T00:{number // 60:02}:{number % 60:02}Z"}


Made = tuple[dict[str, Any], Callable[[Shelf, int], Callable[[Request], Reply]]]


def _link(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        start = int(query(request).get("from", 0))
        total = len(shelf.ids)
        items = shelf.page(start, size)
        more = start + size < total
        return Reply({"items": items}, (("link", f'</items?from={start + size}>; rel="next"'),) if more else ())

    return serve


def _next_url(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        start = int(query(request).get("from", 0))
        total = len(shelf.ids)
        items = shelf.page(start, size)
        return Reply({"items": items, "next": f"{URL}?from={start + size}" if start + size < total else None})

    return serve


def _token(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        start = int(query(request).get("cursor", "t0")[1:])
        total = len(shelf.ids)
        items = shelf.page(start, size)
        return Reply({"items": items, "next_cursor": f"t{start + size}" if start + size < total else ""})

    return serve


def _body_token(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        start = msgspec.json.decode(request.body or b"{}")["variables"].get("after") or 0
        total = len(shelf.ids)
        items = shelf.page(start, size)
        info = {"endCursor": start + size, "hasNextPage": start + size < total}
        return Reply({"items": items, "pageInfo": info})

    return serve


def _header_token(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        start = int(dict(request.headers).get("X-After", 0))
        total = len(shelf.ids)
        items = shelf.page(start, size)
        return Reply({"items": items}, (("x-next", str(start + size)),) if start + size < total else ())

    return serve


def _last(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        after = int(query(request).get("after", 0))
        total = len(shelf.ids)
        return Reply({"items": shelf.page(after, size), "has_more": after + size < total})

    return serve


def _last_until_empty(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    return lambda request: Reply({"items": shelf.page(int(query(request).get("after", 0)), size)})


def _page(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        asked = query(request)
        assert asked["size"] == str(size)
        return Reply({"items": shelf.page((int(asked["page"]) - 1) * size, size)})

    return serve


def _page_of_pages(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        number = int(query(request)["page"])
        pages = -(-len(shelf.ids) // size)
        return Reply({"items": shelf.page(number * size, size), "pages": pages})

    return serve


def _offset(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        start, total = int(query(request)["skip"]), len(shelf.ids)
        return Reply({"items": shelf.page(start, size), "total": total})

    return serve


def _templated(shelf: Shelf, size: int) -> Callable[[Request], Reply]:
    def serve(request: Request) -> Reply:
        first, last = query(request)["range"].split("-")
        assert int(last) - int(first) == size
        return Reply({"items": shelf.page(int(first), size)})

    return serve


TYPES: dict[str, Callable[[int], Made]] = {
    "link": lambda _: ({"pagination": "link"}, _link),
    "next-url": lambda _: ({"pagination": {"type": "next-url", "next": "/next"}}, _next_url),
    "token": lambda _: ({"pagination": {"type": "cursor", "next": "/next_cursor", "param": "cursor"}}, _token),
    "body-token": lambda _: (
        {
            "method": "POST",
            "body": {"query": "q", "variables": {"after": "${{ page.token }}"}},
            "pagination": {"type": "cursor", "next": "/pageInfo/endCursor", "has_more": "/pageInfo/hasNextPage"},
        },
        _body_token,
    ),
    "header-token": lambda _: (
        {"pagination": {"type": "cursor", "next": "header:X-Next", "param": "header:X-After"}},
        _header_token,
    ),
    "last": lambda _: (
        {"pagination": {"type": "cursor", "last": "/id", "param": "after", "has_more": "/has_more"}},
        _last,
    ),
    "last-until-empty": lambda _: (
        {"pagination": {"type": "cursor", "last": "/id", "param": "after"}},
        _last_until_empty,
    ),
    "page": lambda size: ({"pagination": {"type": "page", "size": size, "size_param": "size"}}, _page),
    "page-of-pages": lambda _: ({"pagination": {"type": "page", "start": 0, "pages": "/pages"}}, _page_of_pages),
    "offset": lambda _: ({"pagination": {"type": "offset", "param": "skip", "total": "/total"}}, _offset),
    "templated": lambda size: (
        {
            "params": {"range": "${{ page.offset }}-${{ page.offset | plus(" + str(size) + ") }}"},
            "pagination": {"type": "offset", "size": size},
        },
        _templated,
    ),
    "auto-link": lambda _: ({"pagination": "auto"}, _link),
    "auto-next-url": lambda _: ({"pagination": "auto"}, _next_url),
    "auto-token": lambda _: ({"pagination": "auto"}, _token),
}


@pytest.mark.parametrize("kind", TYPES)
@given(
    count=st.integers(0, 12),
    size=st.integers(1, 5),
    arrivals=st.lists(st.integers(0, 3), max_size=6),
    crashes=CRASHES,
)
@settings(max_examples=60, deadline=None)
def test_each_item_is_stored_exactly_once(
    kind: str, count: int, size: int, arrivals: list[int], crashes: list[Crash]
) -> None:
    """A round stores what there was when it asked, in order, whatever the page size and wherever it was broken off."""
    options, server = TYPES[kind](size)
    shelf = Shelf(count, arrivals)
    walk = Walk(course({"endpoint": URL, **options}), server(shelf, size))
    walk.round(crashes=crashes)
    ids = [item["id"] for item in walk.stored]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) >= count
    assert not walk.failures
    assert walk.progress is not None
    assert (walk.progress.round, walk.progress.page, walk.progress.pending) == (0, {}, {})


@given(
    batches=st.lists(st.integers(0, 7), min_size=1, max_size=6),
    size=st.integers(1, 4),
    arrivals=st.lists(st.integers(0, 3), max_size=20),
    crashes=st.lists(CRASHES, max_size=6),
    newest_first=st.booleans(),
    take=st.sampled_from(["/id", "/at"]),
)
@settings(max_examples=200, deadline=None)
def test_a_cursor_over_rounds_loses_and_doubles_nothing(
    batches: list[int],
    size: int,
    arrivals: list[int],
    crashes: list[list[Crash]],
    newest_first: bool,  # noqa: FBT001 - drawn, not given
    take: str,
) -> None:
    """Each round asks for what is beyond the cursor, oldest or newest first; in all each item is there exactly once."""
    shelf = Shelf(0, [] if newest_first else arrivals)

    def serve(request: Request) -> Reply:
        asked = query(request)
        since, start = asked.get("since", "0"), int(asked["skip"])
        known = [it for it in shelf.ids if (str(it) > since if take == "/at" else it > int(since))]
        if take == "/at":
            known = [it for it in shelf.ids if Shelf.item(it)["at"] > since]
        if newest_first:
            known.reverse()
        shown = [Shelf.item(it) for it in known[start : start + size]]
        shelf.page(0, 0)
        return Reply({"items": shown})

    walk = Walk(
        course(
            {
                "endpoint": URL,
                "params": {"since": "${{ cursor.x | default(null) }}"},
                "cursor": {"x": take},
                "pagination": {"type": "offset", "param": "skip"},
            }
        ),
        serve,
    )
    breaks = iter(crashes)
    for batch in batches:
        for _ in range(batch):
            shelf.ids.append(len(shelf.ids) + 1)
        walk.round(crashes=next(breaks, []))
    shelf_ids = list(shelf.ids)
    walk.round()
    ids = [item["id"] for item in walk.stored]
    assert len(ids) == len(set(ids))
    assert set(shelf_ids) <= set(ids)


@given(
    size=st.one_of(st.none(), st.integers(1, 7200)),
    lag=st.integers(0, 90),
    initial=st.integers(0, 5000),
    whole=st.booleans(),
    most=st.integers(1, 5),
    ticks=st.lists(st.integers(0, 9_000_000), min_size=1, max_size=15),
    crashes=CRASHES,
)
@settings(max_examples=300, deadline=None)
def test_every_instant_is_in_exactly_one_window(
    size: int | None,
    lag: int,
    initial: int,
    whole: bool,  # noqa: FBT001 - drawn, not given
    most: int,
    ticks: list[int],
    crashes: list[Crash],
) -> None:
    """Windows follow each other without gaps and overlaps, and none reaches into the time that is still to come."""
    begin = 1_700_000_000
    now = begin * 1000

    def serve(request: Request) -> Reply:
        asked = query(request)
        return Reply({"items": [[int(asked["from"]), int(asked["to"])]]})

    options: dict[str, Any] = {"lag": f"{lag}s", "initial": begin - initial, "max_windows": most}
    if size is not None:
        options |= {"size": f"{size}s", "whole": whole}
    params = {"from": "${{ window.start | unix }}", "to": "${{ window.end | unix }}"}
    walk = Walk(course({"endpoint": URL, "params": params, "window": options}), serve)
    for tick in ticks:
        now += tick
        try:
            walk.round(now, crashes)
        except NothingDueError:
            continue
        assert all(end * 1000 <= now - lag * 1000 for _, end in walk.stored)
    spans = [(start, end) for start, end in walk.stored]
    for (_, end), (start, _) in pairwise(spans):
        assert start == end
    assert all(start < end for start, end in spans)
    if spans:
        assert spans[0][0] == begin - initial
    if size is not None:
        assert all(end - start <= size for start, end in spans)
        if whole:
            assert all(end - start == size for start, end in spans)
    if size is None and not crashes and now // 1000 - lag > begin - initial:
        assert spans[-1][1] == (now - lag * 1000) // 1000


def test_windows_may_end() -> None:
    """Nothing is asked for after `until`; the last window is as long as what is left."""
    it = course(
        {
            "endpoint": URL,
            "params": {"to": "${{ window.end }}"},
            "window": {"size": "1h", "whole": True, "initial": "2024-01-01", "until": "2024-01-01T02:30:00Z"},
        }
    )
    walk = Walk(it, lambda request: Reply({"items": [query(request)["to"]]}))
    walk.round(1_710_000_000_000)
    assert walk.stored == ["2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z", "2024-01-01T02:30:00Z"]
    assert it.done(walk.progress)
    with pytest.raises(NothingDueError):
        walk.round(1_710_000_000_000)


def test_what_is_behind_catches_up_window_by_window() -> None:
    """A round asks for as many windows as are due, up to its bound; the next one goes on."""
    asked: list[tuple[str, str]] = []

    def serve(request: Request) -> Reply:
        asked.append((query(request)["from"], query(request)["to"]))
        return Reply({"items": []})

    walk = Walk(
        course(
            {
                "endpoint": URL,
                "params": {"from": "${{ window.start }}", "to": "${{ window.end }}"},
                "window": {"size": "1h", "lag": "1m", "look_back": "5m", "initial": "2024-01-01", "max_windows": 3},
            }
        ),
        serve,
    )
    walk.round(1_704_067_200_000 + 4 * 3_600_000 + 60_500)
    assert asked == [
        ("2023-12-31T23:55:00Z", "2024-01-01T01:00:00Z"),
        ("2024-01-01T00:55:00Z", "2024-01-01T02:00:00Z"),
        ("2024-01-01T01:55:00Z", "2024-01-01T03:00:00Z"),
    ]
    assert walk.notes[0] == "2024-01-01T00:00:00Z to 2024-01-01T01:00:00Z"
    walk.round(1_704_067_200_000 + 4 * 3_600_000 + 70_500)
    assert asked[3:] == [
        ("2024-01-01T02:55:00Z", "2024-01-01T04:00:00Z"),
        ("2024-01-01T03:55:00Z", "2024-01-01T04:00:10Z"),
    ]
    with pytest.raises(NothingDueError):
        walk.course.request(walk.progress, Moment(1_704_067_200_000 + 4 * 3_600_000 + 70_900, 0))
