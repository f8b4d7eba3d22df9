"""Structured fields, as far as quotas use them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.limits.structured import Item, read_dictionary, read_list


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('"default";r=50;t=30', [Item("default", {"r": 50.0, "t": 30.0})]),
        ('"a";q=1, "b" ;q=2', None),  # no space before a parameter
        ('"a";q=1 ,\t"b"; q=2', [Item("a", {"q": 1.0}), Item("b", {"q": 2.0})]),
        (r'10;w=60;comment="say \"hi\""', [Item(10.0, {"w": 60.0, "comment": 'say "hi"'})]),
        ("token;x;y=?0;z=:cGs=:", [Item("token", {"x": True, "y": False, "z": b":cGs=:"})]),
        ("-1.5", [Item(-1.5)]),
        ("", []),
        ("a,", None),
        ("a b", None),
        ('"open', None),
        ("é", None),
        ("1.2345", None),
        ("=", None),
        (",".join(["a"] * 100), None),
        ("a" * 5000, None),
    ],
)  # fmt: skip
def test_lists(text: str, items: list[Item] | None) -> None:
    """Items with parameters; what does not parse is as if it were not there."""
    assert read_list(text) == items


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("limit=100, remaining=50, reset=30", [("limit", 100.0), ("remaining", 50.0), ("reset", 30.0)]),
        ("a=1, a=2, b", [("a", 2.0), ("b", True)]),
        ("A=1", None),
        ("a=", None),
    ],
)
def test_dictionaries(text: str, items: list[tuple[str, object]] | None) -> None:
    """Of a repeated key the last counts; a key alone is true."""
    found = read_dictionary(text)
    assert (None if found is None else [(it.key, it.value) for it in found]) == items


@given(st.text(max_size=200))
def test_no_text_is_an_exception(text: str) -> None:
    """Headers come from anywhere."""
    for read in (read_list, read_dictionary):
        found = read(text)
        assert found is None or all(isinstance(it, Item) for it in found)
