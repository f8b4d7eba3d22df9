"""Owns what a redirect becomes: the next request, or a refusal. Pure; performing it is the fetcher's work."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit, urlunsplit

import msgspec

from headwater.core.errors import RedirectError
from headwater.core.http import Request, Response, ascii_url
from headwater.core.origin import CREDENTIALS, PORTS, anonymous, origin, without_secrets

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_OF_THE_BODY = frozenset({"content-type", "content-length", "content-encoding", "content-language", "content-location"})


def follow(request: Request, response: Response, *, followed: int) -> Request | None:
    """Return the request that a redirect asks for, or None when the response is none (RFC 9110, section 15.4).

    With a `max_redirects` below zero none is: the redirect itself is what was asked for. `followed` counts those
    before. Across origins all credentials stay behind: logins, client certificates, cookies, secret headers, and secret
    parameters that the server repeats. Raises RedirectError for too many, or for one to a place that is not http or
    https.
    """
    if response.status not in REDIRECTS or request.max_redirects < 0:
        return None
    location = response.header("location")
    if location is None:
        return None
    if followed >= request.max_redirects:
        raise RedirectError(
            f"{request.method} {request.shown_url} was redirected more than {request.max_redirects} times",
            hint="check the endpoint for a loop, or raise max_redirects",
        )
    try:
        target = ascii_url(urljoin(request.url, location.strip()))
        if request.upgrade and target[:2].lower() == "ws":
            # The same places under other names: ws is http, and wss is https (RFC 6455, section 3).
            target = f"http{target[2:]}"
        scheme, host, port = origin(target)
        stays = (scheme, host, port) == origin(request.url)
    except ValueError:
        target, scheme, host, stays = "", "", "", False
    if scheme not in PORTS or not host:
        raise RedirectError(
            f"{request.method} {request.shown_url} was redirected to a place that is not http or https",
            hint="check the endpoint in a browser or with curl -v",
        )
    method, body = request.method, request.body
    dropped: set[str] = set()
    if response.status not in _KEEP_METHOD and method not in {"GET", "HEAD"}:
        method, body = "GET", None
        dropped |= _OF_THE_BODY
    transport = request.transport
    if not stays:
        dropped |= CREDENTIALS | request.secret_headers
        target = without_secrets(target, request)
        transport = anonymous(transport)
    headers = tuple((name, value) for name, value in request.headers if name.lower() not in dropped)
    return msgspec.structs.replace(
        request,
        method=method,
        body=body,
        headers=headers,
        url=_without_fragment(target),
        shown_url=_shown(target),
        transport=transport,
    )


def _without_fragment(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(fragment=""))


def _shown(url: str) -> str:
    """Return where a redirect leads without what may be secret: user and query."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "***" if parts.query else "", ""))
