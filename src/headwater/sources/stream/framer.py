"""Owns what framers have in common, and which one it is by plain parameters. Knows no form, and no configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from headwater.sources.split.item import Item
from headwater.sources.stream.delimited import DelimitedFramer, JsonLinesFramer
from headwater.sources.stream.events import EventFramer
from headwater.sources.stream.length import LengthFramer
from headwater.sources.stream.sequence import SequenceFramer

Form: TypeAlias = Literal["delimited", "ndjson", "json-seq", "length-prefixed", "sse"]


class Framer(Protocol):
    """Whatever cuts a stream into frames.

    A frame is given out by the `feed` that completes it, with its bytes unchanged; frames without a byte are none. The
    chunks that a stream comes in change nothing, and their number costs what their bytes do. At most the largest frame
    and a chunk are held: a larger frame is bad and told by its size, its digest and its beginning, and the next one is
    found.

    `what` is what a frame is called in words. `lost` is how many bytes of a half frame the end of the stream has left,
    where half of one is none.
    """

    what: str
    lost: int

    def feed(self, chunk: bytes) -> Sequence[Item]:
        """Take the next bytes of the stream; return the frames that they complete.

        Raises BrokenBodyError where no further frame can be found, ever. Frames that stood before that place are
        returned first, and the next call raises it.
        """
        ...

    def finish(self) -> Sequence[Item]:
        """Take the end of the stream; return what is left. Nothing is fed after it. Raises BrokenBodyError."""
        ...


def make_framer(
    form: Form,
    max_record: int,
    *,
    delimiter: bytes = b"\n",
    size: int | None = 4,
    little: bool = False,
    inclusive: bool = False,
    events: frozenset[str] | None = None,
    last_id: str = "",
) -> Framer | EventFramer:
    """Return the framer of a form, for frames of at most `max_record` bytes.

    `delimiter` is that of `delimited`. A length is `size` bytes (1, 2, 4, 8; None: a varint) in `little` endian order
    or big, and counts itself when it is `inclusive`. Of `sse`, `events` are the types that are wanted (None: all), and
    `last_id` is the id of the last event of the connection before. Raises ValueError for an empty delimiter and for
    another size.
    """
    match form:
        case "delimited":
            return DelimitedFramer(delimiter, max_record)
        case "ndjson":
            return JsonLinesFramer(max_record)
        case "json-seq":
            return SequenceFramer(max_record)
        case "length-prefixed":
            return LengthFramer(size, max_record, little=little, inclusive=inclusive)
        case "sse":
            return EventFramer(max_record, events, last_id=last_id)
