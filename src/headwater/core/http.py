"""Owns a request and its response as values, and the protocol of whatever performs them. Does no network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from headwater.core.callback import Cancellable
from headwater.core.egress import Policy
from headwater.core.errors import FetchError

# What stays in a URL as it is (RFC 3986), the sign of what is encoded already included.
_URL = "!#$%&'()*+,/:;=?@[]~"

Headers = tuple[tuple[str, str], ...]


HttpVersion = Literal["auto", "1.0", "1.1", "2", "2-prior-knowledge", "3", "3-only"]
TlsVersion = Literal["1.0", "1.1", "1.2", "1.3"]


class Login(msgspec.Struct, frozen=True):
    """A login that whoever performs the request carries out itself, in each request or with the server's challenge.

    `basic` and `digest` have a user and a password; `bearer` has its token in `password`. `negotiate` is Kerberos: with
    an empty user the credentials of the environment's cache. `sigv4` signs with the access key `user` and the secret
    key `password`; `scope` is `provider1:provider2:region:service`, such as `aws:amz:eu-central-1:es`, and
    `session_token` is sent, and signed, when there is one. It holds secrets: it is never shown.
    """

    kind: Literal["basic", "digest", "negotiate", "bearer", "sigv4"]
    user: str = ""
    password: str = ""
    scope: str = ""
    session_token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.kind!r}, ***)"


class Transport(msgspec.Struct, frozen=True):
    """How the requests of a connector travel. One value is shared by all of them.

    `proxy` is a URL, empty for none whatever the environment says, and None for the environment's. `no_proxy` are the
    hosts that are asked without one; None leaves it to the environment. `unix_socket` is a path. Of TLS: `ca_file` is
    trusted instead of the usual authorities; `server_name` is the name that the server is asked for and whose
    certificate it must have, instead of the URL's. `cookies` names the jar that cookies are kept in, empty for none;
    requests with the same name share it. `egress` is where connections may go, beside what whoever performs the
    request allows. Requests share connections only if their transports are alike in all but cookies, and have logins
    that no connection remembers. It holds secrets: it is never shown.
    """

    http_version: HttpVersion = "auto"
    proxy: str | None = None
    no_proxy: tuple[str, ...] | None = None
    unix_socket: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    key_password: str = ""
    min_version: TlsVersion = "1.2"
    verify: bool = True
    server_name: str = ""
    cookies: str = ""
    egress: Policy | None = None
    login: Login | None = None

    def __repr__(self) -> str:
        return "Transport(***)"


USUAL = Transport()


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, complete: whoever performs it adds only Host, Accept-Encoding and what framing needs.

    `url` is absolute, http or https, already percent-encoded, and may hold secrets: never log it, log `shown_url`.
    `headers` hold real values, in the order they are sent; `secret_headers` names (lower case) those that must not
    cross to another origin in a redirect, `secret_params` the parameters of the URL that must not. Times are seconds.
    `max_body` is bytes after decompression. `permit` is asked when the connection is there, right before anything is
    sent over it; without leave nothing is, and the exchange fails.

    `open` takes the body of the final response while it arrives: see `Opener`. With `idle_timeout` the head must have
    come within `total_timeout`, and then no more than `idle_timeout` may pass without a byte of the body; time in which
    a sink holds the transfer back does not count.

    A `stream` has a body without an end: `total_timeout` bounds the head, and a body that no sink takes in, as
    `max_body` does only that. Without an `idle_timeout` only the kernel finds out that the other side is gone, within
    about a minute. With `upgrade`, for streams alone, the headers ask for another protocol (RFC 9110, section 7.8), and
    a 101 is the final response: its body is what comes over the connection from then on, and `Fetching.send` is the
    other way. Any other status is a response as usual.
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
    transport: Transport = USUAL
    secret_params: frozenset[str] = frozenset()
    open: Opener | None = None
    idle_timeout: float | None = None
    stream: bool = False
    upgrade: bool = False


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


class Sink(Protocol):
    """Whatever takes a body in while it arrives."""

    def write(self, chunk: bytes) -> bool:
        """Take the next bytes of the body, decompressed; return False to have no more until `Fetching.resume`.

        It is called in the event loop, and is not called again after the exchange is cancelled or has been delivered.
        A FetchError that it raises ends the exchange and is what is delivered.
        """
        ...


# Called in the event loop when the head of the final response is there, its `body` still empty: not for a redirect that
# is followed. It returns what takes the body in, or None to have it gathered in the response as usual. With a sink,
# what is delivered in the end has an empty body. A FetchError that it raises ends the exchange.
Opener = Callable[["Response"], "Sink | None"]


class Fetching(Cancellable, Protocol):
    """An exchange under way: it can be cut, a sink's pause ended, and something sent where the protocol was changed."""

    def resume(self) -> None:
        """Let the body go on after `Sink.write` returned False. Otherwise, and when it is over, nothing happens.

        No bytes come from within the call.
        """
        ...

    def send(self, data: bytes) -> None:
        """Send bytes over a connection that changes its protocol: once its 101 has come, in the order of the calls.

        It may be called from within `Sink.write` and `Request.open` too, and never waits. What the other side does not
        take in is kept, up to 16 MiB; beyond that the exchange fails. Cancelling drops what is `unsent`. Of an exchange
        without `Request.upgrade`, and when it is over, nothing is sent.
        """
        ...

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent, beside those that the kernel has."""
        ...


class Fetcher(Protocol):
    """Whatever performs exchanges. The engine knows only this."""

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
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
