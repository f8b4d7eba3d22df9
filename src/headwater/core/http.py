"""Owns a request and its response as values, and the protocol of whatever performs them. Does no network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from headwater.core.callback import Cancellable
from headwater.core.errors import FetchError

# What stays in a URL as it is (RFC 3986), the sign of what is encoded already included.
_URL = "!#$%&'()*+,/:;=?@[]~"

Headers = tuple[tuple[str, str], ...]


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, complete: whoever performs it adds only Host, Accept-Encoding and what framing needs.

    `url` is absolute, http or https, already percent-encoded, and may hold secrets: never log it, log `shown_url`.
    `headers` hold real values, in the order they are sent; `secret_headers` names (lower case) those that must not
    cross to another origin in a redirect. Times are seconds. `max_body` is bytes after decompression. `permit` is asked
    when the connection is there, right before anything is sent over it; without leave nothing is, and the exchange
    fails.
    """

    method: str
    url: str
    shown_url: str
    headers: Headers = ()
    body: bytes | None = None
    secret_headers: frozenset[str] = frozenset()
    connect_timeout: float = 10.0
    total_timeout: float = 30.0
    max_body: int = 64 * 1024 * 1024
    max_redirects: int = 10
    permit: Callable[[], bool] | None = None


class Response(msgspec.Struct, frozen=True, gc=False):
    """One whole HTTP response.

    `version` is `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0` or `HTTP/3.0`. `headers` are those of the last response, names in
    lower case, values decoded as UTF-8 or else Latin-1, in the order received, repeats kept. `body` is after
    decompression. `url` is where the last redirect led (it may hold secrets). `elapsed` is seconds; `received` counts
    the bytes of the body on the wire.
    """

    status: int
    version: str
    headers: Headers
    body: bytes
    url: str
    elapsed: float
    received: int
    redirects: int = 0

    def header(self, name: str) -> str | None:
        """Return the last value of the header `name` (lower case), or None."""
        value = None
        for key, candidate in self.headers:
            if key == name:
                value = candidate
        return value


# What is called once with what an exchange came to: the whole response, whatever its status, or a FetchError.
Deliver = Callable[[Response | FetchError], None]


class Fetcher(Protocol):
    """Whatever performs exchanges. The engine knows only this."""

    def begin(self, request: Request, deliver: Deliver) -> Cancellable:
        """Begin one exchange, redirects included, and call `deliver` with the outcome: later, never from within.

        It calls in the event loop, and must not raise. Cancelling what is returned cuts the connection. Nothing hangs:
        `total_timeout` bounds it.
        """
        ...


def ascii_url(url: str) -> str:
    """Return a URL as it goes over the wire: IDNA for the host, and what is no URL character percent-encoded.

    What is encoded already stays. Raises ValueError for a host that has no such form.
    """
    parts = urlsplit(url)
    netloc = parts.netloc
    if not netloc.isascii():
        user, at, place = netloc.rpartition("@")
        host, colon, port = place.partition(":")
        netloc = f"{quote(user, safe=_URL)}{at}{host.encode('idna').decode('ascii')}{colon}{port}"
    return urlunsplit(
        (
            parts.scheme,
            netloc,
            quote(parts.path, safe=_URL),
            quote(parts.query, safe=_URL),
            quote(parts.fragment, safe=_URL),
        )
    )
