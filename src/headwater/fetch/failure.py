"""Owns the mapping of libcurl's error codes into the tree: one table, and the sentence for a person."""

from __future__ import annotations

import msgspec
import pycurl

from headwater.core import errors
from headwater.core.errors import BodyTooLargeError, FetchError, ReadTimeoutError
from headwater.core.http import Request
from headwater.core.units import format_size

_TLS = "check the certificate; SSL_CERT_FILE names a file of authorities to trust"
_SERVER = "the server, or something before it, broke off; it is tried again"

# 8, 92 and 100 have no names in pycurl. Every code that an HTTP exchange can end with; one that is not here is a
# RequestError.
CODES: dict[int, tuple[type[FetchError], str, str]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: (errors.DnsError, "the host name does not resolve", "check the name and your DNS"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (errors.DnsError, "the proxy's name does not resolve", "check the proxy variables"),
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
    8: (errors.ProtocolError, "the answer is not HTTP", "check scheme and port"),
    pycurl.E_UNSUPPORTED_PROTOCOL: (errors.ProtocolError, "the answer is not HTTP/1 or 2", "check scheme and port"),
    pycurl.E_BAD_CONTENT_ENCODING: (errors.ProtocolError, "the body does not decompress", _SERVER),
    pycurl.E_HTTP2: (errors.ProtocolError, "the HTTP/2 framing is broken", _SERVER),
    92: (errors.ProtocolError, "the HTTP/2 stream was broken off", _SERVER),
    pycurl.E_WRITE_ERROR: (errors.ProtocolError, "the body could not be taken in", _SERVER),
    100: (errors.ProtocolError, "the headers are too large", "check the endpoint with curl -v"),
    pycurl.E_URL_MALFORMAT: (errors.RequestError, "the URL cannot be used", "check the endpoint"),
    pycurl.E_OUT_OF_MEMORY: (errors.ConnectError, "out of memory", "give the process more"),
}


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
    said = ending.said
    kind, what, hint = CODES.get(
        ending.code, (errors.RequestError, f"libcurl's error {ending.code}", "check the request")
    )
    if kind is errors.ReadTimeoutError and not ending.sent:
        kind, what, hint = errors.ConnectTimeoutError, "no connection in time", "check host, port and firewalls"
    # A failure of chunked framing comes as a receive error with these words.
    if kind is errors.ResetError and "chunk" in said.lower():
        kind, what = errors.ProtocolError, "the chunks of the body are broken"
    detail = f" ({said})" if said and request.url not in said else ""
    return kind(f"{request.method} {request.shown_url}: {what}{detail}", hint=hint)


def too_large(request: Request) -> BodyTooLargeError:
    """Return the error for a body beyond its bound."""
    return BodyTooLargeError(
        f"{request.method} {request.shown_url}: the body is larger than {format_size(request.max_body)} and was cut",
        hint="raise `max_body` if such bodies are right",
    )


def silent(request: Request) -> ReadTimeoutError:
    """Return the error for a body of which nothing came for too long."""
    return ReadTimeoutError(
        f"{request.method} {request.shown_url}: no byte of the body came for {request.idle_timeout:g} s",
        hint="the server, or something before it, went silent; it is asked again",
    )
