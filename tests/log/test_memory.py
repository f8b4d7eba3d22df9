"""What connectors remember of items: in the file, with the records, found again by anybody."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import LogClosedError, LogError, TopicNotFoundError
from headwater.core.memory import (
    MemoryChange,
    Nothing,
    Row,
    RowPacker,
    decode_change,
    encode_change,
    pack_counts,
    pack_numbers,
    unpack_counts,
    unpack_numbers,
    unpack_rows,
)
from headwater.core.record import Record
from headwater.fluvio.batch import encode_batches
from headwater.log import FILE_NAME, Append, Log, Memories, memory
from sources.recalled import Recalled


def packed(rows: Sequence[Row]) -> tuple[bytes, ...]:
    packer = RowPacker()
    for row in rows:
        packer.add(row)
    return packer.packed()


def row(number: int, key: bytes, mark: bytes | int = b"mark-000", value: bytes | None = None) -> Row:
    return (number, key, mark, b"print", value)


def change(connector: str = "c", *, rows: Sequence[Row] = (), gone: Sequence[int] = (), **more: object) -> MemoryChange:
    return MemoryChange(connector, rows=packed(rows), gone=pack_numbers(gone), **more)  # type: ignore[arg-type]


def remembering(what: MemoryChange) -> Append:
    return Append(None, (), memory=what)


MARKS = st.sampled_from([b"mark-000", b"mark-001"])
KEYS = [b"%d" % number for number in range(6)]


@st.composite
def changes(draw: st.DrawFn, known: Recalled, following: int) -> MemoryChange:
    """Draw a change that a source could make: a number has one key, and a key one number."""
    anew = draw(st.integers(0, 9)) == 0
    items = {} if anew else known.items
    used = sorted(items)
    gone: set[int] = draw(st.sets(st.sampled_from(used))) if used else set()
    rows: list[Row] = []
    free = [key for key in KEYS if key not in {items[number][1] for number in used if number not in gone}]
    for number in used:
        if number not in gone and items[number][1] and number % 2 == following // 10 % 2:
            again: Row = (number, items[number][1], draw(MARKS), b"p", b"v")
            rows.append(draw(st.sampled_from([again, (number, b"", b"", b"", None)])))
    for index, key in enumerate(sorted(draw(st.sets(st.sampled_from(free)))) if free else ()):
        rows.append((following + index, key, draw(MARKS), b"p", draw(st.none() | st.binary(max_size=9))))
    seen = pack_numbers(draw(st.sets(st.integers(0, 20), max_size=5)))
    part = draw(st.integers(0, 3))
    missed = draw(st.sampled_from([None, b"", pack_counts({1: 2})]))
    return change(
        "c", rows=rows, gone=sorted(gone), anew=anew, drop=draw(st.sampled_from([0, 0, 0, 1, 2, 50])),
        part=part, seen=seen, settled=draw(st.booleans()),
        missed=missed,
    )  # fmt: skip


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_it_is_what_the_plain_one_is(data: st.DataObject) -> None:
    """Whatever is changed, everything that can be asked has the answer of a memory that is dictionaries."""
    plain = Recalled()

    async def scenario(directory: Path) -> None:
        async with Log.open(directory) as log:
            # Another connector stands beside it.
            await log.submit(remembering(change("other", rows=[row(0, b"1"), row(5, b"2")])))
            for step in range(data.draw(st.integers(1, 6))):
                following = 10 * (step + 1)
                made = data.draw(changes(plain, following))
                plain.apply(made)
                await log.submit(remembering(made))
                recall = log.recall("c")
                asked = [mark + key for mark in (b"mark-000", b"mark-001") for key in (*KEYS, b"none")]
                assert recall.compare(asked) == plain.compare(asked)
                numbers = [*plain.items, 999]
                assert recall.rows(numbers) == plain.rows(numbers)
                marks = bytes(data.draw(st.lists(st.integers(0, 1), min_size=80, max_size=80)))
                assert sorted(recall.unseen(marks, 100)) == sorted(plain.unseen(marks, 100))
                assert len(recall.unseen(marks, 2)) == len(plain.unseen(marks, 2))
                for after in (-1, 5, 15):
                    assert recall.vacant(after, 2) == plain.vacant(after, 2)
                assert recall.seen() == plain.seen()
                assert recall.missed() == plain.missed()
            assert log.recall("other").compare([b"mark-000" + b"1", b"mark-000" + b"2"]) == [0, 5]

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(scenario(Path(directory)))


async def test_numbers_as_marks(tmp_path: Path) -> None:
    """They are found with the keys, and those that are below one are counted from the lowest number on."""
    async with Log.open(tmp_path) as log:
        rows = [row(number, b"%d" % number, 100 + number // 2) for number in range(10)]
        await log.submit(remembering(change(rows=rows)))
        recall = log.recall("c")
        assert recall.find([b"3", b"x", b"9"]) == [(3, 101), None, (9, 104)]
        assert [recall.older(than) for than in (100, 101, 104, 105, 200)] == [0, 2, 8, 10, 10]
        await log.submit(remembering(change(drop=3)))
        assert [found and found[0] for found in recall.find([b"2", b"3"])] == [None, 3]
        assert recall.find([]) == []
        assert recall.compare([]) == []
        assert log.recall("nobody").older(7) == 0
        assert log.recall("nobody").vacant(-1, 5) == []


async def test_it_commits_with_the_records_or_not_at_all(tmp_path: Path) -> None:
    """An append that fails changes nothing that is remembered."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        batches = encode_batches([Record(b"x")], 1)
        with pytest.raises(TopicNotFoundError):
            await log.submit(Append("dogs", batches, memory=change(rows=[row(0, b"1")])))
        assert log.recall("c").find([b"1"]) == [None]
        receipt = await log.submit(
            Append("cats", batches, checkpoint=("c", b"{}"), memory=change(rows=[row(0, b"1", 7)]))
        )
        assert receipt.count == 1
    async with Log.open(tmp_path) as log:
        assert log.recall("c").find([b"1"]) == [(0, 7)]


async def test_what_is_forgotten_goes_at_once_and_its_rows_by_and_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new memory of the same connector has nothing of the old one, whose rows are deleted a few at a time."""
    monkeypatch.setattr(memory, "_SWEPT_AT_ONCE", 40)
    async with Log.open(tmp_path) as log:
        rows = [row(number, b"%d" % number) for number in range(100)]
        await log.submit(remembering(change(rows=rows, seen=pack_numbers([1]))))
        await log.submit(remembering(change(anew=True)))
        assert log.recall("c").compare([b"mark-0001"]) == [None]
        await log.submit(remembering(change(rows=[row(0, b"new")])))
        assert log.recall("c").compare([b"mark-000new", b"mark-0001"]) == [0, None]
        assert log.recall("c").seen() == []
        await log.submit(remembering(change("nobody", anew=True)))
        assert count(tmp_path, "item") == 101
        await log.retain()
        assert (count(tmp_path, "item"), count(tmp_path, "memory"), count(tmp_path, "sighting")) == (1, 1, 0)
        assert log.recall("c").compare([b"mark-000new"]) == [0]


def count(directory: Path, table: str) -> int:
    connection = apsw.Connection(str(directory / FILE_NAME))
    found: int = connection.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 - a name of ours
    connection.close()
    return found


@pytest.mark.parametrize(
    "broken",
    [
        MemoryChange("c", rows=(b"\xc1",)),
        MemoryChange("c", rows=(b"\x91\x92\x01\xa1x",)),
        MemoryChange("c", gone=b"xxx"),
        MemoryChange("c", seen=b"\x78\x01"),
        MemoryChange("c", missed=b"\x78\x01"),
        change(rows=[row(-1, b"1")]),
        change(rows=[row(1 << 40, b"1")]),
        change(part=1 << 40, seen=pack_numbers([1])),
    ],
    ids=["rows", "row", "numbers", "seen", "missed", "negative", "large", "part"],
)
async def test_a_change_that_is_not_whole_is_refused(tmp_path: Path, broken: MemoryChange) -> None:
    """Nothing of its append is done, and its neighbours in the commit are."""
    async with Log.open(tmp_path) as log:
        await log.create_topic("cats")
        batches = encode_batches([Record(b"x")], 1)
        bad = log.submit(Append("cats", batches, memory=broken))
        good = log.submit(Append("cats", batches, memory=change("d", rows=[row(0, b"1")])))
        with pytest.raises(LogError, match="what c remembers"):
            await bad
        assert (await good).base_offset == 0
        assert log.recall("d").compare([b"mark-0001"]) == [0]


async def test_it_is_asked_in_threads(tmp_path: Path) -> None:
    """Many at once, while it is written; none after the log was closed, and closing waits for none."""
    async with Log.open(tmp_path) as log:
        await log.submit(remembering(change(rows=[row(number, b"%d" % number) for number in range(500)])))

        def ask() -> int:
            recall = log.recall("c")
            return sum(found is not None for _ in range(20) for found in recall.compare([b"mark-0007"] * 50))

        asking = [asyncio.to_thread(ask) for _ in range(8)]
        writing = [log.submit(remembering(change(rows=[row(1000 + number, b"n%d" % number)]))) for number in range(50)]
        assert await asyncio.gather(*asking) == [1000] * 8
        await asyncio.gather(*writing)
        late = log.recall("c")
    with pytest.raises(LogClosedError):
        late.compare([b"mark-0007"])


def test_a_connection_at_work_is_closed_afterwards(tmp_path: Path) -> None:
    """Closing takes nothing from under a thread that asks."""

    async def write() -> None:
        async with Log.open(tmp_path) as log:
            await log.submit(remembering(change(rows=[row(1, b"1")])))

    asyncio.run(write())
    memories = Memories(tmp_path)
    begun, closed = threading.Event(), threading.Event()
    found = []

    def ask() -> None:
        with memories.connection() as connection:
            begun.set()
            closed.wait(10)
            found.append(connection.execute("SELECT count(*) FROM item").get)

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait(10)
    memories.close()
    closed.set()
    thread.join()
    assert found == [1]
    assert memories._idle == []


@given(numbers=st.sets(st.integers(0, 1 << 41)))
def test_numbers_are_packed(numbers: set[int]) -> None:
    """Each comes back, in order; many that follow each other need hardly any room."""
    assert unpack_numbers(pack_numbers(numbers)) == sorted(numbers)


def test_what_is_packed_is_small_and_whole() -> None:
    """A hundred thousand neighbours are a kilobyte or so; rows come by the thousand."""
    assert len(pack_numbers(range(7, 100_007))) < 5000
    rows = [row(number, b"%d" % number, value=b"x" * 700) for number in range(5000)]
    parts = packed(rows)
    assert [it for part in parts for it in unpack_rows(part)] == rows
    assert 4 < len(parts) < 10
    whole = change(rows=rows[:3], gone=[1, 2], seen=pack_numbers([3]))
    assert decode_change(encode_change(whole)) == whole
    assert whole.size > 2100
    assert unpack_counts(pack_counts({5: 1, 1 << 39: 3})) == {5: 1, 1 << 39: 3}
    assert unpack_counts(pack_counts({})) == {}


def test_a_memory_of_nothing() -> None:
    """It knows nothing, whatever is asked."""
    nothing = Nothing()
    assert nothing.compare([b"a"]) == [None]
    assert nothing.find([b"a"]) == [None]
    assert (nothing.rows([1]), nothing.unseen(b"", 1), nothing.vacant(-1, 1)) == ({}, [], [])
    assert (nothing.seen(), nothing.missed(), nothing.older(1), len(nothing.salt())) == ([], b"", 0, 16)
