"""Owns the one thread that writes: it assigns offsets and commits whatever has come in since the last commit together.

What is in the tables is schema's; what the event loop sees of it is log's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
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
from headwater.core.exchange import Exchange
from headwater.core.topic import Deduplication, Receipt, TopicSpec
from headwater.core.window import Window
from headwater.fluvio.batch import EncodedBatch, with_base_offset
from headwater.log.distinct import check_readable, distinct, window_of
from headwater.log.failure import translate
from headwater.log.schema import fetch
from headwater.log.values import Append, TopicInfo

# One commit takes at most this much, so that nobody waits long for the fsync of others.
_MOST_ITEMS = 4096
_MOST_BYTES = 32 * 1024 * 1024
# Ledger entries kept of each connector, and deleted in groups of this many.
KEPT_ENTRIES = 100
_EVICT_FROM = 256
# Notes wait at most this long for a commit to ride with (seconds), and at most this many wait.
_NOTE_PAUSE = 1.0
_MOST_NOTES = 20_000
_NEVER = float("inf")
_ENTRY = msgspec.json.Encoder()
# apsw gives the GIL away at every step of SQLite, and a busy event loop is slow to give it back: so many rows go into
# one step. The sizes are few, so that the statements stay prepared.
_GROUPS = (64, 16, 4, 1)

Work = Callable[["Transaction"], Any]
# Takes the result of work, or the HeadwaterError that it failed with.
Receive = Callable[[Any], None]
Outcome = tuple[Receive, Any]


class Item(msgspec.Struct):
    """One thing to do in a transaction: an append or other work, and who receives its result."""

    work: Append | Work
    receive: Receive
    size: int


class Transaction:
    """What work may use in a transaction: the connection, and the state that is rolled back with it."""

    __slots__ = ("batches", "checkpoints", "connection", "entries", "state", "touched")

    def __init__(self, connection: apsw.Connection, state: State) -> None:
        self.connection = connection
        self.state = state
        self.batches: list[tuple[object, ...]] = []
        self.checkpoints: dict[str, bytes] = {}
        self.entries: list[tuple[object, ...]] = []
        self.touched: set[int] = set()

    def flush(self) -> None:
        """Write the rows that have gathered."""
        insert_rows(self.connection, "batch (topic, partition, base_offset, count, max_timestamp, data)", self.batches)
        insert_rows(self.connection, "checkpoint (connector, data)", list(self.checkpoints.items()), replace=True)
        insert_rows(self.connection, "ledger", self.entries)
        self.batches, self.checkpoints, self.entries = [], {}, []


class State:
    """What the writer knows by heart: topics, next offsets, the ledger's sequence. Read anew after a failure."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        decode = msgspec.json.Decoder(TopicSpec).decode
        rows = fetch(connection, "SELECT id, name, created, spec FROM topic")
        self.topics = {name: TopicInfo(name, id_, created, decode(spec)) for id_, name, created, spec in rows}
        self.next: dict[tuple[int, int], int] = {}
        self.turns: dict[int, int] = {}
        self.windows: dict[tuple[int, int], Window] = {}
        self.kept: dict[str, deque[int]] = {}
        self.evicted: list[int] = []
        self.sequence = 0
        for seq, connector in fetch(connection, "SELECT seq, connector FROM ledger ORDER BY seq"):
            self.kept.setdefault(connector, deque()).append(seq)
            self.sequence = seq

    def next_offset(self, topic: int, partition: int) -> int:
        """Return the offset that the next record of a partition gets."""
        known = self.next.get((topic, partition))
        if known is None:
            rows = fetch(
                self._connection,
                "SELECT max(ifnull((SELECT next FROM span WHERE topic=?1 AND partition=?2), 0), "
                "ifnull((SELECT base_offset + count FROM batch WHERE topic=?1 AND partition=?2 "
                "ORDER BY base_offset DESC LIMIT 1), 0))",
                (topic, partition),
            )
            known = int(rows[0][0])
            self.next[topic, partition] = known
        return known

    def window(self, info: TopicInfo, deduplication: Deduplication, partition: int) -> Window:
        """Return the window in which a partition tells repeats. What this transaction has gathered must be written."""
        place = (info.id, partition)
        window = self.windows.get(place)
        if window is None:
            window = self.windows[place] = window_of(self._connection, deduplication, place)
        return window

    def enter(self, entry: Exchange) -> tuple[object, ...]:
        """Return the row of a ledger entry, and mark the connector's oldest for deletion when it has too many."""
        self.sequence += 1
        kept = self.kept.get(entry.connector)
        if kept is None:
            kept = self.kept[entry.connector] = deque()
        kept.append(self.sequence)
        if len(kept) > KEPT_ENTRIES:
            self.evicted.append(kept.popleft())
        return (self.sequence, entry.connector, _ENTRY.encode(entry))


def insert_rows(
    connection: apsw.Connection, table: str, rows: Sequence[tuple[Any, ...]], *, replace: bool = False
) -> None:
    """Insert rows with as few steps as possible. `table` may name columns."""
    start = 0
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    for group in _GROUPS:
        while len(rows) - start >= group:
            chunk = rows[start : start + group]
            one = f"({','.join('?' * len(chunk[0]))})"
            sql = f"{verb} INTO {table} VALUES {','.join([one] * group)}"
            connection.execute(sql, [value for row in chunk for value in row])
            start += group


class Writer:
    """The writer thread. `deliver` is called in it after each commit, with outcomes and the ids of topics that grew."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        deliver: Callable[[list[Outcome], set[int]], None],
    ) -> None:
        self._connection = connection
        self._path = path
        self._deliver = deliver
        self._items: deque[Item] = deque()
        self._notes: deque[Exchange] = deque(maxlen=_MOST_NOTES)
        self._ready = threading.Condition(threading.Lock())
        self._closing = False
        # When the next commit is due (monotonic seconds): the earliest deadline of what is queued.
        self._deadline = _NEVER
        self._state = State(connection)
        self._thread = threading.Thread(target=self._run, name="headwater-log", daemon=True)
        self._thread.start()

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """The topics as of the last commit or a little later; for reading only."""
        return self._state.topics

    def submit(self, work: Append | Work, receive: Receive, size: int = 0, linger: float = 0.0) -> None:
        """Queue work; its outcome is delivered with `receive`. Raises LogClosedError after close.

        `linger` is for how many seconds it may wait for others to share its commit.
        """
        deadline = monotonic() + linger
        with self._ready:
            if self._closing:
                raise LogClosedError(f"the log in {self._path.parent} was used after it was closed")
            self._items.append(Item(work, receive, size))
            if deadline < self._deadline:
                # Otherwise the thread is at work, or wakes early enough by itself: waking it costs both threads.
                self._deadline = deadline
                self._ready.notify()

    def note(self, entry: Exchange) -> None:
        """Queue a ledger entry that nobody waits for; the oldest are dropped when the disk takes none for long."""
        with self._ready:
            self._notes.append(entry)
            deadline = monotonic() + _NOTE_PAUSE
            if deadline < self._deadline:
                self._deadline = deadline
                self._ready.notify()

    def close(self) -> None:
        """Write what is queued, then end the thread and close the file. Blocks."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            items, notes = self._take()
            if items or notes:
                self._commit(items, notes)
            elif self._closing:
                return

    def _take(self) -> tuple[list[Item], list[Exchange]]:
        """Wait until some work has waited long enough; return as much as one commit may hold."""
        with self._ready:
            while not self._closing and (left := self._deadline - monotonic()) > 0:
                self._ready.wait(min(left, threading.TIMEOUT_MAX))
            items: list[Item] = []
            size = 0
            while self._items and len(items) < _MOST_ITEMS and size < _MOST_BYTES:
                item = self._items.popleft()
                size += item.size
                items.append(item)
            notes = list(self._notes)
            self._notes.clear()
            # What is left is more than one commit holds: it has waited already.
            self._deadline = 0.0 if self._items else _NEVER
        return items, notes

    def _commit(self, items: Iterable[Item], notes: Iterable[Exchange]) -> None:
        outcomes: list[Outcome] = []
        transaction = Transaction(self._connection, self._state)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            # A connector waits for its append, so what it noted is older than an append taken at the same time.
            transaction.entries += [self._state.enter(note) for note in notes]
            for item in items:
                try:
                    outcomes.append((item.receive, self._do(transaction, item.work)))
                except HeadwaterError as error:
                    outcomes.append((item.receive, error))
            transaction.flush()
            self._evict()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: whoever waits must hear of anything
            failure: LogError
            if isinstance(error, apsw.Error):
                failure = translate(error, self._path)
            else:
                said = f"{self._path}: the commit failed: {error!r}"
                failure = LogIOError(said, hint="this is a defect: please report it")
            self._roll_back()
            self._deliver([(item.receive, failure) for item in items], set())
        else:
            self._deliver(outcomes, transaction.touched)

    def _do(self, transaction: Transaction, work: Append | Work) -> object:
        if isinstance(work, Append):
            return append(transaction, work)
        # Other work may read or delete what this transaction has gathered.
        transaction.flush()
        return work(transaction)

    def _evict(self) -> None:
        evicted = self._state.evicted
        while len(evicted) >= _EVICT_FROM:
            chunk, self._state.evicted = evicted[:_EVICT_FROM], evicted[_EVICT_FROM:]
            self._connection.execute(f"DELETE FROM ledger WHERE seq IN ({','.join('?' * _EVICT_FROM)})", chunk)  # noqa: S608 - only question marks
            evicted = self._state.evicted

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


def append(transaction: Transaction, work: Append) -> Receipt:
    """Assign offsets to the batches of one append, and gather its rows. Raises TopicError or BatchError."""
    state = transaction.state
    entry = work.exchange
    receipt = Receipt(0, 0, 0)
    if work.topic is not None:
        info, partition = _place(state, work.topic, work.partition)
        # All places are looked up before anything is gathered: an append is whole or not at all.
        others = [(_place(state, it.topic, it.partition), it.batches) for it in work.beside] if work.beside else ()
        for (other, _), batches in others:
            if other.spec.deduplication is not None:
                check_readable(batches)
        base, following = _gather(transaction, info, partition, work.batches)
        for (other, number), batches in others:
            _gather(transaction, other, number, batches)
        receipt = Receipt(partition, base, following - base)
        if entry is not None:
            entry = msgspec.structs.replace(entry, partition=partition, offset=base)
    if work.checkpoint is not None:
        transaction.checkpoints[work.checkpoint[0]] = work.checkpoint[1]
    if entry is not None:
        transaction.entries.append(state.enter(entry))
    return receipt


def _place(state: State, name: str, partition: int | None) -> tuple[TopicInfo, int]:
    """Return a topic and one of its partitions: the one that is named, else the one whose turn it is."""
    info = state.topics.get(name)
    if info is None:
        raise TopicNotFoundError(f"topic not found: {name}", hint="'headwater topic list' shows those there are")
    if partition is None:
        return info, _turn(state, info)
    if not 0 <= partition < info.spec.partitions:
        raise PartitionNotFoundError(
            f"partition not found: {name}-{partition}",
            hint=f"topic {name} has partitions 0 to {info.spec.partitions - 1}",
        )
    return info, partition


def _turn(state: State, info: TopicInfo) -> int:
    """Return the partition whose turn it is."""
    if info.spec.partitions == 1:
        return 0
    partition = state.turns.get(info.id, -1) + 1
    if partition >= info.spec.partitions:
        partition = 0
    state.turns[info.id] = partition
    return partition


def _gather(
    transaction: Transaction, info: TopicInfo, partition: int, batches: Sequence[EncodedBatch]
) -> tuple[int, int]:
    """Gather the rows of batches. Return the offset of the first record and of the one behind the last."""
    state = transaction.state
    if info.spec.deduplication is not None:
        if (info.id, partition) not in state.windows:
            transaction.flush()
        batches = distinct(state.window(info, info.spec.deduplication, partition), batches)
    base = following = state.next_offset(info.id, partition)
    for batch in batches:
        transaction.batches.append(
            (
                info.id,
                partition,
                following,
                batch.count,
                batch.max_timestamp,
                with_base_offset(batch.data, following),
            )
        )
        following += batch.count
    state.next[info.id, partition] = following
    transaction.touched.add(info.id)
    return base, following


__all__ = ["KEPT_ENTRIES", "LogError", "Transaction", "Work", "Writer"]
