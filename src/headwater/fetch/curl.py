"""Owns the exchange of HTTP requests over libcurl's multi-socket interface. Only here are pycurl's handles known.

What a redirect becomes and what an error means is decided in `redirect` and `failure`.
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

from headwater.core.errors import BodyTooLargeError, ConnectTimeoutError, FetchError, ProtocolError
from headwater.core.http import Headers, Request, Response
from headwater.core.units import format_size
from headwater.fetch.failure import failure
from headwater.fetch.limits import raise_file_limit
from headwater.fetch.redirect import follow
from headwater.fetch.trust import ca_bundle

# Exchanges at once, unless said otherwise; each needs a file descriptor, and half of those are left to others.
_MOST_IN_FLIGHT = 4096
_MOST_HEADERS = 1000
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
_VERSIONS = {b"HTTP/2": "HTTP/2.0", b"HTTP/3": "HTTP/3.0"}


class _Transfer:
    """One exchange under way: a chain of requests, of which `request` is the present one."""

    __slots__ = ("body", "curl", "followed", "future", "headers", "received", "request", "size", "started", "timer")

    def __init__(self, request: Request, future: asyncio.Future[Response], started: float) -> None:
        self.request = request
        self.future = future
        self.started = started
        self.followed = 0
        self.received = 0
        self.curl: pycurl.Curl | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.headers: list[bytes] = []
        self.body: list[bytes] = []
        self.size = 0

    def begin(self) -> None:
        self.headers = []
        self.body = []
        self.size = 0

    def take_header(self, line: bytes) -> int:
        if line.startswith(b"HTTP/"):
            # The head of another response: what came before was 1xx.
            self.headers = []
        elif len(self.headers) >= _MOST_HEADERS:
            return -1
        self.headers.append(line)
        return len(line)

    def take_body(self, chunk: bytes) -> int:
        self.size += len(chunk)
        if self.size > self.request.max_body:
            self.body = []
            return -1
        self.body.append(chunk)
        return len(chunk)


class CurlFetcher:
    """Performs exchanges over libcurl in the running event loop. Use `async with CurlFetcher() as fetcher`.

    `most_in_flight` bounds the exchanges at once; further ones wait their turn within their own total time-out.
    """

    def __init__(self, *, most_in_flight: int | None = None, trusted: str | None = None) -> None:
        self._most = most_in_flight or max(16, min(_MOST_IN_FLIGHT, raise_file_limit() // 2))
        self._trusted = trusted or ca_bundle()
        self._flying: dict[pycurl.Curl, _Transfer] = {}
        self._queue: deque[_Transfer] = deque()
        self._idle: list[pycurl.Curl] = []
        self._watched: dict[int, int] = {}
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
            transfer.future.cancel()
        # The cancellations take effect in callbacks of the loop.
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._kick is not None:
            self._kick.cancel()
            self._kick = None
        for curl in self._idle:
            curl.close()
        self._idle.clear()
        self._multi.close()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def fetch(self, request: Request) -> asyncio.Future[Response]:
        """Perform one exchange. See `headwater.core.http.Fetcher`."""
        future: asyncio.Future[Response] = self._loop.create_future()
        transfer = _Transfer(request, future, monotonic())
        future.add_done_callback(lambda done: self._on_done(transfer) if done.cancelled() else None)
        if len(self._flying) >= self._most:
            transfer.timer = self._loop.call_later(request.total_timeout, self._waited_too_long, transfer)
            self._queue.append(transfer)
        else:
            self._start(transfer)
        return future

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

    def _start(self, transfer: _Transfer) -> None:
        curl = self._idle.pop() if self._idle else pycurl.Curl()
        transfer.curl = curl
        transfer.begin()
        try:
            self._configure(curl, transfer)
        except (pycurl.error, UnicodeEncodeError, ValueError) as error:
            curl.close()
            transfer.curl = None
            if not transfer.future.done():
                code = int(error.args[0]) if isinstance(error, pycurl.error) else -1
                transfer.future.set_exception(failure(code, str(error), transfer.request, sent=False))
            return
        self._flying[curl] = transfer
        self._multi.add_handle(curl)

    def _configure(self, curl: pycurl.Curl, transfer: _Transfer) -> None:
        request = transfer.request
        setopt = curl.setopt
        curl.reset()
        setopt(pycurl.URL, request.url)
        setopt(pycurl.NOSIGNAL, 1)
        setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        setopt(pycurl.FOLLOWLOCATION, 0)
        setopt(pycurl.ACCEPT_ENCODING, "")
        setopt(pycurl.TCP_KEEPALIVE, 1)
        setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(request.connect_timeout * 1000)))
        left = request.total_timeout - (monotonic() - transfer.started)
        setopt(pycurl.TIMEOUT_MS, max(1, int(left * 1000)))
        if request.url[:5].lower() == "https":
            setopt(pycurl.CAINFO, self._trusted)
        headers = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers]
        if request.body is not None:
            setopt(pycurl.POSTFIELDS, request.body)
            # Without these libcurl would add a form's content type, and wait for "100 Continue".
            if not any(name.lower() == "content-type" for name, _ in request.headers):
                headers.append("Content-Type:")
            headers.append("Expect:")
        if request.method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        elif request.method != "GET" or request.body is not None:
            setopt(pycurl.CUSTOMREQUEST, request.method)
        setopt(pycurl.HTTPHEADER, headers)
        setopt(pycurl.HEADERFUNCTION, transfer.take_header)
        setopt(pycurl.WRITEFUNCTION, transfer.take_body)

    def _on_socket(self, what: int, descriptor: int, multi: Any, data: Any) -> None:  # noqa: ARG002 - libcurl's signature
        """Watch a socket for libcurl, in an epoll of our own: the event loop's readers cost several times as much."""
        if what == pycurl.POLL_REMOVE:
            if self._watched.pop(descriptor, None) is not None:
                # libcurl may have closed it already, and the kernel then knows nothing of it any more.
                with suppress(OSError):
                    self._epoll.unregister(descriptor)
            return
        events = _EVENTS[what]
        if descriptor not in self._watched:
            self._epoll.register(descriptor, events)
        elif self._watched[descriptor] != events:
            self._epoll.modify(descriptor, events)
        self._watched[descriptor] = events

    def _on_ready(self) -> None:
        """Hand every ready socket to libcurl, then take what has ended."""
        act = self._multi.socket_action
        for descriptor, events in self._epoll.poll(0, _MOST_EVENTS):
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

    def _on_done(self, transfer: _Transfer) -> None:
        """Clean up after a cancelled exchange: cut its connection, or take it out of the queue."""
        if transfer.timer is not None:
            transfer.timer.cancel()
        if transfer.curl is not None:
            curl = transfer.curl
            self._land(transfer)
            curl.close()
        elif transfer in self._queue:
            self._queue.remove(transfer)
        self._start_waiting()

    def _land(self, transfer: _Transfer) -> None:
        if transfer.curl is not None:
            del self._flying[transfer.curl]
            self._multi.remove_handle(transfer.curl)
            transfer.curl = None

    def _start_waiting(self) -> None:
        while self._queue and len(self._flying) < self._most:
            transfer = self._queue.popleft()
            if transfer.timer is not None:
                transfer.timer.cancel()
                transfer.timer = None
            if not transfer.future.done():
                self._start(transfer)

    def _keep(self, curl: pycurl.Curl) -> None:
        if len(self._idle) < _IDLE_HANDLES:
            self._idle.append(curl)
        else:
            curl.close()

    def _finish(self, curl: pycurl.Curl) -> None:
        transfer = self._flying[curl]
        received = int(curl.getinfo(pycurl.SIZE_DOWNLOAD_T))
        self._land(transfer)
        self._keep(curl)
        outcome: Response | FetchError | None
        following: Request | None = None
        try:
            outcome = self._response(transfer, received)
            following = follow(transfer.request, outcome, followed=transfer.followed)
        except FetchError as error:
            outcome = error
        if following is not None:
            transfer.request = following
            transfer.followed += 1
            self._start(transfer)
        else:
            self._deliver(transfer, outcome)
        self._start_waiting()

    def _fail(self, curl: pycurl.Curl, code: int, said: str) -> None:
        transfer = self._flying[curl]
        sent = curl.getinfo(pycurl.REQUEST_SIZE) > 0
        self._land(transfer)
        curl.close()
        request = transfer.request
        if code == pycurl.E_WRITE_ERROR and transfer.size > request.max_body:
            error: FetchError = BodyTooLargeError(
                f"{request.method} {request.shown_url}: the body is larger than "
                f"{format_size(request.max_body)} and was cut",
                hint="raise `max_body` if such bodies are right",
            )
        else:
            error = failure(code, said, request, sent=sent)
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

    def _response(self, transfer: _Transfer, received: int) -> Response:
        request = transfer.request
        if not transfer.headers:
            raise ProtocolError(f"{request.method} {request.shown_url}: the answer has no status line")
        version, _, rest = transfer.headers[0].partition(b" ")
        status = rest[:3]
        if not status.isdigit():
            raise ProtocolError(f"{request.method} {request.shown_url}: the status line makes no sense")
        return Response(
            status=int(status),
            version=_VERSIONS.get(version) or version.decode("latin-1"),
            headers=parse_headers(transfer.headers[1:]),
            body=transfer.body[0] if len(transfer.body) == 1 else b"".join(transfer.body),
            url=request.url,
            elapsed=monotonic() - transfer.started,
            received=received,
            redirects=transfer.followed,
        )


def parse_headers(lines: list[bytes]) -> Headers:
    """Turn raw header lines into pairs: names in lower case, values as UTF-8 or else Latin-1; folded lines joined."""
    headers: list[tuple[str, str]] = []
    for line in lines:
        text = line.strip(b"\r\n")
        if not text:
            continue
        if text[:1] in b" \t" and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {_text(text.strip())}")
            continue
        raw, _, rest = text.partition(b":")
        headers.append((raw.strip().decode("latin-1").lower(), _text(rest.strip())))
    return tuple(headers)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
