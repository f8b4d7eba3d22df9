"""Owns one easy handle of libcurl: set up for a request, filled by its response, kept for the next one.

Which handle gets which exchange, and when, is `curl`'s; what libcurl is told of a request is `setting`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import pycurl

from headwater.core.errors import FetchError
from headwater.core.http import Headers, Request, Response, Transport
from headwater.core.limits import file_left
from headwater.fetch.failure import TOO_LARGE, Ending, failure, swelling, too_large, without_files
from headwater.fetch.guard import refused
from headwater.fetch.head import read_head
from headwater.fetch.intake import Intake, Opening
from headwater.fetch.setting import NOTHING, Arranged, Surroundings, apply, separate

_BROKEN = frozenset({pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING, pycurl.E_HTTP2})
_UNCONNECTED = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY})
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})

# Called with the descriptor and the purpose of a new socket; returns pycurl.SOCKOPT_OK.
NewSocket = Callable[[int, int], int]


class Handle:
    """An easy handle. `size` counts the bytes of the body so far, after decompression.

    `on_socket` hears of each new socket. `shared` is what others must have in common to share its connections;
    `arranged` is what it was set up with; `intake` is where a body goes that is not just gathered. `plain`: its request
    carries no cookies of a jar, and its body is just gathered.
    """

    __slots__ = (
        "_around",
        "_cookie",
        "_head",
        "_lines",
        "_most",
        "_on_socket",
        "_seconds",
        "_size",
        "arranged",
        "body",
        "curl",
        "headers",
        "intake",
        "plain",
        "request",
        "shared",
    )

    def __init__(self, around: Surroundings, on_socket: NewSocket) -> None:
        self._around = around
        self._on_socket = on_socket
        self._seconds = 0.0
        self._cookie = ""
        # The lines before the body of the last response, and what they say.
        self._lines: list[bytes] = []
        self._head: tuple[int, str, Headers] = (0, "", ())
        self._size = 0
        self._most = 0
        self.plain = True
        self.curl = pycurl.Curl()
        self.request: Request | None = None
        self.shared: Transport | None = None
        self.arranged: Arranged = NOTHING
        self.intake: Intake | None = None
        self.headers: list[bytes] = []
        self.body: list[bytes] = []

    @property
    def size(self) -> int:
        """How many bytes of the body have come."""
        return self._size if self.intake is None else self.intake.size

    def prepare(self, request: Request, seconds: float) -> None:
        """Set the handle up for a request that may take so long.

        The request it was set up for before costs nothing: polls of one connector differ only in their answers. Raises
        FetchError for what may not or cannot be sent, pycurl.error, UnicodeEncodeError or ValueError.
        """
        self.headers.clear()
        self.body.clear()
        self._size = 0
        if request is not self.request:
            self.request = None
            self._configure(request)
            self.request = request
        elif self.arranged.guard is not None:
            self.arranged.guard.begin()
        if seconds != self._seconds:
            self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(seconds * 1000)))
            self._seconds = seconds

    def _configure(self, request: Request) -> None:
        setopt = self.curl.setopt
        self.curl.reset()
        self._seconds = 0.0
        self._cookie = ""
        self.intake = None
        self.arranged = apply(self.curl, request, self._around)
        self.shared = separate(request.transport)
        self.plain = not request.transport.cookies and request.open is None and request.idle_timeout is None
        self._most = request.max_body
        # libcurl itself bounds the bytes of all headers, so the lines may gather without a look at each.
        setopt(pycurl.HEADERFUNCTION, self.headers.append)
        setopt(pycurl.WRITEFUNCTION, self._take_body)
        setopt(pycurl.SOCKOPTFUNCTION, self._on_socket)
        if request.permit is not None:
            setopt(pycurl.PREREQFUNCTION, self._may_send)

    def carry(self, cookies: str) -> None:
        """Send cookies of a jar with the request, besides those of its own."""
        cookie = "; ".join(filter(None, (self.arranged.cookie, cookies)))
        if cookie and cookie != self._cookie:
            # As bytes: pycurl takes ASCII alone as a text, and a server may set anything.
            self.curl.setopt(pycurl.COOKIE, cookie.encode())
        elif self._cookie and not cookie:
            self.curl.unsetopt(pycurl.COOKIE)
        self._cookie = cookie

    def attend(self, opening: Opening) -> Intake:
        """Give the body to what `opening` returns while it arrives. To be called for each such exchange."""
        assert self.request is not None
        self.intake = intake = Intake(self.request, self.headers, self.body, opening)
        self.curl.setopt(pycurl.HEADERFUNCTION, intake.line)
        self.curl.setopt(pycurl.WRITEFUNCTION, intake.chunk)
        return intake

    def open_empty(self) -> None:
        """Ask for the sink of a response that has no body. Raises what it is refused with."""
        intake = self.intake
        if intake is not None and not intake.opened and not intake.open() and intake.error is not None:
            raise intake.error

    def forget_head(self) -> None:
        """Give back the memory of the lines that came so far. What they say must have been taken out."""
        self.headers.clear()
        self._lines = []

    def _may_send(self, *_: object) -> int:
        """Ask for leave: between the beginning of the exchange and this moment the process may have stood still."""
        assert self.request is not None
        assert self.request.permit is not None
        return pycurl.PREREQFUNC_OK if self.request.permit() else pycurl.PREREQFUNC_ABORT

    def _take_body(self, chunk: bytes) -> int | None:
        self._size += len(chunk)
        if self._size > self._most:
            self.body.clear()
            return -1
        self.body.append(chunk)
        return None

    def response(self, elapsed: float, redirects: int, *, under_way: bool = False) -> Response:
        """Return the response that has come in, or its head while the body is under way.

        Raises ProtocolError when it makes no sense.
        """
        request = self.request
        assert request is not None
        if self.headers != self._lines or not self.headers:
            self._head = read_head(self.headers, request)
            self._lines = self.headers.copy()
        status, version, headers = self._head
        return Response(
            status,
            version,
            headers,
            self.body[0] if len(self.body) == 1 else b"".join(self.body),
            request.url,
            elapsed,
            # From within a callback of libcurl it cannot be asked.
            0 if under_way else self.curl.getinfo(pycurl.SIZE_DOWNLOAD_T),
            redirects,
        )

    def error(self, code: int, said: str) -> FetchError:
        """Return what a transfer that ended with libcurl's code and words came to."""
        request, curl = self.request, self.curl
        assert request is not None
        if self.intake is not None and self.intake.error is not None:
            return self.intake.error
        guard = self.arranged.guard
        if guard is not None and guard.refusal is not None and not guard.opened:
            return refused(request, guard.refusal)
        if code in _UNCONNECTED and not file_left():
            # libcurl does not say that this is why.
            return without_files(request)
        if code == pycurl.E_WRITE_ERROR and self.size > request.max_body and (not self.intake or self.intake.bounded):
            return too_large(request)
        if code == TOO_LARGE and self.intake is not None and self.intake.opened:
            return swelling(request)
        sent = curl.getinfo(pycurl.REQUEST_SIZE) > 0
        proxy = self.arranged.proxy
        if not proxy:
            return failure(request, Ending(code, said, sent))
        answered, refusal = curl.getinfo(pycurl.HTTP_CONNECTCODE), curl.getinfo(pycurl.PROXY_ERROR)
        return failure(request, Ending(code, said, sent, proxy, answered, refusal))

    def stale(self, code: int) -> bool:
        """Return whether a failed transfer has only found a kept connection dead, and may go out again on another.

        libcurl does that by itself, but not for every way in which a server goes away, above all not with HTTP/2.
        """
        assert self.request is not None
        return (
            code in _BROKEN
            and not self.headers
            and self.request.method in _REPEATABLE
            and self.curl.getinfo(pycurl.NUM_CONNECTS) == 0
        )

    def close(self) -> None:
        """Free the handle."""
        self.curl.close()
