"""A client of the server for its tests, over the project's own codec: it can say anything, right or wrong.

Stock clients say only what they say; this one speaks every version, and breaks the protocol where a test wants it to.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from crc32c import crc32c

from headwater.core.record import Record, StoredRecord
from headwater.fluvio import admin, objects
from headwater.fluvio import records as spu
from headwater.fluvio.batch import EncodedBatch, decode_header, decode_records, encode_batch, encode_batches
from headwater.fluvio.compression import Compression
from headwater.fluvio.frame import API_VERSIONS, ApiVersions, ApiVersionsReply, Header, ranges_of, request
from headwater.fluvio.invocation import Invocation
from headwater.fluvio.wire import Message, Reader, decode, encode
from headwater.log import Append, Log
from headwater.server.connection import Limits
from headwater.server.server import Listen, Server

_Reply = TypeVar("_Reply", bound=Message)
# What never takes long on a working server, with room for a busy machine (seconds).
PATIENCE = 20.0
NOW = 1_700_000_000_000
SC_LATEST, SPU_LATEST = 19, 25


class GoneError(Exception):
    """The server has closed the connection."""


class Replies:
    """The replies to one request: one, or many of a stream."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, body: bytes | None) -> None:
        """Take in a reply, or None for the end of the connection."""
        self._queue.put_nowait(body)

    async def raw(self) -> bytes:
        """Return the body of the next reply."""
        async with asyncio.timeout(PATIENCE):
            body = await self._queue.get()
        if body is None:
            self._queue.put_nowait(None)
            raise GoneError
        return body

    async def next(self, kind: type[_Reply]) -> _Reply:
        """Return the next reply, which must be of this kind to its last byte."""
        return whole(kind, await self.raw(), self.version)

    @property
    def waiting(self) -> int:
        """How many replies are there that nobody has asked for."""
        return self._queue.qsize()


def whole(kind: type[_Reply], body: bytes, version: int) -> _Reply:
    """Decode a body that must hold one message and nothing else."""
    reader = Reader(body)
    message = decode(kind, reader, version)
    assert reader.position == reader.end, f"{reader.end - reader.position} bytes are left behind {message}"
    return message


class Peer:
    """One connection to a port of the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._pending: dict[int, Replies] = {}
        self._last = 0
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Self:
        """Connect, and say nothing yet."""
        async with asyncio.timeout(PATIENCE):
            return cls(*await asyncio.open_connection(host, port, ssl=tls, limit=1 << 26))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Go away at once."""
        self._listening.cancel()
        self.writer.transport.abort()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(4))
                data = await self._reader.readexactly(size)
                self._pending[int.from_bytes(data[:4], signed=True)].put(data[4:])
        except (OSError, EOFError):
            for replies in self._pending.values():
                replies.put(None)

    def pause(self) -> None:
        """Read no more, as a client that hangs."""
        self._listening.cancel()
        self.writer.transport.pause_reading()  # type: ignore[attr-defined] # both directions are in one

    async def gone(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self._listening])

    def write(self, data: bytes) -> None:
        """Send any bytes."""
        self.writer.write(data)

    def ask(self, api: int, version: int, body: Message | bytes, client: str = "peer") -> Replies:
        """Send a request; return where its replies come."""
        self._last += 1
        data = body if isinstance(body, bytes) else encode(body, version)
        replies = self._pending[self._last] = Replies(version)
        if self._listening.done():
            replies.put(None)
        self.write(request(Header(api, version, self._last, client), data))
        return replies

    async def call(self, api: int, version: int, body: Message | bytes, kind: type[_Reply]) -> _Reply:
        """Send a request and return the one reply to it."""
        return await self.ask(api, version, body).next(kind)

    async def versions(self) -> dict[int, tuple[int, int]]:
        """Ask for what the server knows."""
        return ranges_of(await self.call(API_VERSIONS, 2, ApiVersions("0.15.2", "linux", "x86_64"), ApiVersionsReply))

    # The system controller

    async def create(
        self,
        name: str,
        spec: objects.TopicSpec | objects.ModuleSpec | None = None,
        version: int = SC_LATEST,
        **how: Any,
    ) -> admin.Status:
        """Create a topic or a SmartModule."""
        label = "SmartModule" if isinstance(spec, objects.ModuleSpec) else "Topic"
        body = admin.encode_create(admin.Create(label, admin.Common(name, **how), spec or objects.TopicSpec()), version)
        return await self.call(admin.CREATE, version, body, admin.Status)

    async def delete(self, label: str, name: str, version: int = SC_LATEST, *, force: bool = False) -> admin.Status:
        """Delete an object."""
        body = admin.encode_request(label, admin.DeleteKey(name, force), version)
        return await self.call(admin.DELETE, version, body, admin.Status)

    async def listed(
        self, label: str, *names: str, version: int = SC_LATEST, summary: bool = False, system: bool = False
    ) -> tuple[Any, ...]:
        """List objects."""
        body = admin.encode_request(label, admin.Filters(names, summary, system), version)
        reply = Reader(await self.ask(admin.LIST, version, body).raw())
        found = admin.decode_objects(reader=reply, version=version)
        assert reply.position == reply.end
        return found

    async def names(self, label: str = "Topic", **how: Any) -> list[str]:
        """List the names of objects."""
        return [it.name for it in await self.listed(label, **how)]

    def watch(self, label: str, version: int = SC_LATEST) -> Replies:
        """Watch objects of a kind."""
        return self.ask(admin.WATCH, version, admin.encode_request(label, admin.Watch(), version))

    # The SPU

    async def produce(
        self,
        topic: str,
        batches: bytes,
        partition: int = 0,
        version: int = SPU_LATEST,
        modules: tuple[Invocation, ...] = (),
    ) -> spu.PartitionProduced:
        """Append batches to one partition."""
        body = produce_body(topic, (partition, batches), modules=modules)
        reply = await self.call(spu.PRODUCE, version, body, spu.Produced)
        assert [it.topic for it in reply.topics] == [topic]
        (produced,) = reply.topics[0].partitions
        assert produced.partition == partition
        return produced

    async def offsets(self, topic: str, partition: int = 0, version: int = SPU_LATEST) -> tuple[int, int]:
        """Return the first offset and the one behind the last."""
        body = spu.FetchOffsets((spu.OffsetsTopic(topic, (partition,)),))
        reply = await self.call(spu.FETCH_OFFSETS, version, body, spu.Offsets)
        (found,) = reply.topics[0].partitions
        assert not found.code, found.code
        return found.start, found.end

    def stream(self, topic: str, offset: int = 0, version: int = SPU_LATEST, **how: Any) -> Streaming:
        """Follow a partition."""
        fields = {"partition": 0, "max_bytes": 1_000_000, **how}
        return Streaming(self, self.ask(spu.STREAM_FETCH, version, spu.StreamFetch(topic, offset=offset, **fields)))


@dataclass(frozen=True, slots=True)
class Streaming:
    """A partition that is followed."""

    peer: Peer
    replies: Replies

    async def next(self) -> spu.StreamFetched:
        """Return the next reply; the one after it comes only after `more`."""
        return await self.replies.next(spu.StreamFetched)

    async def more(self, reply: spu.StreamFetched, offset: int | None = None) -> spu.OffsetStatus:
        """Say from where on to go on: behind the reply, unless it is said otherwise."""
        if offset is None:
            offset = reply.partition.next_offset or after(reply.partition.batches)
        body = spu.UpdateOffsets((spu.OffsetUpdate(offset, reply.stream),))
        (status,) = (await self.peer.call(spu.UPDATE_OFFSETS, 0, body, spu.OffsetsUpdated)).statuses
        assert status.stream == reply.stream
        return status

    async def take(self, count: int) -> list[StoredRecord]:
        """Return so many records or more, going on after each reply."""
        found: list[StoredRecord] = []
        while len(found) < count:
            reply = await self.next()
            assert not reply.partition.code, reply.partition.code.sentence
            found += unpacked(reply.partition.batches)
            await self.more(reply)
        return found


@dataclass(frozen=True, slots=True)
class Serving:
    """A server at work, with its log, for as long as a test lasts."""

    log: Log
    server: Server
    cleanup: AsyncExitStack

    async def peer(self, port: int, tls: ssl.SSLContext | None = None) -> Peer:
        """Return a new connection to a port, which ends with the server."""
        return await self.cleanup.enter_async_context(await Peer.connect(port, tls=tls))

    async def sc(self) -> Peer:
        """Return a new connection to the system controller."""
        return await self.peer(self.server.sc_port)

    async def spu(self) -> Peer:
        """Return a new connection to the SPU."""
        return await self.peer(self.server.spu_port)


@asynccontextmanager
async def serving(
    directory: Path, topic: str | None = None, limits: Limits | None = None, **listen: Any
) -> AsyncIterator[Serving]:
    """Serve a data directory in this event loop, with a topic when one is named."""
    async with AsyncExitStack() as cleanup:
        log = await cleanup.enter_async_context(Log.open(directory))
        where = Listen(**{"sc_port": 0, "spu_port": 0, **listen})
        server = await cleanup.enter_async_context(Server(log, where, limits))
        if topic is not None:
            await log.create_topic(topic)
        yield Serving(log, server, cleanup)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that nobody tells of."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)


def produce_body(
    topic: str, *partitions: tuple[int, bytes], acks: int = spu.UNCOMMITTED, modules: tuple[Invocation, ...] = ()
) -> spu.Produce:
    """Return a request to append batches to partitions of a topic."""
    data = tuple(spu.PartitionData(number, batches) for number, batches in partitions)
    return spu.Produce(None, acks, 1500, (spu.TopicData(topic, data),), modules)


def packed(*values: bytes | Record, compression: Compression = Compression.NONE) -> bytes:
    """Return one batch of values without keys, or of records."""
    made = [it if isinstance(it, Record) else Record(it) for it in values]
    return encode_batch(made, NOW, compression).data


def resealed(batch: bytes) -> bytes:
    """Return a batch whose checksum is right again."""
    return batch[:17] + crc32c(batch[21:]).to_bytes(4) + batch[21:]


def after(batches: bytes) -> int:
    """Return the offset behind the last batch."""
    last = 0
    while batches:
        header = decode_header(batches)
        last = header.base_offset + header.last_offset_delta + 1
        batches = batches[header.length :]
    return last


def unpacked(batches: bytes) -> list[StoredRecord]:
    """Return the records of batches."""
    records: list[StoredRecord] = []
    while batches:
        length = decode_header(batches).length
        records += decode_records(batches[:length])
        batches = batches[length:]
    return records


def stored(log: Log, topic: str, partition: int = 0, offset: int = 0) -> list[StoredRecord]:
    """Return what is in the log itself."""
    batches = log.reader.read(topic, partition, offset, 1 << 30)
    return [record for batch in batches for record in decode_records(batch.data, partition=partition)]


def values(records: Sequence[StoredRecord]) -> list[bytes]:
    """Return the values of records."""
    return [it.value for it in records]


async def fill(log: Log, topic: str, *batches: Sequence[bytes], partition: int = 0) -> None:
    """Append batches of values to the log itself."""
    for batch in batches:
        made: list[EncodedBatch] = encode_batches([Record(value, None, NOW) for value in batch], NOW)
        await log.submit(Append(topic, made, partition))
