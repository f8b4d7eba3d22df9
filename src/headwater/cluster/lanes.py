"""Owns the way of batches to the leaders of their partitions, until they are acknowledged or have had their time.

For each SPU there is a lane with one request under way, so that nothing overtakes what is tried again. Batches that
come meanwhile wait, and go together with the next.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice

import msgspec

from headwater.cluster.append import produce, results
from headwater.cluster.batching import Batch, Pile, Sending
from headwater.cluster.failure import MOVED, AgainError, refused
from headwater.cluster.links import Links
from headwater.core.errors import BatchError, ClusterError, ClusterRefusedError, ClusterTimeoutError, HeadwaterError
from headwater.core.record import Record
from headwater.fluvio.batch import HEADER_BYTES, encode_batch
from headwater.fluvio.compression import Compression
from headwater.fluvio.records import PRODUCE, PartitionProduced, Produced

# The lane of partitions that nobody leads as far as is known.
_NOBODY = -1
# How many batches of a partition are looked at for encoding ahead.
_AHEAD = 256
# A server that asks for more than this is not obeyed (seconds).
_LONGEST_THROTTLE = 60.0


class Freight(msgspec.Struct, frozen=True):
    """How batches of a topic are sent: their sizes in bytes, their codec, what an acknowledgement means.

    `slack` is how many seconds after their deadline they may still be sent for the first time.
    """

    topic: str
    batch_bytes: int
    request_bytes: int
    codec: Compression
    acks: int
    slack: float = 0.0


class _Lane:
    """What goes to one SPU: the partitions that it leads, and how many attempts in a row have failed."""

    __slots__ = ("failures", "number", "piles", "wake")

    def __init__(self, number: int) -> None:
        self.number = number
        self.piles: dict[int, Pile] = {}
        self.failures = 0
        self.wake: asyncio.Future[None] | None = None

    def due(self) -> float | None:
        """Return when the next batch must leave, None when there is none."""
        return min((due for pile in self.piles.values() if (due := pile.due()) is not None), default=None)

    def take(self, now: float, room: int) -> list[Batch]:
        """Take the batches of the next request."""
        taken: list[Batch] = []
        for partition, pile in list(self.piles.items()):
            found = pile.take(now, room)
            if found:
                taken += found
                room -= sum(batch.size for batch in found)
                # Who had a turn stands last, so that a busy partition does not hold the others up.
                self.piles[partition] = self.piles.pop(partition)
        return taken

    def rouse(self) -> None:
        """Have the lane look at what there is."""
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


class Lanes:
    """The lanes of one topic, each a task, from the first record on until `end`.

    `released` is told the bytes of records that are done. They may be ended in another task than the one that began
    them, so they are not in a TaskGroup: `failure` is what it would raise, a mistake of ours in a lane.
    """

    def __init__(self, links: Links, freight: Freight, released: Callable[[int], None]) -> None:
        self.failure: BaseException | None = None
        self._links = links
        self._freight = freight
        self._released = released
        self._loop = asyncio.get_running_loop()
        self._piles: dict[int, Pile] = {}
        self._lanes: dict[int, _Lane] = {}
        self._homes: dict[int, _Lane] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, partition: int, records: Sequence[Record], sending: Sending, due: float, deadline: float) -> None:
        """Send records to a partition; see `Pile.add`."""
        pile = self._piles.get(partition)
        if pile is None:
            pile = self._piles[partition] = Pile(partition, self._freight.batch_bytes)
            self._place(pile)
        pile.add(records, sending, due, deadline)
        self._homes[partition].rouse()

    def hurry(self) -> None:
        """Let no batch linger."""
        for pile in self._piles.values():
            for batch in pile.batches:
                batch.full = True
        for lane in self._lanes.values():
            lane.rouse()

    async def end(self, error: HeadwaterError) -> None:
        """Stop, and tell everybody who still waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What was under way has been put back by then.
        self._drop(error)

    def _drop(self, error: BaseException) -> None:
        for pile in self._piles.values():
            self._fail(pile.clear(), error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.failure = task.exception()
            assert self.failure is not None
            self._drop(self.failure)

    def _place(self, pile: Pile) -> None:
        """Give a pile to the lane of its leader."""
        spu = self._links.directory.leader(self._freight.topic, pile.partition)
        number = _NOBODY if spu is None else spu.spec.id
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = _Lane(number)
            task = self._loop.create_task(self._run(lane))
            task.add_done_callback(self._ended)
            self._tasks.append(task)
        home = self._homes.get(pile.partition)
        if home is lane:
            return
        if home is not None:
            del home.piles[pile.partition]
        self._homes[pile.partition] = lane
        lane.piles[pile.partition] = pile
        lane.rouse()

    async def _run(self, lane: _Lane) -> None:
        while True:
            now = self._loop.time()
            due = lane.due()
            if due is None or due > now:
                await self._doze(lane, due)
            elif lane.number == _NOBODY:
                await self._find_leaders(lane)
            else:
                await self._deliver(lane, lane.take(now, self._freight.request_bytes))

    async def _doze(self, lane: _Lane, due: float | None) -> None:
        """Wait until something comes, or until a batch must leave."""
        lane.wake = self._loop.create_future()
        timer = None if due is None else self._loop.call_at(due, lane.rouse)
        try:
            await lane.wake
        finally:
            if timer is not None:
                timer.cancel()

    async def _find_leaders(self, lane: _Lane) -> None:
        """Look for who leads the partitions of a lane that has none."""
        trouble: HeadwaterError | None = None
        for pile in list(lane.piles.values()):
            try:
                await self._links.leader(self._freight.topic, pile.partition)
            except AgainError as again:
                trouble = again.error
            except HeadwaterError as error:
                if isinstance(error, ClusterError) and error.retryable:
                    trouble = error
                else:
                    self._fail(pile.clear(), error)
            self._place(pile)
        if trouble is not None:
            await self._recover(lane, trouble)

    async def _deliver(self, lane: _Lane, taken: list[Batch]) -> None:
        """Send batches, and tell everybody what became of them; what may arrive later is put back."""
        links, freight = self._links, self._freight
        try:
            taken = self._encoded(taken)
            connection = links.asking_now(lane.number) or await links.asking(lane.number)
            taken = self._in_time(taken)
            entries = [(batch.partition, batch.encoded.data) for batch in taken if batch.encoded is not None]
            if not entries:
                return
            request = produce(freight.topic, entries, freight.acks, links.target.request_timeout)
            answer = connection.call(PRODUCE, request)
            await self._encode_ahead(lane)
            reply = connection.decoded(await answer, PRODUCE, Produced)
            outcomes = results(connection, reply, freight.topic, entries)
        except ClusterError as error:
            if error.retryable:
                self._put_back(taken)
                await self._recover(lane, error)
            else:
                self._fail(taken, error)
            return
        except BaseException:
            # Whoever ends the lanes tells those who wait.
            self._put_back(taken)
            raise
        trouble = self._settle(taken, outcomes)
        if reply.throttle > 0:
            pause = min(reply.throttle / 1000, _LONGEST_THROTTLE)
            await links.clock.sleep_until(links.clock.monotonic() + pause)
        if trouble is None:
            lane.failures = 0
        else:
            await self._recover(lane, trouble)

    def _in_time(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches whose time has not passed: of a process that stood still nobody waits for what it had."""
        now = self._links.clock.monotonic() - self._freight.slack
        late = [batch for batch in batches if batch.deadline <= now]
        if not late:
            return list(batches)
        reason = f"cannot append to topic {self._freight.topic}: the time for it had passed before it could be sent"
        self._fail(late, ClusterTimeoutError(reason))
        return [batch for batch in batches if batch.deadline > now]

    def _encoded(self, batches: Sequence[Batch]) -> list[Batch]:
        """Encode batches, and return those that can be. One that comes again goes as it went."""
        now_ms = self._links.clock.time_ms()
        encoded = []
        for batch in batches:
            try:
                if batch.encoded is None:
                    batch.encoded = encode_batch(batch.records, now_ms, self._freight.codec)
                encoded.append(batch)
            except (struct.error, OverflowError) as error:
                self._fail([batch], BatchError(f"a record has a time that does not fit into a batch: {error}"))
        return encoded

    async def _encode_ahead(self, lane: _Lane) -> None:
        """Encode what goes with the next request while the server works on this one."""
        room = self._freight.request_bytes
        now_ms = self._links.clock.time_ms()
        for batch in [batch for pile in lane.piles.values() for batch in islice(pile.batches, _AHEAD)]:
            room -= batch.size
            if room < 0:
                break
            if batch.full and batch.encoded is None:
                # Each time the event loop may send, and take an answer.
                await asyncio.sleep(0)
                with suppress(struct.error, OverflowError):  # which is told when its turn comes
                    batch.encoded = encode_batch(batch.records, now_ms, self._freight.codec)

    def _settle(self, taken: Sequence[Batch], outcomes: Sequence[PartitionProduced]) -> HeadwaterError | None:
        """Take in what became of batches. Put back those whose leader is another one; return what was said of them."""
        trouble: HeadwaterError | None = None
        moved: list[Batch] = []
        for batch, outcome in zip(taken, outcomes, strict=True):
            if not outcome.code:
                batch.settle(outcome.base_offset)
                self._released(batch.size - HEADER_BYTES)
                continue
            error = refused(
                outcome.code, f"cannot append to partition {batch.partition} of topic {self._freight.topic}"
            )
            if outcome.code.number in MOVED:
                moved.append(batch)
                trouble = error
            else:
                self._fail([batch], error)
        self._put_back(moved)
        return trouble

    async def _recover(self, lane: _Lane, error: HeadwaterError) -> None:
        """Wait a little, learn what has changed, and give partitions to who leads them now. End what is too late."""
        links = self._links
        now = links.clock.monotonic()
        for pile in lane.piles.values():
            self._fail(pile.expire(now), error)
        deadlines = [batch.deadline for pile in lane.piles.values() for batch in pile.batches]
        if deadlines:
            await links.rest(lane.failures, min(deadlines), news=isinstance(error, ClusterRefusedError))
            await links.refresh()
        lane.failures += 1
        for pile in list(lane.piles.values()):
            self._place(pile)

    def _put_back(self, batches: Sequence[Batch]) -> None:
        piles: dict[int, list[Batch]] = {}
        for batch in batches:
            piles.setdefault(batch.partition, []).append(batch)
        for partition, some in piles.items():
            self._piles[partition].put_back(some)

    def _fail(self, batches: Iterable[Batch], error: BaseException) -> None:
        for batch in batches:
            batch.fail(error)
            self._released(batch.size - HEADER_BYTES)
