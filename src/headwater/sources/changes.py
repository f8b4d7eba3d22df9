"""Owns the finding of changes in a polled collection, for one connector. Taking its items in is `census`'."""

from __future__ import annotations

from headwater.config.changes import ChangesOptions
from headwater.core.memory import Nothing, Recall, Remembered
from headwater.core.moment import Moment
from headwater.sources.canonical import Canon
from headwater.sources.census import Census, Rules
from headwater.sources.events import Teller
from headwater.sources.identity import Identify
from headwater.sources.seen import Sightings


class Changes:
    """Finds the changes of one connector's collection.

    `whole`: each answer is one item. `topic` is where the records go: another one begins with everything.
    """

    __slots__ = ("_of", "_rules")

    def __init__(self, options: ChangesOptions, *, connector: str, topic: str, whole: bool = False) -> None:
        partial = options.tells_removed == "ignore"
        # Numbers of items go round where nothing is ever gone, so what is remembered is of one kind or the other.
        self._of = f"{'parts' if partial else 'changes'} {topic}"
        self._rules = Rules(
            connector,
            options,
            partial,
            Canon(options.ignore),
            Identify(options.key, whole=whole),
            Teller(options),
            Sightings(),
        )

    @property
    def of(self) -> str:
        """What is remembered, and for which purpose. Validators of answers that served another one are of no use."""
        return self._of

    def begin(self, recall: Recall, before: Remembered | None, moment: Moment) -> Census:
        """Begin with an exchange; `before` is what its checkpoint has. `recall` is asked in the thread that takes."""
        if before is None or before.of != self._of:
            return Census(self._rules, Nothing(), Remembered(self._of, recall.salt()), moment, anew=True)
        return Census(self._rules, recall, before, moment)
