"""Owns what connectors remember of items, in the log's file: changing it is work for the writer, asking is anybody's.

What the rows mean is the sources'. An item's row has its memory and its number in one id, so that a memory's rows stand
together; a memory that is forgotten loses its name at once, and its rows a few thousand at a time.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import msgspec

from headwater.core.errors import LogClosedError, LogCorruptError, LogError
from headwater.core.memory import Kept, MemoryChange, Row, unpack_counts, unpack_numbers, unpack_rows
from headwater.log.failure import mapped
from headwater.log.schema import FILE_NAME, fetch, open_reader

if TYPE_CHECKING:
    from headwater.log.transaction import Transaction

# How many items a memory may have had in all, as bits of their numbers.
NUMBER_BITS = 40
_SPAN = 1 << NUMBER_BITS
# Where what was missing in the last rounds stands, behind what the exchanges of the round under way have seen.
_MISSED = _SPAN - 1
# Connections that are kept for the next question; further ones are closed.
_MOST_IDLE = 4
# So many rows go in one statement, and so many of a forgotten memory in one transaction.
_ROWS_AT_ONCE = 128
_SWEPT_AT_ONCE = 5000

_NUMBERS = msgspec.json.Decoder(list[int | None])
_PAIRS = msgspec.json.Decoder(list[tuple[int, int] | None])


class Prepared(msgspec.Struct, frozen=True):
    """A change whose parts were found to be whole, before anything of its append is done."""

    change: MemoryChange
    gone: list[int]
    rows: list[Row]


def prepare(change: MemoryChange) -> Prepared:
    """Unpack a change. Raises LogError for one that is not whole, which only another process could send."""
    try:
        # By key: neighbours in the index go into the same page one after the other.
        rows = sorted((row for packed in change.rows for row in unpack_rows(packed)), key=lambda row: row[1])
        gone = unpack_numbers(change.gone)
        unpack_numbers(change.seen)
        unpack_counts(change.missed or b"")
    except (msgspec.DecodeError, msgspec.ValidationError, zlib.error, struct.error) as error:
        raise LogError(f"a change of what {change.connector} remembers is not whole: {error}") from error
    if any(not 0 <= number < _MISSED for number in (*(row[0] for row in rows), *gone, change.part)):
        raise LogError(f"a change of what {change.connector} remembers has a number that is none")
    return Prepared(change, gone, rows)


def apply(transaction: Transaction, prepared: Prepared) -> None:
    """Change what a connector remembers, in the transaction."""
    connection, change, state = transaction.connection, prepared.change, transaction.state
    known = state.memory(change.connector)
    if change.anew and known is not None:
        connection.execute("UPDATE memory SET connector=NULL WHERE id=?", (known,))
        state.memories[change.connector] = known = None
    if known is None:
        if not (prepared.rows or change.seen or change.missed):
            return
        connection.execute("INSERT INTO memory (connector) VALUES (?)", (change.connector,))
        state.memories[change.connector] = known = connection.last_insert_rowid()
    base = known << NUMBER_BITS
    for start in range(0, len(prepared.gone), _ROWS_AT_ONCE):
        some = [base + number for number in prepared.gone[start : start + _ROWS_AT_ONCE]]
        connection.execute(f"DELETE FROM item WHERE id IN ({','.join('?' * len(some))})", some)  # noqa: S608 - only question marks
    _put(connection, known, prepared.rows)
    if change.drop:
        connection.execute(
            "DELETE FROM item WHERE id >= ?1 AND id < ifnull("
            "(SELECT id FROM item WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1 OFFSET ?3), ?2)",
            (base, base + _SPAN, change.drop),
        )
    _sight(connection, base, change)


def _sight(connection: apsw.Connection, base: int, change: MemoryChange) -> None:
    """Change what the round under way has seen, and what the last ones have missed."""
    if change.settled:
        connection.execute("DELETE FROM sighting WHERE id >= ? AND id < ?", (base, base + _MISSED))
    if change.seen:
        connection.execute("INSERT OR REPLACE INTO sighting VALUES (?, ?)", (base + change.part, change.seen))
    if change.missed:
        connection.execute("INSERT OR REPLACE INTO sighting VALUES (?, ?)", (base + _MISSED, change.missed))
    elif change.missed is not None:
        connection.execute("DELETE FROM sighting WHERE id=?", (base + _MISSED,))


def _put(connection: apsw.Connection, memory: int, rows: list[Row]) -> None:
    base = memory << NUMBER_BITS
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        values: list[int | bytes | None] = []
        for number, key, mark, print_, data in some:
            values += (base + number, memory, key, mark, print_, data)
        connection.execute(f"INSERT OR REPLACE INTO item VALUES {','.join(['(?,?,?,?,?,?)'] * len(some))}", values)  # noqa: S608 - only question marks


def sweep(transaction: Transaction) -> bool:
    """Delete some rows of forgotten memories. Return whether there are more."""
    connection = transaction.connection
    dead = fetch(connection, "SELECT id FROM memory WHERE connector IS NULL LIMIT 1")
    if not dead:
        return False
    base = dead[0][0] << NUMBER_BITS
    span = (base, base + _SPAN)
    connection.execute(
        "DELETE FROM item WHERE id IN (SELECT id FROM item WHERE id >= ? AND id < ? LIMIT ?)", (*span, _SWEPT_AT_ONCE)
    )
    if connection.changes() < _SWEPT_AT_ONCE:
        connection.execute("DELETE FROM sighting WHERE id >= ? AND id < ?", span)
        connection.execute("DELETE FROM memory WHERE id=?", (dead[0][0],))
    return True


class Memories:
    """Asks the memories of a data directory, in whatever threads, while they are written or not."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._idle: list[apsw.Connection] = []
        # Set once, in another thread.
        self._open = threading.Event()
        self._open.set()

    def of(self, connector: str) -> Recollection:
        """Return what a connector remembers, as of its last commit."""
        return Recollection(self, connector)

    def close(self) -> None:
        """Close what is idle now, and what is at work once it is done."""
        self._open.clear()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """Lend a connection. Raises LogError, also for what is done with it."""
        if not self._open.is_set():
            raise LogClosedError(f"the log in {self._path.parent} was used after it was closed")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = open_reader(self._path)
        try:
            with mapped(self._path):
                yield connection
        finally:
            if self._open.is_set() and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.close()


class Recollection:
    """What one connector remembers; see `headwater.core.memory.Recall`. For one thread at a time, and one exchange.

    Answers come in one step of SQLite each: apsw gives the GIL away at every step, and waits for it afterwards.
    """

    __slots__ = ("_connector", "_id", "_memories")

    def __init__(self, memories: Memories, connector: str) -> None:
        self._memories = memories
        self._connector = connector
        self._id: int | None = None

    @contextmanager
    def _asked(self) -> Iterator[tuple[apsw.Connection, int]]:
        with self._memories.connection() as connection:
            if self._id is None:
                rows = fetch(connection, "SELECT id FROM memory WHERE connector=?", (self._connector,))
                # Nothing is kept under 0.
                self._id = rows[0][0] if rows else 0
            yield connection, self._id

    def salt(self) -> bytes:
        """Return 16 bytes of chance."""
        return os.urandom(16)

    def compare(self, sightings: Sequence[bytes]) -> list[int | None]:
        """Return for each mark (8 bytes) and key its number, -1-N when the mark is another one, None when unknown."""
        found = self._aggregate(
            "CASE WHEN item.mark = substr(asked.value, 1, 8) THEN item.id-?2 ELSE ?2-1-item.id END",
            "substr(asked.value, 9)",
            sightings,
        )
        return _NUMBERS.decode(found)

    def find(self, keys: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """Return for each key its number and its mark, None when it is not known."""
        found = self._aggregate(
            "json(CASE WHEN item.id IS NOT NULL THEN json_array(item.id-?2, item.mark) END)", "asked.value", keys
        )
        return _PAIRS.decode(found)

    def _aggregate(self, result: str, key: str, asked: Sequence[bytes]) -> str:
        """Return a JSON array of what is known of each key."""
        if not asked:
            return "[]"
        with self._asked() as (connection, memory):
            rows = fetch(
                connection,
                f"SELECT count(*), json_group_array({result}) FROM carray(?3) AS asked "  # noqa: S608 - ours
                f"LEFT JOIN item ON item.memory=?1 AND item.key={key}",
                (memory, memory << NUMBER_BITS, apsw.carray(tuple(asked))),
            )
        if rows[0][0] != len(asked):
            raise LogCorruptError(
                f"what {self._connector} remembers is damaged: a key is there twice",
                hint=f"have it begin anew with: headwater checkpoint reset {self._connector}",
            )
        found: str = rows[0][1]
        return found

    def rows(self, numbers: Sequence[int]) -> dict[int, Kept]:
        """Return what is kept of those items, by number."""
        found: dict[int, Kept] = {}
        with self._asked() as (connection, memory):
            base = memory << NUMBER_BITS
            for start in range(0, len(numbers), _ROWS_AT_ONCE):
                some = [base + number for number in numbers[start : start + _ROWS_AT_ONCE]]
                sql = f"SELECT id, key, mark, print, data FROM item WHERE id IN ({','.join('?' * len(some))})"  # noqa: S608 - only question marks
                for id_, *kept in fetch(connection, sql, some):
                    found[id_ - base] = Kept(*kept)
        return found

    def unseen(self, marks: bytes | bytearray, most: int) -> list[int]:
        """Return at most so many numbers of items at whose place in `marks` there is a zero byte."""
        with self._asked() as (connection, memory):
            # From the index alone: the rows have the values in them.
            rows = fetch(
                connection,
                "SELECT id-?2 FROM item INDEXED BY item_key WHERE memory=?1 AND key > x'' "
                "AND substr(?3, id-?2+1, 1) = x'00' LIMIT ?4",
                (memory, memory << NUMBER_BITS, marks, most),
            )
        return [number for (number,) in rows]

    def vacant(self, after: int, most: int) -> list[int]:
        """Return at most so many numbers above `after` that are free again, the lowest first."""
        with self._asked() as (connection, memory):
            base = memory << NUMBER_BITS
            rows = fetch(
                connection,
                "SELECT id-?2 FROM item WHERE memory=?1 AND key = x'' AND mark = x'' AND id > ?3 ORDER BY id LIMIT ?4",
                (memory, base, base + after, most),
            )
        return [number for (number,) in rows]

    def seen(self) -> list[bytes]:
        """Return what the exchanges of the round under way have seen, packed."""
        with self._asked() as (connection, memory):
            base = memory << NUMBER_BITS
            rows = fetch(
                connection, "SELECT numbers FROM sighting WHERE id >= ? AND id < ? ORDER BY id", (base, base + _MISSED)
            )
        return [numbers for (numbers,) in rows]

    def missed(self) -> bytes:
        """Return what was missing in the last rounds, packed; nothing when nothing was."""
        with self._asked() as (connection, memory):
            rows = fetch(connection, "SELECT numbers FROM sighting WHERE id=?", ((memory << NUMBER_BITS) + _MISSED,))
        return rows[0][0] if rows else b""

    def older(self, than: int) -> int:
        """Return how many of the lowest numbers have a mark below `than`, in a memory whose marks grow with them."""
        with self._asked() as (connection, memory):
            base = memory << NUMBER_BITS
            rows = fetch(
                connection,
                "SELECT count(*) FROM item WHERE id >= ?1 AND id < ifnull("
                "(SELECT id FROM item WHERE id >= ?1 AND id < ?2 AND mark >= ?3 ORDER BY id LIMIT 1), ?2)",
                (base, base + _SPAN, than),
            )
        count: int = rows[0][0]
        return count
