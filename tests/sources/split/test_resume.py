"""Bodies that are broken off, by crashes at any place: each item is stored exactly once, unless the body is another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.checkpoint import BodyPosition
from headwater.sources.split.item import Bad, Formed, Item
from headwater.sources.split.resume import AnotherBodyError, Resumption, _told

ITEMS = st.lists(
    st.binary(max_size=3)
    | st.builds(Formed, st.binary(max_size=2), st.just(b"{}"))
    | st.builds(Bad, st.just("bad"), st.binary(max_size=2)),
    max_size=12,
)


class Store:
    """What commits in one step: items, and the position in the body that they lead to."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.position: BodyPosition | None = None
        self.bodies = 0

    def commit(self, items: Sequence[Item], position: BodyPosition | None) -> None:
        """Commit a step."""
        self.items += items
        self.position = position

    def take(self, body: Sequence[Item], cuts: Sequence[int], steps: int | None, request: str) -> None:
        """Take a body in pieces of these sizes, each a step; crash after so many commits.

        The pass that finds another body begins again.
        """
        passing = Resumption(lambda: request, 7, self.position)
        start = number = 0
        try:
            while start < len(body):
                piece = body[start : start + cuts[number % len(cuts)]]
                known = passing.take(piece)
                start += len(piece)
                number += 1
                if known == len(piece):
                    continue
                if steps == 0:
                    return
                steps = None if steps is None else steps - 1
                self.commit(piece[known:], passing.position())
            passing.finish()
        except AnotherBodyError:
            self.commit((), None)
            self.take(body, cuts, steps, request)
            return
        if steps == 0:
            return
        self.commit((), None)
        self.bodies += 1


@settings(max_examples=300, deadline=None)
@given(ITEMS, st.lists(st.tuples(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 4)), max_size=5))
def test_the_same_body_is_stored_once(body: list[Item], crashes: list[tuple[list[int], int]]) -> None:
    """Whatever the pieces of each pass and wherever it ends, the items are there once and in order."""
    store = Store()
    for cuts, steps in crashes:
        if store.bodies:
            break
        store.take(body, cuts, steps, "r")
    if not store.bodies:
        store.take(body, [3], None, "r")
    assert store.items == body
    assert store.position is None


@settings(max_examples=300, deadline=None)
@given(ITEMS, ITEMS, st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 4), st.booleans())
def test_another_body_is_taken_from_its_beginning(
    first: list[Item],
    second: list[Item],
    cuts: list[int],
    steps: int,
    same: bool,  # noqa: FBT001
) -> None:
    """After a crash a body that begins otherwise is stored as a whole, behind what was stored of the first."""
    store = Store()
    store.take(first, cuts, steps, "r")
    stored = list(store.items)
    position = store.position
    store.take(second, [2], None, "r" if same else "another")
    begun = 0 if position is None or not same else position.items
    told = [*map(bytes, map(_told, stored))]
    goes_on = begun and [*map(bytes, map(_told, second[:begun]))] == told
    assert store.items == stored + (second[begun:] if goes_on else second)


def test_a_position_says_what_it_belongs_to() -> None:
    """A position knows the request and the scheduled time of its round, and keeps that."""
    passing = Resumption(lambda: "r", 5, None)
    assert not passing.resuming
    passing.take([b"1", b"2"])
    position = passing.position()
    assert (position.items, position.request, position.scheduled) == (2, "r", 5)
    again = Resumption(lambda: "r", 9, position)
    assert (again.skipped, again.resuming) == (2, True)
    assert again.take([b"1"]) == 1
    assert again.take([b"2", b"3"]) == 1
    assert again.position().scheduled == 5
    assert again.count == 3


def test_a_shorter_body_is_another() -> None:
    """What ends before what is stored of it did not."""
    position = BodyPosition(2, "x", "r")
    passing = Resumption(lambda: "r", 0, position)
    passing.take([b"1"])
    with pytest.raises(AnotherBodyError):
        passing.finish()
