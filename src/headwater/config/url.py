"""Owns method, URL and headers of a request as options: which there are, and what can be asked and sent."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from headwater.config.fields import plain_text
from headwater.core.secret import MASK, Text

_WEBSOCKET = ("ws:", "wss:")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_HEADERS = re.compile(r"[\r\n\0]")


def _upper(value: object) -> object:
    value = plain_text(value)
    return value.upper() if isinstance(value, str) else value


Method = Annotated[Literal["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"], BeforeValidator(_upper)]


def is_websocket(url: str) -> bool:
    """Return whether a URL is one of a WebSocket."""
    return url.lstrip().lower().startswith(_WEBSOCKET)


def over_http(url: str) -> str:
    """Return a URL of a WebSocket as the http or https URL by which it is begun; any other as it is."""
    return re.sub(r"^ws(?=s?:)", "http", url, flags=re.IGNORECASE)


def over_websocket(url: str) -> str:
    """Return an http or https URL as that of a WebSocket; any other as it is."""
    return re.sub(r"^http(?=s?:)", "ws", url, flags=re.IGNORECASE)


def check_headers(value: tuple[tuple[str, Text], ...]) -> tuple[tuple[str, Text], ...]:
    """Return the headers. Raises ValueError for one that cannot be sent."""
    for name, text in value:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header (RFC 9110)")
        if _FORBIDDEN_IN_HEADERS.search(text.reveal()):
            raise ValueError(f"the value of {name} holds a line break or NUL")
    return value


def check_path_or_url(value: Text) -> Text:
    """Return a whole URL, or a path at a host that is known otherwise. Raises ValueError for what is neither."""
    value = value.behind(0, str(value).strip())
    text = value.plain()
    return value if text.startswith("/") and not text.startswith("//") else check_url(value)


def check_url(value: Text, *, websocket: bool = False) -> Text:
    """Return the URL, with its password masked. Raises ValueError for what cannot be requested.

    With `websocket` it may be one of a WebSocket.
    """
    value = value.behind(0, _without_password(str(value).strip()))
    url, shown = value.plain(), str(value)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown!r} is no URL: {error}") from None
    _check_scheme(parts.scheme, url, shown, websocket=websocket)
    if not parts.hostname or re.search(r"[\s\\]", parts.netloc):
        raise ValueError(f"{shown!r} has no host that could be asked")
    try:
        parts.hostname.encode("ascii" if parts.hostname.isascii() else "idna")
    except UnicodeError as error:
        raise ValueError(f"{shown!r} names a host that has no ASCII form: {error}") from None
    if port == 0:
        raise ValueError(f"{shown!r} names port 0")
    if re.search(r"[\r\n\t\0]", url):
        raise ValueError("it holds a line break, a tab or NUL")
    if value.spans and value.spans[0][0] < len(parts.scheme) + len("://") + len(parts.netloc):
        # What comes from answers must not choose who gets the credentials.
        raise ValueError("an expression can stand in the path or the query, not in the host")
    secret = (*value.parts, parts.password) if parts.password else value.parts
    return Text(value.reveal(), shown, secret, value.spans)


def _check_scheme(scheme: str, url: str, shown: str, *, websocket: bool) -> None:
    if scheme in {"http", "https"}:
        return
    if scheme in {"ws", "wss"}:
        if not websocket:
            raise ValueError(f"only the connector's own endpoint may be a WebSocket; write {over_http(shown)}")
        if "#" in url:
            raise ValueError(f"{shown!r} has a fragment, which the URL of a WebSocket has not (RFC 6455)")
        return
    near = f"; write https://{shown}" if "://" not in url else ""
    known = "http://, https://, ws:// or wss://" if websocket else "http:// or https://"
    raise ValueError(f"{shown!r} does not begin with {known}{near}")


def _without_password(url: str) -> str:
    """Mask what stands before the host, which a mistyped URL shows as well as a right one."""
    return re.sub(r"//[^/?#@]*@", f"//{MASK}@", url, count=1)
