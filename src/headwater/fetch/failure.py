"""Owns the mapping of libcurl's error codes into the tree: one table, and the sentence for a person."""

from __future__ import annotations

import re

import msgspec
import pycurl

from headwater.core import errors
from headwater.core.errors import BodyTooLargeError, ConnectError, FetchError, ProtocolError, ReadTimeoutError
from headwater.core.http import Request
from headwater.core.limits import no_file
from headwater.core.proxy import shown_proxy
from headwater.core.units import format_size

_TLS = "check the certificate; `tls.ca_file` or SSL_CERT_FILE names a file of authorities to trust"
_SERVER = "the server, or something before it, broke off; it is tried again"
_CLIENT = "name a certificate of yours in `tls.cert_file`, and its key in `tls.key_file`"
_UDP = "the server may not speak it, or UDP is blocked on the way; `http_version: 3` falls back to HTTP/2"
# libcurl's errors without names in pycurl.
_HTTP2_STREAM, _HTTP3, _QUIC_CONNECT, _PROXY, _SSL_CLIENTCERT, _WEIRD = 92, 95, 96, 97, 98, 8
TOO_LARGE = 100
# The status of a proxy that wants a login.
PROXY_LOGIN = 407

# What a server says of a certificate that it was not shown, or that it does not like.
_ALERT = re.compile(r"alert (?:\w+ ){0,3}?(?:certificate|unknown ca|access denied)|certificate required")

Cause = tuple[type[FetchError], str, str]

# Every code that an HTTP exchange can end with; one that is not here is a RequestError.
CODES: dict[int, Cause] = {
    pycurl.E_COULDNT_RESOLVE_HOST: (errors.DnsError, "the host name does not resolve", "check the name and your DNS"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (
        errors.DnsError,
        "the proxy's name does not resolve",
        "check the name of the proxy",
    ),
    pycurl.E_COULDNT_CONNECT: (errors.ConnectError, "no connection", "check host and port, and that the server is up"),
    pycurl.E_INTERFACE_FAILED: (errors.ConnectError, "no connection", "check the network"),
    pycurl.E_OPERATION_TIMEDOUT: (errors.ReadTimeoutError, "no whole response in time", "raise `timeout`"),
    pycurl.E_SSL_CONNECT_ERROR: (errors.TlsError, "the TLS handshake failed", _TLS),
    pycurl.E_PEER_FAILED_VERIFICATION: (errors.TlsError, "the certificate is not trusted", _TLS),
    pycurl.E_SSL_CACERT_BADFILE: (errors.TlsError, "the file of authorities cannot be read", _TLS),
    pycurl.E_SSL_CERTPROBLEM: (errors.TlsError, "the client certificate cannot be used", _TLS),
    pycurl.E_SSL_CIPHER: (errors.TlsError, "no common cipher", _TLS),
    pycurl.E_SSL_ISSUER_ERROR: (errors.TlsError, "the issuer is not trusted", _TLS),
    pycurl.E_SSL_INVALIDCERTSTATUS: (errors.TlsError, "the certificate status is not valid", _TLS),
    pycurl.E_SSL_ENGINE_INITFAILED: (errors.TlsError, "TLS cannot be set up", _TLS),
    pycurl.E_USE_SSL_FAILED: (errors.TlsError, "TLS cannot be used", _TLS),
    pycurl.E_GOT_NOTHING: (errors.ResetError, "the server closed without an answer", _SERVER),
    pycurl.E_RECV_ERROR: (errors.ResetError, "the connection was reset", _SERVER),
    pycurl.E_SEND_ERROR: (errors.ResetError, "the connection was reset while sending", _SERVER),
    pycurl.E_PARTIAL_FILE: (errors.TruncatedError, "the body ended early", _SERVER),
    _WEIRD: (errors.ProtocolError, "the answer is not HTTP", "check scheme and port"),
    pycurl.E_UNSUPPORTED_PROTOCOL: (errors.ProtocolError, "the answer is not HTTP/1 or 2", "check scheme and port"),
    pycurl.E_BAD_CONTENT_ENCODING: (errors.ProtocolError, "the body does not decompress", _SERVER),
    pycurl.E_HTTP2: (errors.ProtocolError, "the HTTP/2 framing is broken", _SERVER),
    _HTTP2_STREAM: (errors.ProtocolError, "the HTTP/2 stream was broken off", _SERVER),
    _HTTP3: (errors.ProtocolError, "the HTTP/3 framing is broken", _SERVER),
    _QUIC_CONNECT: (errors.ConnectError, "no connection over HTTP/3", _UDP),
    _SSL_CLIENTCERT: (errors.TlsError, "the server wants a client certificate", _CLIENT),
    pycurl.E_WRITE_ERROR: (errors.ProtocolError, "the body could not be taken in", _SERVER),
    TOO_LARGE: (errors.ProtocolError, "the headers are too large", "check the endpoint with curl -v"),
    pycurl.E_URL_MALFORMAT: (errors.RequestError, "the URL cannot be used", "check the endpoint"),
    pycurl.E_OUT_OF_MEMORY: (errors.ConnectError, "out of memory", "give the process more"),
}


# Of libcurl's codes for proxies (CURLPX): how a SOCKS proxy answered.
_WANTS_LOGIN = frozenset({12, 14, 28, 33})
_NOT_ALLOWED = frozenset({23})
_BEYOND = frozenset({19, 20, 21, 22, 24, 26})
_RESOLVE_HOST = 27


class Ending(msgspec.Struct, frozen=True):
    """How a transfer failed: libcurl's code and words, and whether any of the request had gone out by then.

    Of a proxy in use: its URL, the status it answered a CONNECT with, and libcurl's code for what went wrong with it.
    """

    code: int
    said: str
    sent: bool
    proxy: str = ""
    connect_status: int = 0
    proxy_code: int = 0


def failure(request: Request, ending: Ending) -> FetchError:
    """Return the error for a transfer that failed."""
    kind, what, hint = _cause(request, ending)
    way = f" through the proxy {shown_proxy(ending.proxy)}" if ending.proxy and "proxy" not in what else ""
    detail = f" ({ending.said})" if ending.said and request.url not in ending.said else ""
    return kind(f"{request.method} {request.shown_url}: {what}{way}{detail}", hint=hint)


def unbegun(request: Request, error: Exception) -> FetchError:
    """Return the error for a request that did not even get to libcurl's network."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, OSError) and no_file(error):
        return without_files(request)
    code = int(error.args[0]) if isinstance(error, pycurl.error) else -1
    return failure(request, Ending(code, str(error), sent=False))


def login_of_proxy(request: Request, proxy: str) -> FetchError:
    """Return the error for a request that a proxy has answered with 407 itself."""
    return failure(request, Ending(pycurl.E_COULDNT_CONNECT, "", False, proxy, connect_status=PROXY_LOGIN))


def _cause(request: Request, ending: Ending) -> Cause:
    said = ending.said.lower()
    if ending.proxy and (cause := _of_proxy(ending)) is not None:
        return cause
    kind, what, hint = CODES.get(
        ending.code, (errors.RequestError, f"libcurl's error {ending.code}", "check the request")
    )
    if kind in {errors.ConnectError, errors.ResetError, errors.ReadTimeoutError} and not ending.sent:
        if request.transport.http_version == "3-only":
            return errors.ConnectError, "no connection over HTTP/3", _UDP
        if request.transport.unix_socket and kind is errors.ConnectError:
            path = request.transport.unix_socket
            return kind, f"no connection to the unix socket {path}", "check that it is there, served, and may be opened"
    if kind is errors.ReadTimeoutError and not ending.sent:
        return errors.ConnectTimeoutError, "no connection in time", "check host, port and firewalls"
    if ending.code == pycurl.E_BAD_FUNCTION_ARGUMENT and request.transport.cert_file:
        return CODES[pycurl.E_SSL_CERTPROBLEM]
    # With TLS 1.3 the server says so when it reads for the first time, which is no failure of the handshake.
    if kind in {errors.ResetError, errors.TlsError, errors.ConnectError} and _ALERT.search(said):
        if request.transport.cert_file:
            return errors.TlsError, "the server refuses the client certificate", _CLIENT
        return CODES[_SSL_CLIENTCERT]
    # A failure of chunked framing comes as a receive error with these words.
    if kind is errors.ResetError and "chunk" in said:
        return errors.ProtocolError, "the chunks of the body are broken", hint
    return kind, what, hint


def _of_proxy(ending: Ending) -> Cause | None:
    """Return what a proxy did, None when the failure is none of its own."""
    shown = shown_proxy(ending.proxy)
    asks = "a login" if "@" not in ending.proxy else "another login"
    login: Cause = (
        errors.ProxyError,
        f"the proxy {shown} wants {asks}",
        f"put user and password into the URL of the proxy: {ending.proxy.partition(':')[0]}://USER:PASSWORD@HOST:PORT",
    )
    beyond: Cause = (errors.ConnectError, "no connection to the host", "check host and port, and the proxy's log")
    refused: Cause = (errors.ProxyError, f"the proxy {shown} refuses to connect there", "ask who keeps the proxy")
    status = ending.connect_status
    if status == PROXY_LOGIN:
        return login
    if status >= 300:
        return beyond if status >= 500 else refused
    if ending.code == _PROXY:
        if ending.proxy_code in _WANTS_LOGIN:
            return login
        if ending.proxy_code in _NOT_ALLOWED:
            return refused
        if ending.proxy_code in _BEYOND:
            return beyond
        if ending.proxy_code == _RESOLVE_HOST:
            return CODES[pycurl.E_COULDNT_RESOLVE_HOST]
        return errors.ConnectError, "no SOCKS spoken", "check the scheme and the port of the proxy"
    if ending.code == pycurl.E_COULDNT_CONNECT and not ending.sent:
        return errors.ConnectError, "no connection", "check host and port of the proxy, and that it is up"
    return None


def too_large(request: Request) -> BodyTooLargeError:
    """Return the error for a body beyond its bound."""
    return BodyTooLargeError(
        f"{request.method} {request.shown_url}: the body is larger than {format_size(request.max_body)} and was cut",
        hint="raise `max_body` if such bodies are right",
    )


def swelling(request: Request) -> ProtocolError:
    """Return the error for a body that a sink holds back, and of which a little decompresses to very much."""
    return ProtocolError(
        f"{request.method} {request.shown_url}: what was decompressed at once is more than can be held back",
        hint="ask for a body that is not compressed, with the header Accept-Encoding: identity",
    )


def deaf(request: Request, unsent: int) -> ProtocolError:
    """Return the error for a connection over which more is to be sent than the other side takes in."""
    return ProtocolError(
        f"{request.method} {request.shown_url}: the server takes nothing in: {format_size(unsent)} wait to be sent",
        hint="send less, or ask why the server does not read",
    )


def without_files(request: Request, most: int = 0) -> ConnectError:
    """Return the error for a connection that no file may be opened for; `most` is how many streams there are."""
    why = f"{most} streams are under way, and no more files may be open" if most else "no more files may be open"
    return ConnectError(
        f"{request.method} {request.shown_url}: no connection: {why}",
        hint="allow more open files (ulimit -n), or spread the connectors over several processes",
    )


def silent(request: Request) -> ReadTimeoutError:
    """Return the error for a body of which nothing came for too long."""
    return ReadTimeoutError(
        f"{request.method} {request.shown_url}: no byte of the body came for {request.idle_timeout:g} s",
        hint="the server, or something before it, went silent; it is asked again",
    )
