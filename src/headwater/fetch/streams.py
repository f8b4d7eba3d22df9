"""Owns the streams of a fetcher: how many at once, and what the kernel does for them.

Ordinary exchanges are `curl`'s. Streams have lanes of their own, and each has a connection of its own: however many
there are, no poll waits for them. One of them is `stream`'s.
"""

from __future__ import annotations

import socket

import msgspec

from headwater.core.http import USUAL, Deliver, Request, Transport
from headwater.fetch.failure import without_files
from headwater.fetch.handle import NewSocket
from headwater.fetch.setting import Surroundings
from headwater.fetch.stream import JarOf, Shared, Stream

# Streams that a lane has under way before another is begun. None is looked through for a connection.
_CAPACITY = 512
_USUAL = Transport(http_version="1.1")
# How long the kernel waits for the other side to say that it has received something (ms).
_PATIENCE = 60_000


class Streams:
    """The streams of a fetcher in the running event loop, at most `most` of them at once.

    `on_socket` is told of each new socket, and returns what libcurl is to be told.
    """

    __slots__ = ("_most", "_on_socket", "_shared")

    def __init__(self, most: int, around: Surroundings, jar: JarOf, on_socket: NewSocket) -> None:
        self._most = most
        self._on_socket = on_socket
        self._shared = Shared(around, jar, self._on_new_socket, _CAPACITY)

    def begin(self, request: Request, deliver: Deliver) -> Stream:
        """Begin a stream. What goes wrong is delivered, later."""
        if request.upgrade:
            request = msgspec.structs.replace(request, transport=_upgrading(request.transport))
        full = len(self._shared.under_way) >= self._most
        return Stream(self._shared, request, deliver, without_files(request, self._most) if full else None)

    def forget(self, descriptor: int) -> None:
        """Tell every lane of a new socket."""
        self._shared.lanes.forget(descriptor)

    def close(self) -> None:
        """Cut all streams and free their connections."""
        for stream in list(self._shared.under_way):
            stream.cut()
        self._shared.lanes.close()

    def _on_new_socket(self, descriptor: int, purpose: int) -> int:
        """Have the kernel find out within a minute that nobody takes in what is sent over a new socket."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PATIENCE)
        except OSError:
            # It is no socket of TCP.
            pass
        finally:
            connection.detach()
        return self._on_socket(descriptor, purpose)


def _upgrading(transport: Transport) -> Transport:
    """Return a transport over HTTP/1.1: no other version can change the protocol of a connection."""
    return _USUAL if transport is USUAL else msgspec.structs.replace(transport, http_version="1.1")
