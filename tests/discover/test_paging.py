"""Ways in which pages follow one another, in the shapes of real APIs, and the request for the next one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.core.http import Response
from headwater.core.pointer import parse_pointer
from headwater.discover.asking import Ask, from_url, with_query
from headwater.discover.body import look
from headwater.discover.items import find_items
from headwater.discover.paging import Proposal, find_paging
from sources.shapes.corpus import SHAPES, Shape

# Where an API has two ways, either is right.
AS_GOOD: dict[str, dict[str, Any]] = {
    "hubspot-contacts": {"type": "next-url", "next": "/paging/next/link", "size": 2, "size_param": "limit"},
    "wordpress-posts": {"type": "link", "size": 2, "size_param": "per_page"},
}
# What a person left out because it says the same.
MORE: dict[str, dict[str, Any]] = {"slack-history": {"has_more": "/has_more"}}


def asked(shape: Shape) -> Ask:
    """Return the request of a shape."""
    params = tuple((name, str(value)) for name, value in shape.http.get("params", {}).items())
    body = shape.http.get("body")
    return from_url(shape.url).replace(method=shape.http.get("method", "GET"), params=params, body=body)


def proposals(ask: Ask, response: Response) -> list[Proposal]:
    """Return the ways that are found in an answer."""
    sample = look(response.body, response.header("content-type") or "")
    return find_paging(ask, response, sample.document, find_items(sample))


def options(proposal: Proposal) -> dict[str, Any]:
    """Return the group `pagination` of a way."""
    return {it.option.removeprefix("pagination."): it.value for it in proposal.findings}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_corpus(shape: Shape) -> None:
    """Of each API's first answer, the group `pagination` is found that a person would write, and the next request."""
    found = proposals(asked(shape), shape.responses[0])
    expected = {} if shape.pagination == {"type": "none"} else shape.pagination
    expected = AS_GOOD.get(shape.name, {**expected, **MORE.get(shape.name, {})})
    assert (options(found[0]) if found else {}) == expected
    following = shape.pages[0].next
    if following is None:
        return
    asks = found[0].following
    assert asks is not None
    if "url" in following:
        there = from_url(following["url"])
        assert (asks.url, sorted(asks.params)) == (there.url, sorted(there.params))
    for name, value in following.get("params", {}).items():
        assert f"{name}={value}".replace("$", "%24") in with_query(asks.url, asks.params)
    for pointer, value in following.get("body", {}).items():
        assert parse_pointer(pointer).find(asks.body) == value


@pytest.mark.parametrize("shape", [it for it in SHAPES if len(it.pages) > 1], ids=lambda shape: shape.name)
def test_the_last_pages_of_the_corpus(shape: Shape) -> None:
    """The last page leads nowhere: what would be asked for next is not known, or a guess."""
    ask = asked(shape)
    for proposal in proposals(ask, shape.responses[-1]):
        if proposal.kind in {"link", "next-url", "cursor"}:
            assert proposal.following is None


def answer(value: Any, *headers: tuple[str, str], url: str = "https://x.test/items") -> Response:
    body = msgspec.json.encode(value)
    kind = ("content-type", "application/json")
    return Response(200, "HTTP/1.1", (kind, *headers), body, url, elapsed=0.0, received=len(body))


ITEMS = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]


@pytest.mark.parametrize(
    ("url", "value", "headers", "expected", "following"),
    [
        ("/items", {"items": ITEMS}, (), None, None),
        ("/items?page=1", {"items": ITEMS, "page": 1, "total_pages": 9}, (),
         {"type": "page", "param": "page", "start": 1}, "/items?page=2"),
        ("/items?page=0", {"items": ITEMS, "page": 0, "totalPages": 9}, (),
         {"type": "page", "param": "page", "start": 0}, "/items?page=1"),
        ("/items", {"items": ITEMS, "currentPage": 1, "pageSize": 2, "total": 7}, (),
         {"type": "page", "param": "currentPage", "start": 1, "total": "/total"}, "/items?currentPage=2"),
        ("/items?skip=4&$top=2", {"value": ITEMS, "@odata.count": 9}, (),
         {"type": "offset", "param": "skip", "start": 0, "total": "/@odata.count", "size": 2, "size_param": "$top"},
         "/items?%24top=2&skip=2"),
        ("/items?limit=2", ITEMS, (("x-total-count", "9"),),
         {"type": "offset", "param": "offset", "start": 0, "total": "header:x-total-count", "size": 2,
          "size_param": "limit"}, "/items?limit=2&offset=2"),
        ("/items", {"items": ITEMS, "page": 1, "total_pages": 1}, (), {"type": "page", "param": "page", "start": 1},
         None),
        ("/items", {"count": 9, "next": "https://x.test/items?page=2", "previous": None, "results": ITEMS}, (),
         {"type": "next-url", "next": "/next"}, "/items?page=2"),
        ("/items", {"count": 2, "next": None, "previous": None, "results": ITEMS}, (),
         {"type": "next-url", "next": "/next"}, None),
        ("/items", {"_links": {"next": {"href": "/items?cursor=x"}}, "_embedded": {"items": ITEMS}}, (),
         {"type": "next-url", "next": "/_links/next/href"}, "/items?cursor=x"),
        ("/items", {"next": "https://evil.test/steal", "results": ITEMS}, (),
         {"type": "next-url", "next": "/next"}, None),
        ("/items?pageToken=a", {"items": ITEMS, "nextPageToken": "b"}, (),
         {"type": "cursor", "next": "/nextPageToken", "param": "pageToken"}, "/items?pageToken=b"),
        ("/items", {"Items": ITEMS, "NextToken": "b"}, (),
         {"type": "cursor", "next": "/NextToken", "param": "NextToken"}, "/items?NextToken=b"),
        ("/items", {"records": ITEMS, "offset": "itrX"}, (),
         {"type": "cursor", "next": "/offset", "param": "offset"}, "/items?offset=itrX"),
        ("/items", {"items": ITEMS}, (("x-next-cursor", "b"),),
         {"type": "cursor", "next": "header:x-next-cursor", "param": "cursor"}, "/items?cursor=b"),
        ("/items", ITEMS, (("link", '<https://x.test/items?p=2>; rel="next"; title="a, b"'),),
         {"type": "link"}, "/items?p=2"),
        ("/items", ITEMS, (("link", '<https://x.test/items?p=0>; rel="prev"'),), None, None),
    ],
)  # fmt: skip
def test_ways(
    url: str, value: Any, headers: tuple[tuple[str, str], ...], expected: dict[str, Any] | None, following: str | None
) -> None:
    """Each way is found with what it needs, and nothing is asked of another host."""
    found = proposals(from_url(f"https://x.test{url}"), answer(value, *headers))
    assert (options(found[0]) if found else None) == expected
    asks = found[0].following if found else None
    assert (None if asks is None else with_query(asks.url, asks.params).removeprefix("https://x.test")) == following
