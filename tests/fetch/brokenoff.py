"""Exchanges over HTTP/3 with a name that has two addresses: one is silent, the other breaks every connection off.

`python brokenoff.py URL AUTHORITIES` prints what became of them. It is a process of its own, for libcurl may crash.
"""

from __future__ import annotations

import asyncio
import sys

from headwater.core.errors import FetchError
from headwater.core.http import Request, Transport
from headwater.fetch import CurlFetcher

_AT_ONCE = 24


async def kind(url: str, trusted: str) -> str:
    """Return what answered, or the kind of the error."""
    request = Request("GET", url, url, transport=Transport(http_version="3-only"), connect_timeout=1.0)
    async with CurlFetcher(trusted=trusted) as fetcher:
        try:
            return str((await fetcher.fetch(request)).status)
        except FetchError as error:
            return type(error).__name__


async def main() -> None:
    """Ask many times at once, then say that all came back."""
    url, trusted = sys.argv[1:]
    for _ in range(3):
        kinds = await asyncio.gather(*(kind(url, trusted) for _ in range(_AT_ONCE)))
        print(*sorted(set(kinds)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
