"""Owns which sifter a configuration asks for, and what becomes of an answer that goes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from headwater.config import ConnectorConfig, partial
from headwater.core.checkpoint import Checkpoint
from headwater.core.memory import MemoryChange, Recall
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources.canonical import BROKEN, decode, text_of
from headwater.sources.changes import Changes
from headwater.sources.dedup import Dedup
from headwater.sources.reaped import Reaped
from headwater.sources.sifted import CollectionError, Sifter


def sifter_of(config: ConnectorConfig) -> Sifter | None:
    """Return what a connector's items go through, None when they are records as they are."""
    options, topic = config.http, config.topic.name
    if options.changes is not None:
        return Changes(options.changes, connector=config.name, topic=topic, whole=True, partial=bool(partial(options)))
    if options.deduplicate is not None:
        return Dedup(options.deduplicate, connector=config.name, topic=topic)
    return None


def document_of(body: bytes) -> bytes:
    """Return a body as JSON: as it is when it is JSON, else as a text."""
    try:
        decode(body)
    except BROKEN:
        return text_of(body)
    return body


def sift(
    sifter: Sifter,
    reaped: Reaped,
    taken: Sequence[tuple[Sequence[bytes | Raw], Callable[[int], Record]]],
    *,
    before: Checkpoint,
    moment: Moment,
    recall: Recall,
) -> Reaped:
    """Return what is left of an answer: of its items, in the batches in which they were `taken`. Raises LogError."""
    kept = msgspec.structs.replace(reaped.checkpoint, records=before.records, memory=before.memory)
    if reaped.failure:
        return msgspec.structs.replace(reaped, records=(), checkpoint=kept)
    progress = kept.progress
    sieve = sifter.begin(recall, before.memory, moment)
    try:
        for documents, record in taken:
            sieve.take(documents, record)
        sifted = sieve.close(
            last=not reaped.more and not (progress is not None and progress.round), unfit=bool(reaped.bad)
        )
    except CollectionError as error:
        if progress is not None:
            # The next round begins where this one did.
            begun = before.progress or progress
            progress = msgspec.structs.replace(begun, round=0, page={}, pending={})
        # Without validators: it is to be looked at again.
        kept = msgspec.structs.replace(kept, progress=progress, etag=None, last_modified=None)
        return Reaped((), kept, failure=f"{error}; {error.hint}")
    checkpoint = msgspec.structs.replace(kept, records=before.records + len(sifted.records), memory=sifted.remembered)
    note = "; ".join(it for it in (reaped.note, sifted.note) if it)
    return Reaped(sifted.records, checkpoint, reaped.more, (*reaped.bad, *sifted.bad), note, memory=sifted.memory)


def forgetting(connector: str, reaped: Reaped) -> Reaped:
    """Return an answer of a connector that remembers items no more, with which they are forgotten."""
    return msgspec.structs.replace(reaped, memory=MemoryChange(connector, anew=True))
