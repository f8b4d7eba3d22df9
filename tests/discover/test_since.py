"""Cursors: which parameter takes one, how it is spelt there, and what is done where none does."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.discover.asking import from_url
from headwater.discover.body import Sample
from headwater.discover.finding import Certainty
from headwater.discover.items import Items, find_items
from headwater.discover.since import Parameter, newest_first, since

NOW = 1_714_554_000.0


def items(*values: Any, name: str = "updated_at") -> Items:
    rows = [{"id": number, name: value} for number, value in enumerate(values)]
    return find_items(Sample("json", "a test", rows))


def found(url: str, them: Items, *documented: Parameter) -> dict[str, Any]:
    _, findings = since(from_url(url), them, list(documented), NOW)
    return {it.option: it.value for it in findings if it.certainty > Certainty.GUESS and it.option}


@pytest.mark.parametrize(
    ("value", "spelling", "expression", "initial"),
    [
        ("2024-05-01T10:00:00Z", "iso", "cursor.updated", "2024-04-01T00:00:00Z"),
        ("2024-05-01T10:00:00Z", "unix", "cursor.updated | unix", "2024-04-01T00:00:00Z"),
        ("2024-05-01T10:00:00Z", "date", "cursor.updated | date('%Y-%m-%d')", "2024-04-01T00:00:00Z"),
        (1_714_554_000, "iso", "cursor.updated | iso", 1_711_929_600),
        (1_714_554_000_123, "unix", "cursor.updated | unix", 1_711_929_600_000),
        ("2024-05-01", "date", "cursor.updated", "2024-04-01"),
    ],
)
def test_spellings(value: Any, spelling: str, expression: str, initial: Any) -> None:
    """The cursor is spelt as the items have it, and put into the parameter as that wants it."""
    options = found("https://x.test/a", items(value, value), Parameter("updated_since", spelling))
    assert options["params.updated_since"] == "${{ " + expression + " }}"
    assert options["cursor.updated.initial"] == initial


@pytest.mark.parametrize(
    "name",
    [
        "updated_since", "since", "modifiedSince", "updated_after", "updated_at[gte]", "updated_at_min", "start_time",
        "min_updated", "lastModifiedAfter", "if_modified_since", "filter[updated_from]", "startDate", "date_from",
        "oldest",
    ],
)  # fmt: skip
def test_names_of_parameters(name: str) -> None:
    """What APIs call the parameter that asks for what is newer."""
    assert f"params.{name}" in found("https://x.test/a", items("2024-05-01T10:00:00Z"), Parameter(name, "iso"))


@pytest.mark.parametrize("name", ["status", "page", "until", "updated_before", "sort", "created_by", "limit"])
def test_other_parameters(name: str) -> None:
    """What asks for something else takes no cursor."""
    options = found("https://x.test/a", items("2024-05-01T10:00:00Z"), Parameter(name, "iso"))
    assert options == {"deduplicate.by": "value"}


def test_without_a_time_there_is_no_cursor() -> None:
    """A parameter alone does not help, and that is said."""
    _, findings = since(from_url("https://x.test/a"), items("x", "y", name="text"), [Parameter("since", "iso")], NOW)
    assert "no item has a time" in findings[-1].reason
    assert found("https://x.test/a", Items()) == {}


def test_a_time_of_creation_is_a_guess_for_changes() -> None:
    """A parameter about changes is not given the time of creation."""
    created = items("2024-05-01T10:00:00Z", name="created_at")
    assert found("https://x.test/a", created, Parameter("updated_min", "iso")) == {"deduplicate.by": "value"}
    assert "cursor.newest.from" in found("https://x.test/a", created, Parameter("created_after", "iso"))


def test_the_order_of_items() -> None:
    """Three times that go down are the newest first."""
    assert newest_first(items("2024-05-03T00:00:00Z", "2024-05-02T00:00:00Z", "2024-05-01T00:00:00Z").time)
    assert not newest_first(items("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z", "2024-05-03T00:00:00Z").time)
    assert not newest_first(items("2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z").time)
    assert not newest_first(items("2024-05-02T00:00:00Z", "2024-05-01T00:00:00Z").time)
    assert not newest_first(None)
