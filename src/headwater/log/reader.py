"""Owns reading the log: in the writer's process or any other, with a connection of its own. Writes nothing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from headwater.core.errors import PartitionNotFoundError, TopicNotFoundError
from headwater.core.exchange import Exchange
from headwater.core.topic import TopicSpec
from headwater.fluvio.batch import StoredBatch
from headwater.log.failure import mapped
from headwater.log.schema import FILE_NAME, fetch, open_reader, stored_checkpoint, stored_marks, stored_span
from headwater.log.values import TopicInfo

_ENTRY = msgspec.json.Decoder(Exchange)
_SPEC = msgspec.json.Decoder(TopicSpec)
# Rows fetched in one step of a read: a step holds a snapshot, and a snapshot holds back the write-ahead log.
_MOST_ROWS = 4096


class LogReader:
    """A reader of the log in `directory`. Use it in one thread at a time; close it, or use it as a context manager."""

    def __init__(self, directory: Path | str) -> None:
        self._path = Path(directory) / FILE_NAME
        self._connection = open_reader(self._path)
        self._version = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, sql: str, *bindings: str | int | None) -> list[tuple[Any, ...]]:
        with mapped(self._path):
            return fetch(self._connection, sql, bindings)

    def topics(self) -> list[TopicInfo]:
        """Return every topic, by name."""
        rows = self._rows("SELECT id, name, created, spec FROM topic ORDER BY name")
        return [TopicInfo(name, id_, created, _SPEC.decode(spec)) for id_, name, created, spec in rows]

    def topic(self, name: str) -> TopicInfo:
        """Return one topic. Raises TopicNotFoundError."""
        rows = self._rows("SELECT id, created, spec FROM topic WHERE name=?", name)
        if not rows:
            raise TopicNotFoundError(f"topic not found: {name}", hint="'headwater topic list' shows those there are")
        id_, created, spec = rows[0]
        return TopicInfo(name, id_, created, _SPEC.decode(spec))

    def offsets(self, name: str, partition: int) -> tuple[int, int]:
        """Return the offset of the first record and of the next one to come."""
        info = self._partition(name, partition)
        with mapped(self._path):
            return stored_span(self._connection, info.id, partition)

    def read(
        self, name: str, partition: int, offset: int, max_bytes: int, *, topic_id: int | None = None
    ) -> list[StoredBatch]:
        """Return whole batches from the one that holds `offset` on: one if there is any, then up to the bound.

        With `topic_id` it is an error when the topic was deleted and made anew: its offsets mean other records now.
        """
        info = self._partition(name, partition)
        if topic_id is not None and info.id != topic_id:
            raise TopicNotFoundError(
                f"the topic {name} was deleted meanwhile, and there is a new one", hint="begin again"
            )
        batches: list[StoredBatch] = []
        size = 0
        with mapped(self._path):
            cursor = self._connection.execute(
                "SELECT base_offset, count, data FROM located WHERE topic=?1 AND partition=?2 AND base_offset >= "
                "ifnull((SELECT base_offset FROM located WHERE topic=?1 AND partition=?2 AND base_offset <= ?3 "
                "ORDER BY base_offset DESC LIMIT 1), ?3) ORDER BY base_offset LIMIT ?4",
                (info.id, partition, offset, _MOST_ROWS),
            )
            for base, count, data in cursor:
                if base + count <= offset:
                    continue
                batches.append(StoredBatch(base, count, data))
                size += len(data)
                if size >= max_bytes:
                    break
            cursor.close(force=True)
        return batches

    def _partition(self, name: str, partition: int) -> TopicInfo:
        info = self.topic(name)
        if not 0 <= partition < info.spec.partitions:
            raise PartitionNotFoundError(
                f"partition not found: {name}-{partition}",
                hint=f"topic {name} has partitions 0 to {info.spec.partitions - 1}",
            )
        return info

    def checkpoint(self, connector: str) -> bytes | None:
        """Return the encoded checkpoint of a connector, None when it has none yet."""
        with mapped(self._path):
            return stored_checkpoint(self._connection, connector)

    def checkpoints(self) -> list[str]:
        """Return the names of the connectors of which a checkpoint is kept, sorted.

        What begins with @ is kept for several of them, and is no checkpoint: a refresh token.
        """
        with mapped(self._path):
            # In this order: see `stored_checkpoint`.
            names = {*stored_marks(self._connection)}
            names.update(name for (name,) in fetch(self._connection, "SELECT connector FROM checkpoint"))
        return sorted(name for name in names if not name.startswith("@"))

    def ledger(self, connector: str | None, limit: int) -> list[Exchange]:
        """Return the last entries of one connector, or of all, newest last."""
        where = "" if connector is None else "WHERE connector=?1"
        rows = self._rows(f"SELECT entry FROM ledger {where} ORDER BY seq DESC LIMIT ?2", connector, limit)  # noqa: S608 - fixed words
        return [_ENTRY.decode(entry) for (entry,) in reversed(rows)]

    def changed(self) -> bool:
        """Return whether another connection has committed since the last call; cheap enough to ask often."""
        version = self._rows("PRAGMA data_version")[0][0]
        known, self._version = self._version, version
        return known != self._version

    def size(self) -> int:
        """Return the bytes on disk: the file and its write-ahead log."""
        wal = self._path.with_name(f"{FILE_NAME}-wal")
        return self._path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
