"""Owns how a request and its transport are said in the options of libcurl.

When a handle is set up, and what is heard on it, is `handle`'s.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
import pycurl

from headwater.core.egress import Policy
from headwater.core.errors import RequestError
from headwater.core.http import USUAL, HttpVersion, Login, Request, TlsVersion, Transport
from headwater.core.proxy import any_proxy, bypassed, exceptions_of, proxy_of_environment
from headwater.fetch.guard import Guard, check_host

# These have no names in pycurl.
_SUPPRESS_CONNECT_HEADERS = 265
_HAPPY_EYEBALLS_TIMEOUT_MS = 271
_HTTPAUTH_BEARER = 1 << 6
_HTTPAUTH_SIGV4 = 1 << 7
_TCP_KEEPCNT = 326
_VERSIONS: dict[HttpVersion, int] = {
    "1.0": pycurl.CURL_HTTP_VERSION_1_0,
    "1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "2": pycurl.CURL_HTTP_VERSION_2_0,
    "2-prior-knowledge": pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
    "3": pycurl.CURL_HTTP_VERSION_3,
    "3-only": pycurl.CURL_HTTP_VERSION_3ONLY,
}
_TLS: dict[TlsVersion, int] = {
    "1.0": pycurl.SSLVERSION_TLSv1_0,
    "1.1": pycurl.SSLVERSION_TLSv1_1,
    "1.2": pycurl.SSLVERSION_TLSv1_2,
    "1.3": pycurl.SSLVERSION_TLSv1_3,
}
_AUTH = {
    "basic": pycurl.HTTPAUTH_BASIC,
    "digest": pycurl.HTTPAUTH_DIGEST,
    "negotiate": pycurl.HTTPAUTH_NEGOTIATE,
    "bearer": _HTTPAUTH_BEARER,
}
# How long one address has over HTTP/3 before the next one is tried beside it; a quarter of it, and HTTP/2 is (ms).
_ALONE = 2000
# How much of a stream is read at once (bytes): two thirds of the processor time that libcurl's own 16 KiB take. All
# connections of a lane share one buffer, but each that is held back may keep so much.
_STREAM_BUFFER = 64 * 1024
# When the kernel asks whether the other side of a silent stream is still there, how often, and how many times (s).
_KEEP_IDLE, _KEEP_INTERVAL, _KEEP_COUNT = 20, 10, 3
_PORTS = {"http": 80, "https": 443}
_DEFAULT_PROXY_PORT = 1080


class Surroundings(msgspec.Struct, frozen=True):
    """What all requests of a fetcher have around them: whom it trusts, what the environment says, where it may go."""

    trusted: str
    environment: Mapping[str, str]
    egress: Policy
    proxies: bool

    @classmethod
    def of(cls, trusted: str, egress: Policy, environment: Mapping[str, str] = os.environ) -> Surroundings:
        """Return those of this process."""
        return cls(trusted, dict(environment), egress, any_proxy(environment))


class Arranged(msgspec.Struct, frozen=True):
    """What a handle was set up with. `proxy` is the URL of the one that is used; `cookie` is the request's own.

    `answers` is whether the proxy sees the request and may answer it itself; `bare` whether what goes over the wire is
    what is sent, as there is no TLS of libcurl's.
    """

    guard: Guard | None = None
    proxy: str = ""
    answers: bool = False
    cookie: str = ""
    bare: bool = False


NOTHING = Arranged()


def separate(transport: Transport) -> Transport | None:
    """Return what requests must have in common to share connections; None is what most have.

    libcurl itself compares some of it and not the rest: neither keys of certificates, nor where connections may go.
    """
    if transport is USUAL:
        return None
    login = transport.login
    if login is not None and login.kind != "negotiate":
        login = None
    common = msgspec.structs.replace(transport, cookies="", login=login)
    return None if common == USUAL else common


def apply(curl: pycurl.Curl, request: Request, around: Surroundings) -> Arranged:
    """Set a fresh handle up for a request. Raises FetchError for what may not or cannot be sent, or pycurl.error."""
    setopt = curl.setopt
    transport = request.transport
    url = _parsed(request)
    setopt(pycurl.NOSIGNAL, 1)
    setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    setopt(pycurl.FOLLOWLOCATION, 0)
    if not request.upgrade:
        setopt(pycurl.ACCEPT_ENCODING, "")
    setopt(pycurl.TCP_KEEPALIVE, 1)
    setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(request.connect_timeout * 1000)))
    headers = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers]
    if url.scheme == "https":
        _trust(curl, transport, around)
    done = NOTHING
    if transport is USUAL and around.egress.idle and not around.proxies:
        # Otherwise libcurl looks for them in the environment, six names for each exchange.
        setopt(pycurl.PROXY, "")
    else:
        done = _travel(curl, request, url, headers, around)
    setopt(pycurl.CURLU, url)
    if request.body is not None:
        setopt(pycurl.POSTFIELDS, request.body)
        # Without these libcurl would add a form's content type, and wait for "100 Continue".
        if not any(name.lower() == "content-type" for name, _ in request.headers):
            headers.append("Content-Type:")
        headers.append("Expect:")
    if request.stream:
        # A connection of its own: none is looked for among thousands, and nobody else's depends on it.
        setopt(pycurl.FRESH_CONNECT, 1)
        setopt(pycurl.FORBID_REUSE, 1)
        setopt(pycurl.BUFFERSIZE, _STREAM_BUFFER)
        setopt(pycurl.TCP_KEEPIDLE, _KEEP_IDLE)
        setopt(pycurl.TCP_KEEPINTVL, _KEEP_INTERVAL)
        setopt(_TCP_KEEPCNT, _KEEP_COUNT)
    if request.upgrade:
        # To libcurl what is sent behind a 101 is the body of the request, and must have no framing.
        headers += ["Content-Length:", "Transfer-Encoding:", "Expect:"]
        setopt(pycurl.CUSTOMREQUEST, request.method)
    elif request.method == "HEAD":
        setopt(pycurl.NOBODY, 1)
    elif request.method != "GET" or request.body is not None:
        setopt(pycurl.CUSTOMREQUEST, request.method)
    setopt(pycurl.HTTPHEADER, headers if all(map(str.isascii, headers)) else list(map(_plain, headers)))
    return done


def _parsed(request: Request) -> pycurl.CurlUrl:
    """Return the URL as libcurl understands it: what is decided about its host holds for what is connected to."""
    what, hint = f"{request.method} {request.shown_url}: the URL cannot be used", "check the endpoint"
    try:
        url = pycurl.CurlUrl(request.url)
    except pycurl.error as error:
        raise RequestError(f"{what} ({error.args[-1]})", hint=hint) from None
    host = (url.host or "").lower()
    # Whose credentials go along is decided by the URL's other reading, which must therefore be the same. Addresses have
    # many spellings, of which libcurl tells one.
    if host != urlsplit(request.url).hostname and not host.startswith("[") and not host.replace(".", "").isdigit():
        raise RequestError(f"{what}: its host can be read in two ways", hint=hint)
    return url


def _plain(text: str) -> str | bytes:
    """Return a text as pycurl takes it, which is ASCII alone as a text."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape")


def _trust(curl: pycurl.Curl, transport: Transport, around: Surroundings) -> None:
    setopt = curl.setopt
    setopt(pycurl.CAINFO, _plain(transport.ca_file or around.trusted))
    setopt(pycurl.SSLVERSION, _TLS[transport.min_version])
    if transport is USUAL:
        return
    if transport.min_version in {"1.0", "1.1"}:
        # OpenSSL has no cipher for these at its usual level.
        setopt(pycurl.SSL_CIPHER_LIST, "DEFAULT:@SECLEVEL=0")
    if transport.cert_file:
        setopt(pycurl.SSLCERT, _plain(transport.cert_file))
        if transport.cert_file.lower().endswith((".p12", ".pfx")):
            setopt(pycurl.SSLCERTTYPE, "P12")
        if transport.key_file:
            setopt(pycurl.SSLKEY, _plain(transport.key_file))
        if transport.key_password:
            setopt(pycurl.KEYPASSWD, _plain(transport.key_password))
    if not transport.verify:
        setopt(pycurl.SSL_VERIFYPEER, 0)
        setopt(pycurl.SSL_VERIFYHOST, 0)


def _travel(
    curl: pycurl.Curl, request: Request, url: pycurl.CurlUrl, headers: list[str], around: Surroundings
) -> Arranged:
    """Set up what is not the same for all requests; `url` and `headers` may change."""
    setopt = curl.setopt
    transport = request.transport
    scheme, host = url.scheme or "", url.host or ""
    port = int(url.port or _PORTS[scheme])
    proxy = _proxy(transport, around, scheme, host, port)
    setopt(pycurl.PROXY, _plain(proxy))
    if proxy:
        # It is decided already whether there is one for this host.
        setopt(pycurl.NOPROXY, "")
        setopt(pycurl.PROXY_CAINFO, _plain(transport.ca_file or around.trusted))
        setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        if request.upgrade:
            setopt(pycurl.HTTPPROXYTUNNEL, 1)
    if transport.unix_socket:
        setopt(pycurl.UNIX_SOCKET_PATH, _plain(transport.unix_socket))
    if transport.http_version != "auto":
        setopt(pycurl.HTTP_VERSION, _VERSIONS[transport.http_version])
    if transport.http_version in {"3", "3-only"}:
        # When a server breaks one of two connections off at the end of its handshake, while the other is under way,
        # libcurl (8.22, 8.23) takes that for success and crashes, and all connectors with it. So there are no two:
        # with 3-only never, and otherwise HTTP/2 is there before.
        longest = int(request.connect_timeout * 1000) + _ALONE
        setopt(_HAPPY_EYEBALLS_TIMEOUT_MS, longest if transport.http_version == "3-only" else _ALONE)
    guard = _guard(request, around, host, port, proxy)
    if guard is not None:
        setopt(pycurl.OPENSOCKETFUNCTION, guard.open)
    if transport.server_name and scheme == "https":
        curl.setopt(pycurl.CONNECT_TO, [f"{transport.server_name}:{port}:{host}:{port}"])
        _rename(url, headers, transport.server_name, host if port == _PORTS[scheme] else f"{host}:{port}")
    if transport.login is not None:
        _log_in(curl, transport.login, headers, probing=not request.upgrade)
    cookie = ""
    if transport.cookies:
        cookie = "; ".join(value for name, value in request.headers if name.lower() == "cookie")
        headers[:] = [line for line in headers if line[:7].lower() not in {"cookie:", "cookie;"}]
    answers = bool(proxy) and scheme == "http" and not proxy.startswith("socks") and not request.upgrade
    bare = scheme == "http" and not proxy.lower().startswith("https")
    return Arranged(guard, proxy, answers, cookie, bare)


def _proxy(transport: Transport, around: Surroundings, scheme: str, host: str, port: int) -> str:
    if transport.unix_socket or transport.proxy == "":
        return ""
    if transport.proxy is None and transport.no_proxy is None:
        return proxy_of_environment(around.environment, scheme, host, port)
    exceptions = exceptions_of(around.environment) if transport.no_proxy is None else transport.no_proxy
    if bypassed(exceptions, host, port):
        return ""
    if transport.proxy is not None:
        return transport.proxy
    return proxy_of_environment({**around.environment, "no_proxy": "", "NO_PROXY": ""}, scheme, host, port)


def _guard(request: Request, around: Surroundings, host: str, port: int, proxy: str) -> Guard | None:
    """Return what opens sockets for a request, None when nothing is refused. Raises EgressError for its host.

    A policy does not judge the proxy that those who made it named themselves: the server's that of the environment, a
    connector's own that of its configuration.
    """
    own, explicit = request.transport.egress, request.transport.proxy is not None
    policies = [policy for policy in (around.egress, own) if policy is not None and not policy.idle]
    if not policies:
        return None
    if not request.transport.unix_socket:
        check_host(policies, request, host, port, unseen=bool(proxy))
    if not proxy:
        return Guard(policies, host)
    judging = [policy for policy in policies if (policy is own) != explicit]
    flags = pycurl.U_GUESS_SCHEME | pycurl.U_NON_SUPPORT_SCHEME
    place = pycurl.CurlUrl(proxy, flags)
    check_host(judging, request, place.host or "", int(place.port or _DEFAULT_PROXY_PORT), unseen=False)
    return Guard(judging, place.host or "")


def _rename(url: pycurl.CurlUrl, headers: list[str], name: str, real: str) -> None:
    """Ask for another name in the handshake than Host says."""
    if not any(line[:5].lower() == "host:" for line in headers):
        headers.append(f"Host: {real}")
    url.host = name


def _log_in(curl: pycurl.Curl, login: Login, headers: list[str], *, probing: bool) -> None:
    setopt = curl.setopt
    if login.kind == "bearer":
        setopt(pycurl.XOAUTH2_BEARER, _plain(login.password))
    else:
        setopt(pycurl.USERNAME, _plain(login.user))
        setopt(pycurl.PASSWORD, _plain(login.password))
    if login.kind == "sigv4":
        setopt(pycurl.AWS_SIGV4, login.scope)
        if login.session_token:
            headers.append(f"X-Amz-Security-Token: {login.session_token}")
    elif login.kind == "digest" and not probing:
        # With one method libcurl would ask for the challenge with an empty body, behind which nothing can be sent when
        # there is none. With two it asks as if there were no login; the second one is no server's to choose.
        setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_DIGEST | _HTTPAUTH_SIGV4)
    else:
        setopt(pycurl.HTTPAUTH, _AUTH[login.kind])
