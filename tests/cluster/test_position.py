"""What a consumer makes of an answer."""

from __future__ import annotations

import pytest

from headwater.cluster.position import step, whole_batches
from headwater.core.errors import BatchError
from headwater.core.record import Record
from headwater.fluvio.batch import encode_batch, with_base_offset
from headwater.fluvio.records import PartitionFetched


def batch(base: int, count: int = 1) -> bytes:
    return with_base_offset(encode_batch([Record(b"v")] * count, 1).data, base)


def test_the_next_offset_is_behind_the_last_batch() -> None:
    """Whole batches are handed out, and the server is told where they end."""
    found = step(PartitionFetched(0, batches=batch(3, 2) + batch(5)), 3)
    assert [(it.base_offset, it.count) for it in found.batches] == [(3, 2), (5, 1)]
    assert (found.next, found.update, found.needed) == (6, 6, None)


def test_a_batch_that_begins_before_the_position_is_whole() -> None:
    """A stream may begin in the middle of a batch; one that ends before the position is a repeat."""
    found = step(PartitionFetched(0, batches=batch(0, 4) + batch(4, 4)), 6)
    assert [it.base_offset for it in found.batches] == [4]


def test_filters_say_where_they_have_got() -> None:
    """Where a SmartModule let nothing through the server's word is what counts."""
    found = step(PartitionFetched(0, next_offset=9), 3)
    assert (found.batches, found.next, found.update) == ([], 9, 9)
    assert step(PartitionFetched(0, next_offset=9, batches=batch(3)), 3).update == 9


def test_nothing_came() -> None:
    """An empty answer moves nothing, and tells the server nothing."""
    found = step(PartitionFetched(0), 3)
    assert (found.batches, found.next, found.update, found.needed) == ([], 3, None, None)


def test_a_batch_cut_off_at_the_end() -> None:
    """What an SPU cut off is left for the next time."""
    found = step(PartitionFetched(0, batches=batch(3) + batch(4)[:-1]), 3)
    assert (found.next, len(found.batches)) == (4, 1)


def test_a_batch_larger_than_the_answer() -> None:
    """When not even the first batch is whole, its size is known as soon as its header is there."""
    data = batch(3, 50)
    assert step(PartitionFetched(0, batches=data[:-1]), 3).needed == len(data)
    assert step(PartitionFetched(0, batches=data[:20]), 3).needed == 61


@pytest.mark.parametrize("data", [bytes(80), batch(0)[:16] + b"\1" + batch(0)[17:], batch(-5)])
def test_damaged(data: bytes) -> None:
    """Bytes that are no stored batch are refused."""
    with pytest.raises(BatchError):
        list(whole_batches(data))
