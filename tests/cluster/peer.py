"""Owns a scripted cluster: an SC and SPUs on real sockets in the test's event loop, and every way they can go wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from headwater.cluster import Target
from headwater.cluster.versions import SC_VERSIONS, SPU_VERSIONS
from headwater.fluvio import admin, objects, records
from headwater.fluvio.batch import decode_header, with_base_offset
from headwater.fluvio.errorcode import OK, ErrorCode, Replica, code
from headwater.fluvio.frame import (
    API_VERSIONS,
    ApiVersionsReply,
    Header,
    Ranges,
    announced,
    frame_length,
    reply,
)
from headwater.fluvio.frame import (
    decode_header as decode_request_header,
)
from headwater.fluvio.wire import Reader, decode, encode

FIRST_SPU = 5001


class Asked(NamedTuple):
    """A request as it came: on which side (0 is the SC, else the SPU's number), on which connection, and what."""

    side: int
    connection: Line
    header: Header
    body: bytes


class Line:
    """One connection of a client."""

    def __init__(self, peer: ScriptedCluster, side: int, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.side = side
        self.writer = writer
        self.sessions: dict[int, asyncio.Queue[int]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def send(self, correlation: int, body: bytes) -> None:
        """Send an answer."""
        self.writer.write(b"".join(reply(correlation, [body])))

    def close(self) -> None:
        """Close the connection."""
        self.writer.transport.abort()


Action = Callable[[Asked], Awaitable[None] | None]


def close(asked: Asked) -> None:
    """Close without an answer."""
    asked.connection.close()


def silent(asked: Asked) -> None:
    """Never answer."""


def raw(data: bytes) -> Action:
    """Send these bytes instead of an answer."""
    return lambda asked: asked.connection.writer.write(data)


def wrong_number(asked: Asked) -> None:
    """Answer to a request that was never made."""
    asked.connection.send(asked.header.correlation + 1000, b"\0\0")


def cut(asked: Asked) -> None:
    """Send the beginning of an answer, and close."""
    asked.connection.writer.write(b"\0\0\0\x40" + asked.header.correlation.to_bytes(4) + b"half")
    asked.connection.writer.close()


def answer(body: bytes) -> Action:
    """Send this body as the answer."""
    return lambda asked: asked.connection.send(asked.header.correlation, body)


def says(name: str, *details: Any) -> Action:
    """Refuse with an error code, in whatever form the request is answered."""

    def act(asked: Asked) -> None:
        asked.connection.send(asked.header.correlation, asked.connection.peer.refusal(asked, code(name, *details)))

    return act


class ScriptedCluster:
    """A cluster: `async with ScriptedCluster(topics={"t": 2}) as peer`, then `Cluster(peer.target())`.

    It keeps what is appended, and leads partition 0 with its first SPU, 1 with the second and so on. `script` says what
    becomes of the next requests to an API; without a script they are answered well. `asked` holds all of them.
    """

    def __init__(
        self,
        topics: Mapping[str, int] | None = None,
        *,
        spus: int = 1,
        tls: ssl.SSLContext | None = None,
        sc_versions: Ranges = SC_VERSIONS,
        spu_versions: Ranges = SPU_VERSIONS,
        slicing: bool = False,
    ) -> None:
        self.topics: dict[str, objects.TopicSpec] = {
            name: objects.TopicSpec(objects.Computed(count)) for name, count in (topics or {"t": 1}).items()
        }
        self.leaders: dict[tuple[str, int], int] = {}
        self.spus = [FIRST_SPU + number for number in range(spus)]
        self.versions = {0: sc_versions, **dict.fromkeys(self.spus, spu_versions)}
        self.slicing = slicing
        self.tls = tls
        self.log: dict[tuple[str, int], list[bytes]] = {}
        self.start: dict[tuple[str, int], int] = {}
        self.kept: dict[tuple[str, str, int], int] = {}
        self.modules: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.lines: list[Line] = []
        self.throttle = 0
        self.tell = True
        self.watchers: list[tuple[Line, Header, str]] = []
        self._scripts: dict[tuple[int, int], deque[Action]] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._grown = asyncio.Condition()
        self._arrived = asyncio.Condition()
        self._session = 0
        self.ports: dict[int, int] = {}

    def target(self, **settings: Any) -> Target:
        """Return the way to it."""
        return Target(**{"host": "127.0.0.1", "port": self.ports[0], **settings})

    def script(self, side: int, api: int, *actions: Action) -> None:
        """Say what becomes of the next requests to an API of a side."""
        self._scripts.setdefault((side, api), deque()).extend(actions)

    def unscript(self) -> None:
        """Answer everything well from now on."""
        self._scripts.clear()

    def requests(self, api: int) -> list[Asked]:
        """Return the requests to an API so far."""
        return [it for it in self.asked if it.header.api == api]

    async def wait_for(self, api: int, count: int = 1) -> None:
        """Wait until so many requests to an API have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests(api)) >= count)

    async def __aenter__(self) -> Self:
        for side in (0, *self.spus):
            await self.listen(side)
        return self

    async def listen(self, side: int) -> None:
        """Open the port of a side: the one it had, if it had one."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = Line(self, side, writer)
            self.lines.append(line)
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(line, reader)
            for task in line.tasks:
                task.cancel()
            await asyncio.gather(*line.tasks, return_exceptions=True)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", self.ports.get(side, 0), ssl=self.tls)
        self._servers[side] = server
        self.ports[side] = server.sockets[0].getsockname()[1]

    def shut(self, side: int) -> None:
        """Close the port of a side, and all connections to it."""
        self._servers.pop(side).close()
        self.drop(side)

    def drop(self, side: int) -> None:
        """Close all connections to a side."""
        for line in self.lines:
            if line.side == side:
                line.close()
        self.lines = [line for line in self.lines if line.side != side]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in list(self._servers):
            self.shut(side)
        # Each task of a connection ends once it reads that.
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait(tasks, timeout=1) if tasks else None

    async def _serve(self, line: Line, reader: asyncio.StreamReader) -> None:
        while True:
            body = await reader.readexactly(frame_length(await reader.readexactly(4)))
            request = Reader(body)
            header = decode_request_header(request)
            asked = Asked(line.side, line, header, body[request.position :])
            self.asked.append(asked)
            async with self._arrived:
                self._arrived.notify_all()
            script = self._scripts.get((line.side, header.api))
            done = script.popleft()(asked) if script else self.good(asked)
            if done is not None:
                await done

    async def good(self, asked: Asked) -> None:
        """Answer as a cluster does."""
        header, line = asked.header, asked.connection
        reader = Reader(asked.body)
        if header.api == API_VERSIONS:
            ranges = announced(self.versions[asked.side])
            line.send(header.correlation, encode(ApiVersionsReply(apis=ranges, platform="0.18.1"), header.version))
        elif asked.side == 0:
            await self._control(asked, reader)
        else:
            await _UNIT[header.api](self, asked, reader)

    async def _control(self, asked: Asked, reader: Reader) -> None:
        header, line = asked.header, asked.connection
        version = header.version
        if header.api == admin.CREATE:
            create = admin.decode_create(reader, version)
            assert isinstance(create.spec, objects.TopicSpec)
            taken = create.common.name in self.topics
            status = admin.Status(create.common.name, code("TopicAlreadyExists") if taken else OK)
            self.topics.setdefault(create.common.name, create.spec)
            line.send(header.correlation, encode(status, version))
            self.announce()
            return
        label = admin.decode_label(reader, version)
        if header.api == admin.DELETE:
            key = decode(admin.DeleteKey, reader, version).key
            there = self.topics.pop(key, None) is not None
            line.send(header.correlation, encode(admin.Status(key, OK if there else code("TopicNotFound")), version))
        elif header.api == admin.LIST:
            filters = decode(admin.Filters, reader, version)
            found = [
                it
                for it in self.objects_of(label)
                if not filters.names or any(part in it.name for part in filters.names)
            ]
            line.send(header.correlation, admin.encode_objects(label, tuple(found), version))
        else:
            self.watchers.append((line, header, label))
            update = admin.Update(1, (), self.objects_of(label))
            line.send(header.correlation, admin.encode_update(label, update, version))

    def announce(self, *changes: admin.Changed) -> None:
        """Tell watches what there is, or what has changed."""
        for line, header, label in self.watchers if self.tell else ():
            mine = tuple(change for change in changes if label == change.object.LABEL)
            update = admin.Update(2, mine, () if changes else self.objects_of(label))
            if not line.writer.transport.is_closing() and (mine or not changes):
                line.send(header.correlation, admin.encode_update(label, update, header.version))

    def leader(self, topic: str, partition: int) -> int:
        """Return who leads a partition."""
        return self.leaders.get((topic, partition), self.spus[partition % len(self.spus)])

    def objects_of(self, label: str) -> tuple[objects.Object, ...]:
        """Return the objects of a kind."""
        if label == "Topic":
            status = objects.TopicStatus(objects.TopicResolution.PROVISIONED)
            return tuple(objects.Topic(name, spec, status) for name, spec in self.topics.items())
        if label == "Partition":
            status_of = objects.PartitionStatus(objects.PartitionResolution.ONLINE)
            return tuple(
                objects.Partition(f"{name}-{number}", objects.PartitionSpec(self.leader(name, number)), status_of)
                for name, spec in self.topics.items()
                for number in range(spec.partitions)
                if self.leader(name, number)
            )
        if label == "SPU":
            return tuple(self.spu(number) for number in self.spus)
        return tuple(objects.Module(name, objects.ModuleSpec(wasm=wasm)) for name, wasm in self.modules.items())

    def spu(self, number: int) -> objects.Spu:
        """Return an SPU as the SC tells of it: the public address is that of a name, the local one of a number."""
        port = self.ports[number]
        public = objects.Ingress(port, (objects.Address("127.0.0.1"),))
        spec = objects.SpuSpec(number, 1, public, public_local=objects.Endpoint(port, "localhost"))
        return objects.Spu(f"spu-{number}", spec, objects.SpuStatus(objects.SpuResolution.ONLINE))

    def end(self, topic: str, partition: int) -> int:
        """Return the offset behind the last record."""
        batches = self.log.get((topic, partition))
        if not batches:
            return self.start.get((topic, partition), 0)
        last = decode_header(batches[-1])
        return last.base_offset + last.count

    async def append(self, topic: str, partition: int, data: bytes) -> int:
        """Keep batches, and tell streams; return the offset of the first record."""
        base = self.end(topic, partition)
        while data:
            header = decode_header(data)
            batch, data = data[: header.length], data[header.length :]
            placed = with_base_offset(batch, self.end(topic, partition))
            self.log.setdefault((topic, partition), []).append(placed)
        async with self._grown:
            self._grown.notify_all()
        return base

    async def _produce(self, asked: Asked, reader: Reader) -> None:
        version = asked.header.version
        made = []
        for topic in decode(records.Produce, reader, version).topics:
            for entry in topic.partitions:
                outcome = self._here(asked, topic.topic, entry.partition)
                base = -1 if outcome else await self.append(topic.topic, entry.partition, entry.batches)
                made.append(records.PartitionProduced(entry.partition, outcome, base))
        produced = records.Produced((records.TopicProduced(topic.topic, tuple(made)),), self.throttle)
        asked.connection.send(asked.header.correlation, encode(produced, version))

    def _here(self, asked: Asked, topic: str, partition: int) -> ErrorCode:
        return OK if self.leader(topic, partition) == asked.side else code("NotLeaderForPartition")

    async def _offsets(self, asked: Asked, reader: Reader) -> None:
        version = asked.header.version
        topic = decode(records.FetchOffsets, reader, version).topics[0]
        found = tuple(
            records.PartitionOffsets(
                self._here(asked, topic.topic, number),
                number,
                self.start.get((topic.topic, number), 0),
                self.end(topic.topic, number),
            )
            for number in topic.partitions
        )
        body = encode(records.Offsets((records.TopicOffsets(topic.topic, found),)), version)
        asked.connection.send(asked.header.correlation, body)

    async def _stream(self, asked: Asked, reader: Reader) -> None:
        request = decode(records.StreamFetch, reader, asked.header.version)
        self._session += 1
        updates = asked.connection.sessions[self._session] = asyncio.Queue()
        task = asyncio.ensure_future(self._feed(asked, request, self._session, updates))
        asked.connection.tasks.append(task)

    async def _feed(
        self, asked: Asked, request: records.StreamFetch, session: int, updates: asyncio.Queue[int]
    ) -> None:
        position = request.offset
        outcome = self._here(asked, request.topic, request.partition)
        if not outcome and position > self.end(request.topic, request.partition):
            outcome = code("OffsetOutOfRange")
        if outcome:
            self.fetched(asked, request, session, b"", outcome)
            return
        while True:
            async with self._grown:
                while self.end(request.topic, request.partition) <= position:
                    await self._grown.wait()
            self.fetched(asked, request, session, self._bytes(request, position))
            position = await updates.get()

    def _bytes(self, request: records.StreamFetch, position: int) -> bytes:
        data = b""
        for batch in self.log[request.topic, request.partition]:
            header = decode_header(batch)
            if header.base_offset + header.count > position and (self.slicing or len(data) < request.max_bytes):
                data += batch
        return data[: request.max_bytes] if self.slicing else data

    def fetched(
        self,
        asked: Asked,
        request: records.StreamFetch,
        session: int,
        data: bytes,
        outcome: ErrorCode = OK,
        next_offset: int = 0,
    ) -> None:
        """Send an answer of a stream."""
        found = records.PartitionFetched(request.partition, outcome, next_offset=next_offset, batches=data)
        body = encode(records.StreamFetched(request.topic, session, found), asked.header.version)
        asked.connection.send(asked.header.correlation, body)

    async def _update(self, asked: Asked, reader: Reader) -> None:
        update = decode(records.UpdateOffsets, reader, asked.header.version).offsets[0]
        session = asked.connection.sessions.get(update.stream)
        outcome = OK if session else code("FetchSessionNotFoud")
        body = encode(records.OffsetsUpdated((records.OffsetStatus(update.stream, outcome),)), asked.header.version)
        asked.connection.send(asked.header.correlation, body)
        if session is not None:
            session.put_nowait(update.offset)

    async def _keep(self, asked: Asked, reader: Reader) -> None:
        update = decode(records.UpdateConsumerOffset, reader, asked.header.version)
        stream = next(it for it in reversed(self.asked) if it.header.api == records.STREAM_FETCH)
        request = decode(records.StreamFetch, stream.body, stream.header.version)
        assert request.consumer is not None
        self.kept[request.consumer, request.topic, request.partition] = update.offset
        body = encode(records.ConsumerOffsetUpdated(update.offset), asked.header.version)
        asked.connection.send(asked.header.correlation, body)

    async def _forget(self, asked: Asked, reader: Reader) -> None:
        request = decode(records.DeleteConsumerOffset, reader, asked.header.version)
        self.kept.pop((request.consumer, request.replica.topic, request.replica.partition), None)
        asked.connection.send(asked.header.correlation, encode(records.ConsumerOffsetDeleted(), asked.header.version))

    async def _list_kept(self, asked: Asked, reader: Reader) -> None:
        found = tuple(
            records.ConsumerOffset(consumer, Replica(topic, number), offset, 1)
            for (consumer, topic, number), offset in self.kept.items()
        )
        body = encode(records.ConsumerOffsets(OK, found), asked.header.version)
        asked.connection.send(asked.header.correlation, body)

    def refusal(self, asked: Asked, outcome: ErrorCode) -> bytes:
        """Return the body of an answer that refuses a request."""
        api, version, reader = asked.header.api, asked.header.version, Reader(asked.body)
        if api == records.PRODUCE:
            topic = decode(records.Produce, reader, version).topics[0]
            made = tuple(records.PartitionProduced(it.partition, outcome) for it in topic.partitions)
            return encode(records.Produced((records.TopicProduced(topic.topic, made),)), version)
        if api == API_VERSIONS:
            return encode(ApiVersionsReply(outcome), version)
        if asked.side == 0:
            return encode(admin.Status("t", outcome), version)
        if api == records.FETCH_OFFSETS:
            asked_for = decode(records.FetchOffsets, reader, version).topics[0]
            found = records.PartitionOffsets(outcome, asked_for.partitions[0], 0, 0)
            return encode(records.Offsets((records.TopicOffsets(asked_for.topic, (found,)),)), version)
        if api == records.STREAM_FETCH:
            request = decode(records.StreamFetch, reader, version)
            fetched = records.PartitionFetched(request.partition, outcome)
            return encode(records.StreamFetched(request.topic, 0, fetched), version)
        plain: dict[int, msgspec.Struct] = {
            records.UPDATE_CONSUMER_OFFSET: records.ConsumerOffsetUpdated(0, outcome),
            records.DELETE_CONSUMER_OFFSET: records.ConsumerOffsetDeleted(outcome),
            records.FETCH_CONSUMER_OFFSETS: records.ConsumerOffsets(outcome, ()),
        }
        if api in plain:
            return encode(plain[api], version)
        update = decode(records.UpdateOffsets, reader, version).offsets[0]
        return encode(records.OffsetsUpdated((records.OffsetStatus(update.stream, outcome),)), version)


_Answer = Callable[[ScriptedCluster, Asked, Reader], Awaitable[None]]
_UNIT: dict[int, _Answer] = {
    records.PRODUCE: ScriptedCluster._produce,
    records.FETCH_OFFSETS: ScriptedCluster._offsets,
    records.STREAM_FETCH: ScriptedCluster._stream,
    records.UPDATE_OFFSETS: ScriptedCluster._update,
    records.UPDATE_CONSUMER_OFFSET: ScriptedCluster._keep,
    records.DELETE_CONSUMER_OFFSET: ScriptedCluster._forget,
    records.FETCH_CONSUMER_OFFSETS: ScriptedCluster._list_kept,
}
