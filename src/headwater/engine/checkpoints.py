"""Owns checkpoints that are kept in the cluster itself, for connectors whose machine may be another one tomorrow.

They are records of one topic: the key is the connector, and the newest record of a key counts. Fluvio does not compact
topics, so whoever runs restates what is far behind, and whoever starts reads from the end until everything is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import structlog

from headwater.cluster import Cluster, Producer
from headwater.core.callback import settle
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import ClusterError, HeadwaterError, TopicError, TopicExistsError, TopicNotFoundError
from headwater.core.record import Record, StoredRecord
from headwater.core.topic import Offset, Receipt, TopicSpec

TOPIC: Final = "headwater-checkpoints"
# A reader that finds nothing reads all that there is, so that is bounded, too.
SPEC: Final = TopicSpec(
    retention=timedelta(days=90), max_partition_bytes=256 * 1024 * 1024, segment_bytes=32 * 1024 * 1024
)
FIRST_WINDOW, LONGEST_WINDOW = 256, 16_384
_LINGER = timedelta(milliseconds=5)
_PATIENCE = timedelta(seconds=10)
# How often is looked at how far behind checkpoints are, and what is too far (seconds; records).
REVIEW, STALE, FAR = 600.0, 3600.0, 2000

_NULL = b"null"

logger = structlog.get_logger("headwater.checkpoints")


class Kept(msgspec.Struct, frozen=True):
    """A checkpoint as it is kept. `checkpoint` is its own encoding, which is JSON; null before there is one.

    Each start of a connector takes the next `generation` and says so at once, and `sequence` counts within all of them:
    the largest of both is the newest, whatever an older process writes that nobody has ended yet. `fence` is before
    both: it is the number of the lease under which a process works that shares connectors with others, so that of two
    that claim at the same time the later holder counts. It never falls, also when the leases are made anew.
    """

    generation: int
    sequence: int = 0
    checkpoint: msgspec.Raw = msgspec.Raw(_NULL)
    fence: int = 0

    @property
    def age(self) -> tuple[int, int, int]:
        """Where it stands among others of the same connector."""
        return self.fence, self.generation, self.sequence

    def following(self, checkpoint: bytes) -> Kept:
        """Return what is kept after it by the same process."""
        return Kept(self.generation, self.sequence + 1, msgspec.Raw(checkpoint), self.fence)

    def claimed(self, fence: int = 0) -> Kept:
        """Return the first that the next process keeps."""
        return Kept(self.generation + 1, self.sequence + 1, self.checkpoint, max(self.fence, fence))


_NOTHING = Kept(0)
_DECODER = msgspec.json.Decoder(Kept)


def newest(records: Iterable[StoredRecord], wanted: Collection[str]) -> dict[str, Kept]:
    """Return the newest of the wanted connectors' checkpoints among records. What does not decode is not one."""
    found: dict[str, Kept] = {}
    for record in records:
        name = (record.key or b"").decode(errors="replace")
        if name not in wanted:
            continue
        try:
            kept = _DECODER.decode(record.value)
        except msgspec.DecodeError as error:
            logger.warning(
                "a record is no checkpoint", topic=TOPIC, offset=record.offset, connector=name, reason=str(error)
            )
            continue
        if name not in found or kept.age >= found[name].age:
            found[name] = kept
    return found


def merged(one: dict[str, Kept], other: dict[str, Kept]) -> dict[str, Kept]:
    """Return the newer of both of each connector."""
    return {
        name: max((it[name] for it in (one, other) if name in it), key=lambda kept: kept.age)
        for name in {**one, **other}
    }


def windows(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of offsets from `end` back to `start`, each four times as long as the one before, to a bound."""
    length = FIRST_WINDOW
    while end > start:
        begin = max(start, end - length)
        yield begin, end
        end, length = begin, min(4 * length, LONGEST_WINDOW)


async def search(cluster: Cluster, wanted: Collection[str]) -> dict[str, Kept]:
    """Return the newest checkpoints of connectors, of those that have one. Raises TopicError or ClusterError.

    All partitions are read side by side, for somebody may have added some: then a key stands in several.
    """
    found: dict[str, Kept] = {}
    partitions = (await cluster.topic(TOPIC)).spec.partitions
    ranges = [windows(*await cluster.offsets(TOPIC, partition)) for partition in range(partitions)]
    while any(name not in found for name in wanted):
        steps = [(partition, step) for partition, left in enumerate(ranges) if (step := next(left, None)) is not None]
        if not steps:
            break
        for partition, (begin, end) in steps:
            records = await cluster.read(TOPIC, Offset.at(begin), partition=partition, limit=end - begin)
            found = merged(found, newest(records, wanted))
    return found


class _Mine(msgspec.Struct):
    """What this process keeps of a connector: the last that was sent, and where and when one was acknowledged."""

    kept: Kept
    receipt: Receipt
    at: float


class Checkpoints:
    """The checkpoints of connectors in a cluster: `async with Checkpoints(cluster) as checkpoints`.

    `patience` is how long a checkpoint is tried before the connector hears of it. `replication` is how many copies the
    topic has when it is made.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Clock | None = None,
        patience: timedelta = _PATIENCE,
        replication: int = 1,
    ) -> None:
        self._cluster = cluster
        self._clock = clock or SystemClock()
        self._patience = patience
        self._spec = msgspec.structs.replace(SPEC, replication=replication)
        self._mine: dict[str, _Mine] = {}
        self._producer: Producer | None = None
        self._opening = asyncio.Lock()
        self._wanted: dict[str, asyncio.Future[Kept]] = {}
        self._fences: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cleanup = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._begin(self._review())
        return self

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        # As by an error: what was not acknowledged is asked for again.
        left = asyncio.CancelledError()
        await self._cleanup.__aexit__(asyncio.CancelledError, left, None)
        self._cleanup, self._producer = AsyncExitStack(), None

    def forget(self, connector: str) -> None:
        """Keep nothing of a connector any more: another process may, and the next `load` looks anew."""
        self._mine.pop(connector, None)

    async def load(self, connector: str, fence: int = 0) -> bytes | None:
        """Return the encoded checkpoint of a connector, and claim it for this process. Raises HeadwaterError.

        Connectors that ask in the same moment are looked for together.
        """
        mine = self._mine.get(connector)
        if mine is not None:
            return _encoded(mine.kept)
        if not self._wanted:
            self._begin(self._load())
        if connector not in self._wanted:
            self._wanted[connector] = asyncio.get_running_loop().create_future()
            self._fences[connector] = fence
        return _encoded(await asyncio.shield(self._wanted[connector]))

    async def _load(self) -> None:
        # After a turn of the event loop: whoever starts many connectors has asked for all of them then.
        await asyncio.sleep(0)
        wanted, self._wanted = self._wanted, {}
        try:
            await self._create()
            found = await search(self._cluster, wanted)
            claims = {name: found.get(name, _NOTHING).claimed(self._fences.pop(name, 0)) for name in wanted}
            await self._send(claims)
        except HeadwaterError as error:
            for future in wanted.values():
                if not future.done():
                    future.set_exception(error)
        except BaseException:
            for future in wanted.values():
                future.cancel()
            raise
        else:
            for name, future in wanted.items():
                settle(future, claims[name])

    async def keep(self, connector: str, checkpoint: bytes) -> None:
        """Keep the encoded checkpoint of a connector that was loaded. Raises HeadwaterError.

        Several that come at once share a request.
        """
        mine = self._mine[connector]
        # At once, so that nothing older is restated after it.
        mine.kept = mine.kept.following(checkpoint)
        await self._send({connector: mine.kept})

    async def _send(self, checkpoints: dict[str, Kept]) -> None:
        try:
            await self._send_once(checkpoints)
        except TopicNotFoundError:
            # Somebody has deleted the topic. What is newest is here.
            await self._close()
            await self._create()
            await self._send_once(checkpoints)

    async def _send_once(self, checkpoints: dict[str, Kept]) -> None:
        producer = await self._open()
        sending = [
            (name, kept, asyncio.ensure_future(producer.send([Record(msgspec.json.encode(kept), name.encode())])))
            for name, kept in checkpoints.items()
        ]
        try:
            await asyncio.gather(*(sent for _, _, sent in sending))
        except BaseException:
            for _, _, sent in sending:
                sent.cancel()
            await asyncio.gather(*(sent for _, _, sent in sending), return_exceptions=True)
            raise
        now = self._clock.monotonic()
        for name, kept, sent in sending:
            mine = self._mine.setdefault(name, _Mine(kept, sent.result()[0], now))
            mine.receipt, mine.at = sent.result()[0], now

    async def _open(self) -> Producer:
        async with self._opening:
            if self._producer is None:
                made = Producer(self._cluster, TOPIC, linger=_LINGER, timeout=self._patience)
                self._producer = await self._cleanup.enter_async_context(made)
            return self._producer

    async def _create(self) -> None:
        if await self._cluster.topics([TOPIC]):
            return
        try:
            await self._cluster.create_topic(TOPIC, self._spec)
        except TopicExistsError:
            return

    async def _review(self) -> None:
        """Restate what is far behind, so that it is found soon and outlives the topic's retention."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + REVIEW)
            try:
                await self._send(await self.far_behind())
            except (ClusterError, TopicError) as error:
                # The connectors meet the same and say so.
                logger.debug("checkpoints were not restated", reason=error.message)

    async def far_behind(self) -> dict[str, Kept]:
        """Return those checkpoints that are to be restated."""
        partitions = {mine.receipt.partition for mine in self._mine.values()}
        ends = {partition: (await self._cluster.offsets(TOPIC, partition))[1] for partition in partitions}
        now = self._clock.monotonic()
        return {
            name: mine.kept
            for name, mine in self._mine.items()
            if now - mine.at >= STALE or ends.get(mine.receipt.partition, 0) - mine.receipt.base_offset > FAR
        }


def _encoded(kept: Kept) -> bytes | None:
    checkpoint = bytes(kept.checkpoint)
    return None if checkpoint == _NULL else checkpoint
