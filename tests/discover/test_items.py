"""Lists of items in the shapes of real APIs: where they are, and what each item's key and time are."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.discover.asking import from_url
from headwater.discover.body import look
from headwater.discover.fields import fields_of, find_id, find_time, time_of
from headwater.discover.items import find_items
from headwater.discover.survey import subject
from sources.shapes.corpus import SHAPES, Shape

# Where an API has two ids, or an element two names, either is right.
AS_GOOD: dict[str, dict[str, Any]] = {
    "fhir-bundle": {"key": "/resource/id"},
    "jira-search": {"key": "/id"},
    "soap-orders": {"element": "Order"},
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_corpus(shape: Shape) -> None:
    """Of each API's first answer, the group `records` is found that a person would write."""
    response = shape.responses[0]
    sample = look(response.body, response.header("content-type") or "")
    items = find_items(sample, subject(from_url(shape.url)))
    found = {it.option.removeprefix("records."): it.value for it in items.findings if it.option}
    assert found == {**shape.records, **AS_GOOD.get(shape.name, {})}
    assert all(it.reason for it in items.findings)


@pytest.mark.parametrize(
    ("items", "about", "expected"),
    [
        ([{"id": 1}, {"id": 2}], "", "/id"),
        ([{"id": 1}, {"id": 1}], "", None),
        ([{"order_id": "a", "customer_id": "c"}, {"order_id": "b", "customer_id": "d"}], "orders", "/order_id"),
        ([{"customer_id": "c", "order_id": "a"}, {"customer_id": "d", "order_id": "b"}], "orders", "/order_id"),
        ([{"node": {"id": 1}, "cursor": "x"}, {"node": {"id": 2}, "cursor": "y"}], "edges", "/node/id"),
        ([{"name": "a", "uuid": "1"}, {"name": "b", "uuid": "2"}], "", "/uuid"),
        ([{"price": 1.5}, {"price": 2.5}], "", None),
        ([{"text": "a b c"}, {"text": "d e f"}], "", None),
        ([{"a/b~c": {"id": 1}}, {"a/b~c": {"id": 2}}], "", "/a~1b~0c/id"),
        ([["x1", 5], ["x2", 5]], "", "/0"),
        ([{"id": None}, {"id": 2}], "", None),
    ],
)
def test_ids(items: list[Any], about: str, expected: str | None) -> None:
    """What tells items apart is found by its name, and must do so."""
    found = find_id(fields_of(items), about)
    assert (None if found is None else found.value) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-02T00:00:00Z"}, "/updated_at"),
        ({"created": 1_700_000_000, "amount": 1_700_000_001}, "/created"),
        ({"expires_at": "2024-01-01T00:00:00Z", "createdAt": "2024-01-01T00:00:00Z"}, "/createdAt"),
        ({"a": {"lastModified": "Tue, 05 Mar 2024 09:00:00 GMT"}}, "/a/lastModified"),
        ({"x": "2024-01-01T00:00:00+02:00"}, "/x"),
        ({"x": "20240101"}, None),
        ({"date": "20240101"}, "/date"),
        ({"x": 12345}, None),
        ({"updated_at": "yesterday"}, None),
        ({"updated_at": True}, None),
        ({"date": "2024-13-45"}, None),
    ],
)
def test_times(item: dict[str, Any], expected: str | None) -> None:
    """The time of the last change comes before others, and only what is a time is one."""
    found = find_time(fields_of([item]))
    assert (None if found is None else found.pointer) == expected


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        ("2024-01-01T00:00:00Z", "iso"),
        ("2024-01-01 00:00", "iso"),
        ("20240101T000000Z", "iso"),
        ("2024-01-01", "date"),
        (1_700_000_000, "unix"),
        (1_700_000_000.5, "unix"),
        (1_700_000_000_000, "unix_ms"),
        ("1512085950.000216", "unix"),
        ("5 Mar 2024 09:00:00 +0000", "rfc2822"),
        ("02.05.2024", "%d.%m.%Y"),
        ("hello world", None),
        ("", None),
        (5, None),
    ],
)
def test_spellings(value: Any, spelling: str | None) -> None:
    """How a time is spelt is told by the value."""
    assert time_of(value) == spelling
