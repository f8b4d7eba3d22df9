"""Owns what is known of a cluster: its topics, its partitions, its SPUs, and who leads what. Asks nobody. Pure."""

from __future__ import annotations

from headwater.core.errors import ClusterProtocolError
from headwater.fluvio.admin import Update
from headwater.fluvio.objects import Object, Partition, Spu, Topic

KINDS: tuple[type[Topic | Partition | Spu], ...] = (Spu, Partition, Topic)


class Directory:
    """The objects of a cluster as its watches tell them: all at first, then what changes."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, Object]] = {kind.LABEL: {} for kind in KINDS}
        self._spus: dict[int, Spu] = {}

    def apply(self, label: str, update: Update) -> None:
        """Take in what a watch told about objects of one kind. Raises ClusterProtocolError for another kind."""
        if any(label != it.LABEL for it in (*update.all, *(change.object for change in update.changes))):
            raise ClusterProtocolError(f"a watch of {label} objects told of another kind")
        objects = self._objects[label]
        if update.all:
            objects.clear()
            objects.update((it.name, it) for it in update.all)
        for deleted, it in update.changes:
            if deleted:
                objects.pop(it.name, None)
            else:
                objects[it.name] = it
        if label == Spu.LABEL:
            self._spus = {it.spec.id: it for it in objects.values() if isinstance(it, Spu)}

    def forget(self, label: str) -> None:
        """Forget the objects of a kind: a new watch tells them all, and need not tell that there are none."""
        self._objects[label].clear()

    def topic(self, name: str) -> Topic | None:
        """Return a topic, None when it is not known."""
        found = self._objects[Topic.LABEL].get(name)
        return found if isinstance(found, Topic) else None

    def add(self, topic: Topic) -> None:
        """Take in a topic that somebody was told of before the watch told it."""
        self._objects[Topic.LABEL][topic.name] = topic

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions a topic has, None when it is not known."""
        found = self.topic(topic)
        return None if found is None else found.spec.partitions

    def leader(self, topic: str, partition: int) -> Spu | None:
        """Return who leads a partition, None when that is not known."""
        found = self._objects[Partition.LABEL].get(f"{topic}-{partition}")
        return self._spus.get(found.spec.leader) if isinstance(found, Partition) else None

    def spu(self, number: int) -> Spu | None:
        """Return an SPU by its number, None when it is not known."""
        return self._spus.get(number)
