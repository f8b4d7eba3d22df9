"""Stock clients of all versions produce and consume, with our own log as the other side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headwater.core.record import Record
from headwater.core.topic import TopicSpec
from headwater.fluvio.batch import decode_header, decode_records, encode_batch, with_base_offset
from headwater.fluvio.compression import Compression
from headwater.fluvio.partition import partition_of
from headwater.log import LogReader
from server.clients import ALL, NEWEST, NODE, PYTHON, Stock
from server.peer import NOW, PATIENCE, fill, packed, serving, stored
from stock.client import StockError
from transforms import guests

CODECS = ("None_", "Gzip", "Snappy", "Lz4", "Zstd")
GROUPS = (*NEWEST, "0.18.1")


@pytest.mark.parametrize("version", ALL)
async def test_what_clients_produce(stock: Stock, tmp_path: Path) -> None:
    """Keys, values of any bytes, and their order arrive; the offsets that are told are those of the log."""
    sent = [("k1", "v1"), ("", "v2"), ("k\xff", "\x00\x01\xff"), ("k1", "v" * 5000)]
    async with serving(tmp_path, "cats") as it:
        await stock.to(it.server)
        told = await stock.ask("produce", topic="cats", records=sent)
        more = await stock.ask("produce", topic="cats", records=sent, method="send_all")
        await stock.ask("produce", topic="cats", records=[["", "text ä"]], method="send_string")
    with LogReader(tmp_path) as reader:
        assert reader.offsets("cats", 0) == (0, 9)
    async with serving(tmp_path) as it:
        found = stored(it.log, "cats")
    assert [(it.key, it.value) for it in found[:8]] == [
        (key.encode("latin-1"), value.encode("latin-1")) for key, value in sent * 2
    ]
    assert (found[8].value, found[8].offset) == ("text ä".encode(), 8)
    for offsets, first in ((told, 0), (more, 4)):
        assert offsets is None or [one["offset"] for one in offsets] == list(range(first, first + 4))


@pytest.mark.parametrize("version", ALL)
async def test_our_batches_are_those_of_clients(stock: Stock, tmp_path: Path) -> None:
    """What a client has written is, byte for byte, what our own encoding makes of the same records and times."""
    sent = [("k1", "v1"), ("", "v2"), ("k\xff", "\x00\x01\xff"), ("k1", "v" * 5000)]
    async with serving(tmp_path, "cats") as it:
        await stock.to(it.server)
        await stock.ask("produce", topic="cats", records=sent)
        await stock.ask("produce", topic="cats", records=sent * 20, method="send_all")
        batches = it.log.reader.read("cats", 0, 0, 1_000_000)
    assert sum(batch.count for batch in batches) == 84
    for batch in batches:
        records = [Record(one.value, one.key, one.timestamp) for one in decode_records(batch.data)]
        # A client opens a batch a moment before the first record is in it.
        began = decode_header(batch.data).first_timestamp
        assert with_base_offset(encode_batch(records, 0, first=began).data, batch.base_offset) == batch.data


@pytest.mark.parametrize("version", ALL)
async def test_what_clients_consume(stock: Stock, tmp_path: Path) -> None:
    """Records of our own log arrive with keys, null keys, times and offsets, from wherever it is asked for."""
    records = [Record(b"%d" % n, [None, b"", b"k"][n % 3], NOW + n) for n in range(10)]
    records[4] = Record(bytes(range(256)), bytes(range(256)), NOW + 4)
    async with serving(tmp_path, "cats") as it:
        await (await it.log.topic("cats")).append(records[:6])
        await (await it.log.topic("cats")).append(records[6:])
        await stock.to(it.server)
        ways: list[tuple[dict[str, Any], int]] = [
            ({}, 0),
            ({"offset": ["from_beginning", 7]}, 7),
            ({"offset": ["from_end", 3]}, 7),
        ]
        if stock.version not in NODE:
            ways += [({"offset": ["absolute", place]}, place) for place in (2, 5, 6, 9)]
        if stock.version in GROUPS:
            ways.append(({"disable_continuous": True, "count": None}, 0))
        for how, first in ways:
            found = await stock.records("cats", **{"partitions": [0], "count": 10 - first, **how})
            assert [(it.key, it.value) for it in found] == [(it.key, it.value) for it in records[first:]]
            if stock.version not in NODE:
                assert [(it.offset, it.timestamp) for it in found] == [(n, NOW + n) for n in range(first, 10)]


@pytest.mark.parametrize("version", ALL)
async def test_clients_that_follow(stock: Stock, tmp_path: Path) -> None:
    """A client that follows from the end sees what comes, and nothing that was there."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"before"])
        await stock.to(it.server)
        following = await stock.following("cats", partitions=[0], offset="end")
        for number in range(5):
            await fill(it.log, "cats", [b"%d" % number, b"x" * 1000])
            assert [it.value for it in await following.take(2)] == [b"%d" % number, b"x" * 1000]


@pytest.mark.parametrize("version", ALL)
async def test_several_partitions(stock: Stock, tmp_path: Path) -> None:
    """Clients choose the partitions of keys as we do, and read all partitions together."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=3))
        await stock.to(it.server)
        keys = [f"key-{number}" for number in range(30)]
        await stock.ask("produce", topic="cats", records=[(key, key) for key in keys])
        for number in range(3):
            expected = [key for key in keys if partition_of(key.encode(), 3) == number]
            assert [it.value.decode() for it in stored(it.log, "cats", number)] == expected
        found = await stock.records("cats", count=30, partitions=None if stock.version not in NODE else [0, 1, 2])
        assert sorted(it.value.decode() for it in found) == sorted(keys)


@pytest.mark.parametrize("version", NEWEST)
async def test_codecs_of_clients(stock: Stock, tmp_path: Path) -> None:
    """Batches of every codec are stored as they are, and read by ourselves and by the client."""
    async with serving(tmp_path, "cats") as it:
        await stock.to(it.server)
        for codec in CODECS:
            records = [("k", f"{codec} {number} " + "x" * 100) for number in range(50)]
            await stock.ask("produce", topic="cats", records=records, config={"compression": codec}, method="send_all")
        batches = it.log.reader.read("cats", 0, 0, 1 << 30)
        assert {decode_header(batch.data).attributes for batch in batches} == {0, 1, 2, 3, 4}
        ours = [record.value for record in stored(it.log, "cats")]
        assert ours == [f"{codec} {number} ".encode() + b"x" * 100 for codec in CODECS for number in range(50)]
        assert [it.value for it in await stock.records("cats", count=250)] == ours


@pytest.mark.parametrize("version", ALL)
async def test_codecs_of_ours(stock: Stock, tmp_path: Path) -> None:
    """Clients of all versions read batches of the codecs that they know, also from the middle of one."""
    codecs = [codec for codec in Compression if codec is not Compression.ZSTD or stock.version in NEWEST]
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        for codec in codecs:
            assert not (await peer.produce("cats", packed(*(b"%d" % n for n in range(10)), compression=codec))).code
        await stock.to(it.server)
        count = 10 * len(codecs)
        found = await stock.records("cats", offset=["from_beginning", 5], count=count - 5, partitions=[0])
        assert [int(it.value) for it in found] == [place % 10 for place in range(5, count)]


@pytest.mark.parametrize("version", NEWEST)
async def test_a_codec_that_a_topic_does_not_allow(stock: Stock, tmp_path: Path) -> None:
    """A client that wants another codec than the topic's is told so by itself; without a wish it takes that one."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(compression="gzip"))
        await stock.to(it.server)
        with pytest.raises(StockError, match=r"(?i)compression"):
            await stock.ask("produce", topic="cats", records=[["", "x"]], config={"compression": "Zstd"})
        await stock.ask("produce", topic="cats", records=[["", "x"]])
        (batch,) = it.log.reader.read("cats", 0, 0, 1000)
        assert decode_header(batch.data).attributes == Compression.GZIP


@pytest.mark.parametrize("version", GROUPS)
async def test_consumers_go_on_where_they_were(stock: Stock, tmp_path: Path) -> None:
    """A consumer with a name goes on behind what it has committed, after a restart of the server too."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=2))
        for partition in range(2):
            await fill(it.log, "cats", *([b"%d" % n] for n in range(20)), partition=partition)
        for strategy, committed in (("manual", 5), ("auto", 8)):
            await stock.to(it.server)
            await stock.ask("open", topic="cats", consumer=strategy, strategy=strategy, partitions=[1])
            assert [it.offset for it in await stock.taken(5)] == list(range(5))
            await stock.ask("offset_commit")
            await stock.ask("offset_flush")
            assert [it.offset for it in await stock.taken(3)] == [5, 6, 7]
            await stock.ask("shut")
            # A stream that is dropped commits by itself, a little later.
            wanted = (strategy, "cats", 1, committed - 1)
            async with asyncio.timeout(PATIENCE):
                while wanted not in [msgspec.structs.astuple(one)[:4] for one in await it.log.kept_offsets()]:
                    continue
    async with serving(tmp_path) as it:
        await stock.to(it.server)
        for strategy, committed in (("manual", 5), ("auto", 8)):
            await stock.ask("open", topic="cats", consumer=strategy, strategy=strategy, partitions=[1])
            assert [it.offset for it in await stock.taken(2)] == [committed, committed + 1]
            await stock.ask("shut")
        listed = await stock.ask("consumer_offsets")
        assert [(one["consumer_id"], one["topic"], one["partition"]) for one in listed] == [
            ("auto", "cats", 1),
            ("manual", "cats", 1),
        ]
        await stock.ask("delete_consumer_offset", consumer="manual", topic="cats", partition=1)
        assert [one["consumer_id"] for one in await stock.ask("consumer_offsets")] == ["auto"]


@pytest.mark.parametrize("version", PYTHON)
async def test_modules_of_clients(stock: Stock, tmp_path: Path) -> None:
    """Modules with parameters, by name or from a file, work in streams; what they refuse or lack is told in words."""
    path = tmp_path / "module.wasm"
    path.write_bytes(guests.plain_filter())
    async with serving(tmp_path / "data", "cats") as it:
        await fill(it.log, "cats", [b"a1", b"b2"], [b"a3"])
        await stock.to(it.server)
        for module, expected in (
            ({"path": str(path)}, [b"a1", b"a3"]),
            ({"name": "regex-filter", "params": {"regex": "[23]"}}, [b"b2", b"a3"]),
        ):
            found = await stock.records("cats", partitions=[0], count=2, smartmodules=[module])
            assert [it.value for it in found] == expected
        for name, said in (("nobody", "SmartModule nobody was not found"), ("regex-filter", "needs the parameter")):
            with pytest.raises(StockError, match=said):
                await stock.records("cats", partitions=[0], count=1, smartmodules=[{"name": name}])


@pytest.mark.parametrize("version", NODE)
async def test_modules_of_node(stock: Stock, tmp_path: Path) -> None:
    """The client for Node sends modules from files."""
    path = tmp_path / "module.wasm"
    path.write_bytes(guests.upper_map())
    async with serving(tmp_path / "data", "cats") as it:
        await fill(it.log, "cats", [b"a1", b"b2"])
        await stock.to(it.server)
        found = await stock.records("cats", count=2, smartmodules=[{"path": str(path), "kind": "map"}])
        assert [it.value for it in found] == [b"A1", b"B2"]


@pytest.mark.parametrize("version", [PYTHON[0]])
async def test_a_small_max_bytes(stock: Stock, tmp_path: Path) -> None:
    """A client that takes little at once gets all of it, in more replies."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", *([b"%d" % n + b" " * 1000] for n in range(50)))
        await stock.to(it.server)
        found = await stock.records("cats", count=50, max_bytes=2000)
        assert [int(it.value) for it in found] == list(range(50))
