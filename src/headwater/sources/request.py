"""Owns the request that a configuration describes, before anything of a checkpoint is in it. Sends nothing."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from headwater.config import HttpOptions
from headwater.config.sharing import CREDENTIAL_HEADERS
from headwater.config.url import over_http
from headwater.core.empty import NO_NAMES
from headwater.core.http import USUAL, Headers, Request, Transport, ascii_url
from headwater.core.secret import MASK, Text
from headwater.sources.auth.standing import authorized
from headwater.version import __version__


def build_request(options: HttpOptions, transport: Transport = USUAL) -> Request:
    """Return the request that the options describe, secrets included in `url` and `headers`, masked in `shown_url`.

    A WebSocket is begun over http or https: so says the `url`, and what is shown is as it was written.
    """
    headers, secret = _headers(options)
    body = options.body.reveal().encode() if isinstance(options.body, Text) else None
    request = Request(
        method=options.method,
        url=over_http(_url(options, shown=False)),
        shown_url=_url(options, shown=True),
        headers=headers,
        body=body,
        secret_headers=secret,
        connect_timeout=options.connect_timeout.total_seconds(),
        total_timeout=options.timeout.total_seconds(),
        max_body=options.max_body,
        max_redirects=options.max_redirects,
        transport=transport,
        secret_params=_secret_params(options),
    )
    return authorized(request, options.auth, os.environ)


def fingerprint(request: Request, topic: str) -> str:
    """Return 16 hex digits that change whenever validators of earlier answers stop being valid."""
    digest = hashlib.blake2b(digest_size=8)
    parts = [topic, request.method, request.url, *(f"{name.lower()}:{value}" for name, value in request.headers)]
    login = request.transport.login
    if login is not None:
        # Whoever logs in as somebody else is answered something else.
        parts += [login.kind, login.user]
    for part in parts:
        digest.update(part.encode() + b"\0")
    digest.update(request.body or b"")
    return digest.hexdigest()


def _headers(options: HttpOptions) -> tuple[Headers, frozenset[str]]:
    given = {name.lower() for name, _ in options.headers}
    headers = [(name, value.reveal()) for name, value in options.headers]
    if "user-agent" not in given:
        agent = f"headwater/{__version__}" if options.user_agent is None else options.user_agent.reveal()
        headers.insert(0, ("User-Agent", agent))
    if "accept" not in given:
        headers.append(("Accept", "*/*"))
    secret = {name.lower() for name, value in options.headers if value.secret or name.lower() in CREDENTIAL_HEADERS}
    return tuple(headers), frozenset(secret) or NO_NAMES


def _secret_params(options: HttpOptions) -> frozenset[str]:
    """Return the parameters of the URL that hold secrets, wherever they are written."""
    shown = parse_qsl(urlsplit(str(options.endpoint)).query, keep_blank_values=True)
    named = {name for name, value in shown if MASK in value}
    return frozenset(named | {name for name, value in options.params if value.secret}) or NO_NAMES


def _url(options: HttpOptions, *, shown: bool) -> str:
    """Build the URL with `params` added, and what is not a URL character encoded; what is encoded already stays."""
    text = str if shown else Text.reveal
    parts = urlsplit(text(options.endpoint))
    # A masked part must stay readable: `***`, not %2A%2A%2A.
    query = parts.query
    for name, value in options.params:
        pair = f"{quote(name, safe='')}={quote(text(value), safe='*' if shown else '')}"
        query = f"{query}&{pair}" if query else pair
    url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))
    return url if shown else ascii_url(url)
