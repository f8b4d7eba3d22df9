"""Owns sending by libcurl: what is queued for a connection is the body of its request.

It is the way where libcurl has TLS on the connection. The queue is `outgoing`'s.
"""

from __future__ import annotations

import pycurl

from headwater.fetch.outgoing import Outgoing

# libcurl has a buffer of this size for each connection; it is the smallest that it allows (bytes).
_BUFFER = 16 * 1024
# It has no name in pycurl.
_UPLOAD_BUFFERSIZE = 280


class Upload:
    """A queue that libcurl takes bytes from.

    To libcurl it is the body of a request, of unknown length and without any framing: what is read here goes over the
    wire as it is. Nothing is read before the protocol is switched; when an answer does not, the body is over.
    """

    __slots__ = ("_curl", "_idle", "_outgoing")

    broken: OSError | None = None

    def __init__(self, outgoing: Outgoing, curl: pycurl.Curl) -> None:
        self._outgoing = outgoing
        self._curl = curl
        # Whether libcurl has found it empty, and waits to be told.
        self._idle = False
        curl.setopt(pycurl.UPLOAD, 1)
        curl.setopt(_UPLOAD_BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.READFUNCTION, self._read)
        curl.setopt(pycurl.SEEKFUNCTION, self._seek)

    def flush(self, *, held: bool) -> None:
        """See `Way`."""
        if self._idle and (self._outgoing.unsent or self._outgoing.over):
            self._idle = False
            self._curl.pause(pycurl.PAUSE_RECV if held else pycurl.PAUSE_CONT)

    def close(self) -> None:
        """Do nothing: the connection is libcurl's."""

    def _read(self, most: int) -> bytes | int:
        """Return up to so many bytes for libcurl, or that there are none now, or never will be."""
        outgoing = self._outgoing
        if outgoing.over:
            return b""
        if not outgoing.switched or not outgoing.unsent:
            self._idle = True
            return pycurl.READFUNC_PAUSE
        self._idle = False
        data = outgoing.first(most)
        outgoing.drop(len(data))
        return data

    @staticmethod
    def _seek(offset: int, origin: int) -> int:  # noqa: ARG004 - libcurl's signature
        """Say that the body begins anew behind a challenge, as nothing of it has been read."""
        return pycurl.SEEKFUNC_OK
