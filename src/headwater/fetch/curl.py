"""Owns the exchange of HTTP requests over libcurl: how many at once, which in turn, redirects, time, cutting.

Streams are `streams`'s, one request on one handle is `handle`'s, the event loop is `lane`'s; what a redirect becomes
and what an error means is decided in `redirect` and `failure`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import monotonic, time
from types import TracebackType
from typing import Self

import msgspec
import pycurl

from headwater.core.callback import settle
from headwater.core.cookies import Jar
from headwater.core.egress import Policy
from headwater.core.errors import ConnectTimeoutError, FetchError, ProtocolError
from headwater.core.http import Deliver, Fetching, Request, Response, Sink
from headwater.core.limits import raise_file_limit
from headwater.fetch.failure import PROXY_LOGIN, login_of_proxy, silent, unbegun
from headwater.fetch.handle import Handle
from headwater.fetch.lane import Lane
from headwater.fetch.lanes import Lanes
from headwater.fetch.redirect import REDIRECTS, follow
from headwater.fetch.setting import Surroundings
from headwater.fetch.streams import Streams
from headwater.fetch.trust import ca_bundle

# Exchanges at once, unless said otherwise; each needs a file descriptor, and half of those are left to others. Streams
# may have what they leave, less an eighth of all.
_MOST_IN_FLIGHT = 4096
_IDLE_HANDLES = 1024
# Connectors whose cookies are kept; the longest unused are forgotten first.
_MOST_JARS = 4096
# A time-out of libcurl's that never comes, where time is kept here.
_NEVER = 10**6


class _Transfer(msgspec.Struct, eq=False):
    """One exchange under way: a chain of requests, of which `request` is the present one.

    `again`: it goes out a second time, since a connection that had been kept was dead.
    """

    fetcher: CurlFetcher
    request: Request
    deliver: Deliver
    started: float
    followed: int = 0
    again: bool = False
    ended: bool = False
    handle: Handle | None = None
    lane: Lane | None = None
    timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Cut the exchange, unless it has ended."""
        if not self.ended:
            self.fetcher.cut(self)

    def resume(self) -> None:
        """Let a body go on that its sink holds back."""
        if not self.ended:
            self.fetcher.go_on(self)

    def send(self, data: bytes) -> None:
        """Send nothing: no protocol is changed here."""

    @property
    def unsent(self) -> int:
        """Return that nothing waits."""
        return 0

    def left(self) -> float:
        """Return the seconds of the total time-out that are left."""
        return self.request.total_timeout - (monotonic() - self.started)

    def keep_time(self, timer: asyncio.TimerHandle | None) -> None:
        """Have this timer instead of the one that there was."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer


class CurlFetcher:
    """Performs exchanges over libcurl in the running event loop. Use `async with CurlFetcher() as fetcher`.

    `most_in_flight` bounds the exchanges at once; further ones wait their turn within their own total time-out. Streams
    are beside them, as many as there are files for; further ones are a ConnectError.
    `trusted` is a file of certificate authorities instead of the usual ones. `egress` is where any request may go,
    beside what its own transport says.
    """

    def __init__(
        self, *, most_in_flight: int | None = None, trusted: str | None = None, egress: Policy | None = None
    ) -> None:
        files = raise_file_limit()
        self._most = most_in_flight or max(16, min(_MOST_IN_FLIGHT, files // 2))
        self._most_streams = max(16, files - files // 8 - self._most)
        self._around = Surroundings.of(trusted or ca_bundle(), egress or Policy())
        self._flying: dict[pycurl.Curl, _Transfer] = {}
        self._queue: deque[_Transfer] = deque()
        # By the identity of the request that each was set up for last; the longest unused first.
        self._idle: dict[int, Handle] = {}
        # By what transports call them; the longest unused first.
        self._jars: dict[str, Jar] = {}
        self._awaited: set[asyncio.Future[Response | FetchError]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes(self._finish, self._fail)
        self._streams = Streams(self._most_streams, self._around, self._jar, self._on_new_socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cut every exchange that is under way and free all connections."""
        for transfer in [*self._flying.values(), *self._queue]:
            self._stop(transfer)
        for future in self._awaited:
            future.cancel()
        for handle in self._idle.values():
            handle.close()
        self._idle.clear()
        self._lanes.close()
        self._streams.close()

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        """Begin one exchange. See `headwater.core.http.Fetcher`."""
        if request.stream:
            return self._streams.begin(request, deliver)
        transfer = _Transfer(self, request, deliver, monotonic())
        if len(self._flying) >= self._most:
            transfer.timer = self._loop.call_later(request.total_timeout, self._waited_too_long, transfer)
            self._queue.append(transfer)
        else:
            self._start(transfer, request.total_timeout)
        return transfer

    async def fetch(self, request: Request) -> Response:
        """Perform one exchange and return its response, whatever its status. Raises a FetchError of the tree."""
        answered: asyncio.Future[Response | FetchError] = self._loop.create_future()
        self._awaited.add(answered)
        transfer = self.begin(request, partial(settle, answered))
        try:
            outcome = await answered
        finally:
            self._awaited.discard(answered)
            transfer.cancel()
        if isinstance(outcome, FetchError):
            raise outcome
        return outcome

    def cut(self, transfer: _Transfer) -> None:
        """End an exchange that nobody waits for any more, and begin one that waits for its place."""
        self._stop(transfer)
        self._start_waiting()

    def go_on(self, transfer: _Transfer) -> None:
        """Let the body of an exchange go on, soon, if its sink holds it back."""
        handle = transfer.handle
        if handle is not None and handle.intake is not None and handle.intake.wants_more():
            self._loop.call_soon(self._unpause, transfer)

    def _unpause(self, transfer: _Transfer) -> None:
        handle = transfer.handle
        if handle is None or handle.intake is None:
            return
        try:
            handle.intake.go_on(handle.curl)
        except pycurl.error as error:
            if transfer.handle is handle:
                self._fail(handle.curl, int(error.args[0]), str(error.args[-1]))
        if transfer.lane is not None:
            transfer.lane.go_on()

    def _waited_too_long(self, transfer: _Transfer) -> None:
        self._queue.remove(transfer)
        request = transfer.request
        self._deliver(
            transfer,
            ConnectTimeoutError(
                f"{request.method} {request.shown_url}: {self._most} exchanges were under way all the time",
                hint="poll less often, shorten `timeout`, or allow more open files (ulimit -n)",
            ),
        )

    def _start(self, transfer: _Transfer, seconds: float) -> None:
        request = transfer.request
        handle = self._handle_for(request)
        try:
            handle.prepare(request, seconds if request.idle_timeout is None else _NEVER)
            if not handle.plain:
                self._attend(transfer, handle)
            if transfer.again:
                handle.curl.setopt(pycurl.FRESH_CONNECT, 1)
            lane = self._lanes.of(handle.shared)
        except (FetchError, pycurl.error, UnicodeEncodeError, OSError, ValueError) as error:
            handle.close()
            # Not from here: whoever began the exchange does not even know of it yet.
            self._loop.call_soon(self._deliver, transfer, unbegun(request, error))
            return
        transfer.handle = handle
        if request.idle_timeout is not None:
            transfer.keep_time(self._loop.call_later(seconds, self._check_time, transfer))
        transfer.lane = lane
        self._flying[handle.curl] = transfer
        lane.add(handle.curl)

    def _attend(self, transfer: _Transfer, handle: Handle) -> None:
        """Give a request the cookies that it carries, and its body a way of its own."""
        request = transfer.request
        if request.transport.cookies:
            handle.carry(self._jar(request).header(request.url, time()))
        if request.open is not None or request.idle_timeout is not None:
            handle.attend(partial(self._open, transfer))

    def _on_new_socket(self, descriptor: int, purpose: int) -> int:  # noqa: ARG002 - libcurl's signature
        self._lanes.forget(descriptor)
        self._streams.forget(descriptor)
        return pycurl.SOCKOPT_OK

    def _handle_for(self, request: Request) -> Handle:
        handle = self._idle.pop(id(request), None)
        if handle is None and len(self._idle) >= _IDLE_HANDLES:
            handle = self._idle.pop(next(iter(self._idle)))
        return handle or Handle(self._around, self._on_new_socket)

    def _jar(self, request: Request) -> Jar:
        name = request.transport.cookies
        jar = self._jars.pop(name, None) or Jar()
        if len(self._jars) >= _MOST_JARS:
            del self._jars[next(iter(self._jars))]
        self._jars[name] = jar
        return jar

    def _open(self, transfer: _Transfer) -> Sink | None:
        """Give a response whose body is to come to whoever takes that in."""
        request, handle = transfer.request, transfer.handle
        assert handle is not None
        if request.idle_timeout is not None:
            transfer.keep_time(self._loop.call_later(request.idle_timeout, self._check_time, transfer))
        if request.open is None:
            return None
        return request.open(handle.response(monotonic() - transfer.started, transfer.followed, under_way=True))

    def _check_time(self, transfer: _Transfer) -> None:
        """End an exchange whose head has not come in time, or whose body has been silent for too long."""
        handle, request = transfer.handle, transfer.request
        if handle is None or handle.intake is None or request.idle_timeout is None:
            return
        intake = handle.intake
        if intake.opened:
            left = request.idle_timeout - (0 if intake.paused else monotonic() - intake.heard)
            if left > 0:
                transfer.keep_time(self._loop.call_later(left, self._check_time, transfer))
                return
            error: FetchError = silent(request)
        else:
            error = handle.error(pycurl.E_OPERATION_TIMEDOUT, "")
        self._land(transfer)
        handle.close()
        self._deliver(transfer, error)
        self._start_waiting()

    def _stop(self, transfer: _Transfer) -> None:
        """Cut the connection of an exchange, or take it out of the queue."""
        transfer.ended = True
        if transfer.handle is not None:
            handle = transfer.handle
            self._land(transfer)
            handle.close()
        elif transfer in self._queue:
            transfer.keep_time(None)
            self._queue.remove(transfer)

    def _land(self, transfer: _Transfer) -> None:
        handle, lane = transfer.handle, transfer.lane
        if handle is not None and lane is not None:
            del self._flying[handle.curl]
            lane.remove(handle.curl)
            transfer.handle = None
            if transfer.timer is not None:
                transfer.keep_time(None)

    def _start_waiting(self) -> None:
        while self._queue and len(self._flying) < self._most:
            transfer = self._queue.popleft()
            transfer.keep_time(None)
            self._start(transfer, transfer.left())

    def _keep(self, transfer: _Transfer, handle: Handle) -> None:
        key = id(handle.request)
        handle.intake = None
        if transfer.again:
            transfer.again = False
            handle.curl.setopt(pycurl.FRESH_CONNECT, 0)
        if len(self._idle) < _IDLE_HANDLES and key not in self._idle:
            self._idle[key] = handle
        else:
            handle.close()

    def _finish(self, curl: pycurl.Curl) -> None:
        transfer = self._flying[curl]
        handle, request = transfer.handle, transfer.request
        assert handle is not None
        outcome: Response | FetchError
        following: Request | None = None
        try:
            outcome = handle.response(monotonic() - transfer.started, transfer.followed)
            if not handle.plain and request.transport.cookies:
                self._jar(request).take(outcome.url, outcome.headers, time())
            if outcome.status in REDIRECTS:
                following = follow(request, outcome, followed=transfer.followed)
            elif outcome.status == PROXY_LOGIN and handle.arranged.answers:
                outcome = login_of_proxy(request, handle.arranged.proxy)
            if not handle.plain and following is None and request.open is not None:
                handle.open_empty()
        except FetchError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a callback of libcurl: what escaped here would leave the waiter hanging
            outcome = ProtocolError(f"{request.method} {request.shown_url}: the answer cannot be read ({error!r})")
        self._land(transfer)
        self._keep(transfer, handle)
        if following is not None:
            transfer.request = following
            transfer.followed += 1
            self._start(transfer, transfer.left())
        else:
            self._deliver(transfer, outcome)
        if self._queue:
            self._start_waiting()

    def _fail(self, curl: pycurl.Curl, code: int, said: str) -> None:
        transfer = self._flying[curl]
        handle = transfer.handle
        assert handle is not None
        error = handle.error(code, said)
        stale = not transfer.again and handle.stale(code)
        self._land(transfer)
        handle.close()
        if stale:
            transfer.again = True
            self._start(transfer, transfer.left())
            return
        self._deliver(transfer, error)
        self._start_waiting()

    @staticmethod
    def _deliver(transfer: _Transfer, outcome: Response | FetchError) -> None:
        if transfer.ended:
            return
        transfer.ended = True
        if transfer.followed and isinstance(outcome, FetchError):
            # An earlier hop of a redirect has seen the request, wherever the last one failed.
            outcome.sent = True
        transfer.deliver(outcome)
