"""Owns the finding of changes in a polled collection, for one connector. Taking its items in is `census`'."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.config.changes import ChangesOptions
from headwater.core.memory import Nothing, Recall, Remembered
from headwater.core.moment import Moment
from headwater.core.pointer import Pointer
from headwater.sources.census import Census, Rules
from headwater.sources.events import Teller
from headwater.sources.identity import Identify
from headwater.sources.seen import Sightings


class Changes:
    """Finds the changes of one connector's collection.

    `whole`: each answer is one item. `partial`: it has only a part of the collection. `key` tells items apart where the
    options do not say what does. `topic` is where the records go: another one begins with everything.
    """

    __slots__ = ("_of", "_rules")

    def __init__(
        self,
        options: ChangesOptions,
        *,
        connector: str,
        topic: str,
        key: Sequence[Pointer] = (),
        whole: bool = False,
        partial: bool = False,
    ) -> None:
        removed = options.tells_removed(partial=partial)
        # Numbers of items go round where nothing is ever gone, so what is remembered is of one kind or the other.
        self._of = f"{'parts' if removed == 'ignore' else 'changes'} {topic}"
        self._rules = Rules(
            connector,
            options,
            removed == "ignore",
            options.keeps_values(removed),
            Identify(options.key or key, whole=whole),
            Teller(options, removed),
            Sightings(),
        )

    @property
    def of(self) -> str:
        """What is remembered, and for which purpose. Validators of answers that served another one are of no use."""
        return self._of

    def begin(self, recall: Recall, before: Remembered | None, moment: Moment, *, going_on: bool = False) -> Census:
        """Begin with an exchange, or a step of one; see `Sifter`."""
        if before is None or before.of != self._of:
            return Census(self._rules, Nothing(), Remembered(self._of, recall.salt()), moment, anew=True)
        return Census(self._rules, recall, before, moment, going_on=going_on)
