"""Owns which messages are records, and which are talk: answered, or ignored. Pure.

What a MATCH is, is `config.match`'; whether one fits `sources.matching`'. Sending an answer is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from headwater.config.match import Match
from headwater.core.errors import RequestError
from headwater.core.pattern import Pattern
from headwater.sources.matching import Found, Placed, Values, meets, pattern
from headwater.sources.split.item import Bad, Item, shown

# How much of a message is looked at (bytes), as of a body without `within`: a text is looked for in its beginning, and
# JSON that is larger matches no pointer.
LOOKED_AT = 64 * 1024

# Makes the text that answers a message.
Answering = Callable[[bytes], bytes]


class Talked(msgspec.Struct, frozen=True):
    """What became of some messages: records, in their order, texts to send, and how many are no records."""

    records: Sequence[Item]
    answers: Sequence[bytes] = ()
    passed_over: int = 0


class Talk:
    """What is talk on a connection: `answers` are MATCHes with what makes the texts that answer, `ignore` such without.

    The first that matches counts, answers before others. With neither, no message is looked at. Holds no state.
    """

    __slots__ = ("_answers", "_matches", "_values")

    def __init__(self, answers: Sequence[tuple[Match, Answering]] = (), ignore: Sequence[Match] = ()) -> None:
        matches: list[tuple[Match, Answering | None]] = [*answers, *((match, None) for match in ignore)]
        self._values = Values([match for match, _ in matches])
        self._matches: tuple[tuple[Pattern | None, Placed], ...] = tuple(
            (pattern(match), wanted) for (match, _), wanted in zip(matches, self._values.wanted, strict=True)
        )
        self._answers = tuple(answer for _, answer in matches)

    def sort(self, items: Sequence[Item]) -> Talked:
        """Tell records from talk. What is bad is a record's; there is an answer at most for each message."""
        if not self._matches:
            return Talked(items)
        records: list[Item] = []
        answers: list[bytes] = []
        for item in items:
            if not isinstance(item, bytes):
                records.append(item)
                continue
            place = self._first(item)
            if place is None:
                records.append(item)
            elif (answer := self._answers[place]) is not None:
                try:
                    answers.append(answer(item))
                except RequestError as error:
                    # It is not such a message after all, and is not lost for that.
                    records.append(Bad(str(error), shown(item)))
        return Talked(records, answers, len(items) - len(records))

    def _first(self, message: bytes) -> int | None:
        """Return the place of the first MATCH that a message is, None where it is a record."""
        values: Found = None
        looked = False
        for place, (expression, wanted) in enumerate(self._matches):
            if expression is not None:
                if expression.found(message, min(LOOKED_AT, len(message))):
                    return place
            elif len(message) <= LOOKED_AT:
                if not looked:
                    looked = True
                    values = self._values.of(message)
                if meets(values, wanted):
                    return place
        return None
