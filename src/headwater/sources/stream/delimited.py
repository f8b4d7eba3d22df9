"""Owns streams that are cut at a delimiter: lines, parts between any bytes, and NDJSON. Cutting is `split.parts`'."""

from __future__ import annotations

from headwater.sources.split.item import BLANK, Item
from headwater.sources.split.lines import JsonTexts, blank_before, plain_items
from headwater.sources.split.parts import Parts, Unmarked

OPTION = "max_record"


class DelimitedFramer:
    """Cuts a stream at a delimiter; parts without a byte are none. A line feed takes carriage returns before it along.

    What stands behind the last delimiter is a part too, at the end.
    """

    lost = 0

    def __init__(self, delimiter: bytes, max_record: int) -> None:
        if not delimiter:
            raise ValueError("a delimiter has at least one byte")
        self.what = "line" if delimiter == b"\n" else "part"
        self._most = max_record
        self._blank = blank_before(delimiter)
        self._parts = Parts(delimiter, max_record, self._blank, both=False, option=OPTION)

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the stream; return the parts that they complete."""
        large, parts = self._parts.feed(chunk)
        return plain_items(large, parts, self._most, self._blank, OPTION) if parts or large is not None else []

    def finish(self) -> list[Item]:
        """Take the end of the stream; return the part behind the last delimiter."""
        return plain_items(*self._parts.finish(), self._most, self._blank, OPTION)


class JsonLinesFramer:
    """Cuts NDJSON: each line that is not blank is a frame, if it is JSON in UTF-8; what is blank around it is not.

    A bad line is told by its number in this stream. A mark of UTF-8 at the beginning is left out.
    """

    what = "line"
    lost = 0

    def __init__(self, max_record: int) -> None:
        self._parts = Parts(b"\n", max_record, BLANK, option=OPTION)
        self._mark = Unmarked()
        self._texts = JsonTexts(max_record, "line", option=OPTION)

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the stream; return the lines that they complete."""
        large, parts = self._parts.feed(self._mark.feed(chunk))
        return self._texts.items(large, parts) if parts or large is not None else []

    def finish(self) -> list[Item]:
        """Take the end of the stream; return the line behind the last line feed, if it is JSON."""
        return [*self.feed(self._mark.finish()), *self._texts.items(*self._parts.finish())]
