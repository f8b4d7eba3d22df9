"""Owns Server-Sent Events: the HTML standard's "Interpreting an event stream" (9.2.6), in whatever chunks it comes.

Does not connect, and does not say what becomes of an event, an id or a time to wait.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from headwater.core.units import format_size
from headwater.sources.split.item import Bad, Large, is_text, shown, too_large
from headwater.sources.split.parts import Growing, Unmarked
from headwater.sources.stream.delimited import OPTION

# The longest type, and the longest id (bytes): an id is sent in a header, and kept.
LONGEST = 64 * 1024
# The longest line of which more is held than what kind of line it is: name, colon, space and the longest id.
_LINE = LONGEST + len(b"event: ")
# The most milliseconds that a server can ask to wait; what is more is this.
_MOST_RETRY = 10**15

# What becomes of the rest of a line whose beginning is known.
_DATA, _NOTHING = 1, 2


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event: its data, its type, and the id of the last event as of this one, empty if there was none."""

    data: bytes
    event: str
    id: str


class EventFramer:
    """Cuts an event stream.

    An event is given out by the `feed` that has the end of its blank line; when that is a CR, an LF behind it is
    passed over later. Values of `data` are joined by LF and are otherwise the bytes that came, for as long as these are
    UTF-8; each sequence of bytes that is not becomes U+FFFD, as the standard's decoder has it. An event whose data is
    larger than `max_record` (as it came, or with its U+FFFD) is bad, and so is one with an id or a type of more than
    64 KiB; such an id is none. With `events`, others are left out, and their ids count. An event may have no byte of
    data (`data:` alone); one without a field of data is none, and its id counts.

    `last_id` begins with what it was at the end of the connection before, as in browsers, and follows each blank line.
    `retry` is what the server asked for last (ms), at once. `lost` is how many bytes of an event without its blank line
    the end has left: such an event is none. At most `max_record`, 64 KiB of a line and a chunk are held.
    """

    what = "event"

    def __init__(self, max_record: int, events: frozenset[str] | None = None, *, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: int | None = None
        self.lost = 0
        self._most = max_record
        self._wanted = events
        # Blocks of this size cannot have anything that is too large in them.
        self._small = min(max_record, LONGEST)
        self._mark = Unmarked()
        # Whether an LF that comes next belongs to a CR that was the end of a line already.
        self._returned = False
        # The line that has begun: what of it is held, and what the rest is, when that is known.
        self._line = bytearray()
        self._rest = 0
        # The event that has begun, if one has: its fields so far, and the one that is too long.
        self._between = True
        self._data = Growing(max_record, option=OPTION)
        self._values = 0
        self._type = b""
        self._id: bytes | None = None
        self._flaw = ""

    def feed(self, chunk: bytes) -> list[Event | Bad]:
        """Take the next bytes of the stream; return the events that they complete."""
        text = self._plain(self._mark.feed(chunk))
        items: list[Event | Bad] = []
        start = 0 if self._between else self._slow(text, items, until_between=True)
        end = text.rfind(b"\n\n", start)
        if end >= 0:
            self._fast(text[start:end], items)
            start = end + 2
        if start < len(text):
            self._slow(text[start:] if start else text, items)
        return items

    def finish(self) -> list[Event | Bad]:
        """Take the end of the stream: an event without its blank line is none."""
        self.lost = len(self._line) + self._data.size
        self._clear()
        return []

    def _plain(self, text: bytes) -> bytes:
        """Return text in which every end of a line is LF, whatever it was."""
        if self._returned and text:
            self._returned = False
            text = text.removeprefix(b"\n")
        if b"\r" in text:
            self._returned = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return text

    def _fast(self, text: bytes, items: list[Event | Bad]) -> None:
        """Add the events of whole blocks, between which there are blank lines: nothing of them has to be kept."""
        clean = is_text(text)
        small = clean and len(text) <= self._small
        for block in filter(None, text.split(b"\n\n")):
            fit = small or (len(block) <= self._small and (clean or is_text(block)))
            if not (fit and self._usual(block, items)):
                self._slow(block + b"\n\n", items)

    def _usual(self, block: bytes, items: list[Event | Bad]) -> bool:
        """Add the event of a block of UTF-8, if its lines are of the usual ones; return whether they were."""
        name, ident = "message", self.last_id
        data: bytes | None = None
        more: list[bytes] = []
        for line in block.split(b"\n"):
            if line.startswith(b"data:"):
                value = line[5 + line.startswith(b" ", 5) :]
                if data is None:
                    data = value
                else:
                    more.append(value)
            elif line.startswith(b"id:") and b"\0" not in line:
                ident = line[3 + line.startswith(b" ", 3) :].decode()
            elif line.startswith(b"event:"):
                name = line[6 + line.startswith(b" ", 6) :].decode() or "message"
            else:
                return False
        self.last_id = ident
        if data is not None and (self._wanted is None or name in self._wanted):
            items.append(Event(b"\n".join((data, *more)) if more else data, name, ident))
        return True

    def _slow(self, text: bytes, items: list[Event | Bad], *, until_between: bool = False) -> int:
        """Take text line by line, all of it or until no event has begun; return how much was taken."""
        start = 0
        while (end := text.find(b"\n", start)) >= 0:
            line = text[start:end]
            start = end + 1
            if self._line or self._rest:
                self._grow(line)
                if not self._rest:
                    self._field(bytes(self._line))
                self._line.clear()
                self._rest = 0
            elif line:
                self._field(line)
            else:
                self._dispatch(items)
                if until_between:
                    return start
        if start < len(text):
            self._between = False
            self._grow(text[start:])
        return len(text)

    def _grow(self, data: bytes) -> None:
        """Take more of a line whose end has not come."""
        if self._rest == _DATA:
            self._data.add(data)
        elif not self._rest:
            self._line += data
            if len(self._line) > _LINE:
                self._rest = self._begin(bytes(self._line))
                self._line.clear()

    def _begin(self, line: bytes) -> int:
        """Take the beginning of a line that is long; return what the rest of it is."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._value(value.removeprefix(b" "))
            return _DATA
        if name in {b"id", b"event"}:
            self._field(line)
        return _NOTHING

    def _field(self, line: bytes) -> None:
        """Take one line that is not blank. A comment is one without a name."""
        self._between = False
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._value(value)
        elif name == b"retry":
            self._wait(value)
        elif name in {b"id", b"event"} and len(value) > LONGEST:
            self._flaw = name.decode()
        elif name == b"event":
            self._type = value
        elif name == b"id" and b"\0" not in value:
            self._id = value

    def _value(self, value: bytes) -> None:
        if self._values:
            self._data.add(b"\n")
        self._values += 1
        self._data.add(value)

    def _wait(self, value: bytes) -> None:
        """Take what a server asks to wait: ASCII digits, or it asks nothing."""
        if value.isdigit() and len(value) <= LONGEST:
            digits = value.lstrip(b"0")
            self.retry = min(int(digits or b"0"), _MOST_RETRY) if len(digits) <= 16 else _MOST_RETRY

    def _dispatch(self, items: list[Event | Bad]) -> None:
        """Take a blank line: what has begun is an event, if it has data."""
        if self._id is not None:
            self.last_id = self._id.decode("utf-8", "replace")
        name = self._type.decode("utf-8", "replace") or "message"
        if self._values and (self._wanted is None or name in self._wanted or self._flaw == "event"):
            items.append(self._event(self._data.take(), name))
        self._clear()

    def _event(self, data: bytes | Large, name: str) -> Event | Bad:
        if isinstance(data, Large):
            return data.end()
        if self._flaw:
            reason = f"its {self._flaw} has more than {format_size(LONGEST)}"
            return Bad(reason, shown(data), "too-large", "", len(data), sha256(data).hexdigest())
        if not is_text(data):
            data = data.decode("utf-8", "replace").encode()
            if len(data) > self._most:
                return too_large(data, self._most, "", OPTION)
        return Event(data, name, self.last_id)

    def _clear(self) -> None:
        self._between = True
        self._line.clear()
        self._rest = self._values = 0
        self._data.take()
        self._type = b""
        self._id = None
        self._flaw = ""
