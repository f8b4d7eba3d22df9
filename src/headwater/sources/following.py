"""Owns URLs that answers name for the next request: made absolute, and refused where they lead astray. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from headwater.core.http import ascii_url
from headwater.core.origin import Origin, origin, shown

# Longer ones are refused by servers and proxies, and a hostile answer could fill the checkpoint with them.
LONGEST_URL: Final = 8192
NEXT_PAGE: Final = "the next page"
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


class PaginationError(Exception):
    """The pages lead nowhere: in circles, or to a place that is not to be asked."""


def resolve(target: str, base: str, home: Origin, *, foreign: bool, among: str = NEXT_PAGE) -> str:
    """Return the URL that `target` means at `base`, absolute and encoded. `home` is the origin of the configuration.

    Raises PaginationError for one that is not to be asked: another origin's unless `foreign` ones may be, or that of
    `base` itself, where a redirect led.
    """
    target = target.strip()
    if len(target) > LONGEST_URL or _CONTROL.search(target):
        said = f"has {len(target)} characters" if len(target) > LONGEST_URL else "has blanks or control characters"
        raise PaginationError(f"the URL of {among} {said}: {_short(target)}")
    try:
        url = ascii_url(urljoin(base, target))
        parts = urlsplit(url)
        there = origin(url)
    except ValueError as error:
        raise PaginationError(f"the URL of {among} cannot be used: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise PaginationError(f"the URL of {among} is not http or https: {_short(target)}")
    if there[1] == home[1] and there[0] == "http" and home[0] == "https" and parts.port in {None, 80}:
        # Servers behind a proxy that ends TLS write http into their links; nothing is to be sent in the clear for it.
        port = "" if home[2] == 443 else f":{home[2]}"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        url = urlunsplit(("https", f"{host}{port}", parts.path, parts.query, ""))
        there = origin(url)
    if there not in {home, origin(base)} and not foreign:
        allowing = "; other_origins may allow it" if among == NEXT_PAGE else ""
        raise PaginationError(
            f"the URL of {among} is at {shown(there)}, not at {shown(home)}, where the credentials belong{allowing}"
        )
    parts = urlsplit(url)
    # What stands before the host would be sent as credentials, and what stands behind # is not sent.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
