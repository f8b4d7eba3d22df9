"""Owns one client's connection: frames in, requests to the APIs, replies out, all of it bounded in time and memory.

What a request means is the APIs' (`controller`, `unit`, `local`). Whatever a client sends costs this connection only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from headwater.core.errors import HeadwaterError, WireError
from headwater.fluvio.frame import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    ApiVersions,
    ApiVersionsReply,
    Header,
    Ranges,
    announced,
    decode_header,
    frame_length,
    reply,
)
from headwater.fluvio.wire import Reader, decode, encode

# The release of Fluvio whose messages are spoken; clients read it, and new ones refuse those before 0.9.
PLATFORM = "0.18.1"
# Elements of all lists of a request: as many as a topic may have partitions, with room for what is in each.
_MOST_ELEMENTS = 100_000
# Requests of one connection under way at once; further ones stay in the socket.
_MOST_UNDER_WAY = 64
# A frame that has begun must end within this (seconds), and what is written must be taken within that.
_FRAME_TIMEOUT = 60.0
_TAKE_TIMEOUT = 300.0
# A client that says nothing at all after connecting is let go (seconds).
_HELLO_TIMEOUT = 30.0
# What streams may have on the way to slow clients, all together (bytes).
_BUFFERED = 64 * 1024 * 1024
# Frames from this size on take turns, so that many large ones at once do not fill the memory (bytes).
_LARGE, _LARGE_AT_ONCE = 1024 * 1024, 4

logger = structlog.get_logger("headwater.server")

# A handler takes the header, the reader behind it and the connection, and returns the body of the reply; None when it
# replies by itself.
Handler = Callable[[Header, Reader, "Connection"], Awaitable[Iterable[bytes] | None]]


@dataclass(frozen=True, slots=True)
class Apis:
    """What a port speaks: handlers by API, and the versions of each."""

    handlers: Mapping[int, Handler]
    ranges: Ranges


class Shared:
    """What the connections of a server share: bounds on memory, and how many there are."""

    def __init__(self) -> None:
        self.large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self.connections: set[Connection] = set()
        self.streams = 0

    @property
    def chunk(self) -> int:
        """How much one stream may read at once (bytes): less, the more streams there are."""
        return max(64 * 1024, _BUFFERED // max(1, self.streams))


class Connection:
    """One client. `run` serves it until it goes away, breaks the protocol, or is cancelled."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, apis: Apis, shared: Shared) -> None:
        self.shared = shared
        # What handlers keep for this client, such as the streams it has.
        self.streams: dict[int, Any] = {}
        self._reader = reader
        self._writer = writer
        self._apis = apis
        self._slots = asyncio.Semaphore(_MOST_UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        peer = writer.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a local process"

    async def run(self) -> None:
        """Serve the client. The boundary at which whatever a request raises ends this connection and nothing else."""
        self.shared.connections.add(self)
        try:
            await self._serve()
        except (WireError, OSError, TimeoutError, asyncio.IncompleteReadError, EOFError) as error:
            logger.debug("connection ended", client=self.peer, reason=str(error) or type(error).__name__)
        except Exception:
            logger.exception("connection failed", client=self.peer)
        finally:
            self.shared.connections.discard(self)
            for task in self._tasks:
                task.cancel()
            self._writer.transport.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self) -> None:
        async with asyncio.timeout(_HELLO_TIMEOUT):
            prefix = await self._reader.readexactly(4)
        while True:
            data = await self._frame(prefix)
            reader = Reader(data, budget=_MOST_ELEMENTS)
            header = decode_header(reader)
            if header.api == API_VERSIONS:
                await self.send(header, self._hello(header, reader))
            else:
                handler = self._apis.handlers.get(header.api)
                lowest, highest = self._apis.ranges.get(header.api, (1, 0))
                if handler is None or not lowest <= header.version <= highest:
                    raise WireError(f"version {header.version} of API {header.api} is not known")
                await self._slots.acquire()
                body = await handler(header, reader, self)
                self._slots.release()
                if body is not None:
                    await self.send(header, body)
            prefix = await self._reader.readexactly(4)

    async def _frame(self, prefix: bytes) -> bytes:
        length = frame_length(prefix)
        async with asyncio.timeout(_FRAME_TIMEOUT):
            if length < _LARGE:
                return await self._reader.readexactly(length)
            async with self.shared.large:
                return await self._reader.readexactly(length)

    def _hello(self, header: Header, reader: Reader) -> Iterable[bytes]:
        client = decode(ApiVersions, reader, min(header.version, API_VERSIONS_VERSION))
        logger.debug("client", client=self.peer, name=header.client, version=client.client_version)
        return (encode(ApiVersionsReply(apis=announced(self._apis.ranges), platform=PLATFORM), header.version),)

    async def send(self, header: Header, body: Iterable[bytes]) -> None:
        """Send a reply, and wait while the client takes nothing. Raises TimeoutError, or OSError when it has gone."""
        self._writer.writelines(reply(header.correlation, body))
        async with asyncio.timeout(_TAKE_TIMEOUT):
            await self._writer.drain()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with something beside the requests that follow; it ends with the connection, which it may end."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reply_later(self, header: Header, body: Coroutine[Any, Any, Iterable[bytes]]) -> None:
        """Reply when the body is there, and take further requests meanwhile: but not too many."""
        await self._slots.acquire()

        async def work() -> None:
            try:
                await self.send(header, await body)
            finally:
                self._slots.release()

        self.later(work())

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (HeadwaterError, OSError, TimeoutError) as error:
            logger.debug("connection ended", client=self.peer, reason=str(error) or type(error).__name__)
            self._writer.transport.abort()
        except Exception:
            logger.exception("connection failed", client=self.peer)
            self._writer.transport.abort()
