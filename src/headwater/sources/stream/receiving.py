"""Owns one connection's bytes on their way to records: cut into frames as they come, made records group by group. Pure.

Where frames end is the framer's; what a frame becomes is `items`' and `output`'s. When a group is stored is the
engine's: it gathers what has come, has records made of it, in a thread where that is much, and stores them with the
position behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, compress
from typing import Protocol, cast

import msgspec
from msgspec import Raw

from headwater.core.checkpoint import Checkpoint, Progress, StreamPosition
from headwater.core.extract import DocumentError, Extractor
from headwater.core.http import Response
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources.course import Course
from headwater.sources.items import About, Items
from headwater.sources.reaped import BadItem, Reaped
from headwater.sources.split.item import Bad, BrokenBodyError, Item, json_item, shown


class Ended(msgspec.Struct, frozen=True):
    """That the other side has ended what is spoken on a connection; `failed` when it was no proper end."""

    reason: str
    failed: bool = False


class Due(msgspec.Struct, frozen=True):
    """What a connection needs now: bytes to be sent, and when to look again (monotonic seconds).

    With `dead`, a sentence that says why, nothing lives at the other side any more.
    """

    again_at: float
    frames: bytes = b""
    dead: str = ""


class Intake(Protocol):
    """Whatever cuts what a connection brings into frames.

    `what` is what a frame is called in words. `event_id` is the id of the last event of those given out so far, and
    `retry` how long the server wants to be left alone after the connection (ms); None where there are none.
    """

    what: str

    def greeting(self) -> bytes:
        """Return what is sent as soon as the connection is there."""
        ...

    def outgoing(self) -> bytes:
        """Return what is to be sent after what was fed."""
        ...

    def farewell(self) -> bytes:
        """Return what is sent before we end the connection; nothing where it is just cut."""
        ...

    def due(self, now: float, *, held: bool) -> Due | None:
        """Return what the connection needs at a time (monotonic seconds); None where it never needs anything.

        `held`: nothing of it is read at the moment, so that its silence says nothing.
        """
        ...

    @property
    def ended(self) -> Ended | None:
        """Whether the other side has ended what is spoken: nothing more is to be fed then."""
        ...

    @property
    def event_id(self) -> str | None:
        """See above."""
        ...

    @property
    def retry(self) -> int | None:
        """See above."""
        ...

    def feed(self, chunk: bytes) -> Frames:
        """Take the next bytes; return the frames that they complete. Raises BrokenBodyError."""
        ...

    def finish(self) -> Frames:
        """Take the end of the connection; return the frames that are left."""
        ...


class Listening:
    """What an intake has that only listens."""

    __slots__ = ()

    ended: Ended | None = None

    def greeting(self) -> bytes:
        """Return nothing."""
        return b""

    def outgoing(self) -> bytes:
        """Return nothing."""
        return b""

    def farewell(self) -> bytes:
        """Return nothing."""
        return b""

    def due(self, now: float, *, held: bool) -> Due | None:  # noqa: ARG002 - an intake's signature
        """Return None."""
        return None


class Frames(msgspec.Struct, gc=False):
    """Frames in their order, and the keys of their records where those do not come out of the frames themselves."""

    items: Sequence[Item]
    keys: Sequence[bytes | None] | None = None


class _Piece(msgspec.Struct, gc=False):
    """Frames of one chunk, how much memory they take, where the stream was behind it, and when it came (ms)."""

    frames: Frames
    size: int
    event_id: str | None
    retry: int | None
    heard: int


class Group(msgspec.Struct):
    """What is to be stored together: frames, the first of which is the so-manieth of the connection, from 0."""

    pieces: Sequence[_Piece]
    first: int
    size: int


class Making(msgspec.Struct, frozen=True):
    """What frames become: `items` and what their records are made of, or `render` for one record of each.

    `values` takes out what the course's cursors are about, where no items do.
    """

    head: Response
    shown_url: str
    course: Course
    values: Extractor
    items: Items | None = None
    documents: bool = False
    render: Callable[[bytes], bytes] | None = None


class Receiving:
    """What one connection brings. `size` is what waits to be gathered (bytes), `received` all that has come."""

    __slots__ = ("_before", "_count", "_each", "_heard", "_intake", "_items", "_making", "_pieces", "received", "size")

    def __init__(self, intake: Intake, making: Making) -> None:
        self._intake = intake
        self._making = making
        self._pieces: list[_Piece] = []
        # How many frames are gathered, and how many items were found in those of them that are made.
        self._count = self._items = 0
        self._heard = 0
        # Where the stream was before the chunk that came last, and how much memory a frame takes beside its bytes.
        self._before = intake.event_id, intake.retry
        self._each = _OF_A_FRAME + (0 if making.render is None else len(making.render(b"")))
        self.size = 0
        self.received = 0

    @property
    def heard(self) -> int:
        """When the last bytes came, ms since the Unix epoch; 0 before any."""
        return self._heard

    @property
    def intake(self) -> Intake:
        """What the frames come out of."""
        return self._intake

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be gathered."""
        return bool(self._pieces)

    @property
    def what(self) -> str:
        """What a frame is called in words."""
        return self._intake.what

    def feed(self, chunk: bytes, now: int = 0) -> None:
        """Take the bytes that came at `now` (ms since the Unix epoch).

        Raises BrokenBodyError when nothing can be said of what follows.
        """
        self.received += len(chunk)
        self._heard = now
        self._before = self._intake.event_id, self._intake.retry
        self._keep(self._intake.feed(chunk), len(chunk))

    def finish(self) -> None:
        """Take the end of the connection."""
        self._keep(self._intake.finish(), 0)

    def _keep(self, frames: Frames, size: int) -> None:
        intake = self._intake
        if frames.items:
            weight = max(size, _weight(frames.items)) + self._each * len(frames.items) + _OVERHEAD
            pieces = _parts(frames, weight, _Piece(frames, weight, *self._before, self._heard))
            # Only behind the last of them is the stream where it is now.
            pieces[-1].event_id, pieces[-1].retry = intake.event_id, intake.retry
            self._pieces += pieces
            self.size += weight
        elif self._pieces:
            # Where the stream is now belongs to what came before.
            last = self._pieces[-1]
            last.event_id, last.retry = intake.event_id, intake.retry

    def moved(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint with where the stream is, once all that has come is stored.

        What moves it without a frame is not worth a commit: it would only come again.
        """
        return _moved(checkpoint, self._intake.event_id, self._intake.retry)

    def gather(self, most: int) -> Group:
        """Return what waits, up to about `most` bytes, which does not wait any more."""
        pieces: list[_Piece] = []
        size = 0
        for piece in self._pieces:
            if pieces and size >= most:
                break
            pieces.append(piece)
            size += piece.size
        del self._pieces[: len(pieces)]
        self.size -= size
        first = self._count
        self._count += sum(len(piece.frames.items) for piece in pieces)
        return Group(pieces, first, size)

    def reap(self, group: Group, before: Checkpoint, moment: Moment) -> Reaped:
        """Return the records of a group with the position behind it; `before` is the checkpoint stored last.

        Groups are made in their order, but a thread may do it.
        """
        making = self._making
        items = [*chain.from_iterable(piece.frames.items for piece in group.pieces)]
        keys = _keys(group.pieces)
        bad: Sequence[BadItem]
        if making.items is not None:
            records, bad, progress = self._itemised(making.items, items, keys, before, moment)
        else:
            records, bad = _rendered(items, keys, making.render, group.first, self.what)
            progress = before.progress
            if making.course.gathers:
                good = [cast("bytes", it) for it in items if not isinstance(it, Bad)]
                values = [_found(making.values, it) for it in good]
                records, progress = self._gleaned(records, good, values, before, moment)
        # Up to when its last bytes came: what came since is not stored, and would be missing after a kill.
        last = group.pieces[-1]
        checkpoint = msgspec.structs.replace(
            _moved(before, last.event_id, last.retry, last.heard or moment.now),
            records=before.records + len(records),
            progress=progress,
        )
        return Reaped(records, checkpoint, bad=bad, partial=True, first=group.first)

    def _itemised(
        self,
        options: Items,
        frames: Sequence[Item],
        keys: Sequence[bytes | None] | None,
        before: Checkpoint,
        moment: Moment,
    ) -> tuple[Sequence[Record], Sequence[BadItem], Progress | None]:
        """Return records as `records:` says, and what cursors have taken out of their items."""
        making, head = self._making, self._making.head
        if options.array() is None:
            found = [_checked(it) for it in frames] if making.documents else frames
        else:
            found, keys = _spread(options, frames, keys)
        about = About(making.shown_url, head.status, moment.now, 1, dict(head.headers))
        # Items are counted through, however their frames are grouped.
        first, self._items = self._items, self._items + len(found)
        batch = options.making(about, first, endless=True).take(found, self.what)
        records: Sequence[Record] = batch.records()
        if keys is not None:
            # Where an item has a key of its own, that is it.
            by_number = zip(records, batch.numbers, strict=True)
            records = [
                record if record.key is not None else Record(record.value, keys[number - first], record.timestamp)
                for record, number in by_number
            ]
        if not making.course.gathers:
            return records, batch.bad, before.progress
        records, progress = self._gleaned(records, batch.documents, batch.values, before, moment)
        return records, batch.bad, progress

    def _gleaned(
        self,
        records: Sequence[Record],
        documents: Sequence[bytes | Raw],
        values: Sequence[Sequence[Raw | None]],
        before: Checkpoint,
        moment: Moment,
    ) -> tuple[Sequence[Record], Progress | None]:
        """Return the records that cursors keep, and what these have taken out of all of them."""
        course, head = self._making.course, self._making.head
        gleaned = course.gleaning(before.progress)
        kept = gleaned.take(documents, values)
        if kept is not None:
            records = [*compress(records, kept)]
        return records, course.step(before.progress, moment, gleaned, None, headers=head.headers, url=head.url).progress


def _moved(checkpoint: Checkpoint, event_id: str | None, retry: int | None, until: int | None = None) -> Checkpoint:
    stream = checkpoint.stream or StreamPosition()
    position = msgspec.structs.replace(
        stream,
        event_id=stream.event_id if event_id is None else event_id,
        retry=stream.retry if retry is None else retry,
        until=stream.until if until is None else until,
    )
    return msgspec.structs.replace(checkpoint, stream=position)


def _keys(pieces: Sequence[_Piece]) -> Sequence[bytes | None] | None:
    if all(piece.frames.keys is None for piece in pieces):
        return None
    return [*chain.from_iterable(piece.frames.keys or [None] * len(piece.frames.items) for piece in pieces)]


def _rendered(
    frames: Sequence[Item],
    keys: Sequence[bytes | None] | None,
    render: Callable[[bytes], bytes] | None,
    first: int,
    what: str,
) -> tuple[Sequence[Record], Sequence[BadItem]]:
    """Return one record for each frame."""
    bad: list[BadItem] = []
    if not _all_bytes(frames):
        good: list[bytes] = []
        kept: list[bytes | None] = []
        for place, frame in enumerate(frames):
            if isinstance(frame, bytes):
                good.append(frame)
                kept.append(None if keys is None else keys[place])
            else:
                assert isinstance(frame, Bad)
                bad.append(_told(frame, f"{what} {first + place + 1}"))
        frames, keys = good, None if keys is None else kept
    values = frames if render is None else map(render, frames)  # type: ignore[arg-type]  # all are bytes
    return [*map(Record, values, keys)] if keys is not None else [*map(Record, values)], bad  # type: ignore[arg-type]


# What a chunk takes in memory besides its bytes, about (bytes): servers may send very small ones.
_OVERHEAD = 256
# And how many a frame and its record take beside their bytes.
_OF_A_FRAME = 64
# What one piece has at most, where it has more than one frame: a chunk may hold thousands, each with a long head.
_MOST_OF_A_PIECE = 512 * 1024


def _parts(frames: Frames, weight: int, piece: _Piece) -> list[_Piece]:
    """Return the frames of one chunk in as many pieces as they are to be stored in."""
    count = min(-(-weight // _MOST_OF_A_PIECE), len(frames.items))
    if count == 1:
        return [piece]
    each = -(-len(frames.items) // count)
    starts = range(0, len(frames.items), each)
    return [
        _Piece(
            Frames(
                frames.items[start : start + each],
                None if frames.keys is None else frames.keys[start : start + each],
            ),
            weight * (place + 1) // len(starts) - weight * place // len(starts),
            piece.event_id,
            piece.retry,
            piece.heard,
        )
        for place, start in enumerate(starts)
    ]


def _weight(items: Sequence[Item]) -> int:
    """Return how many bytes frames have: more than the chunk that ended the first of them, or that was inflated."""
    if _all_bytes(items):
        return sum(map(len, cast("Sequence[bytes]", items)))
    return sum(len(it.data if isinstance(it, Bad) else cast("bytes", it)) for it in items)


_BYTES = frozenset({bytes})


def _all_bytes(frames: Sequence[Item]) -> bool:
    return _BYTES.issuperset(map(type, frames))


def _found(values: Extractor, frame: bytes) -> Sequence[Raw | None]:
    """Return what cursors are about; nothing where a frame is no JSON."""
    try:
        return values(frame)
    except DocumentError:
        return (None,) * len(values)


def _told(frame: Bad, place: str) -> BadItem:
    return BadItem(frame.place or place, frame.reason, frame.data, frame.slug, frame.size, frame.digest)


def _checked(frame: Item) -> Item:
    return json_item(frame) if isinstance(frame, bytes) else frame


def _spread(
    options: Items, frames: Sequence[Item], keys: Sequence[bytes | None] | None
) -> tuple[list[Item], list[bytes | None] | None]:
    """Return the items of the arrays in frames; those of one frame have its key."""
    found: list[Item] = []
    theirs: list[bytes | None] = []
    for place, frame in enumerate(frames):
        inner = _array(options, frame)
        found += inner
        if keys is not None:
            theirs += [keys[place]] * len(inner)
    return found, None if keys is None else theirs


def _array(options: Items, frame: Item) -> Sequence[Item]:
    cutter = options.array()
    if cutter is None or not isinstance(frame, bytes):
        return [frame]
    try:
        return [*cutter.feed(frame), *cutter.finish()]
    except (BrokenBodyError, DocumentError) as error:
        return [Bad(f"{error}", shown(frame))]
