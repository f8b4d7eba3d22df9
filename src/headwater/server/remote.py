"""Owns the log of a data directory that a server has open, as another process of this machine sees it.

It has what connectors ask of a target and what commands ask of a log. Appends go to the server as they would go to the
file: records, checkpoint and ledger entry commit in one step. When the connection is lost with an append under way, the
checkpoint tells afterwards whether it was stored, so that nothing is lost and nothing doubled.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from headwater.cluster import Target as Patience
from headwater.cluster.connection import Connection, Endpoint
from headwater.core.callback import resolve
from headwater.core.errors import ClusterError, HeadwaterError, LogClosedError, LogError, LogServerGoneError
from headwater.core.exchange import Exchange
from headwater.core.memory import encode_change
from headwater.core.record import StoredRecord
from headwater.core.topic import Receipt, TopicSpec
from headwater.fluvio.frame import API_VERSIONS
from headwater.fluvio.wire import Message, encode
from headwater.log import Append, LogReader, Memories, Recollection, Topic, TopicInfo
from headwater.server import dialogue
from headwater.server.local import SocketPlace

_Reply = TypeVar("_Reply", bound=Message)
# Entries that wait for a server that is away; older ones are dropped.
_MOST_NOTES = 20_000
# How long notes gather before they go out (seconds).
_NOTE_PAUSE = 0.5
# What stands before a request in its frame is shorter (bytes).
_HEAD = 1024
# How often a follower looks into the file (seconds).
_LOOK_PAUSE = 0.006
_INFOS = msgspec.json.Decoder(list[TopicInfo])
_INFO = msgspec.json.Decoder(TopicInfo)


class RemoteLog:
    """The log behind a server's socket: `async with RemoteLog(directory)`. Entering raises LogServerGoneError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._connection: Connection | None = None
        # Who this is to the server, and which of its connections it has.
        self._client = f"headwater {os.getpid()} {secrets.token_hex(4)}"
        self._term = 0
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes: deque[Exchange] = deque(maxlen=_MOST_NOTES)
        self._noting: asyncio.TimerHandle | None = None
        # Appends of which it is not known whether they were stored: connector -> checkpoint.
        self._uncertain: dict[str, bytes] = {}
        self._memories = Memories(directory)

    async def __aenter__(self) -> Self:
        connection = await self._open()
        try:
            self.reader = LogReader(self.directory)
        except BaseException:
            await connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is noted, and close the connection."""
        if self._noting is not None:
            self._noting.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None and self._connection.live and self._notes:
            await self._send_notes()
        if self._connection is not None:
            await self._connection.close()
        self.reader.close()
        self._memories.close()

    def size(self) -> int:
        """Return the bytes of the log on disk."""
        return self.reader.size()

    @staticmethod
    def now_ms() -> int:
        """Return the time, ms since the Unix epoch."""
        return time.time_ns() // 1_000_000

    async def _open(self) -> Connection:
        async with self._opening:
            if self._connection is None or not self._connection.live:
                try:
                    with SocketPlace(self.directory) as path:
                        versions = {**dialogue.RANGES, API_VERSIONS: (0, 2)}
                        name = f"the server of {self.directory}"
                        endpoint = Endpoint(name, "", 0, None, versions, path)
                        self._connection = await Connection.open(endpoint, Patience("", client_id=self._client))
                        self._term += 1
                except (OSError, ClusterError) as error:
                    raise self._gone(error) from error
            return self._connection

    def _gone(self, error: Exception) -> LogServerGoneError:
        said = error.message if isinstance(error, HeadwaterError) else str(error)
        return LogServerGoneError(
            f"the server of {self.directory} is away: {said}",
            hint="start it again with 'headwater up'",
        )

    async def _ask(self, api: int, message: Message, kind: type[_Reply]) -> _Reply:
        connection = await self._open()
        try:
            return await connection.ask(api, message, kind)
        except ClusterError as error:
            raise self._gone(error) from error

    async def topics(self) -> list[TopicInfo]:
        """Return every topic, by name."""
        return _INFOS.decode((await self._ask(dialogue.TOPICS, dialogue.Nothing(), dialogue.Topics)).topics)

    def grown(self, topic: int) -> asyncio.Future[None]:  # noqa: ARG002 - which topic has grown is not known here
        """Return a future that is done a moment later, when the topic may have grown."""
        return asyncio.ensure_future(asyncio.sleep(_LOOK_PAUSE))

    async def topic(self, name: str) -> Topic:
        """Return a topic to append to, read and follow. Raises TopicNotFoundError."""
        return Topic(self, self.reader.topic(name))

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> TopicInfo:
        """Create a topic. Raises TopicError or LogError."""
        request = dialogue.CreateTopic(name, msgspec.json.encode(spec or TopicSpec()))
        done = await self._ask(dialogue.CREATE_TOPIC, request, dialogue.Done)
        if done.failure is not None:
            raise dialogue.raised(done.failure)
        return _INFO.decode(done.value)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic and its records. Raises TopicNotFoundError or LogError."""
        done = await self._ask(dialogue.DELETE_TOPIC, dialogue.DeleteTopic(name), dialogue.Done)
        if done.failure is not None:
            raise dialogue.raised(done.failure)

    async def modules(self, names: Sequence[str]) -> dict[str, bytes]:  # noqa: ARG002 - what every target has
        """Return the code of SmartModules that are kept with the topics: none, they are in the data directory."""
        return {}

    async def checkpoint(self, connector: str) -> bytes | None:
        """Return the encoded checkpoint of a connector. Raises LogError."""
        # Connected first: the term is that of the connection.
        await self._open()
        request = dialogue.CheckpointRequest(connector, self._term)
        reply = await self._ask(dialogue.CHECKPOINT, request, dialogue.CheckpointReply)
        if reply.failure is not None:
            raise dialogue.raised(reply.failure)
        return reply.checkpoint

    async def last(self, topic: str, most: int) -> list[StoredRecord]:
        """Return at most so many of the newest records of a topic, of all partitions by time, oldest first."""
        return await (await self.topic(topic)).last(most)

    @property
    def most_record(self) -> int | None:
        """The largest record that it takes: any."""
        return None

    @property
    def remembers(self) -> bool:
        """Whether what connectors remember of items is kept: it is."""
        return True

    def recall(self, connector: str) -> Recollection:
        """Return what a connector remembers of items, as of its last append that was stored. Ask it in a thread."""
        return self._memories.of(connector)

    def submit(self, append: Append) -> asyncio.Future[Receipt]:
        """Send an append; the future has its receipt once it is on disk, or the error."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.store(append, partial(resolve, future))
        return future

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Send an append; call back once it is durable or refused."""
        connection = self._connection
        connector = append.checkpoint[0] if append.checkpoint else ""
        if connection is None or not connection.live or connector in self._uncertain:
            task = self._later(self._store_again(append, receive))
            task.add_done_callback(lambda done: receive(self._closed()) if done.cancelled() else None)
            return
        self._begin(connection, append, receive)

    def _begin(
        self, connection: Connection, append: Append, receive: Callable[[Receipt | HeadwaterError], None]
    ) -> None:
        # Nothing is sent of what the server cannot take, nor when the connection had ended.
        try:
            request = encode(_request(append, self._term), self._version(connection, append))
            if len(request) > dialogue.MOST_FRAME - _HEAD:
                raise LogError(
                    f"the records of one answer are {len(request):,} bytes, and the server of {self.directory} takes "
                    f"{dialogue.MOST_FRAME:,} at once",
                    hint="ask for less at once, or run the connector without the server or in it",
                )
            answer = connection.call(dialogue.APPEND, request)
        except HeadwaterError as error:
            failure = self._gone(error) if isinstance(error, ClusterError) else error
            asyncio.get_running_loop().call_soon(receive, failure)
            return
        answer.add_done_callback(lambda _: self._ended(connection, append, receive, answer))

    def _version(self, connection: Connection, append: Append) -> int:
        version = connection.version(dialogue.APPEND)
        if append.memory is not None and version < dialogue.REMEMBERING:
            raise LogServerGoneError(
                f"the server of {self.directory} is of an older version, which remembers no items",
                hint="restart it, so that it is of this one",
            )
        return version

    def _ended(
        self,
        connection: Connection,
        append: Append,
        receive: Callable[[Receipt | HeadwaterError], None],
        answer: asyncio.Future[Any],
    ) -> None:
        if answer.cancelled():
            return
        try:
            reply = connection.decoded(answer.result(), dialogue.APPEND, dialogue.Appended)
        except ClusterError as error:
            if append.checkpoint is not None:
                self._uncertain[append.checkpoint[0]] = append.checkpoint[1]
            receive(self._gone(error))
            return
        if reply.failure is not None:
            receive(dialogue.raised(reply.failure))
        else:
            receive(Receipt(reply.partition, reply.base_offset, reply.count))

    async def _store_again(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Send an append on a new connection; one that may have been stored before is looked for first."""
        try:
            connection = await self._open()
            if append.checkpoint is not None:
                connector, checkpoint = append.checkpoint
                uncertain = self._uncertain.get(connector)
                if uncertain is not None:
                    stored = await self.checkpoint(connector)
                    del self._uncertain[connector]
                    if stored == uncertain == checkpoint:
                        receive(self._stored(connector))
                        return
            self._begin(connection, append, receive)
        except HeadwaterError as error:
            receive(error)

    def _stored(self, connector: str) -> Receipt:
        """Return where the last append of a connector went."""
        entry = next(iter(self.reader.ledger(connector, 1)), None)
        if entry is None or entry.offset is None or entry.partition is None:
            return Receipt(0, 0, 0)
        return Receipt(entry.partition, entry.offset, entry.records)

    def note(self, exchange: Exchange) -> None:
        """Enter an exchange that left no records into the ledger, a little later, together with others."""
        self._notes.append(exchange)
        if self._noting is None:
            loop = asyncio.get_running_loop()
            self._noting = loop.call_later(_NOTE_PAUSE, lambda: self._later(self._send_notes()))

    async def _send_notes(self) -> None:
        self._noting = None
        entries = list(self._notes)
        self._notes.clear()
        try:
            await self._ask(dialogue.NOTE, dialogue.Note(msgspec.json.encode(entries)), dialogue.Nothing)
        except HeadwaterError:
            # They go out with the next ones, when the server is there again; of too many the oldest are dropped.
            entries += self._notes
            self._notes.clear()
            self._notes += entries

    def _closed(self) -> LogClosedError:
        return LogClosedError(f"the way to the server of {self.directory} was used after it was closed")

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _request(append: Append, term: int) -> dialogue.AppendRequest:
    checkpoint = append.checkpoint
    return dialogue.AppendRequest(
        append.topic,
        append.partition,
        b"".join(batch.data for batch in append.batches),
        tuple(
            dialogue.Beside(it.topic, it.partition, b"".join(batch.data for batch in it.batches))
            for it in append.beside
        ),
        None if checkpoint is None else dialogue.Checkpointed(*checkpoint),
        None if append.exchange is None else msgspec.json.encode(append.exchange),
        round(append.linger * 1_000_000),
        term,
        None if append.memory is None else encode_change(append.memory),
    )
