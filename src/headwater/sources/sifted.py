"""Owns what comes of the items of an exchange when it is known which were there before. Finding it is others'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from msgspec import Raw

from headwater.core.memory import MemoryChange, Recall, Remembered
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources.reaped import BadItem


class CollectionError(Exception):
    """The answer is not to be believed, or there is more than may be remembered: nothing of it is to be stored."""

    def __init__(self, reason: str, slug: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.slug = slug
        self.hint = hint


class Sifted(msgspec.Struct, frozen=True):
    """What has come of the items of an exchange. `remembered` goes into its checkpoint, `note` into its entry.

    `counts` are those of the note, of an exchange that is stored in steps with those of the steps before.
    """

    records: Sequence[Record]
    remembered: Remembered
    memory: MemoryChange | None = None
    bad: Sequence[BadItem] = ()
    note: str = ""
    counts: Sequence[int] = ()


def an_item(place: int) -> str:
    """Return where an item stood, in words, when nobody knows better."""
    return f"item {place + 1}"


class Sieve(Protocol):
    """Whatever takes the items of one exchange, or of a step of one, to leave some out or to tell of them its own way.

    `size` is about how many bytes it has for the records and the memory.
    """

    @property
    def size(self) -> int:
        """How much it has for the records and the memory (bytes)."""
        ...

    def take(
        self, documents: Sequence[bytes | Raw], record: Callable[[int], Record], where: Callable[[int], str] = an_item
    ) -> None:
        """Take the next items, as JSON.

        `record` makes the record of one of them, by its place among these, and `where` says where it stood. Raises
        CollectionError and LogError.
        """
        ...

    def close(self, *, last: bool, unfit: bool = False, earlier: Sequence[int] = ()) -> Sifted:
        """End the exchange or the step, the `last` one of its round or another; `unfit`: it had items that were bad.

        `earlier` are the counts of the step before. Raises CollectionError and LogError.
        """
        ...


class Sifter(Protocol):
    """Whatever makes a Sieve for each exchange of a connector, out of what is remembered."""

    @property
    def of(self) -> str:
        """What is remembered, and for which purpose. Validators of answers that served another one are of no use."""
        ...

    def begin(self, recall: Recall, before: Remembered | None, moment: Moment, *, going_on: bool) -> Sieve:
        """Begin with an exchange, or a step of one; `before` is what its checkpoint has.

        `going_on`: something of its round is stored already. `recall` is asked in the thread that takes.
        """
        ...
