"""Owns one exchange whose body has no end: its time, what is sent on it, redirects, cutting.

How many there are is `streams`'s, one request on one handle is `handle`'s, what comes in `intake`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, time

import msgspec
import pycurl

from headwater.core.cookies import Jar
from headwater.core.errors import FetchError, ProtocolError
from headwater.core.http import Deliver, Request, Response, Sink
from headwater.fetch.direct import Direct
from headwater.fetch.failure import PROXY_LOGIN, deaf, login_of_proxy, silent, unbegun
from headwater.fetch.handle import Handle, NewSocket
from headwater.fetch.intake import Intake
from headwater.fetch.lane import Lane
from headwater.fetch.lanes import Lanes
from headwater.fetch.outgoing import MOST_UNSENT, Outgoing, Way
from headwater.fetch.redirect import REDIRECTS, follow
from headwater.fetch.setting import Surroundings
from headwater.fetch.upload import Upload

_SWITCHED = 101
# A time-out of libcurl's that never comes, since time is kept here (seconds).
_NEVER = 10**6

# Returns the cookies that go with a request.
JarOf = Callable[[Request], Jar]


class Shared:
    """What all streams of a fetcher have in common, in the running event loop.

    `under_way` are all of them, `flying` those that have a connection or are getting one. `on_socket` is told of each
    new socket.
    """

    __slots__ = ("around", "flying", "jar", "lanes", "loop", "on_socket", "under_way")

    def __init__(self, around: Surroundings, jar: JarOf, on_socket: NewSocket, capacity: int) -> None:
        self.around = around
        self.jar = jar
        self.on_socket = on_socket
        self.loop = asyncio.get_running_loop()
        self.flying: dict[pycurl.Curl, Stream] = {}
        self.under_way: set[Stream] = set()
        self.lanes = Lanes(self._finish, self._fail, capacity)

    def _finish(self, curl: pycurl.Curl) -> None:
        self.flying[curl].finished()

    def _fail(self, curl: pycurl.Curl, code: int, said: str) -> None:
        self.flying[curl].failed(code, said)


class Stream:
    """One stream under way: a chain of requests, of which there is one at present.

    Whatever is asked of it from within a callback of libcurl's is done in the next turn of the event loop.
    """

    __slots__ = (
        "_deliver",
        "_ended",
        "_flushing",
        "_handle",
        "_head",
        "_intake",
        "_lane",
        "_outgoing",
        "_redirects",
        "_request",
        "_shared",
        "_started",
        "_waker",
        "_way",
    )

    def __init__(self, shared: Shared, request: Request, deliver: Deliver, refusal: FetchError | None) -> None:
        self._shared = shared
        self._request = request
        self._deliver = deliver
        self._started = monotonic()
        self._redirects = 0
        self._ended = False
        self._flushing = False
        self._handle: Handle | None = None
        self._intake: Intake | None = None
        self._lane: Lane | None = None
        # The final response, without its body, once that may come.
        self._head: Response | None = None
        self._outgoing = Outgoing() if request.upgrade else None
        self._way: Way | None = None
        shared.under_way.add(self)
        # What is to happen next without anybody's doing: its beginning, or the end of a time.
        self._waker: asyncio.Handle | None = (
            shared.loop.call_soon(self._start) if refusal is None else shared.loop.call_soon(self._end, refusal)
        )

    def cancel(self) -> None:
        """Cut it, unless it has ended."""
        if self._ended:
            return
        self._ended = True
        if self._intake is not None:
            self._intake.abandon()
        self._wake(None)
        self._shared.loop.call_soon(self.cut)

    def resume(self) -> None:
        """Let the body go on that its sink holds back."""
        if not self._ended and self._intake is not None and self._intake.wants_more():
            self._shared.loop.call_soon(self._unpause)

    def send(self, data: bytes) -> None:
        """Send bytes once the protocol has changed."""
        outgoing = self._outgoing
        if self._ended or outgoing is None or outgoing.over:
            return
        outgoing.append(data)
        if outgoing.unsent > MOST_UNSENT:
            self._shared.loop.call_soon(self._give_up, deaf(self._request, outgoing.unsent))
        elif outgoing.switched:
            self._flush_soon()

    @property
    def unsent(self) -> int:
        """Return how many bytes wait to be sent."""
        return 0 if self._ended or self._outgoing is None else self._outgoing.unsent

    def cut(self) -> None:
        """Close the connection and deliver nothing. Not for callbacks of libcurl's."""
        self._ended = True
        self._land()
        self._shared.under_way.discard(self)

    def finished(self) -> None:
        """Take what libcurl has brought to its end."""
        handle, request = self._handle, self._request
        assert handle is not None
        outcome: Response | FetchError
        following: Request | None = None
        try:
            if self._head is None and not self._ended:
                following = self._redirected(handle)
                if following is None:
                    handle.open_empty()
            outcome = self._whole(handle)
            if self._way is not None and self._way.broken is not None:
                outcome = handle.error(pycurl.E_SEND_ERROR, str(self._way.broken))
        except FetchError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a callback of libcurl: what escaped here would leave the waiter hanging
            outcome = ProtocolError(f"{request.method} {request.shown_url}: the answer cannot be read ({error!r})")
        self._land()
        if following is None or self._ended:
            self._end(outcome)
        else:
            self._request = following
            self._redirects += 1
            self._start()

    def failed(self, code: int, said: str) -> None:
        """Take that libcurl has failed, by its code and words."""
        handle, outgoing = self._handle, self._outgoing
        assert handle is not None
        if code == pycurl.E_GOT_NOTHING and outgoing is not None and outgoing.switched:
            # To libcurl a 101 without a byte behind it is no answer.
            self.finished()
            return
        self._give_up(handle.error(code, said))

    def _start(self) -> None:
        shared, request = self._shared, self._request
        handle = Handle(shared.around, shared.on_socket)
        try:
            handle.prepare(request, _NEVER)
            if request.transport.cookies:
                handle.carry(shared.jar(request).header(request.url, time()))
            self._intake = handle.attend(self._open)
            if self._outgoing is not None:
                self._outgoing.begin()
                self._way = (Direct if handle.arranged.bare else Upload)(self._outgoing, handle.curl)
            lane = shared.lanes.of(handle.shared)
        except (FetchError, pycurl.error, UnicodeEncodeError, OSError, ValueError) as error:
            handle.close()
            self._end(unbegun(request, error))
            return
        self._handle, self._lane = handle, lane
        left = request.total_timeout - (monotonic() - self._started)
        self._wake(shared.loop.call_later(left, self._check_time))
        shared.flying[handle.curl] = self
        lane.add(handle.curl)

    def _open(self) -> Sink | None:
        """Give the head of the final response to whoever takes the body in."""
        handle, request, outgoing = self._handle, self._request, self._outgoing
        assert handle is not None
        head = handle.response(monotonic() - self._started, self._redirects, under_way=True)
        self._take_cookies(head)
        if head.status == PROXY_LOGIN and handle.arranged.answers:
            raise login_of_proxy(request, handle.arranged.proxy)
        if outgoing is not None:
            outgoing.switched = head.status == _SWITCHED
            outgoing.over = not outgoing.switched
            self._flush_soon()
        self._head = head
        handle.forget_head()
        sink = None if request.open is None else request.open(head)
        if sink is not None and not self._ended:
            idle = request.idle_timeout
            self._wake(None if idle is None else self._shared.loop.call_later(idle, self._check_time))
        return sink

    def _take_cookies(self, response: Response) -> None:
        if self._request.transport.cookies:
            self._shared.jar(self._request).take(response.url, response.headers, time())

    def _redirected(self, handle: Handle) -> Request | None:
        """Return what a response that nobody was shown leads to. Raises what following it is refused with."""
        response = handle.response(0.0, 0, under_way=True)
        if response.status not in REDIRECTS:
            return None
        self._take_cookies(response)
        return follow(self._request, response, followed=self._redirects)

    def _whole(self, handle: Handle) -> Response:
        """Return the whole response, as far as no sink has its body."""
        elapsed = monotonic() - self._started
        if self._head is None:
            return handle.response(elapsed, self._redirects)
        received = int(handle.curl.getinfo(pycurl.SIZE_DOWNLOAD_T))
        return msgspec.structs.replace(self._head, body=b"".join(handle.body), elapsed=elapsed, received=received)

    def _check_time(self) -> None:
        """End a stream whose head, or refusal, has not come in time, or that has been silent for too long."""
        handle, intake, idle = self._handle, self._intake, self._request.idle_timeout
        assert handle is not None
        assert intake is not None
        if not intake.opened or intake.gathering or idle is None:
            self._give_up(handle.error(pycurl.E_OPERATION_TIMEDOUT, ""))
            return
        left = idle - (0 if intake.paused else monotonic() - intake.heard)
        if left > 0:
            self._waker = self._shared.loop.call_later(left, self._check_time)
        else:
            self._give_up(silent(self._request))

    def _flush_soon(self) -> None:
        """Send what there is: once for all that is to be sent in one turn of the event loop."""
        if not self._flushing:
            self._flushing = True
            self._shared.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        handle, intake, way = self._handle, self._intake, self._way
        if handle is None or intake is None or way is None:
            return
        try:
            way.flush(held=intake.paused)
        except pycurl.error as error:
            self._stopped(handle, error)
        self._call_soon()

    def _unpause(self) -> None:
        handle, intake = self._handle, self._intake
        if handle is not None and intake is not None and intake.goes_on():
            try:
                handle.curl.pause(pycurl.PAUSE_CONT)
            except pycurl.error as error:
                self._stopped(handle, error)
            self._call_soon()

    def _call_soon(self) -> None:
        """Have libcurl called, for a pause that ended may have left it something to do."""
        if self._lane is not None:
            self._lane.go_on()

    def _stopped(self, handle: Handle, error: pycurl.error) -> None:
        """Take that a transfer failed when a pause of it ended."""
        if self._handle is handle:
            self.failed(int(error.args[0]), str(error.args[-1]))

    def _give_up(self, error: FetchError) -> None:
        self._land()
        self._end(error)

    def _end(self, outcome: Response | FetchError) -> None:
        self._shared.under_way.discard(self)
        if self._ended:
            return
        self._ended = True
        self._wake(None)
        if self._redirects and isinstance(outcome, FetchError):
            # An earlier hop of a redirect has seen the request, wherever the last one failed.
            outcome.sent = True
        self._deliver(outcome)

    def _land(self) -> None:
        """Take it out of its lane and close its connection."""
        self._wake(None)
        handle, self._handle, self._intake = self._handle, None, None
        way, self._way = self._way, None
        if way is not None:
            way.close()
        if handle is not None and self._lane is not None:
            del self._shared.flying[handle.curl]
            self._lane.remove(handle.curl)
            handle.close()
            handle.intake = None

    def _wake(self, waker: asyncio.Handle | None) -> None:
        """Have this happen next instead of what was to happen."""
        if self._waker is not None:
            self._waker.cancel()
        self._waker = waker
