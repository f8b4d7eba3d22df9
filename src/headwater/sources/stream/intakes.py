"""Owns what cuts responses into frames, as a configuration asks for it, and where that says the stream is. Pure."""

from __future__ import annotations

from headwater.config import HttpOptions
from headwater.config.framing import SseOptions
from headwater.sources.split.item import Bad, Item
from headwater.sources.stream.events import Event, EventFramer
from headwater.sources.stream.framer import Framer, make_framer
from headwater.sources.stream.receiving import Frames, Listening


class FrameIntake(Listening):
    """Frames that have nothing but themselves."""

    __slots__ = ("_framer", "what")

    event_id: str | None = None
    retry: int | None = None

    def __init__(self, options: HttpOptions) -> None:
        prefix = options.length_prefix
        framer = make_framer(
            options.framing,
            options.max_record,
            delimiter=(options.delimiter or "\n").encode("utf-8", "surrogateescape"),
            size=None if prefix.size == "varint" else prefix.size,
            little=prefix.byte_order == "little",
            inclusive=prefix.includes_itself,
        )
        assert not isinstance(framer, EventFramer), "events have an intake of their own"
        self._framer: Framer = framer
        self.what = framer.what

    def feed(self, chunk: bytes) -> Frames:
        """See `receiving.Intake`."""
        return Frames(self._framer.feed(chunk))

    def finish(self) -> Frames:
        """See `receiving.Intake`."""
        return Frames(self._framer.finish())


class EventIntake(Listening):
    """Server-sent events, of which the id of the last one is what the next connection asks to go on behind."""

    __slots__ = ("_framer", "_key")

    what = "event"

    def __init__(self, options: SseOptions, max_record: int, last_id: str) -> None:
        self._framer = EventFramer(max_record, frozenset(options.events) or None, last_id=last_id)
        self._key = options.key

    @property
    def event_id(self) -> str | None:
        """See `receiving.Intake`."""
        return self._framer.last_id

    @property
    def retry(self) -> int | None:
        """See `receiving.Intake`."""
        return self._framer.retry

    def feed(self, chunk: bytes) -> Frames:
        """See `receiving.Intake`."""
        events = self._framer.feed(chunk)
        items: list[Item] = [it.data if isinstance(it, Event) else it for it in events]
        if self._key is None or not items:
            return Frames(items)
        return Frames(items, [_key(it, self._key) for it in events])

    def finish(self) -> Frames:
        """See `receiving.Intake`."""
        return Frames(())


def _key(event: Event | Bad, which: str) -> bytes | None:
    """Return the key of an event's record; an event without an id has none."""
    if isinstance(event, Bad):
        return None
    return (event.event if which == "event" else event.id).encode() or None
