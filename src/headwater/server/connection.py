"""Owns one client's connection: frames in, requests to the APIs, replies out, all of it bounded in time and memory.

What a request means is the APIs' (`controller`, `unit`, `local`). Whatever a client sends costs this connection only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from headwater.core.errors import HeadwaterError, WireError
from headwater.fluvio.frame import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    MOST_FRAME,
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
_MOST_ELEMENTS = 50_000
# How much of a long request is done before others have their turn.
_AT_ONCE = 100
# Requests of one connection under way at once; further ones stay in the socket. Those that hold much are fewer.
_MOST_UNDER_WAY = 64
_MOST_HEAVY = 4
# What streams may have on the way to slow clients, all together (bytes).
_BUFFERED = 64 * 1024 * 1024
# What requests may hold of all connections together, from the moment they are whole until they are done (bytes).
_REQUESTED = 128 * 1024 * 1024
# Frames that are larger take turns, so that many at once do not fill the memory (bytes; how many at once).
_PIECE, _LARGE_AT_ONCE = 2 * 1024 * 1024, 4
# A connection with more than this in its buffer takes nothing from streams (bytes).
_CONGESTED = 64 * 1024

logger = structlog.get_logger("headwater.server")

# A handler takes the header, the reader behind it and the connection, and returns the body of the reply; None when it
# replies by itself.
Handler = Callable[[Header, Reader, "Connection"], Awaitable[Iterable[bytes] | None]]


@dataclass(frozen=True, slots=True)
class Apis:
    """What a port speaks: handlers by API, and the versions of each. `most` is the longest request (bytes)."""

    handlers: Mapping[int, Handler]
    ranges: Ranges
    most: int = MOST_FRAME


@dataclass(frozen=True, slots=True)
class Limits:
    """For how long a client may keep the server waiting (seconds), and how many there may be.

    `hello`: until it says anything. `frame`: until a frame that has begun ends. `stall`: until the next piece of a
    large frame is there. `take`: until it has taken what was sent. `call`: while one call of its SmartModule runs.
    """

    hello: float = 30.0
    frame: float = 60.0
    stall: float = 10.0
    take: float = 3600.0
    call: float = 5.0
    connections: int = 4096


class Budget:
    """So many bytes that are taken and given back. Who wants more than are left waits; first come, first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Take so many, and wait until there are."""
        if size <= self._left and not self._waiting:
            self._left -= size
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            # It may have got them in the same moment; and others behind it may now have their turn.
            self.give(size if future.done() and not future.cancelled() else 0)
            raise

    def give(self, size: int) -> None:
        """Give so many back."""
        self._left += size
        while self._waiting:
            wanted, future = self._waiting[0]
            if not future.done():
                if wanted > self._left:
                    break
                self._left -= wanted
                future.set_result(None)
            self._waiting.popleft()


class Turns:
    """Gives others their turn every so often, in a loop as long as a client wants it to be."""

    def __init__(self) -> None:
        self._left = _AT_ONCE

    async def next(self) -> None:
        """Count one round of the loop."""
        self._left -= 1
        if not self._left:
            self._left = _AT_ONCE
            await asyncio.sleep(0)


class Shared:
    """What the connections of a server share: bounds on time and memory, and how many there are."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.requested = Budget(_REQUESTED)
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
        writer.transport.set_write_buffer_limits(high=_CONGESTED)
        self._apis = apis
        self._slots = asyncio.Semaphore(_MOST_UNDER_WAY)
        # Whoever holds much for this client meanwhile: one of few.
        self.heavy = asyncio.Semaphore(_MOST_HEAVY)
        # Bytes of the request that is looked at, out of the budget.
        self._held = 0
        self._tasks: set[asyncio.Task[None]] = set()
        peer = writer.get_extra_info("peername")
        met = writer.get_extra_info("sockname")
        # The address of this machine that the client has dialled.
        self.met: str = met[0] if isinstance(met, tuple) else ""
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a local process"

    @property
    def live(self) -> bool:
        """Whether the client is there."""
        return self in self.shared.connections

    async def run(self) -> None:
        """Serve the client. The boundary at which whatever a request raises ends this connection and nothing else."""
        self.shared.connections.add(self)
        try:
            await self._serve()
        except (HeadwaterError, OSError, TimeoutError, asyncio.IncompleteReadError, EOFError) as error:
            logger.debug("connection ended", client=self.peer, reason=str(error) or type(error).__name__)
        except Exception:
            logger.exception("connection failed", client=self.peer)
        finally:
            self.shared.connections.discard(self)
            self._give_back(self._kept())
            for task in self._tasks:
                task.cancel()
            self._writer.transport.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self) -> None:
        async with asyncio.timeout(self.shared.limits.hello):
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
                self._give_back(self._kept())
                if body is not None:
                    await self.send(header, body)
            del data, reader
            prefix = await self._reader.readexactly(4)

    async def _frame(self, prefix: bytes) -> bytes:
        length = frame_length(prefix, self._apis.most)
        async with asyncio.timeout(self.shared.limits.frame):
            data = await self._reader.readexactly(min(length, _PIECE))
        if length > _PIECE:
            async with self.shared.large:
                return await self._large(data, length)
        await self._hold(length)
        return data

    async def _large(self, data: bytes, length: int) -> bytes:
        """Return a large frame that has begun: whoever stalls holds up other large ones, and not for long."""
        pieces = [data]
        left = length - len(data)
        while left:
            async with asyncio.timeout(self.shared.limits.stall):
                pieces.append(await self._reader.readexactly(min(left, _PIECE)))
            left -= len(pieces[-1])
        await self._hold(length)
        return b"".join(pieces)

    async def _hold(self, size: int) -> None:
        await self.shared.requested.take(size)
        self._held = size

    def _kept(self) -> int:
        """Return the bytes that the request under way has of the budget, which are the caller's to give back."""
        held, self._held = self._held, 0
        return held

    def _give_back(self, held: int) -> None:
        if held:
            self.shared.requested.give(held)

    def _hello(self, header: Header, reader: Reader) -> Iterable[bytes]:
        # Whatever version is asked in, it is one of these: codecs are kept for ever.
        version = max(0, min(header.version, API_VERSIONS_VERSION))
        client = decode(ApiVersions, reader, version)
        logger.debug("client", client=self.peer, name=header.client, version=client.client_version)
        return (encode(ApiVersionsReply(apis=announced(self._apis.ranges), platform=PLATFORM), version),)

    async def send(self, header: Header, body: Iterable[bytes]) -> None:
        """Send a reply, and wait while the client takes nothing. Raises TimeoutError, or OSError when it has gone."""
        self._writer.writelines(reply(header.correlation, body))
        await self._taken()

    async def ready(self) -> None:
        """Wait until the client has taken nearly all of what it was sent. Raises as `send` does."""
        # Whoever else has waited may have sent something in the same moment.
        while self._writer.transport.get_write_buffer_size() > _CONGESTED:
            await self._taken()
            await asyncio.sleep(0)

    async def _taken(self) -> None:
        async with asyncio.timeout(self.shared.limits.take):
            await self._writer.drain()

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Go on with something beside the requests that follow; it ends with the connection, which it may end."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def reply_later(self, header: Header, body: Coroutine[Any, Any, Iterable[bytes]]) -> None:
        """Reply when the body is there, and take further requests meanwhile: but not too many."""
        await self._slots.acquire()
        held = self._kept()

        def free() -> None:
            nonlocal held
            self._give_back(held)
            held = 0

        async def work() -> None:
            made = await body
            free()
            await self.send(header, made)

        working = work()

        def done(_: asyncio.Task[None]) -> None:
            # Either may have been cancelled before it began.
            working.close()
            body.close()
            free()
            self._slots.release()

        self.later(working).add_done_callback(done)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (HeadwaterError, OSError, TimeoutError) as error:
            logger.debug("connection ended", client=self.peer, reason=str(error) or type(error).__name__)
            self._writer.transport.abort()
        except Exception:
            logger.exception("connection failed", client=self.peer)
            self._writer.transport.abort()
