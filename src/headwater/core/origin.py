"""Owns origins of URLs, and what of a request stays behind when it goes to another one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus, urlsplit, urlunsplit

import msgspec

from headwater.core.http import USUAL, Request, Transport

# Scheme, host and port.
Origin = tuple[str, str, int | None]

# Headers that carry credentials whatever the configuration says of them.
CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
PORTS: Final = {"http": 80, "https": 443}


def origin(url: str) -> Origin:
    """Return scheme, host and port of a URL. Raises ValueError for a port that is no number."""
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme.lower())


def shown(place: Origin) -> str:
    """Return an origin for people, its port only where that is not the usual one."""
    scheme, host, port = place
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port is None or port == PORTS.get(scheme) else f"{scheme}://{host}:{port}"


def anonymous(transport: Transport) -> Transport:
    """Return a transport that shows nobody who asks: without a login, and without what is meant for one server."""
    if transport is USUAL:
        return transport
    return msgspec.structs.replace(transport, login=None, cert_file="", key_file="", key_password="", server_name="")


def without_secrets(target: str, request: Request) -> str:
    """Return a place without the secret parameters of a request, under whichever name their values come back."""
    if not request.secret_params:
        return target
    values = {
        unquote_plus(value)
        for name, value in pairs_of(urlsplit(request.url).query)
        if unquote_plus(name) in request.secret_params and value
    }
    parts = urlsplit(target)
    kept = [
        f"{name}={value}" if value is not None else name
        for name, value in pairs_of(parts.query)
        if unquote_plus(name) not in request.secret_params and (value is None or unquote_plus(value) not in values)
    ]
    return urlunsplit(parts._replace(query="&".join(kept)))


def pairs_of(query: str) -> Iterator[tuple[str, str | None]]:
    """Yield the names and the values of a query as they are written."""
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        yield name, value if equals else None


def stripped(request: Request, target: str) -> Request:
    """Return a request to a place of another origin: whoever is there does not learn who asks."""
    secret = CREDENTIALS | request.secret_headers
    return msgspec.structs.replace(
        request,
        url=without_secrets(target, request),
        headers=tuple((name, value) for name, value in request.headers if name.lower() not in secret),
        transport=anonymous(request.transport),
    )
