"""Owns the scripted HTTP server: real sockets, real TLS, and every way a server can go wrong, on demand."""

from __future__ import annotations

import asyncio
import gzip as gzip_
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

_MOST_HEAD = 256 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Received(msgspec.Struct, frozen=True):
    """A request as it came. Header names are in lower case, in the order received."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of repeated ones the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def header(self, name: str) -> str | None:
        """Return the last value of a header (lower case), None when it was not sent."""
        return dict(self.headers).get(name)


# Reads from and writes to a connection. It ends with it; `reset` ends it at once.
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Answer(msgspec.Struct, frozen=True):
    """What the server does with one request: a good answer, unless told to go wrong.

    `cut` ends the connection after so many bytes of the framed body; -1 before the status line. `reset` ends it with a
    RST instead of a FIN. `hang` never answers. `drip` sends the body byte by byte, so many real seconds apart. `chunk`
    is how many bytes each chunk of a chunked body has at most. `raw` is sent instead of everything else. `wait` is
    awaited before anything is sent. `talk` has the connection to itself once the answer is sent, which then says
    neither how long its body is nor that it is over: to send more by and by, or to speak another protocol.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    chunked: bool = False
    gzip: bool = False
    close: bool = False
    cut: int | None = None
    reset: bool = False
    hang: bool = False
    drip: float = 0.0
    chunk: int | None = None
    raw: bytes | None = None
    wait: Callable[[], Awaitable[object]] | None = None
    talk: Talk | None = None

    @classmethod
    def json(cls, value: object, status: int = 200, **settings: object) -> Answer:
        """Return an answer with a JSON body and its content type."""
        return cls(status, msgspec.json.encode(value), (("content-type", "application/json"),), **settings)  # type: ignore[arg-type]


Handler = Callable[[Received], "Answer | Awaitable[Answer]"]


class ScriptedServer:
    """A server on 127.0.0.1 (or `host`), in the running event loop: `async with ScriptedServer() as server`.

    `tls` makes it HTTPS. `received` holds every request so far, `connections` counts those that were opened. An unknown
    path is answered with 404. In another thread, for blocking tests: see `background`.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._routes: dict[str, list[Answer] | Handler] = {}
        self._clients: set[asyncio.Task[None]] = set()
        self._arrival = threading.Condition()
        self.received: list[Received] = []
        self.connections = 0
        self.url = ""

    def route(self, path: str, *answers: Answer | Handler) -> str:
        """Answer a path with each answer in turn, then always with the last; or by a handler. Return its URL."""
        if len(answers) == 1 and callable(answers[0]):
            self._routes[path] = answers[0]
        else:
            self._routes[path] = [answer for answer in answers if isinstance(answer, Answer)]
        return f"{self.url}{path}"

    def wait_for(self, requests: int, timeout: float = 30.0) -> None:
        """Block until so many requests have come in all. For another thread than the server's; see `background`.

        Raises TimeoutError after `timeout` seconds.
        """
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self.received) >= requests, timeout):
                raise TimeoutError(f"{len(self.received)} requests came in {timeout:g} s, not {requests}")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, ssl=self._tls, limit=_MOST_HEAD, backlog=1024
        )
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
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
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # The client went away, or the server is closing: either is the end of this connection and of nothing else.
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        with self._arrival:
            self.received.append(request)
            self._arrival.notify_all()
        route = self._routes.get(request.path)
        if route is None:
            answer = Answer(404, b"not found")
        elif isinstance(route, list):
            answer = route.pop(0) if len(route) > 1 else route[0]
        else:
            made = route(request)
            answer = made if isinstance(made, Answer) else await made
        if answer.wait is not None:
            await answer.wait()
        goes_on = await _send(answer, request, writer)
        if answer.talk is None:
            return goes_on
        await answer.talk(reader, writer)
        return False


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    length = int(dict(headers).get("content-length", "0"))
    return Received(method, target, tuple(headers), await reader.readexactly(length))


async def _send(answer: Answer, request: Received, writer: asyncio.StreamWriter) -> bool:
    """Send an answer and return whether the connection goes on."""
    if answer.hang:
        await asyncio.Event().wait()
    if answer.raw is not None:
        writer.write(answer.raw)
        await writer.drain()
        return False
    if answer.cut == -1:
        if answer.reset:
            reset(writer)
        return False
    head, body = _framed(answer, request)
    writer.write(head)
    if answer.drip:
        for index in range(len(body)):
            writer.write(body[index : index + 1])
            await writer.drain()
            await asyncio.sleep(answer.drip)
    else:
        writer.write(body[: answer.cut])
    await writer.drain()
    if answer.cut is not None:
        if answer.reset:
            reset(writer)
        return False
    return not answer.close


def _framed(answer: Answer, request: Received) -> tuple[bytes, bytes]:
    """Return the head and the body as they go over the wire."""
    body = gzip_.compress(answer.body, mtime=0) if answer.gzip else answer.body
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if answer.gzip:
        lines.append("content-encoding: gzip")
    if answer.chunked:
        lines.append("transfer-encoding: chunked")
        body = chunks(body, answer.chunk) + (b"0\r\n\r\n" if answer.talk is None else b"")
    elif (
        answer.status not in {204, 304}
        and answer.talk is None
        and not any(name.lower() == "content-length" for name, _ in answer.headers)
    ):
        lines.append(f"content-length: {len(body)}")
    if answer.close:
        lines.append("connection: close")
    if request.method == "HEAD" or answer.status in {204, 304}:
        body = b""
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


def chunks(data: bytes, most: int | None = None) -> bytes:
    """Return bytes as chunks of a chunked body, each of at most so many of them."""
    size = most or len(data) or 1
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a RST instead of a FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def background(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Run a server in an event loop and a thread of its own, so that blocking tests and subprocesses can use it."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    trouble: list[BaseException] = []
    stop = asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the server is used
            trouble.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, name="scripted-server", daemon=True)
    thread.start()
    ready.wait(30)
    if trouble:
        raise trouble[0]
    try:
        yield server
    finally:
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)
