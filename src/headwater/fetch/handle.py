"""Owns one easy handle of libcurl: set up for a request, filled by its response, kept for the next one.

Which handle gets which exchange, and when, is `curl`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import pycurl

from headwater.core.errors import ProtocolError
from headwater.core.http import Headers, Request, Response

_MOST_HEADERS = 1000
_VERSIONS = {b"HTTP/1.1": "HTTP/1.1", b"HTTP/1.0": "HTTP/1.0", b"HTTP/2": "HTTP/2.0", b"HTTP/3": "HTTP/3.0"}
# Header lines repeat from answer to answer: so many are remembered with what they say, if they are no longer than this.
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 4096, 200

# Called with the descriptor and the purpose of a new socket; returns pycurl.SOCKOPT_OK.
NewSocket = Callable[[int, int], int]

_remembered: dict[bytes, tuple[str, str]] = {}


class Handle:
    """An easy handle. `size` counts the bytes of the body so far, after decompression.

    `trusted` is the file of certificate authorities; `on_socket` hears of each new socket; `proxies` is whether the
    environment names any.
    """

    __slots__ = (
        "_head",
        "_lines",
        "_on_socket",
        "_proxies",
        "_seconds",
        "_trusted",
        "body",
        "curl",
        "headers",
        "request",
        "size",
    )

    def __init__(self, trusted: str, on_socket: NewSocket, *, proxies: bool = True) -> None:
        self._trusted = trusted
        self._proxies = proxies
        self._on_socket = on_socket
        self._seconds = 0.0
        # The lines before the body of the last response, and what they say.
        self._lines: list[bytes] = []
        self._head: tuple[int, str, Headers] = (0, "", ())
        self.curl = pycurl.Curl()
        self.request: Request | None = None
        self.headers: list[bytes] = []
        self.body: list[bytes] = []
        self.size = 0

    def prepare(self, request: Request, seconds: float) -> None:
        """Set the handle up for a request that may take so long. Raises pycurl.error or UnicodeEncodeError.

        The request it was set up for before costs nothing: polls of one connector differ only in their answers.
        """
        self.headers.clear()
        self.body.clear()
        self.size = 0
        if request is not self.request:
            self.request = None
            self._configure(request)
            self.request = request
        if seconds != self._seconds:
            self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(seconds * 1000)))
            self._seconds = seconds

    def _configure(self, request: Request) -> None:
        setopt = self.curl.setopt
        self.curl.reset()
        self._seconds = 0.0
        setopt(pycurl.URL, request.url)
        setopt(pycurl.NOSIGNAL, 1)
        setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        setopt(pycurl.FOLLOWLOCATION, 0)
        setopt(pycurl.ACCEPT_ENCODING, "")
        setopt(pycurl.TCP_KEEPALIVE, 1)
        setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(request.connect_timeout * 1000)))
        if not self._proxies:
            # Otherwise libcurl looks for them in the environment, six names for each exchange.
            setopt(pycurl.PROXY, "")
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
        # libcurl itself bounds the bytes of all headers, so the lines may gather without a look at each.
        setopt(pycurl.HEADERFUNCTION, self.headers.append)
        setopt(pycurl.WRITEFUNCTION, self._take_body)
        setopt(pycurl.SOCKOPTFUNCTION, self._on_socket)
        if request.permit is not None:
            setopt(pycurl.PREREQFUNCTION, self._may_send)

    def _may_send(self, *_: object) -> int:
        """Ask for leave: between the beginning of the exchange and this moment the process may have stood still."""
        assert self.request is not None
        assert self.request.permit is not None
        return pycurl.PREREQFUNC_OK if self.request.permit() else pycurl.PREREQFUNC_ABORT

    def _take_body(self, chunk: bytes) -> int:
        self.size += len(chunk)
        assert self.request is not None
        if self.size > self.request.max_body:
            self.body.clear()
            return -1
        self.body.append(chunk)
        return len(chunk)

    def response(self, elapsed: float, redirects: int) -> Response:
        """Return the response that has come in. Raises ProtocolError when it makes no sense."""
        request = self.request
        assert request is not None
        if self.headers != self._lines or not self.headers:
            self._head = self._read_head(request)
            self._lines = self.headers.copy()
        status, version, headers = self._head
        return Response(
            status,
            version,
            headers,
            self.body[0] if len(self.body) == 1 else b"".join(self.body),
            request.url,
            elapsed,
            int(self.curl.getinfo(pycurl.SIZE_DOWNLOAD_T)),
            redirects,
        )

    def _read_head(self, request: Request) -> tuple[int, str, Headers]:
        """Return status, version and headers."""
        lines = self.headers
        if not lines:
            raise ProtocolError(f"{request.method} {request.shown_url}: the answer has no status line")
        first = 0
        version, _, rest = lines[0].partition(b" ")
        while rest[:1] == b"1":
            # A 1xx response; the next status line begins another.
            first = next((index for index in range(first + 1, len(lines)) if lines[index][:5] == b"HTTP/"), -1)
            if first < 0:
                raise ProtocolError(f"{request.method} {request.shown_url}: only 1xx responses came")
            version, _, rest = lines[first].partition(b" ")
        if len(lines) > _MOST_HEADERS:
            raise ProtocolError(f"{request.method} {request.shown_url}: the answer has {len(lines)} headers")
        if not rest[:3].isdigit():
            raise ProtocolError(f"{request.method} {request.shown_url}: the status line makes no sense")
        return int(rest[:3]), _VERSIONS.get(version) or version.decode("latin-1"), parse_headers(lines[first + 1 :])

    def close(self) -> None:
        """Free the handle."""
        self.curl.close()


def parse_headers(lines: list[bytes]) -> Headers:
    """Turn raw header lines into pairs: names in lower case, values as UTF-8 or else Latin-1; folded lines joined."""
    headers: list[tuple[str, str]] = []
    for line in lines:
        known = _remembered.get(line)
        if known is not None:
            headers.append(known)
            continue
        text = line.strip(b"\r\n")
        if not text:
            continue
        if text[:1] in b" \t" and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {_text(text.strip())}")
            continue
        raw, _, rest = text.partition(b":")
        pair = (raw.strip().decode("latin-1").lower(), _text(rest.strip()))
        headers.append(pair)
        if len(line) <= _LONGEST_REMEMBERED:
            if len(_remembered) >= _MOST_REMEMBERED:
                _remembered.clear()
            _remembered[line] = pair
    return tuple(headers)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
