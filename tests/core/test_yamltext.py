"""Values as YAML: read again they are the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headwater.config.document import read_plain
from headwater.core.yamltext import block_lines, key_text, scalar_text, value_lines

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "yes",
        "null",
        "1",
        "1.5",
        "0x1f",
        "- a",
        "a: b",
        "a #b",
        "#",
        "%a",
        "@a",
        "`",
        "!x",
        "&x",
        "*x",
        "? a",
        "a:",
        "|",
        ">",
        "'",
        '"',
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4),
    max_leaves=25,
)


@given(VALUES, st.integers(0, 3))
def test_values_are_read_back(value: Any, depth: int) -> None:
    """Whatever a value is, what is written means it, for our reader and for another one."""
    head = "".join(f"{'  ' * level}k:\n" for level in range(depth))
    text = f"{head}{'  ' * depth}a:" + "\n".join(value_lines(value, depth)) + "\n"
    found = read_plain(text)
    for _ in range(depth):
        found = found["k"]
    assert found == {"a": value}
    yaml.safe_load(text)


@given(TEXTS, TEXTS)
def test_texts_in_blocks_are_read_back(text: str, other: str) -> None:
    """A text of any lines comes back with each of its characters."""
    for whole in (text, f"{text}\n{other}", f"{text}\n{other}\n", f'{{"a": "{text}"}}'):
        found = read_plain("a:" + "\n".join(block_lines(whole, 0)) + "\nb: c\n")
        assert found == {"a": whole, "b": "c"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("10s", "10s"),
        ("no", '"no"'),
        (1.5, "1.5"),
        ([], "[]"),
        ({}, "{}"),
        ("/a/b", "/a/b"),
        ("a b", '"a b"'),
    ],
)
def test_scalars_are_plain_where_they_can_be(value: Any, text: str) -> None:
    """Only what would mean something else is quoted."""
    assert scalar_text(value) == text
    assert key_text("a b") == '"a b"'
