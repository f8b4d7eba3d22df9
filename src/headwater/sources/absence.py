"""Owns what of a collection is gone at the end of a round: what none of its exchanges had, often enough. Pure."""

from __future__ import annotations

import msgspec

from headwater.config.changes import ChangesOptions
from headwater.core.memory import Recall, Remembered, pack_counts, unpack_counts
from headwater.sources.seen import Seen
from headwater.sources.sifted import CollectionError

# So many are told to be gone at the end of a round; what is gone besides is told at the end of the next.
MOST_REMOVED = 100_000


class Absence(msgspec.Struct, frozen=True):
    """What is missing of so many `known` items.

    `gone` are numbers of items; `missing` says of others for how many rounds they have been missing.
    """

    known: int
    gone: list[int] = []
    missing: dict[int, int] = {}
    note: str = ""

    def packed(self, before: Remembered) -> bytes | None:
        """Return what is to be remembered of it, None when that stays as it is."""
        return pack_counts(self.missing) if self.missing or before.missing else None


def absence(recall: Recall, seen: Seen, known: int, before: Remembered, options: ChangesOptions) -> Absence:
    """Return what is missing at the end of a round that has `seen` some of so many known items.

    Raises CollectionError when that is not to be believed, and LogError.
    """
    count, most = seen.count(), options.empty
    if count == known:
        return Absence(known)
    if not count and most is not None and known > most:
        raise CollectionError(
            f"the collection is empty, and {known:,} items were known",
            "empty-collection",
            "if that may be, write empty: accept below changes",
        )
    unseen = recall.unseen(seen.marks, MOST_REMOVED)
    notes = [f"no more than {MOST_REMOVED:,} are told to be gone at once"] if len(unseen) == MOST_REMOVED else []
    known = known if notes else count + len(unseen)
    after = options.removed_after
    if after == 1:
        return Absence(known, unseen, note="".join(notes))
    rounds = unpack_counts(recall.missed()) if before.missing else {}
    counts = {number: rounds.get(number, 0) + 1 for number in unseen}
    missing = {number: count for number, count in counts.items() if count < after}
    if missing:
        notes.append(f"{len(missing):,} missing and not gone yet")
    return Absence(known, [number for number, count in counts.items() if count >= after], missing, "; ".join(notes))
