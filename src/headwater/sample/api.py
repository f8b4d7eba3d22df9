"""Owns the server of the sample API. What it tells is in `facts`."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl

from headwater.core.errors import HeadwaterError
from headwater.sample.facts import FACTS
from headwater.sample.feed import Feed
from headwater.sample.socket import Conversation, accepted
from headwater.version import __version__

_ROUTES = {
    "/fact": "the next fact: {'fact': ..., 'length': ...}",
    "/stream": "a fact a second, each a line of JSON, for ever",
    "/events": "the same as Server-Sent Events; Last-Event-ID goes on behind that one",
    "/ws": "the same over a WebSocket, to whoever says {'subscribe': 'facts'}; 'since' goes on behind a number",
    "/facts": "those from ?from= up to ?to=, times in ISO 8601, as an array",
    "/health": "200 while it runs",
    "/": "this list",
}
# A comment keeps the way open where facts are rare (seconds).
_HEARTBEAT = 15.0
# No number of a fact has more digits.
_LONGEST_ID = 18


class SampleApi:
    """A server in a thread of its own, from entering to leaving it; on loopback unless told another address.

    `port` 0 takes a free one; `url` is where it answers. `GET /fact` tells the facts in turn; the streams have one
    every `every` seconds.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1", *, every: float = 1.0) -> None:
        class Handler(_Handler):
            turn = _Turn()
            feed = Feed(time.time(), every)
            closing = threading.Event()

        self._closing = Handler.closing

        try:
            self._server = _Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise HeadwaterError(
                f"the sample API cannot listen on {host}:{port}: {reason}", hint="name another port, or 0"
            ) from error
        self.url = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sample-api", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Server(ThreadingHTTPServer):
    """A server whose open streams keep nobody from ending it."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke: who asked for it has gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Turn:
    """Hands out the facts in turn, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def take(self) -> str:
        with self._lock:
            fact = FACTS[self._next % len(FACTS)]
            self._next += 1
        return fact


class _Handler(BaseHTTPRequestHandler):
    """Answers one request. A subclass for each server holds its turn."""

    protocol_version = "HTTP/1.1"
    server_version = f"headwater-sample/{__version__}"
    timeout = 60  # seconds that an idle connection is kept
    # Head and body are two writes, and the second must not wait for the acknowledgement of the first.
    disable_nagle_algorithm = True
    turn: ClassVar[_Turn]
    feed: ClassVar[Feed]
    closing: ClassVar[threading.Event]
    chunks = True

    def do_GET(self) -> None:
        """Answer a GET."""
        path, _, query = self.path.partition("?")
        if path == "/fact":
            fact = self.turn.take()
            self._answer(200, {"fact": fact, "length": len(fact)})
        elif path in {"/stream", "/events"}:
            self._stream(events=path == "/events")
        elif path == "/ws":
            self._converse()
        elif path == "/facts":
            self._tell_between(query)
        elif path == "/health":
            self._answer(200, {"status": "ok"})
        elif path == "/":
            self._answer(200, _ROUTES)
        else:
            self._answer(404, {"message": "Not Found", "routes": list(_ROUTES)})

    def do_HEAD(self) -> None:
        """Answer a HEAD: as a GET, without the body."""
        self.do_GET()

    def _stream(self, *, events: bool) -> None:
        """Tell one fact after the other until the other side has gone, or the server ends."""
        given = self.headers.get("Last-Event-ID", "") if events else ""
        had = int(given) if given.isdecimal() and len(given) <= _LONGEST_ID else None
        # Who speaks HTTP/1.0 knows no chunks: its stream ends with the connection.
        self.chunks = self.request_version != "HTTP/1.0"
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if events else "application/x-ndjson")
        self.send_header("Cache-Control", "no-store")
        if self.chunks:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(OSError):
            self._tell(self.feed.following(had, time.time()), events=events)

    def _tell(self, number: int, *, events: bool) -> None:
        """Tell the facts from a number on. Raises OSError when the other side has gone."""
        self._chunk("retry: 1000\n\n" if events else "")
        while not self.closing.is_set():
            wait = self.feed.time(number) - time.time()
            if wait > 0:
                if self.closing.wait(min(wait, _HEARTBEAT)):
                    break
                if events and wait > _HEARTBEAT:
                    self._chunk(": still there\n\n")
                continue
            text = self.feed.text(number)
            self._chunk(f"event: fact\nid: {number}\ndata: {text}\n\n" if events else f"{text}\n")
            number += 1
        if self.chunks:
            self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        if text:
            data = text.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunks else data)

    def _converse(self) -> None:
        """Answer a handshake, and talk."""
        accept = accepted(self.headers) if self.command == "GET" else None
        if accept is None:
            self._answer(400, {"message": "this is a WebSocket; ask for it with ws://"})
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.wfile.flush()
        with suppress(OSError):
            Conversation(self.connection, self.feed, self.closing).run()
        self.close_connection = True

    def _tell_between(self, query: str) -> None:
        """Tell the facts between two times."""
        given = dict(parse_qsl(query))
        now = time.time()
        try:
            start, end = (_time(given.get(name), usual) for name, usual in (("from", 0.0), ("to", now)))
        except ValueError as error:
            self._answer(400, {"message": str(error)})
            return
        found = ",".join(map(self.feed.text, self.feed.within(start, end, now)))
        self._send(200, f"[{found}]".encode())

    def _answer(self, status: int, content: object) -> None:
        self._send(status, json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing: the log belongs to the connectors."""


def _time(text: str | None, usual: float) -> float:
    """Return a time as Unix time in seconds. Raises ValueError."""
    if not text:
        return usual
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:60]!r} is no time of ISO 8601") from None
