"""Owns the one part of a kubelet's own API that is served: the logs of containers, over HTTPS.

The API server asks for them when somebody reads a Pod's log; nobody else does, so nobody is asked who he is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from headwater.testing.kubernetes.containerlog import Choice, ContainerLog

Find = Callable[[str, str, str, bool], ContainerLog | None]
"""Finds a log by namespace, Pod, container, and whether the run before is meant."""

_MOST_HEAD = 64 * 1024


class LogServer:
    """A server on 127.0.0.1: `async with LogServer(find, context) as server`. `port` is where it listens."""

    def __init__(self, find: Find, context: ssl.SSLContext) -> None:
        self._find = find
        self._context = context
        self._clients: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context, limit=_MOST_HEAD)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        gone: asyncio.Task[bytes] | None = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            answering = asyncio.create_task(self._answer(head.split(" ", 2)[1], writer))
            # A reader who follows goes away without a word.
            gone = asyncio.create_task(reader.read(1))
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            answering.cancel()
            await answering
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # The client went away, or the node stops: either is the end of this connection and of nothing else.
            pass
        finally:
            self._clients.discard(task)
            if gone is not None:
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
            with suppress(OSError):
                writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        match [unquote(part) for part in url.path.split("/")]:
            case ["", "containerLogs", namespace, pod, container]:
                log = self._find(namespace, pod, container, query.get("previous") == "true")
                text = f'container "{container}" in pod "{pod}" is waiting to start or has no such log'
            case _:
                log, text = None, "only containerLogs are served here"
        status = "200 OK" if log is not None else "400 Bad Request"
        headers = "content-type: text/plain\r\ntransfer-encoding: chunked\r\nconnection: close"
        writer.write(f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n".encode())
        async for part in _once(text.encode()) if log is None else log.read(_choice(query)):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text


def _choice(query: dict[str, str]) -> Choice:
    since: datetime | None = None
    if "sinceSeconds" in query:
        since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
    elif "sinceTime" in query:
        since = datetime.fromisoformat(query["sinceTime"])
    return Choice(
        tail=int(query["tailLines"]) if "tailLines" in query else None,
        since=since,
        timestamps=query.get("timestamps") == "true",
        follow=query.get("follow") == "true",
    )
