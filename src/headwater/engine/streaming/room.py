"""Owns how much may wait in memory for the log: for each stream, and for all streams of a process together. Pure."""

from __future__ import annotations

# What one stream may always have, what it may have while there is room, and what all may have together (bytes).
_ALWAYS, _MOST, _ALL = 64 * 1024, 2 * 1024 * 1024, 256 * 1024 * 1024


class Room:
    """What all streams have in memory. `taken` counts its bytes."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def wants_more(self, size: int) -> bool:
        """Return whether a stream that has so many bytes may take in more."""
        return size < _ALWAYS or (size < _MOST and self.taken < _ALL)
