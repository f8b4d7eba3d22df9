"""Owns the exchange of HTTP requests over libcurl: how many at once, which in turn, redirects, cutting.

One request on one handle is `handle`'s, the event loop is `lane`'s; what a redirect becomes and what an error means is
decided in `redirect` and `failure`.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Self

import pycurl

from headwater.core.callback import Cancellable, settle
from headwater.core.errors import BodyTooLargeError, ConnectTimeoutError, FetchError, ProtocolError
from headwater.core.http import Deliver, Request, Response
from headwater.core.limits import raise_file_limit
from headwater.core.units import format_size
from headwater.fetch.failure import failure
from headwater.fetch.handle import Handle
from headwater.fetch.lane import CAPACITY, Lane
from headwater.fetch.redirect import REDIRECTS, follow
from headwater.fetch.trust import ca_bundle

# Exchanges at once, unless said otherwise; each needs a file descriptor, and half of those are left to others.
_MOST_IN_FLIGHT = 4096
_IDLE_HANDLES = 1024
# Where libcurl looks for proxies of http and https.
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class _Transfer:
    """One exchange under way: a chain of requests, of which `request` is the present one."""

    __slots__ = ("_fetcher", "deliver", "ended", "followed", "handle", "lane", "request", "started", "timer")

    def __init__(self, fetcher: CurlFetcher, request: Request, deliver: Deliver) -> None:
        self._fetcher = fetcher
        self.request = request
        self.deliver = deliver
        self.started = monotonic()
        self.followed = 0
        self.ended = False
        self.handle: Handle | None = None
        self.lane: Lane | None = None
        self.timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Cut the exchange, unless it has ended."""
        if not self.ended:
            self._fetcher.cut(self)


class CurlFetcher:
    """Performs exchanges over libcurl in the running event loop. Use `async with CurlFetcher() as fetcher`.

    `most_in_flight` bounds the exchanges at once; further ones wait their turn within their own total time-out.
    `trusted` is a file of certificate authorities instead of the usual ones.
    """

    def __init__(self, *, most_in_flight: int | None = None, trusted: str | None = None) -> None:
        self._most = most_in_flight or max(16, min(_MOST_IN_FLIGHT, raise_file_limit() // 2))
        self._trusted = trusted or ca_bundle()
        self._proxies = any(os.environ.get(name) for name in _PROXY_VARIABLES)
        self._flying: dict[pycurl.Curl, _Transfer] = {}
        self._queue: deque[_Transfer] = deque()
        # By the identity of the request that each was set up for last; the longest unused first.
        self._idle: dict[int, Handle] = {}
        self._lanes: list[Lane] = []
        self._last: Lane | None = None
        self._awaited: set[asyncio.Future[Response | FetchError]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
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
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()
        self._last = None

    def begin(self, request: Request, deliver: Deliver) -> Cancellable:
        """Begin one exchange. See `headwater.core.http.Fetcher`."""
        transfer = _Transfer(self, request, deliver)
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
            handle.prepare(request, seconds)
        except (pycurl.error, UnicodeEncodeError, ValueError) as error:
            handle.close()
            code = int(error.args[0]) if isinstance(error, pycurl.error) else -1
            # Not from here: whoever began the exchange does not even know of it yet.
            self._loop.call_soon(self._deliver, transfer, failure(code, str(error), request, sent=False))
            return
        transfer.handle = handle
        transfer.lane = lane = self._lane()
        self._flying[handle.curl] = transfer
        lane.add(handle.curl)

    def _lane(self) -> Lane:
        """Return the lane of the last exchange, or else the first that has room, so that few share few connections."""
        if self._last is not None and self._last.load < CAPACITY:
            return self._last
        self._last = next((lane for lane in self._lanes if lane.load < CAPACITY), None) or self._another_lane()
        return self._last

    def _another_lane(self) -> Lane:
        self._lanes.append(Lane(self._finish, self._fail))
        return self._lanes[-1]

    def _on_new_socket(self, descriptor: int, purpose: int) -> int:  # noqa: ARG002 - libcurl's signature
        """Tell the lanes, so that a handle need not be told of its lane for each exchange: new sockets are rare."""
        for lane in self._lanes:
            lane.forget(descriptor)
        return pycurl.SOCKOPT_OK

    def _handle_for(self, request: Request) -> Handle:
        handle = self._idle.pop(id(request), None)
        if handle is None and len(self._idle) >= _IDLE_HANDLES:
            handle = self._idle.pop(next(iter(self._idle)))
        return handle or Handle(self._trusted, self._on_new_socket, proxies=self._proxies)

    def _stop(self, transfer: _Transfer) -> None:
        """Cut the connection of an exchange, or take it out of the queue."""
        transfer.ended = True
        if transfer.timer is not None:
            transfer.timer.cancel()
        if transfer.handle is not None:
            handle = transfer.handle
            self._land(transfer)
            handle.close()
        elif transfer in self._queue:
            self._queue.remove(transfer)

    def _land(self, transfer: _Transfer) -> None:
        if transfer.handle is not None and transfer.lane is not None:
            del self._flying[transfer.handle.curl]
            transfer.lane.remove(transfer.handle.curl)
            transfer.handle = None

    def _start_waiting(self) -> None:
        while self._queue and len(self._flying) < self._most:
            transfer = self._queue.popleft()
            if transfer.timer is not None:
                transfer.timer.cancel()
                transfer.timer = None
            self._start(transfer, self._left(transfer))

    @staticmethod
    def _left(transfer: _Transfer) -> float:
        """Return the seconds that an exchange still has."""
        return transfer.request.total_timeout - (monotonic() - transfer.started)

    def _keep(self, handle: Handle) -> None:
        key = id(handle.request)
        if len(self._idle) < _IDLE_HANDLES and key not in self._idle:
            self._idle[key] = handle
        else:
            handle.close()

    def _finish(self, curl: pycurl.Curl) -> None:
        transfer = self._flying[curl]
        handle = transfer.handle
        assert handle is not None
        outcome: Response | FetchError
        following: Request | None = None
        try:
            outcome = handle.response(monotonic() - transfer.started, transfer.followed)
            if outcome.status in REDIRECTS:
                following = follow(transfer.request, outcome, followed=transfer.followed)
        except FetchError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a callback of libcurl: what escaped here would leave the waiter hanging
            request = transfer.request
            outcome = ProtocolError(f"{request.method} {request.shown_url}: the answer cannot be read ({error!r})")
        self._land(transfer)
        self._keep(handle)
        if following is not None:
            transfer.request = following
            transfer.followed += 1
            self._start(transfer, self._left(transfer))
        else:
            self._deliver(transfer, outcome)
        if self._queue:
            self._start_waiting()

    def _fail(self, curl: pycurl.Curl, code: int, said: str) -> None:
        transfer = self._flying[curl]
        handle, request = transfer.handle, transfer.request
        assert handle is not None
        sent = curl.getinfo(pycurl.REQUEST_SIZE) > 0
        self._land(transfer)
        if code == pycurl.E_WRITE_ERROR and handle.size > request.max_body:
            error: FetchError = BodyTooLargeError(
                f"{request.method} {request.shown_url}: the body is larger than "
                f"{format_size(request.max_body)} and was cut",
                hint="raise `max_body` if such bodies are right",
            )
        else:
            error = failure(code, said, request, sent=sent)
        handle.close()
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
