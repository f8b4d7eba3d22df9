"""Owns cutting CSV into rows, each a JSON object under the names of the header (RFC 4180); numbers stay texts.

What a quote and a separator mean is the standard library's; where rows begin and end, in any chunks, and which are bad,
is decided here.
"""

from __future__ import annotations

import csv
import re
import sys
from codecs import getincrementaldecoder
from collections.abc import Sequence
from io import StringIO
from itertools import islice
from typing import Any

import msgspec
from msgspec import Raw

from headwater.sources.split.item import WINDOW, Bad, BrokenBodyError, Item, Large, shown, too_large

# The bound of the standard library is for the whole process, and refuses long fields; ours is `max_item`.
csv.field_size_limit(sys.maxsize)

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
# So many rows may begin a quote that nothing closes: each of them costs another look at all that follows.
_MOST_OPEN = 3
_JSON = msgspec.json.Encoder()


class Layout(msgspec.Struct, frozen=True):
    """What a table looks like.

    Without a `quote` nothing is quoted. With `header` the first row has the names, unless there are `columns`, which
    replace it then. Without either a row is an array. With `numbers` a field that is written like one of JSON's numbers
    is one.
    """

    delimiter: str = ","
    quote: str | None = '"'
    header: bool = True
    columns: tuple[str, ...] = ()
    numbers: bool = False


class TableSplitter:
    """Cuts a table in UTF-8 into rows. Lines end with CR, LF or both; a blank line is no row."""

    what = "row"
    rest: bytes | None = None
    missing = False

    def __init__(self, layout: Layout, max_item: int, *, window: int = WINDOW) -> None:
        self._most = max_item
        self._window = window
        self._numbers = layout.numbers
        self._dialect: dict[str, Any] = {"delimiter": layout.delimiter, "strict": True}
        if layout.quote is None:
            self._dialect["quoting"] = csv.QUOTE_NONE
        else:
            self._dialect["quotechar"] = layout.quote
        self._names = unique(layout.columns) if layout.columns else None
        self._header = layout.header
        # What is no UTF-8 becomes surrogates, which no row may hold.
        self._decoder = getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._chunks: list[str] = []
        self._waiting = 0
        # Lines of a row that is not complete, a line that is not, and how many lines are before them.
        self._lines: list[str] = []
        self._left = ""
        self._before = 0
        self._large: Large | None = None
        self._open = 0

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the body; return the rows that they complete. Raises BrokenBodyError."""
        self._chunks.append(self._decoder.decode(chunk))
        self._waiting += len(chunk)
        return self._work(final=False) if self._waiting >= self._window else []

    def finish(self) -> list[Item]:
        """Take the end of the body; return the rows that are left. Raises BrokenBodyError."""
        self._chunks.append(self._decoder.decode(b"", final=True))
        return self._work(final=True)

    def _work(self, *, final: bool) -> list[Item]:
        text = "".join((self._left, *self._chunks))
        self._chunks.clear()
        self._waiting = 0
        self._left = ""
        items: list[Item] = []
        lines = [*StringIO(text, newline="")]
        if lines and not final and not lines[-1].endswith("\n"):
            # Another line feed may come behind a carriage return.
            self._left = lines.pop()
        if self._large is not None and (lines or final):
            self._large.add(_bytes(lines.pop(0)) if lines else b"")
            items.append(self._large.end(self._place()))
            self._large = None
            self._before += 1
        self._rows([*self._lines, *lines], items, final=final)
        self._shorten()
        return items

    def _shorten(self) -> None:
        """Keep only the digest of a line that is too long already."""
        left = self._left.rstrip("\r")
        if self._large is None and len(left) > self._most:
            self._large = Large(self._most, b"\r\n", both=False)
        if self._large is not None:
            self._large.add(_bytes(left))
            self._left = self._left[len(left) :]

    def _place(self, line: int = 0) -> str:
        return f"line {self._before + line + 1}"

    def _rows(self, lines: list[str], items: list[Item], *, final: bool) -> None:
        """Turn lines into rows, and keep those of a row that is not complete."""
        start = 0
        while start < len(lines):
            start = self._run(lines, start, items)
            rest = sum(map(len, lines[start:])) + len(self._left.rstrip("\r"))
            if start < len(lines) and (final or rest > self._most):
                # This row is not complete, and it is too late for that.
                start = self._give_up(lines, start, items)
            else:
                break
        self._lines = lines[start:]
        self._before += start

    def _run(self, lines: list[str], start: int, items: list[Item]) -> int:
        """Read rows from a line on; return the line of the first that is not complete, or is larger than it may be."""
        reader = csv.reader(islice(lines, start, None), **self._dialect)
        done = start
        while True:
            try:
                for row in reader:
                    end = start + reader.line_num
                    text = lines[done] if end - done == 1 else "".join(lines[done:end])
                    if end - done > 1 and self._overlong(text):
                        return done
                    if row:
                        self._row(row, text, done, items)
                    done = end
            except csv.Error as error:
                end = start + reader.line_num
                text = "".join(lines[done:end])
                if "unexpected end" in str(error) or (end - done > 1 and self._overlong(text)):
                    return done
                items.append(self._bad(f"its quotes are wrong: {error}", text, done))
                done = end
            else:
                return done

    def _overlong(self, text: str) -> bool:
        return len(text) > self._most and len(text.rstrip("\r\n")) > self._most

    def _give_up(self, lines: list[str], start: int, items: list[Item]) -> int:
        """Leave the first line of a row that has no end out; return where to go on."""
        line = lines[start]
        if not self._overlong(line):
            self._open += 1
            if self._open > _MOST_OPEN:
                raise BrokenBodyError(f"the body has more than {_MOST_OPEN} quotes that are not closed")
        items.append(self._bad("it begins a quote that is not closed", line, start))
        return start + 1

    def _bad(self, reason: str, text: str, line: int) -> Bad:
        data = _bytes(text.rstrip("\r\n"))
        if self._overlong(text):
            return too_large(data, self._most, self._place(line))
        return Bad(reason, shown(data), place=self._place(line))

    def _row(self, row: list[str], text: str, line: int, items: list[Item]) -> None:
        """Turn one row into an item, or take the names from it."""
        if self._header:
            self._header = False
            if self._names is None:
                self._names = unique(row)
                if not "".join(self._names).isprintable() and any("\udc80" <= it <= "\udcff" for it in text):
                    raise BrokenBodyError("the header of the table is not UTF-8; name its charset")
            return
        if self._overlong(text):
            items.append(self._bad("", text, line))
        elif self._names is not None and len(row) != len(self._names):
            have = f"{len(row)} field{'s' if len(row) != 1 else ''}"
            items.append(self._bad(f"it has {have}, where {len(self._names)} are named", text, line))
        else:
            try:
                items.append(self._encode(row))
            except UnicodeEncodeError:
                items.append(self._bad("it is not UTF-8", text, line))

    def _encode(self, row: list[str]) -> bytes:
        values: Sequence[str | Raw] = row
        if self._numbers:
            values = [Raw(field.encode()) if _NUMBER.fullmatch(field) else field for field in row]
        return _JSON.encode(values if self._names is None else dict(zip(self._names, values, strict=True)))


def unique(names: Sequence[str]) -> list[str]:
    """Return names of columns, each once: without blanks around them, repeats numbered, those without one named."""
    made: list[str] = []
    taken: set[str] = set()
    for place, name in enumerate(names, start=1):
        base = name.strip() or f"column_{place}"
        chosen, number = base, 1
        while chosen in taken:
            number += 1
            chosen = f"{base}_{number}"
        taken.add(chosen)
        made.append(chosen)
    return made


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
