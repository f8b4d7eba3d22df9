"""Owns what a transaction of the writer gathers and what the writer knows by heart, and how both become rows.

When commits happen is the writer's; what is in the tables, and why they are folded, is schema's.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Sequence
from functools import cache

import apsw
import msgspec

from headwater.core.topic import Deduplication, TopicSpec
from headwater.core.window import Window
from headwater.log.distinct import window_of
from headwater.log.schema import encode_marks, fetch, stored_marks, stored_span
from headwater.log.tails import Fresh
from headwater.log.values import TopicInfo

# Ledger entries kept of each connector, and deleted in groups of so many.
KEPT_ENTRIES = 100
_EVICT_FROM = 256
# So many rows that only stand at the ends of tables are folded together.
_FOLD_FROM = 8192
# apsw gives the GIL away at every step of SQLite, and a busy event loop is slow to give it back: so many rows go into
# one step. The sizes are few, so that the statements stay prepared.
_GROUPS = (256, 64, 16, 4, 1)
# The index of batches that have just been written, from themselves: what is bound passes through Python value by value.
_INDEX = "INSERT INTO recent SELECT topic, partition, base_offset, id FROM batch WHERE id > ?"


class Rows(msgspec.Struct, frozen=True):
    """Where rows go: a table, or columns of it, of which each row has `width` values."""

    table: str
    width: int
    verb: str = "INSERT"


_BATCH = Rows("batch", 7)
_LEDGER = Rows("ledger", 3)
_CHECKPOINT = Rows("checkpoint (connector, data)", 2, "INSERT OR REPLACE")


class Transaction:
    """What work may use in a transaction: the connection, and the state that is rolled back with it."""

    __slots__ = ("_indexed", "batches", "checkpoints", "connection", "entries", "followed", "fresh", "state", "touched")

    def __init__(self, connection: apsw.Connection, state: State, followed: Container[int] = ()) -> None:
        self.connection = connection
        self.state = state
        # Topics that somebody waits for, and what has come for them.
        self.followed = followed
        self.fresh: list[Fresh] = []
        # Rows, value after value: so they are bound.
        self.batches: list[int | bytes] = []
        self.entries: list[int | str | bytes] = []
        self.checkpoints: dict[str, bytes] = {}
        self.touched: set[int] = set()
        # The last batch that is in an index.
        self._indexed = state.batch

    def flush(self) -> None:
        """Write the rows that have gathered."""
        connection, state = self.connection, self.state
        if self.batches:
            insert_rows(connection, _BATCH, self.batches)
            connection.execute(_INDEX, (self._indexed,))
            state.unfolded += state.batch - self._indexed
            self.batches, self._indexed = [], state.batch
        if self.entries:
            insert_rows(connection, _LEDGER, self.entries)
            self.entries = []
        if self.checkpoints:
            for row in encode_marks(self.checkpoints):
                connection.execute("INSERT INTO mark (data) VALUES (?)", (row,))
            state.marks.update(self.checkpoints)
            state.unfolded += len(self.checkpoints)
            self.checkpoints = {}

    def finish(self) -> None:
        """Write what has gathered, and tidy up when enough has come together."""
        self.flush()
        if self.state.unfolded >= _FOLD_FROM:
            self.state.fold()
        self.state.evict()


class State:
    """What the writer knows by heart: topics, next offsets, the ledger's sequence. Read anew after a failure."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        decode = msgspec.json.Decoder(TopicSpec).decode
        rows = fetch(connection, "SELECT id, name, created, spec FROM topic")
        self.topics = {name: TopicInfo(name, id_, created, decode(spec)) for id_, name, created, spec in rows}
        self.batch: int = fetch(connection, "SELECT ifnull(max(id), 0) FROM batch")[0][0]
        # Checkpoints that are not folded yet; the last of each connector.
        self.marks = stored_marks(connection)
        self.unfolded: int = fetch(connection, "SELECT count(*) FROM recent")[0][0] + len(self.marks)
        self.next: dict[tuple[int, int], int] = {}
        self.turns: dict[int, int] = {}
        self.windows: dict[tuple[int, int], Window] = {}
        # Numbers alone, for there are up to a hundred of each connector.
        self.kept: dict[str, array[int]] = {}
        # Where connectors remember items; None for those that do not.
        self.memories: dict[str, int | None] = {}
        self.evicted: list[int] = []
        self.sequence = 0
        for seq, connector in fetch(connection, "SELECT seq, connector FROM ledger ORDER BY seq"):
            self.kept.setdefault(connector, array("q")).append(seq)
            self.sequence = seq

    def next_offset(self, topic: int, partition: int) -> int:
        """Return the offset that the next record of a partition gets."""
        known = self.next.get((topic, partition))
        if known is None:
            known = stored_span(self._connection, topic, partition)[1]
            self.next[topic, partition] = known
        return known

    def window(self, info: TopicInfo, deduplication: Deduplication, partition: int) -> Window:
        """Return the window in which a partition tells repeats. What this transaction has gathered must be written."""
        place = (info.id, partition)
        window = self.windows.get(place)
        if window is None:
            window = self.windows[place] = window_of(self._connection, deduplication, place)
        return window

    def enter(self, connector: str) -> int:
        """Return the number of a connector's next ledger entry; mark its oldest for deletion when it has too many."""
        self.sequence += 1
        kept = self.kept.get(connector)
        if kept is None:
            kept = self.kept[connector] = array("q")
        kept.append(self.sequence)
        if len(kept) > KEPT_ENTRIES:
            self.evicted.append(kept.pop(0))
        return self.sequence

    def checkpoint(self, connector: str) -> bytes | None:
        """Return the encoded checkpoint of a connector, None when it has none."""
        known = self.marks.get(connector)
        if known is not None:
            return known
        rows = fetch(self._connection, "SELECT data FROM checkpoint WHERE connector=?", (connector,))
        return rows[0][0] if rows else None

    def memory(self, connector: str) -> int | None:
        """Return the id of what a connector remembers, None when it remembers nothing."""
        if connector not in self.memories:
            rows = fetch(self._connection, "SELECT id FROM memory WHERE connector=?", (connector,))
            self.memories[connector] = rows[0][0] if rows else None
        return self.memories[connector]

    def fold(self) -> None:
        """Bring rows from the ends of tables to where they belong."""
        self._connection.execute("INSERT INTO place SELECT * FROM recent; DELETE FROM recent; DELETE FROM mark")
        insert_rows(self._connection, _CHECKPOINT, [value for row in sorted(self.marks.items()) for value in row])
        self.marks.clear()
        self.unfolded = 0

    def evict(self) -> None:
        """Delete ledger entries that are too many, when there is a group of them."""
        while len(self.evicted) >= _EVICT_FROM:
            chunk, self.evicted = self.evicted[:_EVICT_FROM], self.evicted[_EVICT_FROM:]
            self._connection.execute(f"DELETE FROM ledger WHERE seq IN ({','.join('?' * _EVICT_FROM)})", chunk)  # noqa: S608 - only question marks


def insert_rows(connection: apsw.Connection, rows: Rows, values: Sequence[int | str | bytes]) -> None:
    """Insert rows, given value after value, with as few steps as possible."""
    start, left = 0, len(values) // rows.width
    for group in _GROUPS:
        while left >= group:
            end = start + group * rows.width
            connection.execute(_statement(rows, group), values[start:end])
            start = end
            left -= group


@cache
def _statement(rows: Rows, group: int) -> str:
    one = f"({','.join('?' * rows.width)})"
    return f"{rows.verb} INTO {rows.table} VALUES {','.join([one] * group)}"
