"""A stream: from any offset, one reply under way at a time, until the topic is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater.core.record import Record
from headwater.core.topic import TopicSpec
from headwater.fluvio import records as spu
from headwater.fluvio.batch import decode_header
from headwater.fluvio.compression import Compression
from headwater.fluvio.errorcode import OK, code
from headwater.server import unit
from headwater.server.unit import RANGES
from server.peer import NOW, Peer, Serving, fill, packed, produce_body, resealed, serving, unpacked, values


async def settled(peer: Peer) -> None:
    """Wait until everything that was asked on a connection has been looked at."""
    for _ in range(3):
        await peer.versions()


@pytest.mark.parametrize("version", range(RANGES[spu.STREAM_FETCH][0], RANGES[spu.STREAM_FETCH][1] + 1))
async def test_following_in_every_version(tmp_path: Path, version: int) -> None:
    """Every version that is announced gets what is there, then what comes."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a", b"b"], [b"c"])
        peer = await it.spu()
        stream = peer.stream("cats", version=version)
        reply = await stream.next()
        assert (reply.topic, reply.partition.partition, reply.partition.code) == ("cats", 0, OK)
        assert (reply.partition.high_watermark, reply.partition.log_start, reply.partition.next_offset) == (3, 0, 3)
        assert values(unpacked(reply.partition.batches)) == [b"a", b"b", b"c"]
        assert not (await stream.more(reply)).code
        await settled(peer)
        assert stream.replies.waiting == 0
        await fill(it.log, "cats", [b"d"])
        assert values(await stream.take(1)) == [b"d"]


@pytest.mark.parametrize("codec", Compression)
@pytest.mark.parametrize("offset", range(8))
async def test_where_a_stream_begins(tmp_path: Path, offset: int, codec: Compression) -> None:
    """A stream begins at the very record it was asked from, also in the middle of a batch."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        for first, count in ((0, 3), (3, 4)):
            made = [Record(b"%d" % n, b"k" if n % 2 else None, NOW + n) for n in range(first, first + count)]
            await peer.produce("cats", packed(*made, compression=codec))
        stream = peer.stream("cats", offset)
        if offset == 7:
            await settled(peer)
            assert stream.replies.waiting == 0
            await fill(it.log, "cats", [b"7"])
        found = unpacked((await stream.next()).partition.batches)
        assert [it.offset for it in found] == list(range(offset, max(offset + 1, 7)))
        assert values(found) == [b"%d" % it.offset for it in found]
        assert offset == 7 or [it.timestamp for it in found] == [NOW + it.offset for it in found]


@pytest.mark.parametrize("offset", [-1, -(2**63), 4, 2**63 - 1])
async def test_offsets_that_are_not_there(tmp_path: Path, offset: int) -> None:
    """A stream from beyond the end, or from before all, is refused."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a", b"b", b"c"])
        reply = await (await it.spu()).stream("cats", offset).next()
        assert (reply.partition.code, reply.partition.batches) == (code("OffsetOutOfRange"), b"")


async def test_offsets_that_are_no_more(tmp_path: Path) -> None:
    """A stream from a record that has had its time is told where the next is."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(max_partition_bytes=200, retention=None))
        await fill(it.log, "cats", [bytes(100)], [bytes(100)], [b"last"])
        await it.log.retain()
        peer = await it.spu()
        start, end = await peer.offsets("cats")
        assert 0 < start < end == 3
        assert (await peer.stream("cats", 0).next()).partition.code == code("OffsetEvicted", 0, start)
        assert unpacked((await peer.stream("cats", start).next()).partition.batches)[-1].value == b"last"


@pytest.mark.parametrize(
    ("topic", "partition", "answer"), [("dogs", 0, "TopicNotFound"), ("cats", 1, "NotLeaderForPartition")]
)
async def test_partitions_that_are_not_there(tmp_path: Path, topic: str, partition: int, answer: str) -> None:
    """What cannot be followed is told in the first reply."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        reply = await peer.stream(topic, partition=partition).next()
        assert (reply.topic, reply.partition.partition, reply.partition.code) == (topic, partition, code(answer))
        assert it.server.shared.streams == 0


async def test_one_reply_under_way(tmp_path: Path) -> None:
    """Whoever does not say that it wants more gets no more than one reply, however much there is."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", *([b"%d" % n] for n in range(10)))
        peer = await it.spu()
        stream = peer.stream("cats", max_bytes=1)
        assert values(unpacked((await stream.next()).partition.batches)) == [b"0"]
        await fill(it.log, "cats", [b"more"])
        await settled(peer)
        assert stream.replies.waiting == 0


async def test_how_much_a_reply_holds(tmp_path: Path) -> None:
    """A reply holds as many whole batches as the client allows, and one in any case."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", *([bytes(10_000)] for _ in range(30)))
        peer = await it.spu()
        for most, low, high in ((1, 1, 1), (-5, 1, 1), (10_000, 1, 1), (100_000, 9, 10), (2**31 - 1, 30, 30)):
            reply = await peer.stream("cats", max_bytes=most).next()
            assert low <= len(unpacked(reply.partition.batches)) <= high


async def test_where_the_client_wants_to_go_on(tmp_path: Path) -> None:
    """A client may go back, skip, ask twice, and name streams that are none; each answer tells whether it is one."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", *([b"%d" % n] for n in range(5)))
        peer = await it.spu()
        stream = peer.stream("cats", max_bytes=1)
        reply = await stream.next()
        for wanted in (1, 1, 4, 0):
            both = spu.UpdateOffsets(tuple(spu.OffsetUpdate(offset, reply.stream) for offset in (wanted, 2)))
            assert len((await peer.call(spu.UPDATE_OFFSETS, 0, both, spu.OffsetsUpdated)).statuses) == 2
            reply = await stream.next()
            assert values(unpacked(reply.partition.batches)) == [b"%d" % wanted]
        assert (await stream.more(reply, -9)).code == OK
        assert values(unpacked((await stream.next()).partition.batches)) == [b"0"]
        body = spu.UpdateOffsets((spu.OffsetUpdate(0, 4711), spu.OffsetUpdate(1, reply.stream)))
        told = await peer.call(spu.UPDATE_OFFSETS, 0, body, spu.OffsetsUpdated)
        assert [it.code for it in told.statuses] == [code("FetchSessionNotFoud"), OK]
        await stream.next()
        await stream.more(reply, 2**63 - 1)
        await fill(it.log, "cats", [b"x"])
        await settled(peer)
        assert stream.replies.waiting == 0


async def test_several_streams_of_one_client(tmp_path: Path) -> None:
    """Streams of one connection, over several partitions and several of one, do not disturb each other."""
    async with serving(tmp_path) as it:
        await it.log.create_topic("cats", TopicSpec(partitions=3))
        peer = await it.spu()
        streams = [(number, peer.stream("cats", partition=number)) for number in (0, 1, 2, 1)]
        for number in range(3):
            await fill(it.log, "cats", [b"%d" % number], [b"x"] * 5, partition=number)
        for number, stream in streams:
            found = await stream.take(6)
            assert found[0].value == b"%d" % number
        assert it.server.shared.streams == 4


async def test_too_many_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection has a bound of streams; one more is refused, and the others go on."""
    async with serving(tmp_path, "cats") as it:
        monkeypatch.setattr(unit, "_MOST_STREAMS", 50)
        peer = await it.spu()
        for _ in range(50):
            peer.stream("cats")
        await settled(peer)
        reply = await peer.stream("cats").next()
        assert reply.partition.code == code("Other", "more than 50 streams")


async def test_a_topic_that_is_deleted(tmp_path: Path) -> None:
    """Whoever follows a topic hears that it was deleted, whether it waits for records or for the client."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a"])
        peer = await it.spu()
        waiting, slow = peer.stream("cats", 1), peer.stream("cats", 0)
        first = await slow.next()
        await it.log.delete_topic("cats")
        assert (await waiting.next()).partition.code == code("TopicNotFound")
        await slow.more(first)
        assert (await slow.next()).partition.code == code("TopicNotFound")
        assert (await slow.more(first)).code == code("FetchSessionNotFoud")
        assert it.server.shared.streams == 0


async def test_a_topic_that_is_made_anew(tmp_path: Path) -> None:
    """The records of a new topic with the old name are not taken for those of the old one."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"old"])
        peer = await it.spu()
        waiting, slow = peer.stream("cats", 1), peer.stream("cats", 0)
        first = await slow.next()
        await it.log.delete_topic("cats")
        await it.log.create_topic("cats")
        await fill(it.log, "cats", [b"new"], [b"newer"])
        await slow.more(first)
        for stream in (waiting, slow):
            assert (await stream.next()).partition.code == code("TopicNotFound")
        assert values(await peer.stream("cats").take(2)) == [b"new", b"newer"]


async def test_records_come_once_each(tmp_path: Path) -> None:
    """Followers of a topic that grows all the time see every record once, in order."""
    async with serving(tmp_path, "cats") as it:

        async def follower(most: int) -> list[int]:
            stream = (await it.spu()).stream("cats", max_bytes=most)
            return [record.offset for record in await stream.take(500)]

        async with asyncio.TaskGroup() as group:
            followers = [group.create_task(follower(10 ** (1 + number % 5))) for number in range(20)]
            peer = await it.spu()
            asked = [peer.ask(spu.PRODUCE, 25, produce_body("cats", (0, packed(b"x" * 20, b"y")))) for _ in range(250)]
            for replies in asked:
                await replies.next(spu.Produced)
        for task in followers:
            assert task.result() == list(range(500))


async def test_replies_hold_what_is_stored(tmp_path: Path) -> None:
    """Batches go out as they came in, byte for byte, with their base offset in place."""
    async with serving(tmp_path, "cats") as it:
        peer = await it.spu()
        batch = packed(*(Record(b"%d" % n, b"k", NOW) for n in range(50)), compression=Compression.ZSTD)
        await peer.produce("cats", batch)
        await peer.produce("cats", batch)
        sent = (await peer.stream("cats").next()).partition.batches
        assert sent == batch + (50).to_bytes(8) + batch[8:]
        assert decode_header(sent).count == 50


async def test_a_batch_that_cannot_be_taken_apart(tmp_path: Path) -> None:
    """From the middle of a batch whose records cannot be read a stream ends with a sentence; from its begin it goes."""
    async with serving(tmp_path, "cats") as it:
        await send_nonsense(it)
        peer = await it.spu()
        assert len((await peer.stream("cats", 0).next()).partition.batches) > 100
        reply = await peer.stream("cats", 2).next()
        assert reply.partition.code.name == "Other"
        assert "does not decompress" in reply.partition.code.sentence


async def send_nonsense(it: Serving) -> None:
    """Append a batch whose checksum is right, and whose compressed records are nonsense."""
    batch = packed(*[b"a" * 50] * 5, compression=Compression.GZIP)
    padded = batch[:61] + b"\x55" * 100
    whole = resealed(padded[:8] + (len(padded) - 12).to_bytes(4) + padded[12:])
    assert not (await (await it.spu()).produce("cats", whole)).code
