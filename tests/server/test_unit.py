"""The SPU: appends as they come, offsets, single reads, and how far consumers have got, in every version."""

from __future__ import annotations

import asyncio
from pathlib import Path
from struct import pack_into

import pytest

from headwater.core.record import Record
from headwater.core.topic import TopicSpec
from headwater.fluvio import records as spu
from headwater.fluvio.batch import decode_header, encode_batch
from headwater.fluvio.compression import Compression
from headwater.fluvio.errorcode import OK, Replica, code
from headwater.server.unit import RANGES
from server.peer import NOW, Peer, fill, packed, produce_body, resealed, serving, stored, unpacked, values


def versions(api: int) -> range:
    return range(RANGES[api][0], RANGES[api][1] + 1)


@pytest.mark.parametrize("version", versions(spu.PRODUCE))
async def test_appending_in_every_version(tmp_path: Path, version: int) -> None:
    """Every version that is announced appends, and tells the offset of the first record."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        assert await peer.produce("cats", packed(b"a", b"b"), version=version) == spu.PartitionProduced(0, OK, 0)
        assert await peer.produce("cats", packed(b"c"), version=version) == spu.PartitionProduced(0, OK, 2)
        assert values(stored(it.log, "cats")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("codec", Compression)
async def test_batches_are_stored_as_they_come(tmp_path: Path, codec: Compression) -> None:
    """Every byte of a batch but its base offset is as the client sent it, whatever the codec."""
    records = [Record(b"v%d" % n, b"k%d" % n if n % 2 else None, NOW + n) for n in range(100)]
    batch = packed(*records, compression=codec)
    sent = (4).to_bytes(8) + batch[8:]
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        await fill(it.log, "cats", [b"before"])
        assert (await peer.produce("cats", sent)).base_offset == 1
        _, found = it.log.reader.read("cats", 0, 0, 1 << 20)
        assert found.data == (1).to_bytes(8) + sent[8:]
        assert found.count == 100
        got = stored(it.log, "cats", offset=1)
        assert [(it.value, it.key, it.timestamp, it.offset) for it in got] == [
            (record.value, record.key, record.timestamp, place + 1) for place, record in enumerate(records)
        ]


async def test_several_entries_in_one_request(tmp_path: Path) -> None:
    """A request may have several partitions, and one several times; the reply tells each, in the same order."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=3))
        await it.log.create_topic("dogs")
        peer = await it.spu()
        entries = [(2, packed(b"a")), (0, packed(b"b", b"c")), (2, packed(b"d") + packed(b"e")), (9, packed(b"f"))]
        topics = (
            *produce_body("cats", *entries).topics,
            *produce_body("dogs", (0, packed(b"x"))).topics,
            *produce_body("birds", (0, packed(b"x"))).topics,
        )
        reply = await peer.call(spu.PRODUCE, 25, spu.Produce(None, -1, 1500, topics), spu.Produced)
        assert [
            (it.topic, [(part.partition, part.code, part.base_offset) for part in it.partitions]) for it in reply.topics
        ] == [
            ("cats", [(2, OK, 0), (0, OK, 0), (2, OK, 1), (9, code("NotLeaderForPartition"), -1)]),
            ("dogs", [(0, OK, 0)]),
            ("birds", [(0, code("TopicNotFound"), -1)]),
        ]
        assert values(stored(it.log, "cats", 2)) == [b"a", b"d", b"e"]
        assert values(stored(it.log, "cats", 0)) == [b"b", b"c"]


async def test_requests_without_anything(tmp_path: Path) -> None:
    """Clients flush with requests that hold nothing; they get an answer that holds nothing."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        reply = await peer.call(spu.PRODUCE, 25, spu.Produce(None, 1, 1500, ()), spu.Produced)
        assert reply == spu.Produced(())
        reply = await peer.call(spu.PRODUCE, 25, produce_body("cats"), spu.Produced)
        assert reply.topics == (spu.TopicProduced("cats", ()),)
        assert not (await peer.produce("cats", b"")).code
        assert await peer.offsets("cats") == (0, 0)


def changed(batch: bytes, place: int, form: str, value: int) -> bytes:
    made = bytearray(batch)
    pack_into(form, made, place, value)
    return bytes(made)


_WHOLE = packed(b"aaaa", b"bbbb")
_PACKED = packed(b"aaaa", b"bbbb", compression=Compression.GZIP)
BAD = {
    "a wrong checksum": _WHOLE[:-3] + b"x" + _WHOLE[-2:],
    "a header alone": _WHOLE[:61],
    "half a header": _WHOLE[:30],
    "one byte": b"\0",
    "a batch and a half": _WHOLE + _WHOLE[:40],
    "another format": changed(_WHOLE, 16, ">b", 1),
    "a length too long": changed(_WHOLE, 8, ">i", 1000),
    "a length too short": changed(_WHOLE, 8, ">i", 60),
    "a negative length": changed(_WHOLE, 8, ">i", -1),
    "a negative last offset": resealed(changed(_WHOLE, 23, ">i", -1)),
    "more records than offsets": resealed(changed(_WHOLE, 57, ">i", 3)),
    "more offsets than records": resealed(changed(_WHOLE, 23, ">i", 2**31 - 2)),
    "a negative count": resealed(changed(_WHOLE, 57, ">i", -1)),
    "no such codec": resealed(changed(_WHOLE, 21, ">h", 6)),
    "zeros": bytes(200),
}


@pytest.mark.parametrize("kind", BAD)
async def test_damaged_batches(tmp_path: Path, kind: str) -> None:
    """A batch that is not what it says is refused with a code; nothing of its entry is stored, and the rest is."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        body = produce_body("cats", (0, packed(b"a")), (0, packed(b"x") + BAD[kind]), (0, packed(b"b")))
        reply = await peer.call(spu.PRODUCE, 25, body, spu.Produced)
        first, bad, last = reply.topics[0].partitions
        assert (first.base_offset, last.base_offset) == (0, 1)
        assert bad.code
        assert bad.base_offset == -1
        assert values(stored(it.log, "cats")) == [b"a", b"b"]


async def test_a_batch_that_is_too_large(tmp_path: Path) -> None:
    """A batch larger than Fluvio's own bound is refused as such; one of just that size is taken."""
    most = encode_batch([Record(bytes(2_097_152 - 76), None, NOW)], NOW).data
    assert 2_097_140 <= decode_header(most).length <= 2_097_152
    over = encode_batch([Record(bytes(2_097_152), None, NOW)], NOW).data
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        assert (await peer.produce("cats", over)).code == code("MessageTooLarge")
        assert not (await peer.produce("cats", most)).code
        assert await peer.offsets("cats") == (0, 1)


@pytest.mark.parametrize("allowed", ["gzip", "snappy", "lz4", "zstd", "none", "any"])
async def test_codecs_that_a_topic_does_not_allow(tmp_path: Path, allowed: str) -> None:
    """A topic with a codec of its own takes no other."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(compression=allowed))
        peer = await it.spu()
        for codec in Compression:
            answer = (await peer.produce("cats", packed(b"a", compression=codec))).code
            assert answer == (OK if allowed in {"any", codec.name.lower()} else code("CompressionError"))


@pytest.mark.parametrize("version", versions(spu.FETCH_OFFSETS))
async def test_offsets_in_every_version(tmp_path: Path, version: int) -> None:
    """Offsets of several partitions are told, and what is not there has its code."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=2))
        await fill(it.log, "cats", [b"a", b"b"], [b"c"])
        peer = await it.spu()
        topics = (spu.OffsetsTopic("cats", (1, 0, 2)), spu.OffsetsTopic("dogs", (0,)))
        reply = await peer.call(spu.FETCH_OFFSETS, version, spu.FetchOffsets(topics), spu.Offsets)
        cats, dogs = reply.topics
        assert cats.partitions == (
            spu.PartitionOffsets(OK, 1, 0, 0),
            spu.PartitionOffsets(OK, 0, 0, 3),
            spu.PartitionOffsets(code("NotLeaderForPartition"), 2, -1, -1),
        )
        assert dogs.partitions == (spu.PartitionOffsets(code("TopicNotFound"), 0, -1, -1),)
        assert await peer.offsets("consumer-offset", version=version) == (0, 0)


async def test_offsets_of_a_consumer(tmp_path: Path) -> None:
    """Version 23 may name a consumer: the offsets then begin behind what it has read, and never outside the log."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a"] * 10)
        peer = await it.spu()

        async def start(consumer: str | None) -> int:
            body = spu.FetchOffsets((spu.OffsetsTopic("cats", (0,)),), consumer)
            reply = await peer.call(spu.FETCH_OFFSETS, 23, body, spu.Offsets)
            assert reply.topics[0].partitions[0].end == 10
            return reply.topics[0].partitions[0].start

        for kept in (3, 9, 500, -7):
            await keep(peer, "cats", "me", kept)
            assert await start("me") == min(max(kept + 1, 0), 10)
        assert await start("you") == 0
        assert await start(None) == 0


async def keep(peer: Peer, topic: str, consumer: str, offset: int, version: int = 25) -> spu.ConsumerOffsetUpdated:
    """Have an offset kept, by a stream of that consumer."""
    stream = peer.stream(topic, consumer=consumer, version=version)
    number = (await stream.next()).stream
    body = spu.UpdateConsumerOffset(offset, number)
    return await peer.call(spu.UPDATE_CONSUMER_OFFSET, version, body, spu.ConsumerOffsetUpdated)


async def kept(peer: Peer, version: int = 25, **how: object) -> list[tuple[str, str, int, int]]:
    wanted = spu.ConsumerFilter(**how) if how else None  # type: ignore[arg-type] # of either kind
    reply = await peer.call(spu.FETCH_CONSUMER_OFFSETS, version, spu.FetchConsumerOffsets(wanted), spu.ConsumerOffsets)
    assert not reply.code
    return [(it.consumer, it.replica.topic, it.replica.partition, it.offset) for it in reply.consumers]


@pytest.mark.parametrize("version", versions(spu.FETCH_CONSUMER_OFFSETS))
async def test_how_far_consumers_have_got(tmp_path: Path, version: int) -> None:
    """Offsets of consumers are kept over a restart, listed by topic and by name, and deleted."""
    async with serving(tmp_path, "cats") as it:
        await it.log.create_topic("dogs")
        await fill(it.log, "cats", [b"a"] * 9)
        await fill(it.log, "dogs", [b"a"] * 9)
        peer = await it.spu()
        assert await keep(peer, "cats", "me", 3, version) == spu.ConsumerOffsetUpdated(3)
        await keep(peer, "cats", "you", 4, version)
        await keep(peer, "dogs", "me", 5, version)
        await keep(peer, "cats", "me", 6, version)
    async with serving(tmp_path) as it:
        peer = await it.spu()
        everything = [("me", "cats", 0, 6), ("me", "dogs", 0, 5), ("you", "cats", 0, 4)]
        assert await kept(peer, version) == everything
        if version >= 24:
            assert await kept(peer, version, consumer="me") == everything[:2]
            assert await kept(peer, version, replica=Replica("cats", 0)) == [everything[0], everything[2]]
            assert await kept(peer, version, replica=Replica("cats", 1)) == []
            assert await kept(peer, version, consumer="me", replica=Replica("cats", 0)) == everything[:1]
        for topic, consumer in (("cats", "me"), ("cats", "me"), ("dogs", "nobody"), ("birds", "me")):
            body = spu.DeleteConsumerOffset(Replica(topic, 0), consumer)
            reply = await peer.call(spu.DELETE_CONSUMER_OFFSET, version, body, spu.ConsumerOffsetDeleted)
            assert not reply.code
        assert await kept(peer, version) == everything[1:]
        await it.log.delete_topic("dogs")
        assert await kept(peer, version) == everything[2:]


async def test_offsets_that_cannot_be_kept(tmp_path: Path) -> None:
    """Streams that are none, or have no consumer, and topics that are gone, keep nothing."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a"])
        peer = await it.spu()
        stream = peer.stream("cats")
        reply = await stream.next()
        for number, answer in ((reply.stream, "OffsetManagementDisabled"), (12345, "FetchSessionNotFoud")):
            body = spu.UpdateConsumerOffset(0, number)
            told = await peer.call(spu.UPDATE_CONSUMER_OFFSET, 25, body, spu.ConsumerOffsetUpdated)
            assert told == spu.ConsumerOffsetUpdated(0, code(answer))
        stream = peer.stream("cats", consumer="me")
        number = (await stream.next()).stream
        await it.log.delete_topic("cats")
        body = spu.UpdateConsumerOffset(0, number)
        told = await peer.call(spu.UPDATE_CONSUMER_OFFSET, 25, body, spu.ConsumerOffsetUpdated)
        assert told.code == code("TopicNotFound")
        assert await kept(peer) == []


def fetch(*partitions: spu.FetchPartition, wait: int = 0, topic: str = "cats", most: int = 1_000_000) -> spu.Fetch:
    return spu.Fetch(wait, 1, most, topics=(spu.FetchTopic(topic, partitions),))


@pytest.mark.parametrize("version", versions(spu.FETCH))
async def test_reading_once_in_every_version(tmp_path: Path, version: int) -> None:
    """Records that are there are read once, with the offsets of the partition."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a", b"b"], [b"c"])
        peer = await it.spu()
        body = fetch(*(spu.FetchPartition(0, offset=offset, max_bytes=1_000_000) for offset in (0, 2, 3, 4, -1)))
        reply = await peer.call(spu.FETCH, version, body, spu.Fetched)
        parts = reply.topics[0].partitions
        assert [values(unpacked(it.batches)) for it in parts] == [[b"a", b"b", b"c"], [b"c"], [], [], []]
        assert [it.code for it in parts] == [OK, OK, OK, code("OffsetOutOfRange"), code("OffsetOutOfRange")]
        assert (parts[0].high_watermark, parts[0].log_start) == (3, 0)
        missing = await peer.call(spu.FETCH, version, fetch(spu.FetchPartition(1)), spu.Fetched)
        assert missing.topics[0].partitions[0].code == code("NotLeaderForPartition")
        missing = await peer.call(spu.FETCH, version, fetch(spu.FetchPartition(0), topic="dogs"), spu.Fetched)
        assert missing.topics[0].partitions[0].code == code("TopicNotFound")


async def test_reading_once_waits(tmp_path: Path) -> None:
    """A read waits for records as long as it says: until there are some, or the time is over."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        part = spu.FetchPartition(0, max_bytes=1000)
        reply = await peer.call(spu.FETCH, 25, fetch(part, wait=30), spu.Fetched)
        assert reply.topics[0].partitions[0].batches == b""
        waiting = peer.ask(spu.FETCH, 25, fetch(part, wait=60_000))
        await peer.versions()
        await fill(it.log, "cats", [b"a"])
        reply = await waiting.next(spu.Fetched)
        assert values(unpacked(reply.topics[0].partitions[0].batches)) == [b"a"]


async def test_reading_once_is_bounded(tmp_path: Path) -> None:
    """However often a request names a partition, and whatever it allows, its reply has a bound."""
    async with serving(tmp_path, "cats") as it:
        for _ in range(8):
            await fill(it.log, "cats", [bytes(900_000)])
        peer = await it.spu()
        part = spu.FetchPartition(0, max_bytes=2**31 - 1)
        asked = [peer.ask(spu.FETCH, 25, fetch(*[part] * 200, most=2**31 - 1)) for _ in range(8)]
        for replies in asked:
            reply = await replies.next(spu.Fetched)
            sizes = [len(it.batches) for it in reply.topics[0].partitions]
            assert 900_000 <= sum(sizes) < 6_000_000
        small = await peer.call(spu.FETCH, 25, fetch(spu.FetchPartition(0, max_bytes=10)), spu.Fetched)
        assert len(unpacked(small.topics[0].partitions[0].batches)) == 1


async def test_appends_of_many_clients(tmp_path: Path) -> None:
    """Each client's records keep their order, each has an offset of its own, and there is no gap."""
    async with serving(tmp_path, "cats") as it:

        async def client(name: int) -> list[int]:
            peer = await it.spu()
            asked = [
                peer.ask(spu.PRODUCE, 25, produce_body("cats", (0, packed(b"%d %d" % (name, n))))) for n in range(50)
            ]
            return [(await replies.next(spu.Produced)).topics[0].partitions[0].base_offset for replies in asked]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client(name)) for name in range(20)]
        offsets = [task.result() for task in tasks]
        assert sorted(place for places in offsets for place in places) == list(range(1000))
        found = stored(it.log, "cats")
        for name, places in enumerate(offsets):
            assert [found[place].value for place in places] == [b"%d %d" % (name, n) for n in range(50)]
