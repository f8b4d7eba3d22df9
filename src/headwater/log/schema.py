"""Owns the tables of the log's one file, and how a connection to it is opened. Knows no record.

Commits of many connectors touch many topics, and a page that is touched at all is written whole. So a commit adds
rows only at the ends of tables: `batch`, `recent` (an index of few pages), `mark` (the checkpoints of a commit in one
row), `ledger`. Every few thousand rows they are folded into `place` and `checkpoint`, where each page then takes many
of them. Readers use the view `located`, which merges both indexes, and `stored_checkpoint`.

What connectors remember of items is in `memory`, `item` and `sighting`. An item stands by its number, so that those of
a connector stand together, and is found by its key itself: keys of an API mostly come in their order, and then a
million of them is looked up three times as fast as by their digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from headwater.core.errors import LogCorruptError, LogError
from headwater.log.failure import mapped
from headwater.log.lock import DirectoryLock

FILE_NAME = "headwater.db"
# "HWTR": tells file(1) and us whose file it is.
_APPLICATION = 0x48575452
_VERSION = 5

# A plain rowid table with a unique index takes appends two to six times faster than WITHOUT ROWID.
_TABLES = """
CREATE TABLE topic (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    spec BLOB NOT NULL
);
CREATE TABLE span (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    start INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    base_offset INTEGER NOT NULL,
    count INTEGER NOT NULL,
    max_timestamp INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX batch_place ON batch (topic, partition, base_offset);
CREATE TABLE checkpoint (
    connector TEXT PRIMARY KEY,
    data BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY,
    connector TEXT NOT NULL,
    entry BLOB NOT NULL
);
"""
# What later versions of the file added, by the version that each step begins with; a new file takes all of them.
_STEPS = {
    1: """
CREATE TABLE consumer (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    name TEXT NOT NULL,
    offset INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, name)
) WITHOUT ROWID;
""",
    2: """
CREATE TABLE place (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    base_offset INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, base_offset)
) WITHOUT ROWID;
CREATE TABLE recent (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    base_offset INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, base_offset)
) WITHOUT ROWID;
CREATE VIEW located AS
    SELECT place.topic, place.partition, place.base_offset, id, count, max_timestamp, data
    FROM place JOIN batch ON id = place.batch
    UNION ALL
    SELECT recent.topic, recent.partition, recent.base_offset, id, count, max_timestamp, data
    FROM recent JOIN batch ON id = recent.batch;
CREATE TABLE mark (
    seq INTEGER PRIMARY KEY,
    connector TEXT NOT NULL,
    data BLOB NOT NULL
);
INSERT INTO place SELECT topic, partition, base_offset, id FROM batch ORDER BY topic, partition, base_offset;
DROP INDEX batch_place;
""",
    3: """
CREATE TABLE memory (
    id INTEGER PRIMARY KEY,
    connector TEXT UNIQUE
);
CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    memory INTEGER NOT NULL,
    key BLOB NOT NULL,
    mark NOT NULL,
    print BLOB NOT NULL,
    data BLOB
);
CREATE INDEX item_key ON item (memory, key, mark);
CREATE TABLE sighting (
    id INTEGER PRIMARY KEY,
    numbers BLOB NOT NULL
);
""",
    4: """
INSERT OR REPLACE INTO checkpoint SELECT connector, data FROM mark ORDER BY seq;
DROP TABLE mark;
CREATE TABLE mark (
    seq INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
""",
}

# Checkpoints of a commit in one row: what is bound to a statement value by value costs more than all else of them. A
# value of SQLite's has at most 1,000,000,000 bytes.
_MOST_IN_A_ROW = 16 * 1024 * 1024
_MARKS = msgspec.msgpack.Encoder()
_MARKS_OF_ROW = msgspec.msgpack.Decoder(dict[str, bytes])


def open_writer(path: Path) -> apsw.Connection:
    """Open the file for the one writer, and create the tables in a new one. Raises LogError."""
    with mapped(path):
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(10_000)
            _check_owner(connection, path)
            # Batches are large: with pages of twice the usual size a commit writes a tenth faster.
            connection.pragma("page_size", 8192)
            # Incremental, so that retention can give space back to the disk.
            connection.pragma("auto_vacuum", 2)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", 2)
            connection.pragma("cache_size", -12 * 1024)
            # 32 MB of write-ahead log before it goes into the file: pages written often go there once, not each time.
            connection.pragma("wal_autocheckpoint", 4000)
            connection.pragma("journal_size_limit", 64 * 1024 * 1024)
            _bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _bring_up_to_date(connection: apsw.Connection) -> None:
    version = connection.pragma("user_version")
    if version == _VERSION:
        return
    tables = "" if version else f"{_TABLES}; PRAGMA application_id={_APPLICATION};"
    steps = ";".join(_STEPS[step] for step in range(max(1, version), _VERSION))
    connection.execute(f"BEGIN IMMEDIATE; {tables} {steps}; PRAGMA user_version={_VERSION}; COMMIT")


def open_reader(path: Path) -> apsw.Connection:
    """Open the file for reading, in any process, while it is written or not. Raises LogError.

    A file of an earlier version is brought up to date first, which needs that nobody writes it.
    """
    if not path.exists():
        raise LogError(
            f"there is no log in {path.parent}", hint="'headwater run' makes one, or name another --data-dir"
        )
    with mapped(path):
        connection = _connect(path)
        if 0 < connection.pragma("user_version") < _VERSION:
            connection.close()
            lock = DirectoryLock(path.parent)
            try:
                open_writer(path).close()
            finally:
                lock.release()
            connection = _connect(path)
    return connection


def _connect(path: Path) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.CantOpenError:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(10_000)
        connection.pragma("query_only", 1)
        connection.pragma("cache_size", -4 * 1024)
        _check_owner(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def fetch(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return all rows of a query; their types are what the tables say."""
    rows: list[tuple[Any, ...]] = connection.execute(sql, bindings).fetchall()
    return rows


def encode_marks(checkpoints: dict[str, bytes]) -> list[bytes]:
    """Encode the checkpoints of a commit, by their connectors, as rows of `mark`: one, unless that would be large."""
    if sum(map(len, checkpoints.values())) <= _MOST_IN_A_ROW:
        return [_MARKS.encode(checkpoints)]
    return [_MARKS.encode({connector: data}) for connector, data in checkpoints.items()]


def stored_marks(connection: apsw.Connection) -> dict[str, bytes]:
    """Return the last checkpoint of each connector that has one which is not folded yet, as this connection sees it."""
    marks: dict[str, bytes] = {}
    for (data,) in fetch(connection, "SELECT data FROM mark ORDER BY seq"):
        marks |= _MARKS_OF_ROW.decode(data)
    return marks


def stored_checkpoint(connection: apsw.Connection, connector: str) -> bytes | None:
    """Return the encoded checkpoint of a connector as this connection sees it, None when it has none."""
    # In this order, for what is folded in between is found where it was brought to.
    marked = stored_marks(connection).get(connector)
    if marked is not None:
        return marked
    rows = fetch(connection, "SELECT data FROM checkpoint WHERE connector=?", (connector,))
    return rows[0][0] if rows else None


def stored_span(connection: apsw.Connection, topic: int, partition: int) -> tuple[int, int]:
    """Return the offset of the first record of a partition and of the next one to come, as this connection sees it."""
    place = (topic, partition)
    # Where retention has deleted everything, only the span knows.
    span = fetch(connection, "SELECT start, next FROM span WHERE topic=? AND partition=?", place)
    start, following = span[0] if span else (0, 0)
    last = fetch(
        connection,
        "SELECT base_offset, count FROM located WHERE topic=? AND partition=? ORDER BY base_offset DESC LIMIT 1",
        place,
    )
    return start, max(following, sum(last[0])) if last else following


def delete_batches(connection: apsw.Connection, where: str, bindings: tuple[int, ...]) -> None:
    """Delete batches; `where` may name topic, partition and base_offset."""
    connection.execute(f"DELETE FROM batch WHERE id IN (SELECT id FROM located WHERE {where})", bindings)  # noqa: S608 - ours
    for table in ("place", "recent"):
        connection.execute(f"DELETE FROM {table} WHERE {where}", bindings)  # noqa: S608 - ours


def _check_owner(connection: apsw.Connection, path: Path) -> None:
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if (application, version) == (0, 0) and connection.pragma("page_count") == 0:
        return
    if application != _APPLICATION:
        raise LogCorruptError(f"{path} is a database, but not a Headwater log", hint="name another --data-dir")
    if version > _VERSION:
        raise LogCorruptError(
            f"{path} was written by a newer Headwater (format {version}; this one knows {_VERSION})",
            hint="use that version, or name another --data-dir",
        )
