"""The socket in the data directory: who may use it, what stands there before, and what hostile frames come to."""

from __future__ import annotations

import asyncio
import random
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import pack

import msgspec
import pytest
from structlog.testing import capture_logs

from headwater.core.errors import LogFullError, ServerError
from headwater.core.record import Record
from headwater.fluvio.batch import encode_batches
from headwater.fluvio.frame import Header, request
from headwater.fluvio.wire import Message, encode
from headwater.log import Log, TopicSpec
from headwater.server import dialogue
from headwater.server.local import SocketPlace
from headwater.server.remote import RemoteLog
from headwater.server.server import Listen, Server

LISTEN = Listen(sc_port=0, spu_port=0)


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Log]:
    async with Log.open(directory) as log, Server(log, LISTEN):
        yield log


async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    """Also in a directory that others may enter; it is gone with the server."""
    await asyncio.to_thread(tmp_path.chmod, 0o755)
    place = tmp_path / dialogue.SOCKET_NAME
    async with serving(tmp_path):
        mode = place.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not place.exists()


async def test_what_a_killed_server_left(tmp_path: Path) -> None:
    """A socket that nobody listens on is replaced: who holds the lock owns the place."""
    place = tmp_path / dialogue.SOCKET_NAME
    left = await asyncio.start_unix_server(lambda _reader, _writer: None, place)
    left.close()
    await left.wait_closed()
    async with serving(tmp_path), RemoteLog(tmp_path) as log:
        assert await log.topics() == []


async def test_something_else_that_stands_there(tmp_path: Path) -> None:
    """What cannot be replaced is told with the directory."""
    (tmp_path / dialogue.SOCKET_NAME).mkdir()
    async with Log.open(tmp_path) as log:
        with pytest.raises(ServerError, match=f"cannot listen in {tmp_path}: "):
            async with Server(log, LISTEN):
                pass


def test_a_path_is_short_inside_only(tmp_path: Path) -> None:
    """The way through the descriptor is of no use when it is closed."""
    (tmp_path / dialogue.SOCKET_NAME).touch()
    with SocketPlace(tmp_path) as path:
        assert len(path) < 108
        assert Path(path).exists()
    with pytest.raises(FileNotFoundError), SocketPlace(tmp_path / "nowhere"):
        pass


def frame(api: int, body: bytes, version: int = 1) -> bytes:
    return request(Header(api, version, 7, "test"), body)


def said(api: int, message: object) -> bytes:
    assert isinstance(message, Message)
    return frame(api, encode(message, 1))


def appending(**changes: object) -> bytes:
    plain = dialogue.AppendRequest("cats", None, b"", (), None, None, 0, 1)
    return said(dialogue.APPEND, msgspec.structs.replace(plain, **changes))


HELLO = request(Header(18, 2, 1, "test"), b"\0\0\0\0\0\0")

HOSTILE = {
    "a length bomb": b"\x7f\xff\xff\xff" + b"x" * 64,
    "a negative length": b"\xff\xff\xff\xff",
    "an empty frame": b"\0\0\0\0",
    "nothing but zeros": bytes(4096),
    "an API of Fluvio's": frame(0, b""),
    "an unknown API": frame(20_099, b""),
    "another version": frame(dialogue.TOPICS, b"", 2),
    "a body that ends early": frame(dialogue.CREATE_TOPIC, b"\0\x09cats"),
    "a spec that is no JSON": said(dialogue.CREATE_TOPIC, dialogue.CreateTopic("cats", b"{")),
    "a spec of the wrong types": said(dialogue.CREATE_TOPIC, dialogue.CreateTopic("cats", b'{"partitions":"x"}')),
    "notes that are no list": said(dialogue.NOTE, dialogue.Note(b"{}")),
    "notes that are no JSON": said(dialogue.NOTE, dialogue.Note(b"\xff\xfe")),
    "an entry that is none": appending(exchange=b"[]"),
    "a number of others that is a bomb": frame(dialogue.APPEND, b"\0\0\0\x7f\xff\xff\xff" * 20),
}


async def replies(directory: Path, data: bytes) -> bytes:
    """Send bytes, and return all that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_unix_connection(directory / dialogue.SOCKET_NAME)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_frames(tmp_path: Path, data: bytes) -> None:
    """They cost the connection that they came on, without a trace in the log; everybody else goes on."""
    async with serving(tmp_path), RemoteLog(tmp_path) as log:
        with capture_logs() as lines:
            assert await replies(tmp_path, data) == b""
        assert {line["log_level"] for line in lines} <= {"debug"}
        assert await log.topics() == []
        assert (await log.create_topic("cats")).name == "cats"


async def test_random_frames(tmp_path: Path) -> None:
    """Two hundred of them, with and without a good beginning, some of them cut: the server lives and stores nothing."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    good = [appending(batches=encode_batches([Record(b"x")], 1)[0].data), *HOSTILE.values()]
    async with serving(tmp_path) as log:
        await log.create_topic("dogs")
        with capture_logs() as lines:
            for _ in range(200):
                data = bytearray(chance.choice(good))
                for _ in range(chance.randrange(1, 4)):
                    data[chance.randrange(min(60, len(data)))] = chance.randrange(256)
                if data[:4] == pack(">I", len(data) - 4):
                    # A good length, so that the server does not wait for more.
                    data += b"\0\0\0\0"
                _, writer = await asyncio.open_unix_connection(tmp_path / dialogue.SOCKET_NAME)
                writer.write(bytes(data[: chance.randrange(1, len(data) + 1)]))
                await writer.drain()
                writer.close()
            async with RemoteLog(tmp_path) as remote:
                assert [topic.name for topic in await remote.topics() if topic.name == "dogs"] == ["dogs"]
        assert not [line for line in lines if line["log_level"] == "error"]
        assert log.reader.offsets("dogs", 0) == (0, 0)


async def test_a_bad_batch_is_answered(tmp_path: Path) -> None:
    """Nothing of its append is stored, and the connection goes on: the reply says why."""
    good = encode_batches([Record(b"x")], 1)[0].data
    async with serving(tmp_path) as log:
        await log.create_topic("cats")
        for batches in (b"junk", good[:-1], good[:-1] + b"!", good + b"\0"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / dialogue.SOCKET_NAME)
            checkpoint = dialogue.Checkpointed("cats", b"one")
            writer.write(appending(batches=batches, checkpoint=checkpoint))
            length = int.from_bytes(await reader.readexactly(4))
            answer = await reader.readexactly(length)
            assert b"BatchError" in answer
            writer.close()
        assert log.reader.offsets("cats", 0) == (0, 0)
        assert await log.checkpoint("cats") is None


def test_errors_survive_the_way() -> None:
    """Their class, sentence and hint; one that is made of more, or is not known, becomes the error of a log."""
    told = dialogue.raised(dialogue.failure(LogFullError("no space", hint="free some")))
    assert (type(told), told.message, told.hint) == (LogFullError, "no space", "free some")
    for kind in ("ClusterRefusedError", "NoSuchError", "str"):
        told = dialogue.raised(dialogue.Failure(kind, "why", "what"))
        assert (type(told).__name__, told.message, told.hint) == ("LogError", "why", "what")


def test_topics_of_a_log_are_told_whole() -> None:
    """What a topic is made with survives as JSON."""
    spec = TopicSpec(partitions=3, compression="zstd", segment_bytes=5)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=TopicSpec) == spec
