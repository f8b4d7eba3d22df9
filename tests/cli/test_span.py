"""Which records of a partition are to be read."""

from __future__ import annotations

import pytest

from headwater.cli.consume import Bounds
from headwater.cli.span import Span, Start
from headwater.core.errors import PartitionNotFoundError


@pytest.mark.parametrize(
    ("start", "offset"),
    [
        (Start(), 20),
        (Start(beginning=True), 10),
        (Start(head=0), 10),
        (Start(head=3), 13),
        (Start(head=99), 20),
        (Start(tail=0), 20),
        (Start(tail=3), 17),
        (Start(tail=99), 10),
        (Start(start=15), 15),
        (Start(start=3), 10),
        (Start(start=99), 99),
    ],
)
def test_where_to_begin(start: Start, offset: int) -> None:
    """Of a partition that holds 10 up to 20."""
    assert start.offset(10, 20) == offset


@pytest.mark.parametrize(
    ("end", "only_present", "bound", "done"),
    [
        (None, False, None, False),
        (None, True, 20, False),
        (12, False, 13, False),
        (99, True, 20, False),
        (9, True, 10, True),
    ],
)
def test_where_to_end(end: int | None, only_present: bool, bound: int | None, done: bool) -> None:  # noqa: FBT001 - a row of a table
    """An end is inclusive, and never beyond what is there when only that is wanted."""
    (span,) = Bounds(Start(beginning=True), end, only_present, ()).spans("cats", [(10, 20)])
    assert (span.position, span.end, span.done) == (10, bound, done)


def test_partitions() -> None:
    """All, or those that are named and there."""
    offsets = [(0, 1), (0, 2), (0, 3)]
    assert [span.partition for span in Bounds(Start(), None, False, ()).spans("cats", offsets)] == [0, 1, 2]
    assert Bounds(Start(), None, True, (2,)).spans("cats", offsets) == [Span(2, 3, 3)]
    with pytest.raises(PartitionNotFoundError) as raised:
        Bounds(Start(), None, False, (3,)).spans("cats", offsets)
    assert (raised.value.message, raised.value.hint) == (
        "partition not found: cats-3", "topic cats has partitions 0 to 2",
    )  # fmt: skip
