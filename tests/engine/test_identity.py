"""Keys for records that have none, and the way of keyed records to their partitions on the embedded log."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.test_connector import bench, counting, ledger
from headwater.core.record import Record
from headwater.core.topic import Deduplication, TopicSpec
from headwater.engine.identity import identified
from headwater.fluvio.partition import partition_of
from headwater.log import LogReader, Offset
from headwater.testing import Answer

SPLIT = "transforms:\n  - uses: infinyon-labs/array-map-json\n"
VALUES = st.lists(st.binary(max_size=5), max_size=6)


def keys(values: list[bytes], connector: str = "cats", exchange: int = 1) -> list[bytes | None]:
    return [record.key for record in identified([Record(value) for value in values], connector, exchange)]


def test_a_key_of_its_own_stays() -> None:
    """Only what has no key gets one, also beside records that have; value and time stay as they are."""
    given_ = [Record(b"a", b"mine", 5), Record(b"b", None, 6), Record(b"c", b"")]
    first, second, third = identified(given_, "cats", 1)
    assert (first, third) == (given_[0], given_[2])
    assert (second.value, second.timestamp) == (b"b", 6)
    assert len(second.key or b"") == 32


@given(VALUES)
def test_the_same_exchange_has_the_same_keys(values: list[bytes]) -> None:
    """And no two of its records share one, not even when they are alike."""
    assert keys(values) == keys(values)
    assert len(set(keys(values))) == len(values)


@given(VALUES.filter(bool))
def test_another_exchange_has_others(values: list[bytes]) -> None:
    """So has another connector, and another value in the same place."""
    assert not set(keys(values)) & set(keys(values, exchange=2))
    assert not set(keys(values)) & set(keys(values, connector="dogs"))
    assert not set(keys(values)) & set(keys([value + b"x" for value in values]))


async def test_records_with_keys_go_to_their_partitions(tmp_path: Path) -> None:
    """All of one poll in one transaction, each where stock clients would put it; dead letters beside them."""
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer.json(list(range(12))), Answer(body=b"no json"), Answer.json([1]))
        await it.log.create_topic("cats", TopicSpec(partitions=4))
        async with it.running(it.config(more="  record_id: true\n" + SPLIT)):
            await it.clock.next_wake()
            await it.clock.next_wake()
            await it.clock.sleeping()
        topic = await it.log.topic("cats")
        found = [record for number in range(4) for record in await topic.read(Offset.beginning(), partition=number)]
        assert sorted(int(record.value) for record in found) == sorted([*range(12), 1])
        assert all(record.partition == partition_of(record.key or b"", 4) for record in found)
        assert len(await it.values("cats-dead-letter")) == 1
        entries = ledger(tmp_path)
        assert [(entry.records, entry.rejected) for entry in entries] == [(12, 0), (0, 1), (1, 0)]
        first = (await topic.read(Offset.at(entries[0].offset or 0), partition=entries[0].partition or 0))[0]
        assert first.value == b"0"


async def test_without_keys_polls_take_the_partitions_in_turn(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.server.route("/x", counting())
        await it.log.create_topic("cats", TopicSpec(partitions=2))
        async with it.running(it.config()):
            for _ in range(3):
                await it.clock.next_wake()
            await it.clock.sleeping()
        with LogReader(tmp_path) as reader:
            assert [reader.offsets("cats", number) for number in range(2)] == [(0, 2), (0, 2)]


async def test_a_topic_with_deduplication_on_the_embedded_log(tmp_path: Path) -> None:
    """Answers that repeat are dropped by their values; with record ids each answer counts as one of its own."""
    drops = Deduplication("dedup-filter", 10, timedelta(seconds=60))
    async with bench(tmp_path) as it:
        it.server.route("/x", Answer(body=b"a"), Answer(body=b"a"), Answer(body=b"b"))
        for name in ("cats", "dogs"):
            await it.log.create_topic(name, TopicSpec(deduplication=drops))
        it.server.route("/y", Answer(body=b"a"))
        async with it.running(it.config(), it.config("/y", "dogs", "  record_id: true\n")):
            for _ in range(2):
                await it.clock.next_wake(2)
            await it.clock.sleeping(2)
        assert await it.values() == [b"a", b"b"]
        assert await it.values("dogs") == [b"a", b"a", b"a"]
