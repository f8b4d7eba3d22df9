"""Owns the changes of topics themselves: create, delete, add partitions. Each is work for the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headwater.core.errors import TopicExistsError, TopicNotFoundError
from headwater.core.topic import TopicSpec
from headwater.log.schema import delete_batches
from headwater.log.values import TopicInfo

if TYPE_CHECKING:
    from headwater.log.writer import Transaction


def create(transaction: Transaction, name: str, spec: TopicSpec, created: int) -> TopicInfo:
    """Create a topic. Raises TopicExistsError."""
    state = transaction.state
    if name in state.topics:
        raise TopicExistsError(f"topic already exists: {name}")
    transaction.connection.execute(
        "INSERT INTO topic (name, created, spec) VALUES (?, ?, ?)", (name, created, msgspec.json.encode(spec))
    )
    info = TopicInfo(name, transaction.connection.last_insert_rowid(), created, spec)
    state.topics[name] = info
    return info


def delete(transaction: Transaction, name: str) -> None:
    """Delete a topic with its records, and forget how far consumers have got in it. Raises TopicNotFoundError."""
    state = transaction.state
    info = _found(transaction, name)
    del state.topics[name]
    delete_batches(transaction.connection, "topic=?1", (info.id,))
    for table in ("span", "consumer"):
        transaction.connection.execute(f"DELETE FROM {table} WHERE topic=?", (info.id,))  # noqa: S608 - fixed words
    transaction.connection.execute("DELETE FROM topic WHERE id=?", (info.id,))
    for place in [place for place in state.next if place[0] == info.id]:
        del state.next[place]
    for place in [place for place in state.windows if place[0] == info.id]:
        del state.windows[place]
    # Whoever follows it is to hear of it.
    transaction.touched.add(info.id)


def add_partitions(transaction: Transaction, name: str, count: int) -> TopicInfo:
    """Give a topic more partitions; its records stay where they are. Raises TopicNotFoundError."""
    info = _found(transaction, name)
    spec = msgspec.structs.replace(info.spec, partitions=info.spec.partitions + count)
    transaction.connection.execute("UPDATE topic SET spec=? WHERE id=?", (msgspec.json.encode(spec), info.id))
    grown = msgspec.structs.replace(info, spec=spec)
    transaction.state.topics[name] = grown
    return grown


def _found(transaction: Transaction, name: str) -> TopicInfo:
    info = transaction.state.topics.get(name)
    if info is None:
        raise TopicNotFoundError(f"topic not found: {name}", hint="'headwater topic list' shows those there are")
    return info
