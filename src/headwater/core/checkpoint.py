"""Owns what a source must remember to go on, and its encoding. Storing it is the log's work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headwater.core.errors import LogCorruptError
from headwater.core.memory import Remembered

# What asks for the gaps of a stream has the stream's name with this behind it, in the ledger, in metrics, and here.
GAP_SUFFIX = "@gap"


def gap_name(connector: str) -> str:
    """Return the name under which what asks for the gaps of a stream keeps how far it is."""
    return f"{connector}{GAP_SUFFIX}"


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a source has got that asks for something else each time.

    `cursors` is what templates see; `window` is up to when windows of time were asked for (ms since the Unix epoch;
    0 when none was). A round of several exchanges that is under way has its scheduled time in `round`
    (ms since the Unix epoch; 0 when none is), where it is in `page`, and what its exchanges have gathered for the
    cursors in `pending`, which becomes theirs at its end: a round that is broken off goes on where it was, and asks for
    the same. `asked` is the fingerprint of the request that the validators of the checkpoint belong to.
    """

    cursors: dict[str, Any] = {}
    window: int = 0
    round: int = 0
    page: dict[str, Any] = {}
    pending: dict[str, Any] = {}
    asked: str = ""


class BodyPosition(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a body is stored whose records commit in several steps: its first `items`, and a digest of them.

    `request` is the fingerprint of the request that it answers, `scheduled` the time of its round, ms since the Unix
    epoch.
    """

    items: int
    digest: str
    request: str
    scheduled: int = 0


class Pace(msgspec.Struct, frozen=True, omit_defaults=True):
    """How soon to look again: the seconds to the next round. `digest` is of what the last one with an answer left."""

    seconds: float = 0.0
    digest: str = ""


class StreamPosition(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a stream has got.

    `event_id` is the id of the last event, as it is sent back; `retry` how long to wait for the next connection, as the
    server said (ms; 0 when it said nothing). `until` is up to when a connection is known to have been there, and `gaps`
    are the spans without one that are still to be asked about, oldest first; both in ms since the Unix epoch.
    """

    event_id: str = ""
    retry: int = 0
    until: int = 0
    gaps: tuple[tuple[int, int], ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """All that a source remembers. It commits together with the records it stands for.

    `exchanges` and `records` count what was committed since the connector began; `scheduled` is the time of the last,
    ms since the Unix epoch. `request` is the fingerprint of the request that `etag`, `last_modified` and `media_type`
    belong to: those of another request are forgotten. `transforms` is the state of the transforms that have one, by
    the keys of their places in the chain.

    `progress` is how far a source has got that asks for something else each time; None for one that does not. `body` is
    how far an answer has got that is stored in several steps; None when none is under way. `remembered` is how much is
    remembered of items; None where nothing is. `pace` is what an interval that follows the changes goes on from.
    `stream` is how far a stream has got; None for what is polled.
    """

    exchanges: int = 0
    records: int = 0
    scheduled: int = 0
    request: str = ""
    etag: str | None = None
    last_modified: str | None = None
    media_type: str = ""
    transforms: dict[str, bytes] = {}
    progress: Progress | None = None
    body: BodyPosition | None = None
    remembered: Remembered | None = None
    pace: Pace | None = None
    stream: StreamPosition | None = None


_DECODER = msgspec.json.Decoder(Checkpoint)

# Encodes a checkpoint as JSON; unknown fields of later versions are ignored when it is read. As it is: every poll has
# one, and a function of ours around it would cost a third of it.
encode_checkpoint: Callable[[Checkpoint], bytes] = msgspec.json.Encoder().encode


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Decode what `encode_checkpoint` wrote. Raises LogCorruptError, since a broken one means a broken log."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise LogCorruptError(f"a checkpoint in the log does not decode: {error}") from error
