"""Owns the one thread that writes: it assigns offsets and commits whatever has come in since the last commit together.

What is in the tables is schema's; what the event loop sees of it is log's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import apsw
import msgspec

from headwater.core.errors import (
    HeadwaterError,
    LogClosedError,
    LogError,
    LogIOError,
    PartitionNotFoundError,
    TopicNotFoundError,
)
from headwater.core.exchange import Exchange, encode_exchange, with_place
from headwater.core.topic import Receipt
from headwater.fluvio.batch import EncodedBatch, StoredBatch, with_base_offset
from headwater.log import memory
from headwater.log.distinct import check_readable, distinct
from headwater.log.failure import translate
from headwater.log.tails import Fresh
from headwater.log.transaction import State, Transaction
from headwater.log.values import Append, TopicInfo

# One commit takes at most this much, so that nobody waits long for the fsync of others.
_MOST_ITEMS = 4096
_MOST_BYTES = 32 * 1024 * 1024
# Notes wait at most this long for a commit to ride with (seconds), and at most this many wait.
_NOTE_PAUSE = 1.0
_MOST_NOTES = 20_000
_NEVER = float("inf")
# What may wait for others at all waits twice as long as the last commit took, so that no more than a third of the time
# goes into committing; but no longer than this (seconds).
_SHARE, _LONGEST_LINGER = 2.0, 0.05
# The receipt of an append that is no record's.
_NOWHERE = Receipt(0, 0, 0)

Work = Callable[["Transaction"], Any]
# Takes the result of work, or the HeadwaterError that it failed with.
Receive = Callable[[Any], None]
Outcome = tuple[Receive, Any]


class Item(msgspec.Struct, gc=False):
    """One thing to do in a transaction: an append or other work, and who receives its result."""

    work: Append | Work
    receive: Receive
    size: int


class Writer:
    """The writer thread. `deliver` is called in it after each commit.

    It is told the outcomes, the ids of topics that grew, and the new batches of those that are `followed`.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        deliver: Callable[[list[Outcome], set[int], list[Fresh]], None],
        followed: Container[int] = (),
    ) -> None:
        self._connection = connection
        self._path = path
        self._deliver = deliver
        self._followed = followed
        self._items: deque[Item] = deque()
        self._notes: deque[Exchange] = deque(maxlen=_MOST_NOTES)
        self._ready = threading.Condition(threading.Lock())
        self._closing = False
        # When the next commit is due (monotonic seconds): the earliest deadline of what is queued.
        self._deadline = _NEVER
        # How long a commit is worth waiting for, from how long the last one took (seconds).
        self._pause = 0.0
        self._state = State(connection)
        self._thread = threading.Thread(target=self._run, name="headwater-log", daemon=True)
        self._thread.start()

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """The topics as of the last commit or a little later; for reading only."""
        return self._state.topics

    def submit(self, work: Append | Work, receive: Receive, size: int = 0, linger: float = 0.0) -> None:
        """Queue work; its outcome is delivered with `receive`. Raises LogClosedError after `refuse`.

        Called in one thread, always the same.

        `linger` is for how many seconds it may wait for others to share its commit; 0 is not at all.
        """
        if self._closing:
            raise LogClosedError(f"the log in {self._path.parent} was used after it was closed")
        # Without the lock, which a thousand appends would take a thousand times: the thread forgets its deadline before
        # it takes what is queued, so who sees a deadline here has queued in time for it.
        self._items.append(Item(work, receive, size))
        deadline = monotonic() + (max(linger, self._pause) if linger else 0.0)
        if deadline < self._deadline:
            self._wake(deadline)

    def note(self, entry: Exchange) -> None:
        """Queue a ledger entry that nobody waits for; the oldest are dropped when the disk takes none for long."""
        self._notes.append(entry)
        deadline = monotonic() + _NOTE_PAUSE
        if deadline < self._deadline:
            self._wake(deadline)

    def _wake(self, deadline: float) -> None:
        """Let the thread commit at `deadline`, unless it does so earlier by itself: waking it costs both threads."""
        with self._ready:
            if deadline < self._deadline:
                self._deadline = deadline
                self._ready.notify()

    def refuse(self) -> None:
        """Take no more work. Called in the thread that submits, so that nothing comes in between."""
        self._closing = True
        with self._ready:
            self._ready.notify()

    def close(self) -> None:
        """Write what is queued, after `refuse`, then end the thread and close the file. Blocks."""
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            items, notes = self._take()
            if items or notes:
                began = monotonic()
                self._commit(items, notes)
                self._pause = min(_SHARE * (monotonic() - began), _LONGEST_LINGER)
            elif self._closing:
                return

    def _take(self) -> tuple[list[Item], list[Exchange]]:
        """Wait until some work has waited long enough; return as much as one commit may hold."""
        with self._ready:
            while not self._closing and (left := self._deadline - monotonic()) > 0:
                self._ready.wait(min(left, threading.TIMEOUT_MAX))
            self._deadline = _NEVER
            items: list[Item] = []
            size = 0
            # What comes in meanwhile is for the next commit, whose deadline it sets.
            for _ in range(min(len(self._items), _MOST_ITEMS)):
                item = self._items.popleft()
                items.append(item)
                size += item.size
                if size >= _MOST_BYTES:
                    break
            notes = []
            while self._notes:
                notes.append(self._notes.popleft())
            if len(items) == _MOST_ITEMS or size >= _MOST_BYTES:
                # What is left is more than one commit holds, if it is not new: it has waited already.
                self._deadline = 0.0
        return items, notes

    def _commit(self, items: Iterable[Item], notes: Iterable[Exchange]) -> None:
        outcomes: list[Outcome] = []
        transaction = Transaction(self._connection, self._state, self._followed)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            # A connector waits for its append, so what it noted is older than an append taken at the same time.
            for note in notes:
                enter(transaction, note.connector, encode_exchange(note))
            for item in items:
                work = item.work
                try:
                    result = append(transaction, work) if isinstance(work, Append) else do(transaction, work)
                except HeadwaterError as error:
                    result = error
                outcomes.append((item.receive, result))
            transaction.finish()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: whoever waits must hear of anything
            failure: LogError
            if isinstance(error, apsw.Error):
                failure = translate(error, self._path)
            else:
                said = f"{self._path}: the commit failed: {error!r}"
                failure = LogIOError(said, hint="this is a defect: please report it")
            self._roll_back()
            self._deliver([(item.receive, failure) for item in items], set(), [])
        else:
            self._deliver(outcomes, transaction.touched, transaction.fresh)

    def _roll_back(self) -> None:
        """Undo the transaction, in the file and in memory. A failing disk may refuse even that: try again."""
        while not self._closing:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._state = State(self._connection)
            except apsw.Error:
                time.sleep(0.5)
            else:
                return


def do(transaction: Transaction, work: Work) -> Any:
    """Do other work, which may read or delete what the transaction has gathered. Raises what the work does."""
    transaction.flush()
    return work(transaction)


def append(transaction: Transaction, work: Append) -> Receipt:
    """Assign offsets to the batches of one append, and gather its rows. Raises TopicError, BatchError or LogError."""
    receipt = _NOWHERE
    remembered = None if work.memory is None else memory.prepare(work.memory)
    if work.topic is not None:
        state = transaction.state
        info, partition = _place(state, work.topic, work.partition)
        # All places are looked up before anything is gathered: an append is whole or not at all.
        others = [(_place(state, it.topic, it.partition), it.batches) for it in work.beside] if work.beside else ()
        for (other, _), batches in others:
            if other.spec.deduplication is not None:
                check_readable(batches)
        receipt = _gather(transaction, info, partition, work.batches)
        for (other, number), batches in others:
            _gather(transaction, other, number, batches)
    if remembered is not None:
        memory.apply(transaction, remembered)
    if work.checkpoint is not None:
        connector, checkpoint = work.checkpoint
        transaction.checkpoints[connector] = checkpoint
    exchange = work.exchange
    if exchange is not None:
        entry = encode_exchange(exchange)
        if exchange.offset is None and work.topic is not None:
            entry = with_place(entry, receipt.partition, receipt.base_offset)
        enter(transaction, exchange.connector, entry)
    return receipt


def enter(transaction: Transaction, connector: str, entry: bytes) -> None:
    """Gather the row of an encoded ledger entry."""
    transaction.entries += (transaction.state.enter(connector), connector, entry)


def _place(state: State, name: str, partition: int | None) -> tuple[TopicInfo, int]:
    """Return a topic and one of its partitions: the one that is named, else the one whose turn it is."""
    info = state.topics.get(name)
    if info is None:
        raise TopicNotFoundError(f"topic not found: {name}", hint="'headwater topic list' shows those there are")
    partitions = info.spec.partitions
    if partition is None:
        if partitions == 1:
            return info, 0
        # In turn.
        partition = state.turns.get(info.id, -1) + 1
        if partition >= partitions:
            partition = 0
        state.turns[info.id] = partition
    elif not 0 <= partition < partitions:
        raise PartitionNotFoundError(
            f"partition not found: {name}-{partition}",
            hint=f"topic {name} has partitions 0 to {partitions - 1}",
        )
    return info, partition


def _gather(transaction: Transaction, info: TopicInfo, partition: int, batches: Sequence[EncodedBatch]) -> Receipt:
    """Gather the rows of batches. Return where they went."""
    state, topic = transaction.state, info.id
    place = (topic, partition)
    if info.spec.deduplication is not None:
        if place not in state.windows:
            transaction.flush()
        batches = distinct(state.window(info, info.spec.deduplication, partition), batches)
    base = state.next.get(place)
    if base is None:
        base = state.next_offset(topic, partition)
    following = base
    for batch in batches:
        state.batch = number = state.batch + 1
        data = with_base_offset(batch.data, following)
        transaction.batches += (number, topic, partition, following, batch.count, batch.max_timestamp, data)
        if topic in transaction.followed:
            transaction.fresh.append(Fresh(topic, partition, StoredBatch(following, batch.count, data)))
        following += batch.count
    state.next[place] = following
    transaction.touched.add(topic)
    return Receipt(partition, base, following - base)


__all__ = ["LogError", "Transaction", "Work", "Writer"]
