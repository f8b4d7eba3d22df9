"""The log of a data directory that a server has open, as another process sees it: all of it over a real socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from headwater.core.errors import (
    HeadwaterError,
    LogClosedError,
    LogError,
    LogServerGoneError,
    PartitionNotFoundError,
    TopicExistsError,
    TopicNameError,
    TopicNotFoundError,
)
from headwater.core.exchange import Decision, Exchange
from headwater.core.memory import MemoryChange, RowPacker, pack_counts, pack_numbers
from headwater.core.record import Record
from headwater.fluvio.batch import EncodedBatch, encode_batches
from headwater.log import Append, Beside, Log, LogReader, Offset, Receipt, TopicSpec
from headwater.server import dialogue
from headwater.server.remote import RemoteLog
from headwater.server.server import Listen, Server
from server.wire import AFTER, BEFORE, LATE, PASS, wire


class Served:
    """A server over the log of a directory, which can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Start it."""
        self.log = await self._stack.enter_async_context(Log.open(self.directory))
        await self._stack.enter_async_context(Server(self.log, Listen(sc_port=0, spu_port=0)))

    async def close(self) -> None:
        """Stop it."""
        await self._stack.aclose()

    async def values(self, topic: str = "cats") -> list[bytes]:
        """Return the values of a topic."""
        return [record.value for record in await (await self.log.topic(topic)).read(limit=100_000)]


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Served]:
    it = Served(directory)
    await it.open()
    try:
        yield it
    finally:
        await it.close()


def batches(*values: bytes) -> list[EncodedBatch]:
    return encode_batches([Record(value) for value in values], 1000)


def entry(number: int, connector: str = "cats") -> Exchange:
    return Exchange(connector, number, number, 1, Decision.ACCEPTED, "good", records=1, topic="cats")


def append(number: int, connector: str = "cats", value: bytes = b"") -> Append:
    """Return what a poll leaves: a record, a checkpoint and an entry."""
    checkpoint = (connector, b"checkpoint %d" % number)
    return Append("cats", batches(value or b"%d" % number), None, checkpoint, entry(number, connector))


async def outcome(log: RemoteLog, wanted: Append) -> Receipt | HeadwaterError:
    done: asyncio.Future[Receipt | HeadwaterError] = asyncio.get_running_loop().create_future()
    log.store(wanted, done.set_result)
    assert not done.done(), "called back from within"
    async with asyncio.timeout(30):
        return await done


async def insist(log: RemoteLog, wanted: Append) -> tuple[Receipt, int]:
    """Append as connectors do, again and again while that may help. Return the receipt and the count of failures."""
    failures = 0
    while not isinstance(it := await outcome(log, wanted), Receipt):
        assert isinstance(it, LogServerGoneError)
        assert it.retryable
        failures += 1
    return it, failures


async def test_topics(tmp_path: Path) -> None:
    """Created, listed and deleted, with the errors of the log itself."""
    async with served(tmp_path) as it, RemoteLog(tmp_path) as log:
        spec = TopicSpec(partitions=2, retention=timedelta(hours=1), compression="gzip")
        made = await log.create_topic("cats", spec)
        assert (made, made.spec) == (it.log.info("cats"), spec)
        assert await log.topics() == [made]
        with pytest.raises(TopicExistsError, match="topic already exists: cats"):
            await log.create_topic("cats")
        with pytest.raises(TopicNameError) as raised:
            await log.create_topic("Cats_1")
        assert raised.value.hint == "try cats-1"
        await log.delete_topic("cats")
        assert await log.topics() == []
        with pytest.raises(TopicNotFoundError, match="topic not found: cats"):
            await log.delete_topic("cats")
        with pytest.raises(TopicNotFoundError):
            await log.topic("cats")


async def test_reading_and_following(tmp_path: Path) -> None:
    """A topic is appended to, read and followed as in the process that has the log open."""
    async with served(tmp_path), RemoteLog(tmp_path) as log:
        await log.create_topic("cats", TopicSpec(partitions=2))
        topic = await log.topic("cats")
        keyed = [Record(b"%d" % number, b"key %d" % number) for number in range(10)]
        receipts = await topic.append(keyed)
        assert sorted((it.partition, it.base_offset) for it in receipts) == [(0, 0), (1, 0)]
        assert sum(it.count for it in receipts) == 10
        assert len(await topic.read(Offset.end(2), partition=1)) == 2
        assert [record.value for record in await log.last("cats", 3)] == sorted(
            record.value for record in await log.last("cats", 3)
        )
        following = topic.follow(Offset.end())
        waiting = asyncio.ensure_future(anext(following))
        await topic.append([Record(b"new")], partition=1)
        assert (await waiting).value == b"new"
        assert await log.modules(["x"]) == {}
        assert log.size() == log.reader.size() > 0
        with pytest.raises(PartitionNotFoundError):
            await topic.append([Record(b"x")], partition=2)


async def test_an_append_is_one_step(tmp_path: Path) -> None:
    """Records, those for other topics, checkpoint and entry commit together, or nothing does."""
    async with served(tmp_path) as it, RemoteLog(tmp_path) as log:
        for name in ("cats", "dogs"):
            await log.create_topic(name, TopicSpec(partitions=2))
        whole = Append(
            "cats", batches(b"a", b"b"), 1, ("cats", b"one"), entry(1), 0.005, (Beside("dogs", batches(b"c"), 1),)
        )
        assert await log.submit(whole) == Receipt(1, 0, 2)
        assert await log.checkpoint("cats") == b"one"
        with LogReader(tmp_path) as reader:
            (kept,) = reader.ledger("cats", 10)
        assert (kept.partition, kept.offset, kept.reason) == (1, 0, "good")
        lost = Append("cats", batches(b"x"), 1, ("cats", b"two"), entry(2), 0, (Beside("mice", batches(b"y")),))
        with pytest.raises(TopicNotFoundError, match="topic not found: mice"):
            await log.submit(lost)
        assert await log.checkpoint("cats") == b"one"
        assert it.log.reader.offsets("cats", 1) == (0, 2)
        assert it.log.reader.offsets("dogs", 1) == (0, 1)
        assert await log.submit(Append(None, (), None, ("cats", b"three"))) == Receipt(0, 0, 0)
        assert await log.checkpoint("cats") == b"three"
        assert await log.checkpoint("dogs") is None


async def test_many_appends_keep_their_order(tmp_path: Path) -> None:
    """More than a connection has under way at once, without waiting for any."""
    async with served(tmp_path) as it, RemoteLog(tmp_path) as log:
        await log.create_topic("cats")
        receipts = await asyncio.gather(*(log.submit(append(number)) for number in range(300)))
        assert [receipt.base_offset for receipt in receipts] == list(range(300))
        assert await it.values() == [b"%d" % number for number in range(300)]


@pytest.mark.parametrize("what", [BEFORE, AFTER])
async def test_a_connection_that_is_lost(tmp_path: Path, what: str) -> None:
    """Before the commit or after it: the append is refused for now, and stored once when it comes again."""
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far) as it, wire(near, far) as way, RemoteLog(near) as log:
        await log.create_topic("cats")
        assert await log.submit(append(1)) == Receipt(0, 0, 1)
        way.script.append(what)
        lost = await outcome(log, append(2))
        assert isinstance(lost, LogServerGoneError)
        assert str(near) in lost.message
        assert await insist(log, append(2)) == (Receipt(0, 1, 1), 0)
        assert await insist(log, append(3)) == (Receipt(0, 2, 1), 0)
        assert await it.values() == [b"1", b"2", b"3"]
        assert [entry.offset for entry in it.log.reader.ledger("cats", 10)] == [0, 1, 2]
        assert way.connections == 2


async def test_a_request_that_comes_late(tmp_path: Path) -> None:
    """What was on its way all the time does not count once the same append has come on a later connection."""
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far) as it, wire(near, far) as way, RemoteLog(near) as log:
        await log.create_topic("cats")
        way.script.append(LATE)
        assert isinstance(await outcome(log, append(1)), LogServerGoneError)
        assert await insist(log, append(1)) == (Receipt(0, 0, 1), 0)
        await way.release()
        assert await insist(log, append(2)) == (Receipt(0, 1, 1), 0)
        assert await it.values() == [b"1", b"2"]


async def test_another_checkpoint_than_the_uncertain_one(tmp_path: Path) -> None:
    """A connector that began anew after a lost answer goes on from what is stored."""
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far) as it, wire(near, far) as way, RemoteLog(near) as log:
        await log.create_topic("cats")
        way.script.append(AFTER)
        assert isinstance(await outcome(log, append(1)), LogServerGoneError)
        assert await log.checkpoint("cats") == b"checkpoint 1"
        assert await insist(log, append(2)) == (Receipt(0, 1, 1), 0)
        assert await it.values() == [b"1", b"2"]


async def test_an_append_without_an_entry_that_was_stored(tmp_path: Path) -> None:
    """Where it went is not known then; that it did is."""
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far) as it, wire(near, far) as way, RemoteLog(near) as log:
        await log.create_topic("cats")
        bare = Append("cats", batches(b"a"), None, ("cats", b"one"))
        way.script.append(AFTER)
        assert (await insist(log, bare)) == (Receipt(0, 0, 0), 1)
        assert await it.values() == [b"a"]


async def test_appends_without_a_checkpoint_are_sent_once(tmp_path: Path) -> None:
    """Whether they were stored cannot be told: whoever sends them hears of it and decides."""
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far) as it, wire(near, far) as way, RemoteLog(near) as log:
        await log.create_topic("cats")
        way.script.append(AFTER)
        with pytest.raises(LogServerGoneError):
            await log.submit(Append("cats", batches(b"a")))
        assert await it.values() == [b"a"]


async def test_connections_lost_at_random(tmp_path: Path) -> None:
    """Three connectors append over a way that loses a third of it: each record is there once, in its order."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far) as it, wire(near, far) as way, RemoteLog(near) as log:
        await log.create_topic("cats")

        async def connector(name: str) -> int:
            failed = 0
            for number in range(60):
                way.script.append(chance.choice([PASS, PASS, PASS, PASS, BEFORE, AFTER, LATE]))
                receipt, failures = await insist(log, append(number, name, f"{name} {number}".encode()))
                assert receipt.count == 1
                failed += failures
                if chance.random() < 0.2:
                    await way.release()
            return failed

        names = ("cats", "dogs", "mice")
        failures = await asyncio.gather(*map(connector, names))
        await way.release()
        assert sum(failures) > 10
        values = await it.values()
        for name in names:
            wanted = [f"{name} {number}".encode() for number in range(60)]
            assert [value for value in values if value.startswith(name.encode())] == wanted
            assert await log.checkpoint(name) == b"checkpoint 59"


async def test_a_server_that_is_started_again(tmp_path: Path) -> None:
    """Meanwhile everything says that it is away; then everything goes on, on a new connection."""
    async with served(tmp_path) as it, RemoteLog(tmp_path) as log:
        await log.create_topic("cats")
        await log.submit(append(1))
        await it.close()
        gone = await outcome(log, append(2))
        assert isinstance(gone, LogServerGoneError)
        assert gone.message.startswith(f"the server of {tmp_path} is away: ")
        assert gone.hint == "start it again with 'headwater up'"
        for asking in (log.topics(), log.checkpoint("cats"), log.create_topic("x"), log.delete_topic("cats")):
            with pytest.raises(LogServerGoneError):
                await asking
        # What is on disk can be read all the time.
        assert [record.value for record in await log.last("cats", 9)] == [b"1"]
        await it.open()
        assert await insist(log, append(2)) == (Receipt(0, 1, 1), 0)
        assert await it.values() == [b"1", b"2"]


def reasons(directory: Path) -> list[str]:
    with LogReader(directory) as reader:
        return [it.reason for it in reader.ledger(None, 1000)]


def note(reason: str) -> Exchange:
    return Exchange("cats", 1, 1, 1, Decision.UNCHANGED, reason)


async def until_entered(directory: Path, wanted: list[str]) -> None:
    async with asyncio.timeout(30):
        while reasons(directory) != wanted:  # noqa: ASYNC110 - the server's thread writes
            await asyncio.sleep(0.01)


async def test_notes_gather_and_arrive(tmp_path: Path) -> None:
    """They go together a little later, and what is left when the log is closed goes then."""
    async with served(tmp_path):
        async with RemoteLog(tmp_path) as log:
            for number in range(3):
                log.note(note(f"{number}"))
            await until_entered(tmp_path, ["0", "1", "2"])
            log.note(note("last"))
        await until_entered(tmp_path, ["0", "1", "2", "last"])


async def test_notes_are_kept_while_the_server_is_away(tmp_path: Path) -> None:
    """They go out in their order when it is there again."""
    async with served(tmp_path) as it, RemoteLog(tmp_path) as log:
        await it.close()
        log.note(note("a"))
        async with asyncio.timeout(30):
            while log._noting is not None or log._tasks:  # noqa: ASYNC110 - the attempt that fails
                await asyncio.sleep(0.01)
        await it.open()
        log.note(note("b"))
        await until_entered(tmp_path, ["a", "b"])


async def test_leaving_while_the_server_is_away(tmp_path: Path) -> None:
    """Nobody waits for it, and appends under way are told."""
    async with served(tmp_path) as it:
        async with RemoteLog(tmp_path) as log:
            await log.create_topic("cats")
            await it.close()
            log.note(note("a"))
            waiting = log.submit(append(1))
        with pytest.raises(LogClosedError):
            await waiting


async def test_without_a_server(tmp_path: Path) -> None:
    """Nobody there, a socket that nobody listens on, no directory at all: one error that says where."""
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LogServerGoneError, match=f"the server of {directory} is away"):
            await RemoteLog(directory).__aenter__()


async def test_a_server_without_a_log(tmp_path: Path) -> None:
    """When the file cannot be read the connection is closed again."""
    near, far = tmp_path / "near", tmp_path / "far"
    async with served(far), wire(near, far) as way:
        (near / "headwater.db").unlink()
        with pytest.raises(HeadwaterError):
            await RemoteLog(near).__aenter__()
        assert way.connections == 1


async def test_very_deep_directories(tmp_path: Path) -> None:
    """The kernel takes 108 bytes for the path of a socket; directories may be deeper."""
    deep = tmp_path.joinpath(*["a-directory-with-a-long-name" for _ in range(12)])
    assert len(str(deep)) > 300
    async with served(deep) as it, RemoteLog(deep) as log:
        await log.create_topic("cats")
        await log.submit(append(1))
        assert await it.values() == [b"1"]
    assert not (deep / "server.sock").exists()


async def test_what_is_remembered_of_items(tmp_path: Path) -> None:
    """It goes over the socket with its append, and is read from the file; a change that is not whole is refused."""
    packer = RowPacker()
    packer.add((7, b"key", b"mark-000", b"print", b"value"))
    change = MemoryChange("c", rows=packer.packed(), part=2, seen=pack_numbers([1, 2]), missed=pack_counts({3: 1}))
    async with served(tmp_path), RemoteLog(tmp_path) as remote:
        assert remote.remembers
        await remote.create_topic("cats")
        batches = encode_batches([Record(b"x")], 1)
        receipt = await remote.submit(Append("cats", batches, checkpoint=("c", b"{}"), memory=change))
        assert receipt.count == 1

        def recalled() -> tuple[object, ...]:
            recall = remote.recall("c")
            return recall.compare([b"mark-000key"]), recall.seen(), recall.missed()

        assert await asyncio.to_thread(recalled) == ([7], [pack_numbers([1, 2])], pack_counts({3: 1}))
        with pytest.raises(LogError, match="what c remembers is not whole"):
            await remote.submit(Append("cats", batches, memory=MemoryChange("c", rows=(b"x",))))
        assert (await remote.submit(Append("cats", batches))).base_offset == 1


async def test_a_server_that_remembers_no_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of an older version gets no append with what it cannot keep; others it takes."""
    async with served(tmp_path), RemoteLog(tmp_path) as remote:
        await remote.create_topic("cats")
        assert remote._connection is not None
        monkeypatch.setitem(remote._connection._agreed, dialogue.APPEND, 1)
        batches = encode_batches([Record(b"x")], 1)
        assert (await remote.submit(Append("cats", batches, checkpoint=("c", b"{}")))).count == 1
        with pytest.raises(LogServerGoneError, match="is of an older version, which remembers no items"):
            await remote.submit(Append("cats", batches, memory=MemoryChange("c", anew=True)))
        assert (await remote.submit(Append("cats", batches))).base_offset == 1


async def test_an_append_that_is_too_large_for_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before it is sent, and those that follow are not."""
    monkeypatch.setattr(dialogue, "MOST_FRAME", 5_000_000)
    async with served(tmp_path), RemoteLog(tmp_path) as remote:
        await remote.create_topic("cats")
        fits, large = (encode_batches([Record(b"x" * size)], 1) for size in (4_900_000, 5_100_000))
        with pytest.raises(LogError, match=r"are 5,100,\d+ bytes, and the server of .* takes 5,000,000 at once"):
            await remote.submit(Append("cats", large))
        assert (await remote.submit(Append("cats", fits))).base_offset == 0
