"""Owns how far consumers have got, which they ask the log to remember; each change is work for the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from headwater.core.errors import TopicNotFoundError
from headwater.log.schema import fetch
from headwater.log.values import ConsumerOffset

if TYPE_CHECKING:
    from headwater.log.writer import Transaction


def keep(transaction: Transaction, offset: ConsumerOffset) -> None:
    """Remember how far a consumer has got. Raises TopicNotFoundError."""
    transaction.connection.execute(
        "INSERT OR REPLACE INTO consumer (topic, partition, name, offset, modified) VALUES (?, ?, ?, ?, ?)",
        (_topic(transaction, offset.topic), offset.partition, offset.consumer, offset.offset, offset.modified),
    )


def forget(transaction: Transaction, consumer: str, topic: str, partition: int) -> bool:
    """Forget how far a consumer has got, and return whether that was known. Raises TopicNotFoundError."""
    transaction.connection.execute(
        "DELETE FROM consumer WHERE topic=? AND partition=? AND name=?",
        (_topic(transaction, topic), partition, consumer),
    )
    return bool(transaction.connection.changes())


def kept(connection: apsw.Connection) -> list[ConsumerOffset]:
    """Return how far every consumer has got, by its name."""
    rows = fetch(
        connection,
        "SELECT consumer.name, topic.name, partition, offset, modified FROM consumer "
        "JOIN topic ON topic.id = consumer.topic ORDER BY 1, 2, 3",
    )
    return [ConsumerOffset(*row) for row in rows]


def _topic(transaction: Transaction, name: str) -> int:
    info = transaction.state.topics.get(name)
    if info is None:
        raise TopicNotFoundError(f"topic not found: {name}")
    return info.id
