"""Owns one of libcurl's multi handles in the event loop: its sockets, its timer, and what has ended.

libcurl looks through all connections to a host for a free one, so a fetcher uses several lanes when much is under way.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl

# Exchanges that a lane has under way before another is begun, unless said otherwise.
CAPACITY = 64
# Sockets taken from the kernel at once; the rest comes with the next turn of the loop.
_MOST_EVENTS = 512
# How much earlier than asked for libcurl may be called (seconds).
_EARLY = 0.001
# What libcurl asks to watch a socket for.
_REMOVE = pycurl.POLL_REMOVE
_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_FAILED = pycurl.CSELECT_ERR
_ACTIONS = {
    select.EPOLLIN: pycurl.CSELECT_IN,
    select.EPOLLOUT: pycurl.CSELECT_OUT,
    select.EPOLLIN | select.EPOLLOUT: pycurl.CSELECT_IN | pycurl.CSELECT_OUT,
    select.EPOLLIN | select.EPOLLHUP: pycurl.CSELECT_IN,
    select.EPOLLIN | select.EPOLLRDHUP: pycurl.CSELECT_IN,
}

# What is called for each transfer that has ended: its handle, and for a failed one libcurl's code and words.
Done = Callable[[pycurl.Curl], None]
Failed = Callable[[pycurl.Curl, int, str], None]


class Lane:
    """A multi handle in the running event loop. `load` counts the transfers under way."""

    __slots__ = (
        "_collecting",
        "_deadline",
        "_done",
        "_epoll",
        "_failed",
        "_kick",
        "_loop",
        "_multi",
        "_parked",
        "_timer",
        "_watched",
        "load",
    )

    def __init__(self, done: Done, failed: Failed) -> None:
        self.load = 0
        self._done = done
        self._failed = failed
        self._collecting = False
        self._loop = asyncio.get_running_loop()
        # What each socket is watched for, in libcurl's words.
        self._watched: dict[int, int] = {}
        # Sockets of idle connections stay registered, for they are nearly always wanted for the next poll.
        self._parked: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._kick: asyncio.Handle | None = None
        # An epoll of our own: the event loop's readers cost several times as much for each socket.
        self._epoll = select.epoll()
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)
        self._multi = pycurl.CurlMulti()
        # No M_TIMERFUNCTION: it would be called twice for each transfer, where asking once for all of them does.
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        # Connections that are kept for later.
        self._multi.setopt(pycurl.M_MAXCONNECTS, CAPACITY)

    def add(self, curl: pycurl.Curl) -> None:
        """Begin a transfer."""
        self.load += 1
        self._multi.add_handle(curl)
        if self._kick is None:
            self.go_on()

    def remove(self, curl: pycurl.Curl) -> None:
        """Take out a transfer that has ended, or cut one that has not."""
        self.load -= 1
        self._multi.remove_handle(curl)
        if not self._collecting:
            self.go_on()

    def go_on(self) -> None:
        """Have libcurl called soon. To be called after a transfer was paused or let go on, for it is not heard when."""
        if self._kick is None:
            self._kick = self._loop.call_soon(self._on_kick)

    def close(self) -> None:
        """Close all connections. Every transfer must have been removed."""
        for waker in (self._timer, self._kick):
            if waker is not None:
                waker.cancel()
        self._multi.close()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def forget(self, descriptor: int) -> None:
        """Forget what was known of an earlier socket of this number; the kernel forgot it when it was closed."""
        self._watched.pop(descriptor, None)
        self._parked.discard(descriptor)

    def _on_socket(self, what: int, descriptor: int, multi: Any, data: Any) -> None:  # noqa: ARG002 - libcurl's signature
        """Watch a socket for libcurl, or park it."""
        if what == _REMOVE:
            self._parked.add(descriptor)
            return
        self._parked.discard(descriptor)
        known = self._watched.get(descriptor)
        if known == what:
            return
        if known is None:
            self._epoll.register(descriptor, _EVENTS[what])
        else:
            self._epoll.modify(descriptor, _EVENTS[what])
        self._watched[descriptor] = what

    def _on_ready(self) -> None:
        """Hand every ready socket to libcurl, then take what has ended."""
        act, parked = self._multi.socket_action, self._parked
        for descriptor, events in self._epoll.poll(0, _MOST_EVENTS):
            if descriptor in parked:
                # An idle connection that the server has closed: libcurl finds out when it wants it again.
                parked.discard(descriptor)
                self._watched.pop(descriptor, None)
                with suppress(OSError):
                    self._epoll.unregister(descriptor)
            else:
                act(descriptor, _ACTIONS.get(events, _FAILED))
        self._collect()

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_time)

    def _on_kick(self) -> None:
        self._kick = None
        self._act()

    def _on_time(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time() + _EARLY:
            self._set_timer(self._deadline)
            return
        self._act()

    def _act(self) -> None:
        """Have libcurl do what is due, then take what has ended."""
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _collect(self) -> None:
        """Report every transfer that has ended, and see when libcurl wants to be called."""
        self._collecting = True
        try:
            queued = 1
            while queued:
                queued, good, bad = self._multi.info_read()
                for curl in good:
                    self._done(curl)
                for curl, code, said in bad:
                    self._failed(curl, code, said)
        finally:
            self._collecting = False
        self._keep_time()

    def _keep_time(self) -> None:
        milliseconds = self._multi.timeout()
        if milliseconds < 0:
            self._deadline = None
        elif milliseconds == 0:
            self._deadline = None
            self.go_on()
        else:
            self._deadline = self._loop.time() + milliseconds / 1000
            # A timer that is set already and comes earlier sets itself anew.
            if self._timer is None or self._timer.when() > self._deadline:
                self._set_timer(self._deadline)
