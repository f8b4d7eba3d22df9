"""Hostile clients: whatever is sent, the connection is answered or closed, and everybody else is served as before.

Random moments and bytes come from a seed that is printed; HEADWATER_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from commandline import CommandLine
from headwater.fluvio import admin, objects
from headwater.fluvio import invocation as wire
from headwater.fluvio import records as spu
from headwater.fluvio.errorcode import Replica
from headwater.fluvio.frame import API_VERSIONS, ApiVersions, Header, request
from headwater.fluvio.wire import encode
from headwater.server import controller, unit
from headwater.server.modules import zipped
from server.peer import Peer, packed, produce_body
from server.running import Running, up
from transforms import guests

_PATIENCE = 30.0


def chance() -> random.Random:
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    return random.Random(seed)


_MODULES = (
    wire.Invocation(wire.AdHoc(zipped(guests.plain_filter())), wire.AsFilter(), wire.Parameters({"a": "b"})),
    wire.Invocation(wire.Predefined("regex-filter"), wire.AsAny(), wire.Parameters({"regex": "a"}, wire.Lookback(3))),
)
_TOPIC = objects.TopicSpec(
    objects.Assigned((objects.PartitionMap(0, (5001,)),)),
    objects.Retention(60),
    objects.Storage(1000, 100_000),
    deduplication=objects.Deduplication(
        objects.Bounds(5, timedelta(seconds=5)), objects.Transform("dedup-filter", {"a": "b"})
    ),
)


def sc_requests(version: int) -> Iterator[tuple[int, bytes]]:
    """Return good requests to the system controller."""
    yield API_VERSIONS, encode(ApiVersions("0.15.2", "linux", "x86_64"), 2)
    yield admin.CREATE, admin.encode_create(admin.Create("Topic", admin.Common("dogs"), _TOPIC), version)
    module = objects.ModuleSpec(None, None, 0, zipped(guests.plain_filter()))
    if version >= 10:
        yield admin.CREATE, admin.encode_create(admin.Create("SmartModule", admin.Common("only-a"), module), version)
        yield admin.DELETE, admin.encode_request("SmartModule", admin.DeleteKey("only-a"), version)
    yield admin.DELETE, admin.encode_request("Topic", admin.DeleteKey("dogs"), version)
    for label in ("Topic", "Partition", "SPU", "SmartModule", "SpuGroup"):
        yield admin.LIST, admin.encode_request(label, admin.Filters(("a", "b")), version)
        yield admin.WATCH, admin.encode_request(label, admin.Watch(), version)
    if version >= 15:
        yield admin.UPDATE, admin.encode_request("Topic", admin.UpdateTopic("dogs", admin.AddPartitions(1)), version)


def spu_requests(version: int) -> Iterator[tuple[int, bytes]]:
    """Return good requests to the SPU."""
    batch = packed(b"a" * 20, b"b")
    bodies = {
        spu.PRODUCE: produce_body("cats", (0, batch), (0, batch + batch), modules=_MODULES[: version % 3]),
        spu.FETCH: spu.Fetch(5, 1, 1000, topics=(spu.FetchTopic("cats", (spu.FetchPartition(0, max_bytes=1000),)),)),
        spu.FETCH_OFFSETS: spu.FetchOffsets((spu.OffsetsTopic("cats", (0, 1)),), "me"),
        spu.STREAM_FETCH: spu.StreamFetch("cats", 0, 0, 1000, modules=_MODULES[: version % 3], consumer="me"),
        spu.UPDATE_OFFSETS: spu.UpdateOffsets((spu.OffsetUpdate(1, 1), spu.OffsetUpdate(2, 2))),
        spu.UPDATE_CONSUMER_OFFSET: spu.UpdateConsumerOffset(3, 1),
        spu.DELETE_CONSUMER_OFFSET: spu.DeleteConsumerOffset(Replica("cats", 0), "me"),
        spu.FETCH_CONSUMER_OFFSETS: spu.FetchConsumerOffsets(spu.ConsumerFilter(Replica("cats", 0), "me")),
    }
    for api, body in bodies.items():
        lowest, highest = unit.RANGES[api]
        if lowest <= version <= highest:
            yield api, encode(body, version)


_NASTY = (0, 1, 127, 128, 255, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change, cut, lengthen or repeat some of a request's bytes."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(made)) if made else 0
        kind = chance.randrange(6)
        if kind == 0 and made:
            made[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del made[place:]
        elif kind == 2:
            made += chance.randbytes(chance.randrange(40))
        elif kind == 3:
            size = chance.choice((1, 2, 4, 8))
            made[place : place + size] = (chance.choice(_NASTY) & (1 << 8 * size) - 1).to_bytes(size)
        elif kind == 4:
            made[place:place] = made[place : place + chance.randrange(60)]
        else:
            del made[place : place + chance.randrange(8)]
    return bytes(made)


def framed(data: bytes, chance: random.Random) -> bytes:
    """Put a length before a request: mostly the right one."""
    lie = chance.random() < 0.05
    return (chance.choice(_NASTY) & 0xFFFFFFFF if lie else len(data)).to_bytes(4) + data


def hostile(ranges: dict[int, tuple[int, int]], chance: random.Random) -> bytes:
    """Return the bytes of a few requests, of which some are bad in some way."""
    requests = sc_requests if ranges is controller.RANGES else spu_requests
    frames = []
    for number in range(chance.randint(1, 4)):
        version = chance.randint(6, 25)
        api, body = chance.choice(list(requests(version)) or [(API_VERSIONS, b"")])
        if api != API_VERSIONS and chance.random() < 0.9:
            lowest, highest = ranges[api]
            version = min(max(version, lowest), highest)
        if chance.random() < 0.05:
            api, version = chance.randrange(65536), chance.randrange(-32768, 32768)
        whole = request(Header(api, version, number, "x"), body)[4:]
        frames.append(framed(mutated(whole, chance) if chance.random() < 0.8 else whole, chance))
    return b"".join(frames)


async def attack(port: int, data: bytes) -> None:
    """Send bytes, and read whatever comes until the server has nothing more to say; whatever happens is fine."""
    with suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(_PATIENCE):
                while await reader.read(1 << 20):
                    pass
        finally:
            writer.transport.abort()


async def works(it: Running, topic: str) -> None:
    """Assert that a good client is served within a moment."""
    async with asyncio.timeout(_PATIENCE):
        async with await Peer.connect(it.sc_port) as peer:
            assert topic in await peer.names()
        async with await Peer.connect(it.spu_port) as peer:
            produced = await peer.produce(topic, packed(b"good"))
            assert not produced.code
            (record, *_) = await peer.stream(topic, produced.base_offset).take(1)
            assert record.value == b"good"


async def campaign(headwater: CommandLine, attacks: int) -> None:
    dice = chance()
    async with up(headwater) as it:
        for topic in ("cats", "safe"):
            await it.create(topic)

        async def some(count: int) -> None:
            for _ in range(count):
                ranges, port = dice.choice(((controller.RANGES, it.sc_port), (unit.RANGES, it.spu_port)))
                data = hostile(ranges, dice) if dice.random() < 0.9 else dice.randbytes(dice.randrange(1, 300))
                await attack(port, data)

        await some(attacks // 4)
        before = it.memory()
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(some(attacks // 13))
            for _ in range(5):
                await works(it, "safe")
        await works(it, "safe")
        print(f"memory: {before} MB after a quarter of {attacks} attacks, {it.memory()} MB after all")
        assert it.memory() - before < 60


async def test_mutations(headwater: CommandLine) -> None:
    """Six hundred connections of changed, cut and random requests harm nobody, and the memory stays."""
    await campaign(headwater, 600)


@pytest.mark.long
async def test_many_mutations(headwater: CommandLine) -> None:
    """The same with ten thousand."""
    await campaign(headwater, 10_000)


def text(size: int) -> bytes:
    return size.to_bytes(2) + b"a" * size


def chain(*modules: bytes) -> bytes:
    return len(modules).to_bytes(4) + b"".join(modules)


_MANY = {f"k{number}": "v" for number in range(60_000)}
_LARGE_MODULE = b"\0asm" + bytes(30_000_000)


def _bomb() -> bytes:
    return zipped(bytes(200_000_000))


BOMBS: dict[str, Callable[[], tuple[int, int, bytes]]] = {
    "a list of two billion": lambda: (spu.FETCH_OFFSETS, 25, b"\x7f\xff\xff\xff" + bytes(1000)),
    "a list of fifty thousand": lambda: (spu.FETCH_OFFSETS, 25, (50_001).to_bytes(4) + bytes(1_000_000)),
    "lists in lists": lambda: (spu.FETCH_OFFSETS, 25, (45_000).to_bytes(4) + (b"\0\0" + (5).to_bytes(4) * 6) * 45_000),
    "thousands of offsets": lambda: (
        spu.FETCH_OFFSETS,
        25,
        encode(spu.FetchOffsets((spu.OffsetsTopic("cats", tuple(range(45_000))),)), 25),
    ),
    "a negative list": lambda: (spu.FETCH_OFFSETS, 25, b"\x80\0\0\0"),
    "a long text": lambda: (spu.STREAM_FETCH, 25, text(0x7FFF) + bytes(40)),
    "batches beyond the frame": lambda: (
        spu.PRODUCE,
        25,
        b"\0\0\1\0\0\0\0\0\0\0\1\0\4cats\0\0\0\1\0\0\0\0\x7f\xff\xff\xff" + bytes(100),
    ),
    "thousands of entries": lambda: (
        spu.PRODUCE,
        25,
        encode(produce_body("cats", *((number, b"") for number in range(40_000))), 25),
    ),
    "a chain of thousands": lambda: (
        spu.STREAM_FETCH,
        25,
        encode(spu.StreamFetch("cats", 0, 0, 1000, modules=(wire.Invocation(wire.Predefined("x")),) * 9000), 25),
    ),
    "parameters without end": lambda: (
        spu.STREAM_FETCH,
        25,
        encode(
            spu.StreamFetch(
                "cats",
                0,
                0,
                1000,
                modules=(
                    wire.Invocation(
                        wire.Predefined("regex-filter"),
                        parameters=wire.Parameters({f"k{n}": "v" for n in range(60_000)}),
                    ),
                ),
            ),
            25,
        ),
    ),
    "thousands of updates": lambda: (
        spu.UPDATE_OFFSETS,
        0,
        encode(spu.UpdateOffsets(tuple(spu.OffsetUpdate(1, number) for number in range(45_000))), 0),
    ),
    "a module of thirty megabytes": lambda: (
        spu.STREAM_FETCH,
        25,
        encode(
            spu.StreamFetch("cats", 0, 0, 1000, modules=(wire.Invocation(wire.AdHoc(b"\0asm" + bytes(30_000_000))),)),
            25,
        ),
    ),
    "a bomb of gzip": lambda: (
        spu.STREAM_FETCH,
        25,
        encode(
            spu.StreamFetch("cats", 0, 0, 1000, modules=(wire.Invocation(wire.AdHoc(zipped(bytes(200_000_000)))),)), 25
        ),
    ),
}


async def test_bombs(headwater: CommandLine) -> None:
    """Requests that are short to say and long to hold or to answer cost little, and nobody else waits for them."""
    dice = chance()
    async with up(headwater) as it:
        await it.create("cats")
        await works(it, "cats")
        before = it.memory()
        names = list(BOMBS)
        dice.shuffle(names)
        for name in names:
            api, version, body = BOMBS[name]()
            peer = await it.spu()
            for _ in range(2):
                peer.ask(api, version, body)
            began = time.monotonic()
            await works(it, "cats")
            print(name, f"{time.monotonic() - began:.2f} s")
            await peer.close()
            assert it.memory() - before < 300, name
        print(f"memory: {before} MB before, {it.memory()} MB after {len(names)} bombs")


async def test_many_half_frames(headwater: CommandLine) -> None:
    """Two hundred connections that have begun something and wait keep nobody from being served."""
    dice = chance()
    async with up(headwater) as it:
        await it.create("cats")
        for _ in range(200):
            data = hostile(unit.RANGES, dice)
            (await it.spu()).write(data[: dice.randrange(len(data))])
        for _ in range(10):
            (await it.spu()).write((30_000_000).to_bytes(4) + bytes(1_000_000))
        await works(it, "cats")
