"""Owns frames that their length stands before: 1, 2, 4 or 8 bytes, or a varint as in delimited streams of protobuf."""

from __future__ import annotations

from headwater.core.units import format_size
from headwater.sources.split.item import BrokenBodyError, Item, too_large
from headwater.sources.split.parts import Growing
from headwater.sources.stream.delimited import OPTION

# A varint of 64 bits has at most so many bytes.
_LONGEST = 10
# A frame that is larger than it may be is passed over, but not one of 8 EiB: a length like that is none.
FARTHEST = 2**32


class LengthFramer:
    """Cuts a stream at lengths of `size` bytes, unsigned, or varints (None). An `inclusive` length counts itself too.

    Frames without a byte are none, and so is half of one at the end. A length that cannot be one - of more than 4 GiB
    when that is more than `max_record`, or less than itself - breaks the stream: nothing tells where the next one is.
    """

    what = "frame"

    def __init__(self, size: int | None, max_record: int, *, little: bool = False, inclusive: bool = False) -> None:
        if size not in {None, 1, 2, 4, 8}:
            raise ValueError(f"a length has 1, 2, 4 or 8 bytes or is a varint, not {size} bytes")
        self.lost = 0
        self._size = size
        self._little = little
        self._inclusive = inclusive
        self._most = max_record
        self._farthest = max(max_record, FARTHEST)
        # The beginning of a length; or that of a frame, how much of it has come, length and all, and how much has not.
        self._head = b""
        self._frame = Growing(max_record, option=OPTION)
        self._has = 0
        self._missing = 0
        # How many frames have been found, those without a byte too.
        self._number = 0
        self._broken = ""

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the stream; return the frames that they complete.

        Raises BrokenBodyError at a length that is none, once the frames before it have been returned.
        """
        if self._broken:
            raise BrokenBodyError(self._broken)
        items: list[Item] = []
        place = 0
        if self._missing:
            place = min(self._missing, len(chunk))
            self._grow(chunk[:place], items)
        data = self._head + chunk if self._head else chunk
        self._head = b""
        while place < len(data):
            try:
                found = self._fixed(data, place) if self._size else self._varint(data, place)
            except BrokenBodyError as error:
                self._broken = str(error)
                if items:
                    return items
                raise
            if found is None:
                break
            start, end = found
            if end > len(data):
                self._missing = end - start
                self._has = start - place
                self._grow(data[start:], items)
                return items
            if end - start > self._most:
                items.append(too_large(data[start:end], self._most, "", OPTION))
            elif end > start:
                items.append(data[start:end])
            place = end
        self._head = data[place:]
        return items

    def finish(self) -> list[Item]:
        """Take the end of the stream: half a frame is none, and counted. Raises BrokenBodyError as `feed` does."""
        if self._broken:
            raise BrokenBodyError(self._broken)
        self.lost = len(self._head) + self._has
        self._frame.take()
        return []

    def _grow(self, data: bytes, items: list[Item]) -> None:
        self._frame.add(data)
        self._has += len(data)
        self._missing -= len(data)
        if not self._missing:
            frame = self._frame.take()
            items.append(frame if isinstance(frame, bytes) else frame.end())
            self._has = 0

    def _fixed(self, data: bytes, place: int) -> tuple[int, int] | None:
        """Return where the frame whose length stands at a place begins and ends; None if there is no such yet."""
        start = place + (self._size or 0)
        if start > len(data):
            return None
        return self._frame_of(int.from_bytes(data[place:start], "little" if self._little else "big"), place, start)

    def _varint(self, data: bytes, place: int) -> tuple[int, int] | None:
        length = shift = 0
        for start, byte in enumerate(data[place : place + _LONGEST], place + 1):
            length |= (byte & 127) << shift
            if byte < 128:
                return self._frame_of(length, place, start)
            shift += 7
        if shift == 7 * _LONGEST:
            raise BrokenBodyError(
                f"the length of frame {self._number + 1} has no end: a varint has at most {_LONGEST} bytes"
            )
        return None

    def _frame_of(self, length: int, place: int, start: int) -> tuple[int, int]:
        self._number += 1
        end = (place if self._inclusive else start) + length
        if end < start:
            own = start - place
            raise BrokenBodyError(f"the length of frame {self._number} is {length}, less than its own {own} bytes")
        if end - start > self._farthest:
            size = format_size(length)
            raise BrokenBodyError(f"the length of frame {self._number} is {length} ({size}): that cannot be one")
        return start, end
