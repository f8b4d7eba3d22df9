"""Owns the cookies of a connector: what servers set, and what goes back to them (RFC 6265). Keeps them in memory alone.

A cookie goes back only to the origin that it came from - scheme, host and port - whatever its Domain says, so that no
list of public suffixes is needed to keep one site's from another.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable
from email.utils import parsedate_tz
from urllib.parse import urlsplit

import msgspec

# As browsers bound them; beyond, the oldest are dropped, and cookies that are larger are not taken.
MOST_OF_AN_ORIGIN = 150
MOST = 600
LARGEST = 4096
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]


class _Cookie(msgspec.Struct, frozen=True, gc=False):
    value: str
    expires: float | None


class Jar:
    """The cookies of one connector. Times are seconds since the epoch."""

    __slots__ = ("_cookies",)

    def __init__(self) -> None:
        # The oldest first; by origin, path and name.
        self._cookies: dict[tuple[Origin, str, str], _Cookie] = {}

    def __len__(self) -> int:
        return len(self._cookies)

    def take(self, url: str, headers: Iterable[tuple[str, str]], now: float) -> None:
        """Take what the headers of a response set; their names are in lower case."""
        for name, value in headers:
            if name == "set-cookie":
                self._set(url, value, now)

    def header(self, url: str, now: float) -> str:
        """Return the value of the Cookie header for a request, an empty text for none: longer paths first."""
        if not self._cookies:
            return ""
        source, path = _origin(url), urlsplit(url).path or "/"
        fitting = []
        for (origin, below, name), cookie in list(self._cookies.items()):
            if cookie.expires is not None and cookie.expires <= now:
                del self._cookies[origin, below, name]
            elif origin == source and _within(path, below):
                fitting.append((-len(below), name, cookie.value))
        fitting.sort(key=lambda found: found[0])
        return "; ".join(f"{name}={value}" if name else value for _, name, value in fitting)

    def _set(self, url: str, text: str, now: float) -> None:
        pair, *attributes = text.split(";")
        name, equals, value = pair.partition("=")
        name, value = (name.strip(), value.strip()) if equals else ("", pair.strip())
        if len(name) + len(value) > LARGEST or not (name or value) or not f"{name}{value}".isprintable():
            return
        said = {}
        for attribute in attributes:
            key, _, rest = attribute.partition("=")
            said[key.strip().lower()] = rest.strip()
        origin = _origin(url)
        if not _permitted(name, said, origin):
            return
        path = said.get("path", "")
        if not path.startswith("/"):
            path = (urlsplit(url).path or "/").rpartition("/")[0] or "/"
        if len(path) > LARGEST:
            return
        expires = _expiry(said, now)
        # Taken out in any case, so that what is set anew counts as the newest.
        self._cookies.pop((origin, path, name), None)
        if expires is None or expires > now:
            self._make_room(origin)
            self._cookies[origin, path, name] = _Cookie(value, expires)

    def _make_room(self, origin: Origin) -> None:
        mine = [key for key in self._cookies if key[0] == origin]
        if len(mine) >= MOST_OF_AN_ORIGIN:
            del self._cookies[mine[0]]
        elif len(self._cookies) >= MOST:
            del self._cookies[next(iter(self._cookies))]


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(scheme)


def _within(path: str, below: str) -> bool:
    """Return whether a path is below another (RFC 6265, section 5.1.4)."""
    return path == below or (path.startswith(below) and (below.endswith("/") or path[len(below)] == "/"))


def _permitted(name: str, said: dict[str, str], origin: Origin) -> bool:
    """Return whether this origin may set such a cookie: for its own domain, and Secure only over TLS."""
    scheme, host, _ = origin
    domain = said.get("domain", "").lower().removeprefix(".")
    if domain and host != domain and not host.endswith(f".{domain}"):
        return False
    folded = name.lower()
    if folded.startswith("__host-") and ("secure" not in said or said.get("path") != "/" or domain):
        return False
    if folded.startswith("__secure-") and "secure" not in said:
        return False
    return "secure" not in said or scheme == "https"


def _expiry(said: dict[str, str], now: float) -> float | None:
    """Return when a cookie ends, None for never; Max-Age wins over Expires."""
    age = said.get("max-age", "")
    if age.removeprefix("-").isdecimal() and age.isascii():
        return now + min(int(age[:12]), 400 * 86400)
    date = parsedate_tz(said["expires"].replace("-", " ")) if "expires" in said else None
    if date is None:
        return None
    try:
        return float(timegm((*date[:6], 0, 0, 0)) - (date[9] or 0))
    except (ValueError, OverflowError):
        return None
