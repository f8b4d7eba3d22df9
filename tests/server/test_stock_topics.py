"""Stock clients of all versions make, list, watch and delete topics and SmartModules, and show our errors."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headwater.core.topic import TopicSpec
from server.clients import ALL, NEWEST, NODE, PYTHON, Stock
from server.peer import fill, serving
from stock.client import StockError
from transforms import guests

# 0.16.0 has no interface for topics.
ADMIN = tuple(version for version in ALL if version != "0.16.0")


@pytest.mark.parametrize("version", ADMIN)
async def test_topics(stock: Stock, tmp_path: Path) -> None:
    """Topics are made, listed with their partitions, and deleted."""
    async with serving(tmp_path) as it:
        await stock.to(it.server)
        await stock.ask("create_topic", name="cats", partitions=3)
        await stock.ask("create_topic", name="dogs", assignment=[(0, [5001])])
        info = it.log.info("cats")
        assert info is not None
        assert info.spec == TopicSpec(partitions=3, ignore_rack=True)
        assert await stock.ask("list_topics") == ["cats", "dogs"]
        assert await stock.ask("list_partitions") == ["cats-0", "cats-1", "cats-2", "dogs-0"]
        await stock.ask("delete_topic", name="cats")
        assert await stock.ask("list_topics") == ["dogs"]


@pytest.mark.parametrize("version", NEWEST)
async def test_what_topics_are_made_with(stock: Stock, tmp_path: Path) -> None:
    """Everything that a client can say of a topic arrives."""
    async with serving(tmp_path) as it:
        await stock.to(it.server)
        options: dict[str, Any] = {
            "retention_time": 3600,
            "max_partition_size": 1_000_000,
            "segment_size": 2000,
            "compression": "zstd",
        }
        await stock.ask("create_topic", name="cats", **options)
        await stock.ask("create_topic", name="inner", system=True)
        await stock.ask("create_topic", name="plain", default=True)
        await stock.ask("create_topic", name="nothing", dry_run=True)
        specs = {info.name: info.spec for info in it.log.topics_now()}
        assert specs == {
            "cats": TopicSpec(
                retention=timedelta(hours=1),
                max_partition_bytes=1_000_000,
                segment_bytes=2000,
                compression="zstd",
                ignore_rack=True,
            ),
            "inner": TopicSpec(system=True, ignore_rack=True),
            "plain": TopicSpec(ignore_rack=True),
        }
        assert await stock.ask("list_topics") == ["cats", "plain"]
        assert await stock.ask("list_topics", filters=["ca"]) == ["cats"]
        assert await stock.ask("list_topics", filters=["ca"], summary=True) == ["cats"]


@pytest.mark.parametrize("version", ADMIN)
async def test_errors_of_topics(stock: Stock, tmp_path: Path) -> None:
    """What is refused is told in the words of Fluvio, or in ours where it has none."""
    async with serving(tmp_path, "cats") as it:
        await stock.to(it.server)
        for command, arguments, said in (
            ("create_topic", {"name": "cats"}, "Topic already exists"),
            ("create_topic", {"name": "Cats!"}, "nvalid topic name"),
            ("create_topic", {"name": "dogs", "replication": 2}, "replication factor 2 needs as many SPUs"),
            ("create_topic", {"name": "dogs", "assignment": [(0, [7])]}, "each on SPU 5001, which is all there is"),
            ("delete_topic", {"name": "dogs"}, "Topic not found"),
            ("produce", {"topic": "dogs", "records": [["", "x"]]}, "Topic not found: dogs"),
            ("consume", {"topic": "dogs", "partitions": [0], "count": 1}, "not found: dogs"),
        ):
            with pytest.raises(StockError, match=said):
                await stock.ask(command, **arguments)
        assert [info.name for info in it.log.topics_now()] == ["cats"]


@pytest.mark.parametrize("version", [version for version in PYTHON if version != "0.16.0"])
async def test_watching_topics(stock: Stock, tmp_path: Path) -> None:
    """A client that watches topics sees all of them, then every change."""
    async with serving(tmp_path, "cats") as it:
        await stock.to(it.server)
        updates = stock.stream("watch")
        first = await asyncio.to_thread(next, updates)
        assert "cats" in first["all"]
        await it.log.create_topic("dogs")
        assert (await asyncio.to_thread(next, updates))["updated"] == ["dogs"]
        await it.log.delete_topic("dogs")
        assert (await asyncio.to_thread(next, updates))["deleted"] == ["dogs"]


@pytest.mark.parametrize("version", [version for version in PYTHON if version != "0.16.0"])
async def test_modules(stock: Stock, tmp_path: Path) -> None:
    """A SmartModule is made, listed, used by its name, and deleted; bad code is told as such."""
    good, bad = tmp_path / "good.wasm", tmp_path / "bad.wasm"
    good.write_bytes(guests.plain_filter())
    bad.write_bytes(b"nonsense")
    async with serving(tmp_path / "data", "cats") as it:
        await fill(it.log, "cats", [b"a1", b"b", b"a2"])
        await stock.to(it.server)
        await stock.ask("create_smartmodule", name="only-a", path=str(good))
        assert await stock.ask("list_smartmodules") == ["only-a"]
        found = await stock.records("cats", partitions=[0], count=2, smartmodules=[{"name": "only-a"}])
        assert [record.value for record in found] == [b"a1", b"a2"]
        with pytest.raises(StockError, match="neither WebAssembly nor under gzip"):
            await stock.ask("create_smartmodule", name="bad", path=str(bad))
        await stock.ask("delete_smartmodule", name="only-a")
        assert await stock.ask("list_smartmodules") == []
        with pytest.raises(StockError, match="SmartModule not found"):
            await stock.ask("delete_smartmodule", name="only-a")


@pytest.mark.parametrize("version", NODE)
async def test_what_node_shows(stock: Stock, tmp_path: Path) -> None:
    """The client for Node shows all of the objects, and finds the ones it asks for."""
    async with serving(tmp_path, "cats") as it:
        await stock.to(it.server)
        (topic,) = await stock.ask("describe")
        assert (topic["name"], topic["status"]["resolution"].lower()) == ("cats", "provisioned")
        (partition,) = await stock.ask("describe", kind="partition")
        assert partition["status"]["leader"]["spu"] == 5001
        (spu,) = await stock.ask("describe", kind="spu")
        assert spu["spec"]["publicEndpoint"]["port"] == it.server.spu_port
        assert (await stock.ask("find_topic", name="cats"))["name"] == "cats"
