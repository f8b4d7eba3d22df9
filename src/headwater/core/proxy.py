"""Owns which proxy a request goes through: the configured one, the environment's, or none. Does not connect to any.

As curl decides it, but once for all of a request, so that what is decided here is what happens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from headwater.core.egress import plain_host
from headwater.core.secret import MASK

SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
# Lower case alone for http: with CGI, HTTP_PROXY is a header that anybody may send.
_VARIABLES = {"http": ("http_proxy",), "https": ("https_proxy", "HTTPS_PROXY")}
_FOR_ALL = ("all_proxy", "ALL_PROXY")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def proxy_of_environment(environment: Mapping[str, str], scheme: str, host: str, port: int) -> str:
    """Return the proxy that the environment names for a host, an empty text for none."""
    proxy = _first(environment, (*_VARIABLES.get(scheme, ()), *_FOR_ALL))
    if not proxy or bypassed(exceptions_of(environment), host, port):
        return ""
    return proxy


def exceptions_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts that are asked without a proxy, as the environment lists them."""
    return tuple(re.split(r"[\s,]+", _first(environment, _EXCEPTIONS).strip()))


def any_proxy(environment: Mapping[str, str]) -> bool:
    """Return whether the environment names any proxy."""
    return bool(_first(environment, (*_VARIABLES["http"], *_VARIABLES["https"], *_FOR_ALL)))


def _first(environment: Mapping[str, str], names: Iterable[str]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def bypassed(exceptions: Iterable[str], host: str, port: int) -> bool:
    """Return whether a host is asked without a proxy: it is listed, or below a listed one, or in a listed network.

    `*` is every host. A leading dot or `*.` changes nothing, and `:PORT` means that port alone.
    """
    name = plain_host(host)
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    for entry in exceptions:
        listed, its_port = _parted(entry.strip().lower())
        if its_port is not None and its_port != port:
            continue
        if listed == "*":
            return True
        if address is not None:
            try:
                if address in ip_network(listed, strict=False):
                    return True
            except ValueError:
                continue
        else:
            below = plain_host(listed.removeprefix("*").removeprefix("."))
            if below and (name == below or name.endswith(f".{below}")):
                return True
    return False


def _parted(entry: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"\[(.*)\](?::(\d+))?|([^:]*):(\d+)", entry)
    if found is None:
        return entry, None
    port = found[2] or found[4]
    return found[1] or found[3] or "", None if port is None else int(port)


def check_proxy(url: str) -> str:
    """Return the password in the URL of a proxy, if any. Raises ValueError for what is none, with what would be."""
    shown = shown_proxy(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown!r} is no URL of a proxy: {error}") from None
    if parts.scheme not in SCHEMES:
        near = f"; write http://{shown}" if "://" not in url else ""
        raise ValueError(f"{shown!r} does not begin with one of {', '.join(f'{name}://' for name in SCHEMES)}{near}")
    if not parts.hostname or re.search(r"[\s\\]", parts.netloc):
        raise ValueError(f"{shown!r} has no host that could be asked")
    if port == 0:
        raise ValueError(f"{shown!r} names port 0")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{shown!r} has something behind its host; a proxy is named by scheme, host and port")
    return parts.password or ""


def shown_proxy(url: str) -> str:
    """Return a proxy's URL without its user and password."""
    start, separator, rest = url.partition("://")
    place = rest if separator else start
    _, at, host = place.rpartition("@")
    return f"{f'{start}://' if separator else ''}{f'{MASK}@' if at else ''}{host}"
