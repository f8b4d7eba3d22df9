"""Owns what is to be sent on one connection that changes its protocol: a queue that libcurl takes bytes from.

When libcurl is told that there is something is `streams`'s.
"""

from __future__ import annotations

from collections import deque

import pycurl

# More than this waits for nobody who does not read: in bytes.
MOST_UNSENT = 16 * 1024 * 1024
# libcurl has a buffer of this size for each connection; it is the smallest that it allows (bytes).
_BUFFER = 16 * 1024
# It has no name in pycurl.
_UPLOAD_BUFFERSIZE = 280


class Outgoing:
    """The queue of one connection. `unsent` is its bytes; `idle` is whether libcurl has found it empty.

    To libcurl it is the body of a request, of unknown length and without any framing: what is read here goes over the
    wire as it is. Nothing is read before the protocol is `switched`; when an answer does not, the body is `over`.
    """

    __slots__ = ("_begun", "_queue", "idle", "over", "switched", "unsent")

    def __init__(self) -> None:
        # None while it is empty, as it nearly always is: thousands of empty ones would take megabytes.
        self._queue: deque[bytes] | None = None
        # How much of the first one libcurl has taken.
        self._begun = 0
        self.unsent = 0
        self.idle = False
        self.switched = False
        self.over = False

    def attach(self, curl: pycurl.Curl) -> None:
        """Let libcurl take from here."""
        self.idle = self.switched = self.over = False
        curl.setopt(pycurl.UPLOAD, 1)
        curl.setopt(_UPLOAD_BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.READFUNCTION, self.read)
        curl.setopt(pycurl.SEEKFUNCTION, self.seek)

    def append(self, data: bytes) -> None:
        """Have bytes sent behind all others."""
        if data:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(data)
            self.unsent += len(data)

    def read(self, most: int) -> bytes | int:
        """Return up to so many bytes for libcurl, or that there are none now, or never will be."""
        if self.over:
            return b""
        if not self.switched or not self._queue:
            self.idle = True
            return pycurl.READFUNC_PAUSE
        self.idle = False
        parts: list[bytes] = []
        room = most
        while room and self._queue:
            part = self._queue[0][self._begun : self._begun + room]
            parts.append(part)
            room -= len(part)
            self._begun += len(part)
            if self._begun == len(self._queue[0]):
                self._queue.popleft()
                self._begun = 0
        self.unsent -= most - room
        self._queue = self._queue or None
        return b"".join(parts)

    @staticmethod
    def seek(offset: int, origin: int) -> int:  # noqa: ARG004 - libcurl's signature
        """Say that the body begins anew behind a challenge, as nothing of it has been read."""
        return pycurl.SEEKFUNC_OK
