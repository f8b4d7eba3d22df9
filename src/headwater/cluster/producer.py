"""Owns sending records to a topic of a cluster, as callers see it: what fits, what waits, what became of it.

What goes together is `batching`'s, and the way to the cluster `lanes`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from headwater.cluster.append import acks_of
from headwater.cluster.batching import MOST_RECORD_BYTES, RECORD_OVERHEAD, Sending, Turns, sizes_of
from headwater.cluster.cluster import Cluster
from headwater.cluster.lanes import Freight, Lanes
from headwater.cluster.room import Room
from headwater.core.errors import (
    ClusterUnreachableError,
    HeadwaterError,
    PartitionNotFoundError,
    RecordTooLargeError,
    TopicError,
)
from headwater.core.record import Record
from headwater.core.topic import Receipt
from headwater.fluvio.batch import MOST_BATCH_BYTES
from headwater.fluvio.compression import agreed
from headwater.fluvio.objects import Topic
from headwater.fluvio.records import Isolation

# Records that are given less time than this are tried once all the same (seconds).
_ONCE = 1.0


class Producer:
    """Sends records to one topic: `async with Producer(cluster, topic) as producer`.

    `linger` is how long records wait for others to share a batch of `batch_size` bytes. One request has at most
    `max_request_size` bytes of records, and `send` waits while `queue_bytes` are under way. `compression` must be one
    that the topic allows; None takes what it wants. `timeout` is by when records must be acknowledged, all attempts
    together: what is not known to have arrived is sent again, so that it arrives at least once. Leaving it waits for
    what is under way, unless an error leaves it.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        *,
        linger: timedelta = timedelta(0),
        batch_size: int = 16_384,
        max_request_size: int = 1_048_576,
        queue_bytes: int = 32 * 1024 * 1024,
        compression: str | None = None,
        isolation: Isolation = Isolation.READ_UNCOMMITTED,
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self.topic = topic
        self._links = cluster.links
        self._linger = linger.total_seconds()
        self._batch_bytes = min(batch_size, MOST_BATCH_BYTES)
        self._request_bytes = max_request_size
        # Without what a batch adds to it.
        self._most_record = min(max_request_size, MOST_RECORD_BYTES)
        self._wish = compression
        self._acks = acks_of(isolation)
        self._timeout = timeout.total_seconds()
        self._turns = Turns()
        self._room = Room(queue_bytes)
        self._closed: HeadwaterError | None = None

    async def __aenter__(self) -> Self:
        topic = await self._links.persist(self._find_topic)
        allowed = topic.spec.compression.name.lower()
        codec = agreed(self._wish, allowed)
        if codec is None:
            raise TopicError(
                f"topic {self.topic} takes only batches under {allowed}, not under {self._wish}",
                hint="leave the compression to the topic",
            )
        self._partitions = topic.spec.partitions
        self._loop = asyncio.get_running_loop()
        slack = max(0.0, _ONCE - self._timeout)
        freight = Freight(self.topic, self._batch_bytes, self._request_bytes, codec, self._acks, slack)
        self._lanes = Lanes(self._links, freight, self._room.release)
        return self

    async def _find_topic(self) -> Topic:
        return self._links.directory.topic(self.topic) or await self._links.topic(self.topic)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            self._closed = ClusterUnreachableError(f"the producer of topic {self.topic} was closed", "closed")
            self._room.close(self._closed)
            await self._lanes.end(self._closed)

    async def send(self, records: Sequence[Record], partition: int | None = None) -> list[Receipt]:
        """Send records and return where they are, once that is acknowledged: a receipt for each run of offsets.

        Keys choose partitions as in Fluvio; records without a key go to the partitions in turn, each to the next one.
        Records of concurrent calls share batches. Of one partition they keep the order in which the calls were made.
        Raises TopicError (RecordTooLargeError before anything is sent), or ClusterError, after which the records may or
        may not be there. Cancelling it does not take the records back.
        """
        size = self._measured(records)
        turn = self._room.take(size)
        if turn is not None:
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._room.release(size)
                raise
        return await self._submit(records, partition, size)

    def submit(self, records: Sequence[Record], partition: int | None = None) -> asyncio.Future[list[Receipt]]:
        """Send records as `send` does, without waiting for room: the caller bounds how many are under way."""
        size = self._measured(records)
        self._room.force(size)
        return self._submit(records, partition, size)

    async def flush(self) -> None:
        """Send what lingers, and wait until everything is acknowledged or has failed."""
        self._lanes.hurry()
        await self._room.empty()

    def _measured(self, records: Sequence[Record]) -> int:
        """Return how many bytes records need, unless one is too large for this topic."""
        if self._closed is not None:
            raise self._closed
        if self._lanes.failure is not None:
            raise self._lanes.failure
        sizes = sizes_of(records)
        largest = max(sizes, default=0) - RECORD_OVERHEAD
        if largest > self._most_record:
            raise RecordTooLargeError(
                f"a record of {largest} bytes is too large for a request to topic {self.topic}:"
                f" at most {self._most_record}"
            )
        return sum(sizes)

    def _submit(self, records: Sequence[Record], partition: int | None, size: int) -> asyncio.Future[list[Receipt]]:
        sending = Sending(self._loop.create_future())
        if not records:
            sending.future.set_result([])
            return sending.future
        count = self._links.directory.partitions(self.topic) or self._partitions
        if partition is None:
            groups = self._turns.spread(records, count)
        elif 0 <= partition < count:
            groups = {partition: records}
        else:
            self._room.release(size)
            raise PartitionNotFoundError(f"topic {self.topic} has no partition {partition}; it has {count}")
        due = self._loop.time() + self._linger
        deadline = self._links.clock.monotonic() + self._timeout
        for number, some in groups.items():
            self._lanes.add(number, some, sending, due, deadline)
        return sending.future
