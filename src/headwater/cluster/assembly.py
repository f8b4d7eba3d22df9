"""Owns the cutting of received bytes into frames. Pure; knows nothing of what is in them but their number."""

from __future__ import annotations

from headwater.fluvio.frame import MOST_FRAME, frame_length
from headwater.fluvio.wire import Reader

_PREFIX = 4


class Assembly:
    """Frames being put together from the pieces in which they arrive.

    Each byte is copied once at most, however many pieces a frame comes in, and not at all when its frame is in one.
    """

    __slots__ = ("_missing", "_most", "_parts")

    def __init__(self, most: int = MOST_FRAME) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._missing = _PREFIX

    def feed(self, data: bytes) -> list[Reader]:
        """Take the next bytes; return readers of the frames that are whole now. Raises WireError for a bad length."""
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._parts)
            self._parts = []
        frames = []
        position, end = 0, len(data)
        while True:
            left = end - position
            if left < _PREFIX:
                self._missing = _PREFIX - left
                break
            size = _PREFIX + frame_length(data[position : position + _PREFIX], self._most)
            if left < size:
                self._missing = size - left
                break
            frames.append(Reader(data, position + _PREFIX, end=position + size))
            position += size
        if position < end:
            self._parts.append(data[position:] if position else data)
        return frames
