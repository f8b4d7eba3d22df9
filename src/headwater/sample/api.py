"""Owns the server of the sample API. What it tells is in `facts`."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

from headwater.core.errors import HeadwaterError
from headwater.sample.facts import FACTS
from headwater.version import __version__

_ROUTES = {"/fact": "the next fact: {'fact': ..., 'length': ...}", "/health": "200 while it runs", "/": "this list"}


class SampleApi:
    """A server in a thread of its own, from entering to leaving it; on loopback unless told another address.

    `port` 0 takes a free one; `url` is where it answers. `GET /fact` tells the facts in turn.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        class Handler(_Handler):
            turn = _Turn()

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise HeadwaterError(
                f"the sample API cannot listen on {host}:{port}: {reason}", hint="name another port, or 0"
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sample-api", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


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

    def do_GET(self) -> None:
        """Answer a GET."""
        path = self.path.partition("?")[0]
        if path == "/fact":
            fact = self.turn.take()
            self._answer(200, {"fact": fact, "length": len(fact)})
        elif path == "/health":
            self._answer(200, {"status": "ok"})
        elif path == "/":
            self._answer(200, _ROUTES)
        else:
            self._answer(404, {"message": "Not Found", "routes": list(_ROUTES)})

    def do_HEAD(self) -> None:
        """Answer a HEAD: as a GET, without the body."""
        self.do_GET()

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Say nothing: the log belongs to the connectors."""
