"""Owns sending past libcurl: what is queued for a connection is written to its socket.

It is the way where libcurl has no TLS on the connection. The queue is `outgoing`'s.
"""

from __future__ import annotations

import asyncio
import os

import pycurl

from headwater.fetch.outgoing import Outgoing

# How much is written at once (bytes).
_PIECE = 256 * 1024
# When to look again whether there is room, if no file is left to be told by (seconds).
_AGAIN = 0.05


class Direct:
    """A queue that is written to the socket of a transfer, in the running event loop.

    To libcurl the request has no body: an upload would cost a buffer of 16 KiB for as long as the connection lasts.
    """

    __slots__ = ("_copy", "_curl", "_outgoing", "_waker", "broken")

    def __init__(self, outgoing: Outgoing, curl: pycurl.Curl) -> None:
        self._outgoing = outgoing
        self._curl = curl
        # Another descriptor of the same socket, watched while the socket is full. It is ours, so that nothing is done
        # to one that libcurl has closed meanwhile.
        self._copy: int | None = None
        self._waker: asyncio.Handle | None = None
        self.broken: OSError | None = None

    def flush(self, *, held: bool = False) -> None:  # noqa: ARG002 - a way's signature
        """See `Way`. What does not fit goes out as soon as there is room."""
        outgoing = self._outgoing
        if self._copy is None and self._waker is None and outgoing.switched:
            # libcurl is asked each time: it knows of no socket any more once it has closed that.
            socket = self._curl.getinfo(pycurl.ACTIVESOCKET)
            if socket >= 0 and not self._write(socket):
                self._wait(socket)

    def close(self) -> None:
        """See `Way`."""
        if self._waker is not None:
            self._waker.cancel()
            self._waker = None
        if self._copy is not None:
            asyncio.get_running_loop().remove_writer(self._copy)
            os.close(self._copy)
            self._copy = None

    def _write(self, socket: int) -> bool:
        """Write as much as there is room for; return whether that is all."""
        outgoing = self._outgoing
        while outgoing.unsent:
            try:
                outgoing.drop(os.write(socket, outgoing.first(_PIECE)))
            except BlockingIOError:
                return False
            except BrokenPipeError:
                # The other side has ended the connection. Reading tells how, behind what it said before.
                outgoing.drop(outgoing.unsent)
            except OSError as error:
                # What came before is still to be read; then the end of the connection is told by this.
                self.broken = error
                outgoing.drop(outgoing.unsent)
        return True

    def _wait(self, socket: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._copy = os.dup(socket)
        except OSError:
            self._waker = loop.call_later(_AGAIN, self._look)
        else:
            loop.add_writer(self._copy, self._go_on)

    def _look(self) -> None:
        self._waker = None
        self.flush()

    def _go_on(self) -> None:
        assert self._copy is not None
        if self._write(self._copy):
            self.close()
