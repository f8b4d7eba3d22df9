"""Regular expressions that people write."""

from __future__ import annotations

import pytest

from headwater.core.pattern import Pattern


def test_it_is_found_anywhere_in_texts_and_bytes() -> None:
    """Anchors say more; a bound says how far is looked."""
    assert Pattern("log ?in").found(b"please login")
    assert Pattern("(?i)^LOG").found("login")
    assert not Pattern("^in").found(b"login")
    assert not Pattern("in").found(b"login", 3)
    assert Pattern("lo").found(b"login", 300)


def test_what_is_no_utf_8_is_looked_through_all_the_same() -> None:
    """Bytes come from anywhere."""
    assert Pattern("b").found(b"\xff\xfeb")


@pytest.mark.parametrize("text", ["(", "a(?=b)", r"(a)\1", "(a{1000}){1000}"])
def test_what_re2_does_not_know_is_refused(text: str) -> None:
    """The sentence has the expression; nothing takes more than linear time or ever more memory."""
    with pytest.raises(ValueError, match="is no regular expression of RE2"):
        Pattern(text)


def test_equal_texts_make_equal_patterns() -> None:
    """Configurations are compared to tell whether they have changed."""
    assert Pattern("a") == Pattern("a") != Pattern("b")
    assert hash(Pattern("a")) == hash(Pattern("a"))
    assert repr(Pattern("a")) == "Pattern('a')"
