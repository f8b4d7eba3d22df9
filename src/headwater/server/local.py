"""Owns what the socket in the data directory does: the log itself, for processes of the same user on this machine.

Only who may enter the directory reaches it, and such a process could open the log's file as well.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from headwater.core.errors import HeadwaterError, LogLockedError, LogServerGoneError, WireError
from headwater.core.exchange import Exchange
from headwater.core.memory import MemoryChange, decode_change
from headwater.core.topic import Receipt, TopicSpec
from headwater.fluvio.batches import split_batches
from headwater.fluvio.frame import Header
from headwater.fluvio.wire import Message, Reader, decode, encode
from headwater.log import Append, Beside, Log
from headwater.server import dialogue
from headwater.server.connection import Apis, Connection

# From so many names on, those whose clients are gone are forgotten.
_MOST_SPEAKERS = 20_000
_Value = TypeVar("_Value")
_EXCHANGE = msgspec.json.Decoder(Exchange)
_EXCHANGES = msgspec.json.Decoder(list[Exchange])
_SPEC = msgspec.json.Decoder(TopicSpec)


class _Speaker(NamedTuple):
    """Who asked last for a connector's checkpoint, or appended for it: the client, and which of its connections."""

    client: str
    term: int
    connection: Connection


class Local:
    """The log for other processes of this machine. `managed` says which connectors this process runs itself."""

    def __init__(self, log: Log) -> None:
        self.managed: Callable[[str], bool] = lambda _: False
        self._log = log
        self._speakers: dict[str, _Speaker] = {}
        self.apis = Apis(
            {
                dialogue.TOPICS: self._topics,
                dialogue.CREATE_TOPIC: self._create_topic,
                dialogue.DELETE_TOPIC: self._delete_topic,
                dialogue.APPEND: self._append,
                dialogue.NOTE: self._note,
                dialogue.CHECKPOINT: self._checkpoint,
            },
            dialogue.RANGES,
            dialogue.MOST_FRAME,
        )

    async def _topics(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        return _said(dialogue.Topics(msgspec.json.encode(self._log.topics_now())))

    async def _create_topic(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        request = decode(dialogue.CreateTopic, reader, header.version)
        spec = _json(_SPEC, request.spec)
        try:
            info = await self._log.create_topic(request.name, spec)
        except HeadwaterError as error:
            return _said(dialogue.Done(dialogue.failure(error)))
        return _said(dialogue.Done(None, msgspec.json.encode(info)))

    async def _delete_topic(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        request = decode(dialogue.DeleteTopic, reader, header.version)
        try:
            await self._log.delete_topic(request.name)
        except HeadwaterError as error:
            return _said(dialogue.Done(dialogue.failure(error)))
        return _said(dialogue.Done())

    async def _append(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes] | None:
        request = decode(dialogue.AppendRequest, reader, header.version)
        checkpoint = request.checkpoint
        exchange = None if request.exchange is None else _json(_EXCHANGE, request.exchange)
        memory = None if request.memory is None else _change(request.memory)
        try:
            if checkpoint is not None:
                self._begin_term(checkpoint.connector, header.client, request.term, connection)
            append = Append(
                topic=request.topic,
                batches=split_batches(request.batches, most=dialogue.MOST_FRAME),
                partition=request.partition,
                checkpoint=None if checkpoint is None else (checkpoint.connector, checkpoint.checkpoint),
                exchange=exchange,
                linger=request.linger / 1_000_000,
                beside=tuple(
                    Beside(it.topic, split_batches(it.batches, most=dialogue.MOST_FRAME), it.partition)
                    for it in request.beside
                ),
                memory=memory,
            )
            # Submitted before the next request is read, so that appends keep their order.
            receipt = self._log.submit(append)
        except HeadwaterError as error:
            return _said(dialogue.Appended(dialogue.failure(error)))
        await connection.reply_later(header, _appended(receipt))
        return None

    async def _note(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        for entry in _json(_EXCHANGES, decode(dialogue.Note, reader, header.version).entries):
            self._log.note(entry)
        return _said(dialogue.Nothing())

    async def _checkpoint(self, header: Header, reader: Reader, connection: Connection) -> None:
        request = decode(dialogue.CheckpointRequest, reader, header.version)

        async def work() -> Iterable[bytes]:
            try:
                self._begin_term(request.connector, header.client, request.term, connection)
                return _said(dialogue.CheckpointReply(None, await self._log.checkpoint(request.connector)))
            except HeadwaterError as error:
                return _said(dialogue.CheckpointReply(dialogue.failure(error), None))

        await connection.reply_later(header, work())

    def spoken_for(self, connector: str) -> bool:
        """Return whether another process that is connected runs a connector."""
        speaker = self._speakers.get(connector)
        return speaker is not None and speaker.connection.live

    def _begin_term(self, connector: str, client: str, term: int, connection: Connection) -> None:
        """Let a connection of a client speak for a connector. Two that poll for one would store everything twice.

        What begins with @ is kept for several connectors: a refresh token, which only one process may use.

        Raises LogLockedError while somebody else runs it, and LogServerGoneError when the same client has a later
        connection.
        """
        shared = connector.startswith("@")
        if self.managed(connector):
            if shared:
                raise LogLockedError(
                    f"the server of {self._log.directory} works with this credential itself",
                    hint="run the connectors that share a refresh token in one process",
                )
            raise LogLockedError(
                f"the server of {self._log.directory} runs a connector {connector} itself",
                hint=f"give this one another name, or pause that one: headwater connector pause {connector}",
            )
        speaker = self._speakers.get(connector)
        if speaker is not None and speaker.client != client and speaker.connection.live:
            if shared:
                raise LogLockedError(
                    f"{_shown(speaker.client)} works with this credential already",
                    hint="run the connectors that share a refresh token in one process",
                )
            raise LogLockedError(
                f"a connector {connector} is run by {_shown(speaker.client)} already",
                hint="give this one another name, or end that process",
            )
        if speaker is not None and speaker.client == client and term < speaker.term:
            raise LogServerGoneError(f"connector {connector} has a later connection", hint="this one is to be closed")
        if len(self._speakers) >= _MOST_SPEAKERS:
            # Those that are gone can say nothing any more.
            self._speakers = {name: one for name, one in self._speakers.items() if one.connection.live}
        self._speakers[connector] = _Speaker(client, term, connection)


def _shown(client: str) -> str:
    """Return who a client is, as it names itself: `headwater`, its process, a word of chance."""
    parts = client.split()
    return f"process {parts[1]}" if len(parts) > 1 and parts[1].isdigit() else "another process"


def _change(data: bytes) -> MemoryChange:
    try:
        return decode_change(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WireError(f"what is to change what a connector remembers is no such thing: {error}") from error


def _json(decoder: msgspec.json.Decoder[_Value], data: bytes) -> _Value:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WireError(f"what is to be JSON in a request is not: {error}") from error


async def _appended(receipt: asyncio.Future[Receipt]) -> Iterable[bytes]:
    try:
        got = await receipt
    except HeadwaterError as error:
        return _said(dialogue.Appended(dialogue.failure(error)))
    return _said(dialogue.Appended(None, got.partition, got.base_offset, got.count))


def _said(message: Message) -> Iterable[bytes]:
    return (encode(message, 1),)


def remove_socket(path: Path) -> None:
    """Remove a socket that was served. One that a disk keeps is in nobody's way: the next one takes its place."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


class SocketPlace:
    """The path of a socket in a data directory, short enough for the kernel however deep the directory is.

    A context manager: the path is good inside.
    """

    def __init__(self, directory: Path, name: str = dialogue.SOCKET_NAME) -> None:
        self._directory = directory
        self._name = name
        self._file = -1

    def __enter__(self) -> str:
        self._file = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._file}/{self._name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
