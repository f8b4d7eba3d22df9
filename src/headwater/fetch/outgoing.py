"""Owns what is to be sent on one connection that changes its protocol: a queue, whichever way its bytes go out.

The ways are `direct`'s and `upload`'s. When there is something for them is `stream`'s.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

# More than this waits for nobody who does not read: in bytes.
MOST_UNSENT = 16 * 1024 * 1024


class Outgoing:
    """The queue of one stream. `unsent` is its bytes.

    None of them may go out before the protocol is `switched`; when an answer does not do that, sending is `over`.
    """

    __slots__ = ("_begun", "_queue", "over", "switched", "unsent")

    def __init__(self) -> None:
        # None while it is empty, as it nearly always is: thousands of empty ones would take megabytes.
        self._queue: deque[bytes] | None = None
        # How much of the first one is gone.
        self._begun = 0
        self.unsent = 0
        self.switched = False
        self.over = False

    def append(self, data: bytes) -> None:
        """Have bytes sent behind all others."""
        if data:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(data)
            self.unsent += len(data)

    def begin(self) -> None:
        """Know that another request is made, whose answer may switch the protocol."""
        self.switched = self.over = False

    def first(self, most: int) -> bytes:
        """Return the first bytes, up to so many, which stay."""
        parts: list[bytes] = []
        begun, room = self._begun, most
        for data in self._queue or ():
            part = data[begun : begun + room]
            parts.append(part)
            begun = 0
            room -= len(part)
            if not room:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drop(self, size: int) -> None:
        """Forget so many of the first bytes, which are gone."""
        queue = self._queue
        self.unsent -= size
        size += self._begun
        while queue and size >= len(queue[0]):
            size -= len(queue.popleft())
        self._begun = size
        self._queue = queue or None


class Way(Protocol):
    """How the bytes of a queue go out over the connection of one request.

    `broken` is why nothing goes out any more, None where it does, and where only reading can tell how it ended.
    """

    @property
    def broken(self) -> OSError | None:
        """See above."""
        ...

    def flush(self, *, held: bool) -> None:
        """Send what there is. `held`: what comes in is held back, and stays so. Not for callbacks of libcurl's.

        Raises pycurl.error where that ends the transfer.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
