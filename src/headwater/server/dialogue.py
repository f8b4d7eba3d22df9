"""Owns the messages between a server and the other processes that use its data directory. Pure.

They go over a socket in the directory, in the same frames as Fluvio's and with batches as they are stored, so that an
append has all that an append to an open log has: records, checkpoint and ledger entry in one step.
"""

from __future__ import annotations

from typing import Annotated

from headwater.core import errors
from headwater.core.errors import HeadwaterError, LogError
from headwater.fluvio.wire import I64, U32, Message, Since

SOCKET_NAME = "server.sock"
TOPICS, CREATE_TOPIC, DELETE_TOPIC, APPEND, NOTE, CHECKPOINT = range(20001, 20007)
# From this version of APPEND on, what a connector remembers of items commits with it.
REMEMBERING = 2
RANGES = {
    **dict.fromkeys((TOPICS, CREATE_TOPIC, DELETE_TOPIC, NOTE, CHECKPOINT), (1, 1)),
    APPEND: (1, REMEMBERING),
}
# An append may have a whole body in it, and what is remembered of its items (bytes).
MOST_FRAME = 96 * 1024 * 1024


class Failure(Message, frozen=True):
    """An error of the tree, by the name of its class."""

    kind: str
    message: str
    hint: str


class Nothing(Message, frozen=True):
    """A message that says nothing."""


class Topics(Message, frozen=True):
    """The topics, as JSON of a list of TopicInfo."""

    topics: bytes


class CreateTopic(Message, frozen=True):
    """A topic to be created; `spec` is JSON of a TopicSpec."""

    name: str
    spec: bytes


class DeleteTopic(Message, frozen=True):
    """A topic to be deleted."""

    name: str


class Done(Message, frozen=True):
    """How a request ended; `value` is JSON of what it returns, if anything."""

    failure: Failure | None = None
    value: bytes = b""


class Beside(Message, frozen=True):
    """Batches for another topic, which commit with the rest."""

    topic: str
    partition: U32 | None
    batches: bytes


class Checkpointed(Message, frozen=True):
    """A connector and its checkpoint."""

    connector: str
    checkpoint: bytes


class AppendRequest(Message, frozen=True):
    """An append. `exchange` is JSON of the ledger's entry, `linger` microseconds, `memory` an encoded MemoryChange.

    `term` counts the connections of a client. A later one that asks for a connector's checkpoint, or appends for it,
    ends what earlier ones sent: an append that was on its way all the time must not come after it was sent again.
    """

    topic: str | None
    partition: U32 | None
    batches: bytes
    beside: tuple[Beside, ...]
    checkpoint: Checkpointed | None
    exchange: bytes | None
    linger: U32
    term: U32
    memory: Annotated[bytes | None, Since(REMEMBERING)] = None


class Appended(Message, frozen=True):
    """Where an append went, or why it did not."""

    failure: Failure | None = None
    partition: U32 = 0
    base_offset: I64 = 0
    count: U32 = 0


class Note(Message, frozen=True):
    """Ledger entries that nobody waits for, as JSON of a list."""

    entries: bytes


class CheckpointRequest(Message, frozen=True):
    """A connector whose checkpoint is asked for; `term` as in an append."""

    connector: str
    term: U32


class CheckpointReply(Message, frozen=True):
    """The checkpoint of a connector, None when it has none."""

    failure: Failure | None
    checkpoint: bytes | None


_BY_NAME = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, HeadwaterError)
}


def failure(error: HeadwaterError) -> Failure:
    """Return how an error is told."""
    return Failure(type(error).__name__, error.message[:30_000], error.hint[:2000])


def raised(failure: Failure) -> HeadwaterError:
    """Return the error that was told; one that is not known here is a LogError."""
    kind = _BY_NAME.get(failure.kind, LogError)
    try:
        return kind(failure.message, hint=failure.hint)
    except TypeError:
        # One that is made of more than a sentence.
        return LogError(failure.message, hint=failure.hint)
