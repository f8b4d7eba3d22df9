"""Streams in a process that may open few files: as many as there are files for, and polls beside them.

`python withoutfiles.py MOST URL` prints what became of them as JSON. The limit is that of its process.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from headwater.core.egress import Policy, place
from headwater.core.errors import ConnectError, FetchError
from headwater.core.http import Request, Response, Transport
from headwater.fetch import CurlFetcher


class Ignoring:
    """A sink that wants nothing to be kept."""

    def write(self, chunk: bytes) -> bool:
        """Take a chunk."""
        return bool(chunk)


def all_files() -> Iterator[int]:
    """Open whatever may be opened."""
    with suppress(OSError):
        while True:
            yield os.dup(0)


async def streams(url: str, most: int) -> dict[str, Any]:
    """Return how many streams there were, what became of the others, and of polls."""
    opened = asyncio.Semaphore(0)
    errors: list[Response | FetchError] = []

    def take(response: Response) -> Ignoring:
        opened.release()
        return Ignoring()

    def failed(outcome: Response | FetchError) -> None:
        errors.append(outcome)
        opened.release()

    request = Request("GET", f"{url}/stream", f"{url}/stream", open=take, stream=True, total_timeout=60)
    elsewhere = msgspec.structs.replace(request, transport=Transport(egress=Policy("public", (place("127.0.0.1"),))))
    named = msgspec.structs.replace(request, url=request.url.replace("127.0.0.1", "localhost"))
    poll = Request("GET", f"{url}/poll", f"{url}/poll")
    async with CurlFetcher() as fetcher:
        begun = [fetcher.begin(request, failed) for _ in range(2 * most)]
        for _ in begun:
            await opened.acquire()
        found: dict[str, Any] = {"streams": len(begun) - len(errors)}
        found["errors"] = dict(Counter(type(error).__name__ for error in errors))
        found["hints"] = sorted({error.hint for error in errors if isinstance(error, ConnectError)})
        found["said"] = sorted({str(error) for error in errors})
        found["poll"] = (await fetcher.fetch(poll)).body.decode()
        # There would be room, but others have taken all files.
        errors.clear()
        for stream in begun:
            stream.cancel()
        await asyncio.sleep(0)
        taken = list(all_files())
        for other in (request, elsewhere, named):
            fetcher.begin(other, failed)
            await opened.acquire()
        fetcher.begin(msgspec.structs.replace(poll, transport=elsewhere.transport), failed)
        await opened.acquire()
        found["nothing left"] = [f"{type(error).__name__}: {error}" for error in errors]
        for descriptor in taken:
            os.close(descriptor)
        errors.clear()
        fetcher.begin(request, failed)
        await opened.acquire()
        found["afterwards"] = [str(error) for error in errors]
    return found


def main() -> None:
    """Lower the limit, and print what became of everything."""
    most = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asyncio.run(streams(sys.argv[2], most))))


if __name__ == "__main__":
    main()
