"""Which names topics and connectors may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import TopicNameError
from headwater.core.names import check_topic_name, is_name, suggest_name


@pytest.mark.parametrize("name", ["a", "cat-facts", "0", "a--b", "x" * 63])
def test_allowed_names(name: str) -> None:
    """Lower-case letters, digits and inner hyphens, at most 63."""
    check_topic_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a b", "é", "x" * 64, "a\n"])
def test_refused_names(name: str) -> None:
    """Everything else is refused, and the error shows the name."""
    with pytest.raises(TopicNameError) as caught:
        check_topic_name(name)
    assert repr(name) in str(caught.value)


@given(st.text())
def test_a_suggestion_is_allowed(name: str) -> None:
    """What is suggested could be taken as it is."""
    near = suggest_name(name)
    assert near == "" or is_name(near)


def test_the_suggestion_is_near() -> None:
    """The hint keeps what can be kept."""
    with pytest.raises(TopicNameError) as caught:
        check_topic_name("My_Topic!")
    assert caught.value.hint == "try my-topic"
