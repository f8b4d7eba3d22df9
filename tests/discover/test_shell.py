"""Words of copied command lines, as a POSIX shell and Windows' cmd would part them."""

from __future__ import annotations

import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.discover.asking import mark
from headwater.discover.shell import LONGEST, ShellError, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("'a b'\"c d\" e\\ f", ["a bc d", "e f"]),
        ("a \\\n  b", ["a", "b"]),
        ('"a\\"b\\$c\\d"', ['a"b$c\\d']),
        ("''", [""]),
        ("\n\n  a", ["a"]),
        ("a # a comment\n", ["a"]),
        ("a#b", ["a#b"]),
        ("$'a\\'b\\n\\x41\\u00e9\\101'", ["a'b\nAéA"]),
        ("$'\\ud83d\\ude00'", ["😀"]),
        ("$'\\xc3\\xa9'", ["é"]),
        ("$'\\q'", ["\\q"]),
        ('$"a"', ["a"]),
        ("a$ b", ["a$", "b"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Quotes, escapes, continued lines and ANSI-C quotes come to what a shell would pass."""
    assert words(text) == (expected, "")


@pytest.mark.parametrize("text", ["$TOKEN", "${TOKEN}", '"$TOKEN"', "${TOKEN:-default}", '"${TOKEN:?unset}"'])
def test_variables_are_secrets(text: str) -> None:
    """What a shell would put in is not known here: it is a secret of that name."""
    assert words(text) == ([mark("TOKEN")], "")


def test_single_quotes_keep_dollars() -> None:
    """A query of GraphQL has its dollars in single quotes."""
    assert words("'query($after: String)'") == (["query($after: String)"], "")


@pytest.mark.parametrize("text", ["$(cat token)", '"$(cat $(echo x))"', "`cat token`"])
def test_commands_inside_of_commands_are_not_run(text: str) -> None:
    """What a command would print is a secret."""
    assert words(f"a {text} b") == (["a", mark("COMMAND"), "b"], "")


@pytest.mark.parametrize("rest", ["| jq '.secret'", "> out.json", "; rm -rf x", "&& echo s3cret", "\nwget s3cret"])
def test_what_follows_is_left_out(rest: str) -> None:
    """Only the first command counts, and of the others the first word alone is told."""
    found, note = words(f"a b {rest}")
    assert found == ["a", "b"]
    assert "only the first command was read" in note
    assert "s3cret" not in note


def test_windows() -> None:
    """Chrome copies for cmd with ^ before whatever means something to it."""
    text = 'curl ^"https://x.test/?a=1^&b=2^" ^\n  -H ^"accept: */*^" ^\n  --data-raw ^"{\\^"a\\^":\\^"100^%^\\^"}^"'
    assert words(text) == (
        ["curl", "https://x.test/?a=1&b=2", "-H", "accept: */*", "--data-raw", '{"a":"100%"}'],
        "",
    )


@pytest.mark.parametrize("text", ["'a", '"a', "$'a", "x" * (LONGEST + 1)])
def test_what_is_no_line(text: str) -> None:
    """A quote that is not closed is told, and so is a line without end."""
    with pytest.raises(ShellError):
        words(text)


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\0\r"))))
def test_what_python_quotes_is_read_back(given: list[str]) -> None:
    """Whatever is quoted for a shell is one word here."""
    line = shlex.join(given)
    if "^\n" not in line and '^"' not in line:
        assert words(line)[0] == given


@given(st.text())
def test_anything_ends(text: str) -> None:
    """Any text is words, or an error that says so."""
    with suppress(ShellError):
        words(text)
