"""Owns one connection to one server of a cluster: requests out, answers to those who wait. Knows no cluster beyond it.

Many requests are under way at once, each with a number that its answers bear. A request has one answer, or is a stream
of them. Whatever breaks the connection ends all of them with the same error; it is not opened again.
"""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, Self, TypeVar, cast

import msgspec

from headwater.cluster.assembly import Assembly
from headwater.cluster.failure import refused, unreachable
from headwater.cluster.target import Target
from headwater.core.errors import (
    ClusterProtocolError,
    ClusterTimeoutError,
    ClusterUnreachableError,
    HeadwaterError,
    WireError,
)
from headwater.fluvio.frame import (
    API_VERSIONS,
    ApiVersions,
    ApiVersionsReply,
    Header,
    Ranges,
    agreed_version,
    ranges_of,
    request,
)
from headwater.fluvio.wire import Message, Reader, decode, encode
from headwater.version import __version__

_Reply = TypeVar("_Reply")
# How a dead peer is noticed on a connection that only waits: asked after 30 s of silence, then three times (seconds).
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
# How long a clean close may take (seconds).
_CLOSING = 2.0
_LAST_NUMBER = 0x7FFFFFFF


class Endpoint(msgspec.Struct, frozen=True):
    """A server: what messages call it, where it is dialled, the name of its certificate, what we speak with it.

    With a `path` it is dialled there, on a socket of this machine.
    """

    name: str
    host: str
    port: int
    server_name: str | None
    versions: Ranges
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.name
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name} at {host}:{self.port}"


class _Call(NamedTuple):
    answer: asyncio.Future[Reader]
    deadline: float
    api: int


class Sink(NamedTuple):
    """Who takes the answers of a stream, and who is told when there will be no more."""

    take: Callable[[Reader], None]
    fail: Callable[[HeadwaterError], None]


class Connection(asyncio.Protocol):
    """An open connection: `await Connection.open(endpoint, target)`. Belongs to one event loop.

    `error` is None while it lives, then says why it does not. `ended` counts streams that were given up while it went
    on: the server knows nothing of that.
    """

    def __init__(self, endpoint: Endpoint, target: Target) -> None:
        self.endpoint = endpoint
        self.error: HeadwaterError | None = None
        self.platform = ""
        self.ended = 0
        self._client = target.client_id
        self._wait = target.request_timeout.total_seconds()
        self._assembly = Assembly(target.most_frame)
        self._calls: dict[int, _Call] = {}
        self._streams: dict[int, Sink] = {}
        self._given_up: set[int] = set()
        self._number = 0
        self._theirs: Ranges = {}
        self._agreed: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, endpoint: Endpoint, target: Target) -> Self:
        """Connect, and agree on versions, within the time-out. Raises ClusterError."""
        tried = f"cannot connect to {endpoint}"
        connection = cls(endpoint, target)
        name = (endpoint.server_name or endpoint.host) if target.tls is not None else None
        try:
            async with asyncio.timeout(target.connect_timeout.total_seconds()):
                if endpoint.path:
                    await connection._loop.create_unix_connection(lambda: connection, endpoint.path)
                else:
                    await connection._loop.create_connection(
                        lambda: connection, endpoint.host, endpoint.port, ssl=target.tls, server_hostname=name
                    )
                await connection._greet(target.connect_timeout)
        except (OSError, UnicodeError) as error:
            # A name of a host that cannot be one is an error of encoding.
            connection._break(unreachable(error, tried))
            raise unreachable(error, tried) from error
        except BaseException:
            connection.cut()
            raise
        return connection

    async def _greet(self, wait: timedelta) -> None:
        hello = ApiVersions(f"headwater/{__version__}", platform.system().lower(), platform.machine())
        self._theirs = {API_VERSIONS: self.endpoint.versions[API_VERSIONS]}
        reply = await self.ask(API_VERSIONS, hello, ApiVersionsReply, wait)
        if reply.code:
            raise refused(reply.code, f"{self.endpoint} was asked for its versions")
        self._theirs = ranges_of(reply)
        self.platform = reply.platform
        self._agreed.clear()

    @property
    def live(self) -> bool:
        """Whether it can be used."""
        return self.error is None

    @property
    def streaming(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def version(self, api: int) -> int:
        """Return the version of an API that both sides speak. Raises ClusterProtocolError when there is none."""
        version = self._agreed.get(api)
        if version is None:
            try:
                version = agreed_version(api, self.endpoint.versions[api], self._theirs)
            except WireError as error:
                raise ClusterProtocolError(f"{self.endpoint}: {error.message}", hint=error.hint) from error
            self._agreed[api] = version
        return version

    def call(self, api: int, message: Message | bytes, wait: timedelta | None = None) -> asyncio.Future[Reader]:
        """Send a request; the future has a reader of its answer, or the error that ended the connection.

        `message` may be encoded already, in the version that is agreed. An answer that has not come within `wait`
        breaks the connection: behind it nothing is known of what the server did. Cancelling the future only means that
        nobody waits. Raises ClusterProtocolError, and the error of a connection that is gone.
        """
        number = self._send(api, message)
        answer: asyncio.Future[Reader] = self._loop.create_future()
        deadline = self._loop.time() + (self._wait if wait is None else wait.total_seconds())
        self._calls[number] = _Call(answer, deadline, api)
        if self._timer is None or deadline < self._timer.when():
            self._arm(deadline)
        return answer

    async def ask(
        self, api: int, message: Message | bytes, kind: type[_Reply], wait: timedelta | None = None
    ) -> _Reply:
        """Send a request and return its answer decoded. Raises as `call`, and ClusterProtocolError."""
        return self.decoded(await self.call(api, message, wait), api, kind)

    def decoded(self, reader: Reader, api: int, kind: type[_Reply]) -> _Reply:
        """Return what a reader holds. A server that sends something else is not listened to any more."""
        return self.read(lambda version: decode(kind, reader, version), api)

    def read(self, decoding: Callable[[int], _Reply], api: int) -> _Reply:
        """Return what a function decodes in the version of an API; what it finds wrong ends the connection."""
        try:
            return decoding(self.version(api))
        except WireError as error:
            raise self.distrust(f"{self.endpoint} sent an answer that cannot be read: {error.message}") from error

    def distrust(self, message: str) -> ClusterProtocolError:
        """End a connection whose server does not keep to the protocol; return the error for that."""
        error = ClusterProtocolError(message, hint="is there really a Fluvio cluster at that address?")
        self._break(error)
        return error

    def stream(self, api: int, message: Message | bytes, sink: Sink) -> int:
        """Send a request that has many answers; return its number. They have no time-out. Raises as `call`."""
        number = self._send(api, message)
        self._streams[number] = sink
        return number

    def give_up(self, number: int) -> None:
        """Take no more answers of a stream. The protocol has no word for that, so the server goes on."""
        if self._streams.pop(number, None) is not None:
            self._given_up.add(number)
            self.ended += 1

    def cut(self) -> None:
        """Close at once, whatever is on its way."""
        self._break(ClusterUnreachableError(f"the connection to {self.endpoint} was closed here", "closed"))

    async def close(self) -> None:
        """Send what is on its way and close. Who still waits is told."""
        transport = self._transport
        closed = ClusterUnreachableError(f"the connection to {self.endpoint} was closed here", "closed")
        self._break(closed, abort=False)
        if transport is not None:
            transport.close()
            done, _ = await asyncio.wait({self._gone}, timeout=_CLOSING)
            if not done:
                transport.abort()

    def _send(self, api: int, message: Message | bytes) -> int:
        if self.error is not None:
            raise self.error
        version = self.version(api)
        body = message if isinstance(message, bytes) else encode(message, version)
        number = self._number = self._number + 1 if self._number < _LAST_NUMBER else 1
        assert self._transport is not None
        self._transport.write(request(Header(api, version, number, self._client), body))
        return number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport. Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        if self.endpoint.path:
            return
        carrier: Any = transport.get_extra_info("socket")
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):  # not every system has them
                carrier.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def data_received(self, data: bytes) -> None:
        """Hand the answers in the bytes to those who wait. Called by the event loop."""
        try:
            for frame in self._assembly.feed(data):
                self._hand(frame)
        except WireError as error:
            self.distrust(f"{self.endpoint} sent bytes that are no answer: {error.message}")

    def _hand(self, frame: Reader) -> None:
        begin = frame.take(4)
        number = int.from_bytes(frame.data[begin : begin + 4], signed=True)
        call = self._calls.pop(number, None)
        if call is not None:
            if not call.answer.done():
                call.answer.set_result(frame)
            return
        sink = self._streams.get(number)
        if sink is not None:
            sink.take(frame)
        elif number not in self._given_up and self.error is None:
            raise WireError(f"it bears the number {number}, which no request has that waits for an answer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait. Called by the event loop."""
        self._break(unreachable(exc, f"{self.endpoint} was connected"))
        if not self._gone.done():
            self._gone.set_result(None)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """Break when an answer is overdue. One timer serves all calls: one for each would cost more than the call."""
        self._timer = None
        now = self._loop.time()
        first = min((call for call in self._calls.values()), key=lambda call: call.deadline, default=None)
        if first is None:
            return
        if first.deadline <= now:
            self._break(
                ClusterTimeoutError(
                    f"{self.endpoint} did not answer in time (API {first.api}), so the connection to it was cut",
                    hint="what was asked may have been done all the same",
                )
            )
        else:
            self._arm(first.deadline)

    def _break(self, error: HeadwaterError, *, abort: bool = True) -> None:
        if self.error is not None:
            return
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
        if abort and self._transport is not None:
            self._transport.abort()
        calls, self._calls = self._calls, {}
        streams, self._streams = self._streams, {}
        for call in calls.values():
            if not call.answer.done():
                call.answer.set_exception(error)
        for sink in streams.values():
            sink.fail(error)
