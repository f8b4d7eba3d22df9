"""Which record goes into which batch, and who is told what."""

from __future__ import annotations

import asyncio

import pytest

from headwater.cluster.batching import Pile, Sending, Turns, joined, sizes_of
from headwater.core.errors import TopicNotFoundError
from headwater.core.record import Record
from headwater.core.topic import Receipt
from headwater.fluvio.batch import encode_batch
from headwater.fluvio.partition import partition_of


def records(count: int, size: int = 100) -> list[Record]:
    return [Record(b"%d" % number + bytes(size - len(str(number)))) for number in range(count)]


def sending() -> Sending:
    return Sending(asyncio.get_running_loop().create_future())


def test_records_without_a_key_take_turns() -> None:
    """Each record has the next partition, whatever call it comes with."""
    turns = Turns()
    some = records(4)
    assert turns.spread(some[:1], 3) == {0: some[:1]}
    assert turns.spread(some, 3) == {1: [some[0], some[3]], 2: [some[1]], 0: [some[2]]}
    assert turns.spread(some[:1], 3) == {2: some[:1]}
    assert turns.spread(some, 1) == {0: some}


def test_keys_choose() -> None:
    """A key has its partition, and takes nobody's turn; the empty key is one too."""
    turns = Turns()
    for key in (b"a", b"", b"key"):
        assert turns.spread([Record(b"v", key=key)], 7) == {partition_of(key, 7): [Record(b"v", key=key)]}
    assert list(turns.spread(records(1), 7)) == [0]


async def test_batches_are_filled_in_order() -> None:
    """A record that does not fit begins the next batch; one larger than a batch has its own."""
    pile = Pile(0, 1000)
    pile.add([*records(8), Record(bytes(5000)), *records(1)], sending(), 5.0, 9.0)
    assert [len(batch.records) for batch in pile.batches] == [7, 1, 1, 1]
    assert [batch.full for batch in pile.batches] == [True, True, True, False]
    assert all(len(encode_batch(it.records, 1).data) <= it.size for it in pile.batches)


async def test_calls_share_a_batch() -> None:
    """Who comes while a batch has room is in it, and learns its own offsets."""
    pile = Pile(3, 1000)
    calls = [sending(), sending()]
    for call in calls:
        pile.add(records(2), call, 5.0, 9.0)
    (batch,) = pile.take(5.0, 10_000)
    batch.settle(40)
    assert [call.future.result() for call in calls] == [[Receipt(3, 40, 2)], [Receipt(3, 42, 2)]]


async def test_when_batches_leave() -> None:
    """A batch waits until it is due, unless it is full; what has left takes no more records."""
    pile = Pile(0, 1000)
    assert pile.due() is None
    pile.add(records(1), sending(), 5.0, 9.0)
    assert (pile.due(), pile.take(4.9, 10_000)) == (5.0, [])
    pile.add(records(9), sending(), 6.0, 9.0)
    assert pile.due() == 0.0
    assert [len(batch.records) for batch in pile.take(4.9, 10_000)] == [7]
    taken = pile.take(6.0, 10_000)
    pile.put_back(taken)
    pile.add(records(1), sending(), 7.0, 9.0)
    assert [len(batch.records) for batch in pile.batches] == [3, 1]


async def test_a_request_has_room_for_so_much() -> None:
    """Batches go until the room is used up, but at least one, and none when there is no room."""
    pile = Pile(0, 1000)
    pile.add(records(21), sending(), 0.0, 9.0)
    assert pile.take(1.0, 0) == []
    assert len(pile.take(1.0, 1)) == 1
    assert len(pile.take(1.0, 2000)) == 2


async def test_what_comes_back_goes_first() -> None:
    """Batches that are put back keep their order before those that came later."""
    pile = Pile(0, 200)
    pile.add(records(5), sending(), 0.0, 9.0)
    first = pile.take(1.0, 450)
    assert len(first) == 2
    pile.put_back(first)
    assert [batch.records[0].value[:1] for batch in pile.batches] == [b"0", b"1", b"2", b"3", b"4"]


async def test_deadlines() -> None:
    """Batches whose time has passed are taken out, wherever they stand."""
    pile = Pile(0, 200)
    for deadline in (3.0, 1.0, 2.0):
        pile.add(records(1), sending(), 0.0, deadline)
    assert pile.expire(0.5) == []
    assert [batch.deadline for batch in pile.expire(2.0)] == [1.0, 2.0]
    assert [batch.deadline for batch in pile.clear()] == [3.0]


async def test_a_call_ends_once() -> None:
    """The first failure of a call is its end; what its other batches become changes nothing."""
    pile = Pile(0, 200)
    call = sending()
    pile.add(records(3), call, 0.0, 9.0)
    first, second, third = pile.take(1.0, 10_000)
    first.settle(0)
    second.fail(TopicNotFoundError("gone"))
    second.fail(TopicNotFoundError("again"))
    third.settle(2)
    with pytest.raises(TopicNotFoundError, match="gone"):
        call.future.result()


def test_receipts_join() -> None:
    """Receipts of offsets that follow one another are one."""
    some = [Receipt(1, 5, 2), Receipt(0, 2, 1), Receipt(0, 0, 2), Receipt(1, 9, 1)]
    assert joined(some) == [Receipt(0, 0, 3), Receipt(1, 5, 2), Receipt(1, 9, 1)]


def test_sizes() -> None:
    """A size covers value, key and all that stands around them."""
    assert sizes_of([Record(b"abc"), Record(b"abc", key=b"k")]) == [35, 36]
