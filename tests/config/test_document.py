"""YAML into values with places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config.document import read_documents


def test_values_know_their_places() -> None:
    """Every key has its line and column, and a path as the user would name it."""
    (root,), problems = read_documents("a: 1\nb:\n  - c: x\n    d: [true, null]\n", "f")
    assert not problems
    assert root.plain() == {"a": 1, "b": [{"c": "x", "d": [True, None]}]}
    places = {node.path: (node.line, node.column) for node in root.scalars()}
    assert places == {"a": (1, 1), "b[0].c": (3, 5), "b[0].d[0]": (4, 9), "b[0].d[1]": (4, 15)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("010", 10),
        ("0x10", 16),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("'1'", "1"),
        ("true", True),
        ("~", None),
        ("10s", "10s"),
        ("2026-01-01", "2026-01-01"),
        (".", "."),
        ("9" * 40, "9" * 40),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    """The traps of YAML 1.1 are not there."""
    (root,), _ = read_documents(f"k: {text}", "f")
    assert root.plain() == {"k": value}


def test_several_documents() -> None:
    """Documents are parted by ---; empty ones do not count."""
    roots, _ = read_documents("---\na: 1\n---\n---\na: 2\n", "f")
    assert [root.plain() for root in roots] == [{"a": 1}, {"a": 2}]


def test_duplicate_keys_are_a_problem() -> None:
    """The second of two equal keys is named, with the line of the first."""
    _, (problem,) = read_documents("a: 1\nb: 2\na: 3\n", "f.yml")
    assert problem.render() == "f.yml:3:1: error: a: this key is there already, in line 1"


def test_bad_yaml_has_a_place() -> None:
    """What is not YAML is told with line and column."""
    _, (problem,) = read_documents("a: [1\nb: 2\n", "f.yml")
    assert problem.render().startswith("f.yml:2:")
    assert "not YAML" in problem.message


def test_a_billion_laughs_are_not_heard() -> None:
    """Aliases that unfold to more than the bound are refused."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    _, (problem,) = read_documents("\n".join(lines), "f")
    assert "more than 100000 values" in problem.message


def test_depth_is_bounded() -> None:
    """A file of brackets alone does not exhaust the stack."""
    _, (problem,) = read_documents("[" * 1000 + "]" * 1000, "f")
    assert problem.message


@given(st.text())
def test_every_text_is_read_or_refused(text: str) -> None:
    """No text makes reading fail."""
    read_documents(text, "f")
