"""Owns JSON text sequences (RFC 7464): texts between RS and LF, each given out at the LF that completes it.

What is JSON, msgspec says; here only brackets are counted, to know which LF may be the one.
"""

from __future__ import annotations

import re

from headwater.sources.split.item import BLANK, Bad, Item, Large, json_item, shown, too_large
from headwater.sources.split.lines import are_json
from headwater.sources.split.parts import Growing, Parts, Unmarked
from headwater.sources.stream.delimited import OPTION

_RS = b"\x1e"
# A text of JSON has no LF, so a line that has only half of one belongs to no text.
_STRING = re.compile(rb'"(?:[^"\\\n]++|\\.)*+"')


class SequenceFramer:
    """Cuts a JSON text sequence.

    A text is whole at the first LF behind which it has no open bracket; there it is given out, good or bad. What stands
    between that and the next RS, or before the first, belongs to no text: each line of it that is not blank is bad. A
    text that the next RS or the end cuts short is bad, and so is a number, true, false or null without white space
    behind it, for it may have been longer (section 2.4).
    """

    what = "text"
    lost = 0

    def __init__(self, max_record: int) -> None:
        self._most = max_record
        self._mark = Unmarked()
        # How many separators have come: the number of the text.
        self._number = 0
        self._text = Growing(max_record, BLANK, option=OPTION)
        # Of the text that has begun: what of it has been looked at, its open brackets, whether its last byte is blank.
        self._seen = 0
        self._depth = 0
        self._spaced = False
        # Lines that belong to no text, or None within a text.
        self._stray: Parts | None = self._strays()

    def feed(self, chunk: bytes) -> list[Item]:
        """Take the next bytes of the stream; return the texts that they complete."""
        first, *whole = self._mark.feed(chunk).split(_RS)
        items = self._more(first)
        if not whole:
            return items
        items += self._close()
        last = whole.pop()
        if whole:
            items += self._whole(whole)
        self._begin()
        items += self._more(last)
        return items

    def finish(self) -> list[Item]:
        """Take the end of the stream; return the text that has not ended with an LF, if it can be told to be whole."""
        return [*self.feed(self._mark.finish()), *self._close()]

    def _whole(self, texts: list[bytes]) -> list[Item]:
        """Return the items of texts that begin and end with a separator."""
        if all(text[-1:] == b"\n" for text in texts):
            kept = [*filter(None, (text.strip(BLANK) for text in texts))]
            if are_json(kept, self._most):
                self._number += len(texts)
                return [*kept]
        items: list[Item] = []
        for text in texts:
            self._begin()
            items += self._more(text)
            items += self._close()
        return items

    def _begin(self) -> None:
        self._number += 1
        self._seen = self._depth = 0
        self._spaced = False
        self._stray = None

    def _more(self, data: bytes) -> list[Item]:
        """Take more of a text, or of what belongs to none."""
        if self._stray is not None:
            return self._bad(*self._stray.feed(data))
        start = 0
        while not self._text.large and (end := data.find(b"\n", start) + 1):
            self._text.add(data[start:end])
            start = end
            if self._ended():
                # It is held, or it would not have ended.
                text = self._text.take()
                self._stray = self._strays()
                return [*self._judged(text), *self._bad(*self._stray.feed(data[end:]))]
        if data:
            self._text.add(data[start:])
            self._spaced = data[-1] in BLANK
        return []

    def _ended(self) -> bool:
        """Return whether the text can have no more lines. Each line is looked at once."""
        if self._text.none or self._text.large:
            return False
        bare = _STRING.sub(b"", self._text.behind(self._seen))
        self._seen = len(self._text)
        self._depth += bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")
        return self._depth <= 0 or b'"' in bare

    def _close(self) -> list[Item]:
        """Take a separator or the end of the stream: whatever it was is over."""
        if self._stray is not None:
            return self._bad(*self._stray.finish())
        text = self._text.take()
        if isinstance(text, bytes) and text and not self._spaced and text[-1] not in b'}]"':
            return [Bad("it may have been cut short: no white space stands behind it", shown(text), place=self._place)]
        return self._judged(text)

    def _judged(self, text: bytes | Large) -> list[Item]:
        if isinstance(text, Large):
            return [text.end(self._place)]
        text = text.rstrip(BLANK)
        return [json_item(text, "", self._place)] if text else []

    def _strays(self) -> Parts:
        return Parts(b"\n", self._most, BLANK, option=OPTION)

    def _bad(self, large: Large | None, lines: list[bytes]) -> list[Item]:
        """Return lines that belong to no text."""
        place = f"behind {self._place}" if self._number else "before the first text"
        reason = "no record separator (RS, 1E) stands before it"
        items: list[Item] = [] if large is None else [large.end(place)]
        for line in filter(None, (part.strip(BLANK) for part in lines)):
            fits = len(line) <= self._most
            items.append(Bad(reason, shown(line), place=place) if fits else too_large(line, self._most, place, OPTION))
        return items

    @property
    def _place(self) -> str:
        return f"text {self._number}"
