"""Owns the exchange of HTTP requests over libcurl's multi-socket interface, in the event loop.

One request on one handle is `handle`'s; what a redirect becomes and what an error means is decided in `redirect` and
`failure`.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Self

import pycurl

from headwater.core.errors import BodyTooLargeError, ConnectTimeoutError, FetchError
from headwater.core.http import Request, Response
from headwater.core.units import format_size
from headwater.fetch.failure import failure
from headwater.fetch.handle import Handle
from headwater.fetch.limits import raise_file_limit
from headwater.fetch.redirect import follow
from headwater.fetch.trust import ca_bundle

# Exchanges at once, unless said otherwise; each needs a file descriptor, and half of those are left to others.
_MOST_IN_FLIGHT = 4096
_IDLE_HANDLES = 1024
# Sockets taken from the kernel at once; the rest comes with the next turn of the loop.
_MOST_EVENTS = 512
# How much earlier than asked for libcurl may be called (seconds).
_EARLY = 0.001
_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_ACTIONS = {
    select.EPOLLIN: pycurl.CSELECT_IN,
    select.EPOLLOUT: pycurl.CSELECT_OUT,
    select.EPOLLIN | select.EPOLLOUT: pycurl.CSELECT_IN | pycurl.CSELECT_OUT,
    select.EPOLLIN | select.EPOLLHUP: pycurl.CSELECT_IN,
    select.EPOLLIN | select.EPOLLRDHUP: pycurl.CSELECT_IN,
}


class _Transfer:
    """One exchange under way: a chain of requests, of which `request` is the present one."""

    __slots__ = ("followed", "future", "handle", "request", "started", "timer")

    def __init__(self, request: Request, future: asyncio.Future[Response]) -> None:
        self.request = request
        self.future = future
        self.started = monotonic()
        self.followed = 0
        self.handle: Handle | None = None
        self.timer: asyncio.TimerHandle | None = None


class CurlFetcher:
    """Performs exchanges over libcurl in the running event loop. Use `async with CurlFetcher() as fetcher`.

    `most_in_flight` bounds the exchanges at once; further ones wait their turn within their own total time-out.
    `trusted` is a file of certificate authorities instead of the usual ones.
    """

    def __init__(self, *, most_in_flight: int | None = None, trusted: str | None = None) -> None:
        self._most = most_in_flight or max(16, min(_MOST_IN_FLIGHT, raise_file_limit() // 2))
        self._trusted = trusted or ca_bundle()
        self._flying: dict[pycurl.Curl, _Transfer] = {}
        self._queue: deque[_Transfer] = deque()
        # By the identity of the request that each was set up for last; the longest unused first.
        self._idle: dict[int, Handle] = {}
        self._watched: dict[int, int] = {}
        self._parked: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._kick: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._most)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cut every exchange that is under way and free all connections."""
        for transfer in [*self._flying.values(), *self._queue]:
            self._cut(transfer)
            transfer.future.cancel()
        for waker in (self._timer, self._kick):
            if waker is not None:
                waker.cancel()
        for handle in self._idle.values():
            handle.close()
        self._idle.clear()
        self._multi.close()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    async def fetch(self, request: Request) -> Response:
        """Perform one exchange. See `headwater.core.http.Fetcher`."""
        future: asyncio.Future[Response] = self._loop.create_future()
        transfer = _Transfer(request, future)
        if len(self._flying) >= self._most:
            transfer.timer = self._loop.call_later(request.total_timeout, self._waited_too_long, transfer)
            self._queue.append(transfer)
        else:
            self._start(transfer, request.total_timeout)
        try:
            return await future
        except asyncio.CancelledError:
            self._cut(transfer)
            self._start_waiting()
            raise

    def _waited_too_long(self, transfer: _Transfer) -> None:
        self._queue.remove(transfer)
        request = transfer.request
        if not transfer.future.done():
            transfer.future.set_exception(
                ConnectTimeoutError(
                    f"{request.method} {request.shown_url}: {self._most} exchanges were under way all the time",
                    hint="poll less often, shorten `timeout`, or allow more open files (ulimit -n)",
                )
            )

    def _start(self, transfer: _Transfer, seconds: float) -> None:
        handle = self._handle_for(transfer.request)
        try:
            handle.prepare(transfer.request, seconds)
        except (pycurl.error, UnicodeEncodeError, ValueError) as error:
            handle.close()
            code = int(error.args[0]) if isinstance(error, pycurl.error) else -1
            self._deliver(transfer, failure(code, str(error), transfer.request, sent=False))
            return
        transfer.handle = handle
        self._flying[handle.curl] = transfer
        self._multi.add_handle(handle.curl)

    def _handle_for(self, request: Request) -> Handle:
        handle = self._idle.pop(id(request), None)
        if handle is None and len(self._idle) >= _IDLE_HANDLES:
            handle = self._idle.pop(next(iter(self._idle)))
        return handle or Handle(self._trusted, self._on_new_socket)

    def _on_new_socket(self, descriptor: int, purpose: int) -> int:  # noqa: ARG002 - libcurl's signature
        """Forget what was known of an earlier socket of the same number; the kernel forgot it when it was closed."""
        self._watched.pop(descriptor, None)
        self._parked.discard(descriptor)
        return pycurl.SOCKOPT_OK

    def _on_socket(self, what: int, descriptor: int, multi: Any, data: Any) -> None:  # noqa: ARG002 - libcurl's signature
        """Watch a socket for libcurl, in an epoll of our own: the event loop's readers cost several times as much.

        A socket that libcurl wants no more is only parked, for it nearly always wants it again for the next poll.
        """
        if what == pycurl.POLL_REMOVE:
            self._parked.add(descriptor)
            return
        self._parked.discard(descriptor)
        events = _EVENTS[what]
        known = self._watched.get(descriptor)
        if known == events:
            return
        if known is None:
            self._epoll.register(descriptor, events)
        else:
            self._epoll.modify(descriptor, events)
        self._watched[descriptor] = events

    def _on_ready(self) -> None:
        """Hand every ready socket to libcurl, then take what has ended."""
        act = self._multi.socket_action
        for descriptor, events in self._epoll.poll(0, _MOST_EVENTS):
            if descriptor in self._parked:
                # An idle connection that the server has closed: libcurl finds out when it wants it again.
                self._parked.discard(descriptor)
                self._watched.pop(descriptor, None)
                with suppress(OSError):
                    self._epoll.unregister(descriptor)
            else:
                act(descriptor, _ACTIONS.get(events, pycurl.CSELECT_ERR))
        self._collect()

    def _on_timer(self, milliseconds: int) -> None:
        """Note when libcurl wants to be called. It may not be called from here, and asks very often for "at once"."""
        if milliseconds == 0:
            self._deadline = None
            if self._kick is None:
                self._kick = self._loop.call_soon(self._on_kick)
        elif milliseconds < 0:
            self._deadline = None
        else:
            self._deadline = self._loop.time() + milliseconds / 1000
            # A timer that is set already and comes earlier sets itself anew.
            if self._timer is None or self._timer.when() > self._deadline:
                self._set_timer(self._deadline)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_time)

    def _on_kick(self) -> None:
        self._kick = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _on_time(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time() + _EARLY:
            self._set_timer(self._deadline)
            return
        self._deadline = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _collect(self) -> None:
        """Take every exchange that has ended."""
        while True:
            queued, good, bad = self._multi.info_read()
            for curl in good:
                self._finish(curl)
            for curl, code, said in bad:
                self._fail(curl, code, said)
            if not queued:
                return

    def _cut(self, transfer: _Transfer) -> None:
        """End an exchange that nobody waits for any more: cut its connection, or take it out of the queue."""
        if transfer.timer is not None:
            transfer.timer.cancel()
        if transfer.handle is not None:
            handle = transfer.handle
            self._land(transfer)
            handle.close()
        elif transfer in self._queue:
            self._queue.remove(transfer)

    def _land(self, transfer: _Transfer) -> None:
        if transfer.handle is not None:
            del self._flying[transfer.handle.curl]
            self._multi.remove_handle(transfer.handle.curl)
            transfer.handle = None

    def _start_waiting(self) -> None:
        while self._queue and len(self._flying) < self._most:
            transfer = self._queue.popleft()
            if transfer.timer is not None:
                transfer.timer.cancel()
                transfer.timer = None
            if not transfer.future.done():
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
        outcome: Response | FetchError | None
        following: Request | None = None
        try:
            outcome = handle.response(monotonic() - transfer.started, transfer.followed)
            following = follow(transfer.request, outcome, followed=transfer.followed)
        except FetchError as error:
            outcome = error
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
        if transfer.future.done():
            return
        if isinstance(outcome, FetchError):
            # An earlier hop of a redirect has seen the request, wherever the last one failed.
            outcome.sent = outcome.sent or transfer.followed > 0
            transfer.future.set_exception(outcome)
        else:
            transfer.future.set_result(outcome)
