"""Owns which items of a collection a round has seen: a byte for each number, however many exchanges it takes. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from headwater.core.memory import Recall, Remembered, pack_numbers, unpack_numbers


class Seen:
    """The items that were seen in a round: `marks` of all, and the numbers of those in the exchange under way."""

    __slots__ = ("_numbers", "marks")

    def __init__(self, numbers: int, parts: Iterable[bytes] = ()) -> None:
        """Have room for so many numbers, with what `packed` has told of earlier exchanges."""
        self.marks = bytearray(numbers)
        self._numbers = array("Q")
        for packed in parts:
            for number in unpack_numbers(packed):
                self._reach(number)
                self.marks[number] = 1

    def _reach(self, number: int) -> None:
        missing = number + 1 - len(self.marks)
        if missing > 0:
            self.marks += bytes(missing + len(self.marks) // 8)

    def all(self, numbers: Sequence[int]) -> bool:
        """See items for the first time, numbers that were there before; return False, and see none, if one repeats."""
        marks = self.marks
        if any(map(marks.__getitem__, numbers)) or len(set(numbers)) != len(numbers):
            return False
        for number in numbers:
            marks[number] = 1
        self._numbers.extend(numbers)
        return True

    def first(self, number: int) -> bool:
        """See an item; return whether it is for the first time."""
        self._reach(number)
        if self.marks[number]:
            return False
        self.marks[number] = 1
        self._numbers.append(number)
        return True

    def count(self) -> int:
        """Return how many were seen."""
        return self.marks.count(1)

    def packed(self) -> bytes:
        """Return what the exchange under way has seen, and begin with the next."""
        numbers, self._numbers = self._numbers, array("Q")
        return pack_numbers(numbers)


class Sightings:
    """What the round under way has seen, from one exchange to the next; read from the memory when it is not here."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        # The time of the round, and after how many of its parts.
        self._held: tuple[int, int, Seen] | None = None

    def of(self, recall: Recall, before: Remembered, part: int) -> Seen:
        """Return what a round has seen in so many parts, to go on with."""
        held, self._held = self._held, None
        if not part:
            return Seen(before.following)
        if held is not None and held[:2] == (before.round, part):
            return held[2]
        return Seen(before.following, recall.seen())

    def hold(self, round_: int, part: int, seen: Seen) -> None:
        """Keep what a round has seen in so many parts."""
        self._held = (round_, part, seen)
