"""Owns what a source makes of an accepted response. Making it is `poll`'s, storing it the engine's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from headwater.core.checkpoint import Checkpoint
from headwater.core.memory import MemoryChange
from headwater.core.record import Record


class BadItem(msgspec.Struct, frozen=True):
    """An item of a response that is no record, for the dead letters.

    `position` says where it stood, in words (`item 17`, `line 3`), `reason` why it is none, `slug` the kind of reason.
    `data` is the item, or its beginning when it is large; then `size` and `digest` (SHA-256) are those of the whole.
    """

    position: str
    reason: str
    data: bytes
    slug: str = "bad-item"
    size: int | None = None
    digest: str = ""


class Reaped(msgspec.Struct, frozen=True, gc=False):
    """What an accepted response comes to.

    `checkpoint` commits with `records`; it counts them as they are here. With `more` another exchange of the same round
    follows at once, from that checkpoint. `note` is added to the reason in the ledger. With a `failure` the round has
    ended in trouble that this says: there are no records, and the checkpoint is what the next round begins with; `slug`
    is the kind of trouble, `hint` what to do about it.

    A response with much in it comes to several of these, of which all but the last are `partial`; `first` is how many
    records of it are before these. `parents` are the items of the records, where children are to be asked for.
    `memory` is what changes in what is remembered of items. `unsure`: the round has ended where it may not be complete.
    """

    records: Sequence[Record]
    checkpoint: Checkpoint
    more: bool = False
    bad: Sequence[BadItem] = ()
    note: str = ""
    failure: str = ""
    slug: str = "pages"
    hint: str = ""
    partial: bool = False
    first: int = 0
    parents: Sequence[bytes | Raw] = ()
    memory: MemoryChange | None = None
    unsure: bool = False
