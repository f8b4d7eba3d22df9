"""Many clients at once, and slow ones: everybody is served, and the memory of the server is bounded.

The server is a process of its own here, for its memory is measured.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from commandline import CommandLine
from headwater.fluvio import records as spu
from server.peer import Peer, packed, produce_body, until
from server.running import Running, up

_MEGABYTE = 1024 * 1024


async def test_two_hundred_connections(headwater: CommandLine) -> None:
    """Two hundred clients append and follow at once; each sees all records, and the memory stays what it was."""
    async with up(headwater) as it:
        await it.create("cats")
        peers = [await it.spu() for _ in range(200)]
        before = it.memory()

        async def client(number: int) -> list[int]:
            peer = peers[number]
            stream = peer.stream("cats")
            asked = [peer.ask(spu.PRODUCE, 25, produce_body("cats", (0, packed(b"%d" % number)))) for _ in range(5)]
            found = [record.offset for record in await stream.take(1000)]
            for replies in asked:
                assert not (await replies.next(spu.Produced)).topics[0].partitions[0].code
            return found

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client(number)) for number in range(200)]
        for task in tasks:
            assert task.result() == list(range(1000))
        print(f"memory: {before} MB before, {it.memory()} MB after")
        assert it.memory() - before < 100


async def test_clients_that_stop_reading(headwater: CommandLine) -> None:
    """Fifty clients that ask for everything and read nothing cost a bounded memory, and hold up nobody."""
    async with up(headwater) as it:
        await it.create("cats")
        peer = await it.spu()
        for _ in range(30):
            assert not (await peer.produce("cats", packed(bytes(1_000_000)))).code
        before = it.memory()
        for number in range(50):
            slow = await it.spu()
            slow.pause()
            for _ in range(8):
                slow.stream("cats", max_bytes=2**31 - 1)
                part = spu.FetchPartition(0, max_bytes=2**31 - 1)
                slow.ask(spu.FETCH, 25, spu.Fetch(0, 1, 2**31 - 1, topics=(spu.FetchTopic("cats", (part,) * 20),)))
            if number % 10 == 0:
                assert not (await peer.produce("cats", packed(b"x"))).code
        # Everybody else is served, in full.
        assert len(await peer.stream("cats").take(35)) == 35
        held = it.memory() - before
        print(f"memory: {before} MB before, {held} MB more for fifty clients that stopped reading")
        assert held < 400


@pytest.mark.long
async def test_clients_that_flood(headwater: CommandLine) -> None:
    """Clients that send large requests without reading replies are held back by their sockets."""
    async with up(headwater) as it:
        await it.create("cats")
        before, most = it.memory(), 0
        body = produce_body("cats", *((0, packed(bytes(1_900_000))) for _ in range(15)))
        floods = [await it.spu() for _ in range(6)]
        replies = [[peer.ask(spu.PRODUCE, 25, body) for _ in range(6)] for peer in floods]
        for one in [one for some in zip(*replies, strict=True) for one in some]:
            reply = await one.next(spu.Produced)
            most = max(most, it.memory())
            assert not reply.topics[0].partitions[14].code
        print(f"memory: {before} MB before, {most - before} MB more for a gigabyte of requests at once")
        assert most - before < 600


async def test_memory_does_not_grow(headwater: CommandLine) -> None:
    """Hundreds of connections that come, ask and go leave nothing behind."""
    async with up(headwater) as it:
        await it.create("cats")

        async def visits(count: int) -> None:
            for _ in range(count):
                async with await Peer.connect(it.spu_port) as peer:
                    peer.stream("cats")
                    await peer.produce("cats", packed(b"x"))
                async with await Peer.connect(it.sc_port) as peer:
                    await peer.watch("Topic").raw()

        await visits(50)
        before = it.memory()
        await visits(200)
        print(f"memory: {before} MB before, {it.memory()} MB after four hundred connections")
        assert it.memory() - before < 30
        await until(lambda: it.open_files() < 60)


def test_the_measure(headwater: CommandLine, tmp_path: Path) -> None:
    """What is measured is there: memory in megabytes."""
    assert 5 < Running.memory_of(os.getpid()) < 2000
