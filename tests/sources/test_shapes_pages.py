"""The shapes of real answers lead to their next pages: as their options say, and as `auto` finds out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.core.checkpoint import Progress
from headwater.core.http import Request, Response
from headwater.core.moment import Moment
from headwater.core.pointer import parse_pointer
from headwater.sources.course import Course, Step
from sources.coursing import course, items_of, query
from sources.shapes.corpus import SHAPES, Shape

MOMENT = Moment(1_700_000_000_000, 1_700_000_000_000)
PAGED = [shape for shape in SHAPES if shape.pagination["type"] != "none"]
# `auto` finds the way of these as well, but another one than the documentation recommends.
OTHERWISE = {
    "wordpress-posts": {"url": "https://blog.test/wp-json/wp/v2/posts?per_page=2&page=2"},
    "hubspot-contacts": {"url": "https://api.crm.test/crm/v3/objects/contacts?limit=2&after=NTI1Cg%3D%3D"},
}


def split_of(shape: Shape) -> str:
    split = shape.records["split"]
    return "" if split == "/" else str(split)


def step(made: Course, progress: Progress | None, shape: Shape, response: Response, url: str) -> Step:
    json = response.body.lstrip()[:1] in {b"{", b"["}
    items = items_of(response.body, split_of(shape)) if json else [msgspec.Raw(b"{}")]
    gleaned = made.gleaning(progress)
    gleaned.take(items, [() for _ in items])
    return made.step(progress, MOMENT, gleaned, response.body if json else None, headers=response.headers, url=url)


def check_next(request: Request, first: Request, expected: dict[str, Any]) -> None:
    if "url" in expected:
        assert request.url == expected["url"]
    for name, value in expected.get("params", {}).items():
        assert query(request)[name] == value
        assert {**query(request), name: None} == {**query(first), name: None}
    for pointer, value in expected.get("body", {}).items():
        assert request.body is not None
        assert first.body is not None
        body = msgspec.json.decode(request.body)
        assert parse_pointer(pointer).find(body) == value
        assert set(msgspec.json.decode(first.body)) <= set(body)


@pytest.mark.parametrize("shape", PAGED, ids=lambda shape: shape.name)
@pytest.mark.parametrize("way", ["options", "auto"])
def test_each_page_leads_to_the_next(shape: Shape, way: str) -> None:
    """The request for the next page has what the API's documentation says, and the last page is the last."""
    auto = way == "auto"
    pagination = {"type": "auto"} if auto else shape.pagination
    made = course({**shape.http, "pagination": pagination})
    first = made.request(None, MOMENT)
    progress: Progress | None = None
    request = first
    for page, response in zip(shape.pages, shape.responses, strict=True):
        found = step(made, progress, shape, response, request.url)
        assert not found.failure
        assert found.more == (page.next is not None)
        progress = found.progress
        if page.next is not None:
            request = made.request(progress, MOMENT)
            check_next(request, first, OTHERWISE.get(shape.name, page.next) if auto else page.next)
            assert not auto or "pagination: " in found.note


@pytest.mark.parametrize("shape", [it for it in SHAPES if it not in PAGED], ids=lambda shape: shape.name)
def test_what_has_one_page_is_one_page(shape: Shape) -> None:
    """`auto` sees no further page where there is none."""
    made = course({**shape.http, "pagination": "auto"})
    response = shape.responses[0]
    json = "json" in (response.header("content-type") or "") and "split" in shape.records
    gleaned = made.gleaning(None)
    if json:
        gleaned.take(items_of(response.body, split_of(shape)), [])
    document = response.body if response.body[:1] in {b"{", b"["} else None
    assert not made.step(None, MOMENT, gleaned, document, headers=response.headers, url=shape.url).more
