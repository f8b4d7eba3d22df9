"""Owns the body of one exchange while it arrives: into a sink, as fast as that wants it, or into the handle.

When the head is whole and what takes the body is asked here; what came of the exchange is `curl`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pycurl

from headwater.core.errors import FetchError, ProtocolError
from headwater.core.http import Request, Sink
from headwater.fetch.head import BLANK, SWITCHED, last_status
from headwater.fetch.redirect import REDIRECTS

# Statuses that libcurl may answer with a login, of which it says nothing until there is a body.
_CHALLENGE = 401
_CHALLENGED = frozenset({"digest", "negotiate"})

# Called once the head of the final response is there; gives what takes the body, None to have it gathered.
Opening = Callable[[], Sink | None]


class Intake:
    """What comes in on a handle. `error` is what the sink, or whatever gave it, refused with.

    `heard` is when the last bytes came (monotonic seconds); `paused` is whether the sink wants no more for now;
    `gathering` is whether the body is kept: until the sink is known, without one, and for a redirect that is followed.
    `asking` is whether somebody else's code is called right now, from within libcurl.
    """

    __slots__ = (
        "_body",
        "_lines",
        "_opening",
        "_request",
        "_resuming",
        "_sink",
        "asking",
        "error",
        "gathering",
        "heard",
        "opened",
        "paused",
        "size",
    )

    def __init__(self, request: Request, lines: list[bytes], body: list[bytes], opening: Opening) -> None:
        self._request = request
        self._lines = lines
        self._body = body
        self._opening = opening
        self._sink: Sink | None = None
        self.gathering = True
        self.opened = False
        self.paused = False
        self.asking = False
        self._resuming = False
        self.heard = monotonic()
        self.size = 0
        self.error: FetchError | None = None

    def line(self, line: bytes) -> int | None:
        """Take a line of a head. Return how much of it was taken when that is not all."""
        self._lines.append(line)
        if line in BLANK and not self.opened and self._final():
            return None if self.error is None and self.open() else -1
        return None

    def _final(self) -> bool:
        """Return whether the head that is whole now is surely that of the final response."""
        first = last_status(self._lines)
        status = self._lines[first].partition(b" ")[2][:3]
        if status == SWITCHED:
            # If nobody asked for it, nobody could read what follows: reading the head says so.
            return True
        if status[:1] == b"1" or not status.isdigit():
            return False
        login = self._request.transport.login
        if int(status) == _CHALLENGE and login is not None and login.kind in _CHALLENGED:
            return False
        return not self._followed()

    def _followed(self) -> bool:
        """Return whether the last head is a redirect to another place."""
        first = last_status(self._lines)
        status = self._lines[first].partition(b" ")[2][:3]
        if not status.isdigit() or int(status) not in REDIRECTS:
            return False
        return any(line[:9].lower() == b"location:" for line in self._lines[first + 1 :])

    def open(self) -> bool:
        """Ask for the sink. Return whether the body may come."""
        self.opened = True
        self.heard = monotonic()
        self.asking = True
        try:
            self._sink = self._opening()
        except FetchError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - a callback of libcurl, which would drop what escaped here
            self.error = self._defect(error)
        self.asking = False
        self.gathering = self._sink is None
        return self.error is None

    def chunk(self, chunk: bytes) -> int:
        """Take bytes of the body. Return how many were taken, or that there are to be none now."""
        if self.paused:
            return pycurl.WRITEFUNC_PAUSE
        if self.error is not None:
            return -1
        # A challenge whose body is handed over is not answered.
        if not self.opened and not self._followed() and not self.open():
            return -1
        self.heard = monotonic()
        self.size += len(chunk)
        if self.size > self._request.max_body and self.bounded:
            self._body.clear()
            return -1
        if self.gathering:
            self._body.append(chunk)
            return len(chunk)
        assert self._sink is not None
        self.asking = True
        try:
            self.paused = not self._sink.write(chunk)
        except FetchError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - the same
            self.error = self._defect(error)
        self.asking = False
        return len(chunk) if self.error is None else -1

    @property
    def bounded(self) -> bool:
        """Whether the body must keep within `max_body`: that of a stream goes on for as long as a sink takes it in."""
        return self.gathering or not self._request.stream

    def abandon(self) -> None:
        """Give nothing more to anybody: nobody waits for it."""
        self.error = ProtocolError(f"{self._request.method} {self._request.shown_url}: it was given up")

    def wants_more(self) -> bool:
        """Note that the sink wants more. Return whether there is a pause to be ended, or is about to be."""
        if self._resuming or not (self.paused or self.asking):
            return False
        self._resuming = True
        return True

    def go_on(self, curl: pycurl.Curl) -> None:
        """End a pause. Raises pycurl.error when that ends the transfer."""
        if self.goes_on():
            curl.pause(pycurl.PAUSE_CONT)

    def goes_on(self) -> bool:
        """Note that a pause ends, if there is one. Return whether libcurl is to be told."""
        self._resuming = False
        if not self.paused:
            return False
        self.paused = False
        self.heard = monotonic()
        return True

    def _defect(self, error: Exception) -> FetchError:
        request = self._request
        return ProtocolError(f"{request.method} {request.shown_url}: the body cannot be taken in ({error!r})")
