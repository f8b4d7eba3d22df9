"""Owns the log as the event loop sees it: open, append, read, follow, close. The writer thread does the writing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from headwater.core.callback import resolve
from headwater.core.errors import HeadwaterError, LogError, TopicError
from headwater.core.exchange import Exchange
from headwater.core.names import check_topic_name
from headwater.core.record import StoredRecord
from headwater.core.topic import Receipt, TopicSpec
from headwater.log import consumers, memory, topics
from headwater.log.distinct import MODULE, is_known
from headwater.log.failure import mapped
from headwater.log.lock import DirectoryLock
from headwater.log.memory import Memories, Recollection
from headwater.log.reader import LogReader
from headwater.log.retention import PARTITIONS_AT_ONCE, retain, shrink
from headwater.log.schema import FILE_NAME, open_writer
from headwater.log.tails import Fresh, Tails
from headwater.log.topic import Topic
from headwater.log.values import Append, ConsumerOffset, TopicInfo
from headwater.log.waiters import Waiters
from headwater.log.writer import Outcome, Transaction, Writer

_Result = TypeVar("_Result")
# How often records that have had their time are looked for (seconds).
_RETENTION_PAUSE = 60.0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Log:
    """The embedded log of one data directory, open for writing. Use `async with Log.open(directory) as log`.

    All methods belong to the event loop in which it was opened. `now_ms` tells the time, ms since the Unix epoch.
    """

    def __init__(self, directory: Path | str, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self.directory = Path(directory)
        self.now_ms = now_ms
        self._path = self.directory / FILE_NAME

    @classmethod
    def open(cls, directory: Path | str, *, now_ms: Callable[[], int] = _now_ms) -> Log:
        """Return a log to be entered with `async with`; entering creates the directory, and raises LogError."""
        return cls(directory, now_ms=now_ms)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._lock = DirectoryLock(self.directory)
        self._followers: dict[int, Waiters] = {}
        self._watchers = Waiters()
        self.tails = Tails()
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            connection = open_writer(self._path)
            undo.callback(connection.close)
            self._reader = LogReader(self.directory)
            undo.callback(self._reader.close)
            self._memories = Memories(self.directory)
            with mapped(self._path):
                self._writer = Writer(connection, self._path, self._committed, self._followers)
            undo.pop_all()
        self._retaining = self._loop.create_task(self._keep_retaining())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Commit what is queued, end the writer, give the directory back."""
        self._retaining.cancel()
        self._reader.close()
        self._memories.close()
        self._writer.refuse()
        await asyncio.shield(asyncio.to_thread(self._writer.close))
        self._lock.release()

    def submit(self, append: Append) -> asyncio.Future[Receipt]:
        """Queue an append; the future has its receipt once it is on disk.

        Everything in it commits in one step. The future raises TopicError, or LogError when the disk refuses;
        cancelling it does not undo the append. Raises LogClosedError.
        """
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self.store(append, partial(resolve, future))
        return future

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Queue an append as `submit` does; call back with its receipt, or with the error, once it is decided.

        The call comes in the event loop, one for each append and in their order, and must not raise.
        """
        batches = append.batches
        size = len(batches[0].data) if len(batches) == 1 else sum(len(batch.data) for batch in batches)
        if append.memory is not None:
            size += append.memory.size
        self._writer.submit(append, receive, size, append.linger)

    def note(self, exchange: Exchange) -> None:
        """Enter an exchange that left no records into the ledger, with one of the next commits."""
        self._writer.note(exchange)

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> TopicInfo:
        """Create a topic. Raises TopicNameError, TopicExistsError or LogError, and TopicError for what there is not."""
        check_topic_name(name)
        made = TopicSpec() if spec is None else spec
        if made.deduplication is not None and not is_known(made.deduplication):
            raise TopicError(
                f"deduplication is done by {MODULE} here, not by {made.deduplication.uses}",
                hint=f"write uses: {MODULE}, or use a Fluvio cluster",
            )
        info = await self._do(partial(topics.create, name=name, spec=made, created=self.now_ms()))
        self._watchers.wake()
        return info

    async def delete_topic(self, name: str) -> None:
        """Delete a topic and its records. Raises TopicNotFoundError or LogError."""
        await self._do(partial(topics.delete, name=name))
        self._watchers.wake()

    async def add_partitions(self, name: str, count: int) -> TopicInfo:
        """Give a topic more partitions. Raises TopicNotFoundError or LogError."""
        info = await self._do(partial(topics.add_partitions, name=name, count=count))
        self._watchers.wake()
        return info

    def topics_changed(self) -> asyncio.Future[None]:
        """Return a future that is done when a topic has been made, deleted or changed after this call."""
        return self._watchers.add()

    def tell_of_topics(self) -> None:
        """Have everybody who waits for changes of topics look."""
        self._watchers.wake()

    async def keep_offset(self, offset: ConsumerOffset) -> None:
        """Remember how far a consumer has got. Raises TopicNotFoundError or LogError."""
        await self._do(partial(consumers.keep, offset=offset))

    async def forget_offset(self, consumer: str, topic: str, partition: int) -> bool:
        """Forget how far a consumer has got; return whether that was known. Raises TopicNotFoundError or LogError."""
        return await self._do(partial(consumers.forget, consumer=consumer, topic=topic, partition=partition))

    async def kept_offsets(self) -> list[ConsumerOffset]:
        """Return how far every consumer has got that asked to be remembered."""
        return await self._do(lambda transaction: consumers.kept(transaction.connection))

    async def retain(self) -> None:
        """Delete the records that have had their time, by age or by size. Called by itself once a minute."""
        places = [(info, number) for info in await self.topics() for number in range(info.spec.partitions)]
        now = self.now_ms()
        for start in range(0, len(places), PARTITIONS_AT_ONCE):
            some = places[start : start + PARTITIONS_AT_ONCE]
            while await self._do(partial(retain, places=some, now_ms=now)):
                pass
        while await self._do(memory.sweep):
            pass
        while await self._do(shrink):
            pass

    async def _keep_retaining(self) -> None:
        while True:
            await asyncio.sleep(_RETENTION_PAUSE)
            # A full or failing disk shows with the next append; the next round tries again.
            with suppress(LogError):
                await self.retain()

    def info(self, name: str) -> TopicInfo | None:
        """Return a topic as of the last commit, None when there is none of that name. Costs nothing."""
        return self._writer.topics.get(name)

    def topics_now(self) -> list[TopicInfo]:
        """Return every topic as of the last commit, by name."""
        return sorted(self._writer.topics.values(), key=lambda info: info.name)

    async def topics(self) -> list[TopicInfo]:
        """Return every topic, by name."""
        return self.topics_now()

    async def topic(self, name: str) -> Topic:
        """Return a topic to append to, read and follow. Raises TopicNotFoundError."""
        return Topic(self, self._reader.topic(name))

    async def checkpoint(self, connector: str) -> bytes | None:
        """Return the encoded checkpoint of a connector, None when it has none yet.

        It is the one after every append that was submitted before this call, also of a connector that was cancelled.
        """
        return await self._do(lambda transaction: transaction.state.checkpoint(connector))

    @property
    def most_record(self) -> int | None:
        """The largest record that it takes: any."""
        return None

    @property
    def remembers(self) -> bool:
        """Whether what connectors remember of items is kept: it is."""
        return True

    def recall(self, connector: str) -> Recollection:
        """Return what a connector remembers of items, as of its last append that was stored. Ask it in a thread."""
        return self._memories.of(connector)

    async def last(self, topic: str, most: int) -> list[StoredRecord]:
        """Return at most so many of the newest records of a topic, of all partitions by time, oldest first."""
        return await (await self.topic(topic)).last(most)

    async def modules(self, names: Sequence[str]) -> dict[str, bytes]:  # noqa: ARG002 - what every target has
        """Return the code of SmartModules that are kept with the topics: none, they are in the data directory."""
        return {}

    async def ledger(self, connector: str | None = None, limit: int = 100) -> list[Exchange]:
        """Return the last entries of the ledger, newest last."""
        return self._reader.ledger(connector, limit)

    def size(self) -> int:
        """Return the bytes of the log on disk. Safe in any thread."""
        wal = self._path.with_name(f"{FILE_NAME}-wal")
        return sum(file.stat().st_size for file in (self._path, wal) if file.exists())

    async def _do(self, work: Callable[[Transaction], _Result]) -> _Result:
        future: asyncio.Future[_Result] = self._loop.create_future()
        self._writer.submit(work, partial(resolve, future))
        return await future

    def _committed(self, outcomes: list[Outcome], touched: set[int], fresh: list[Fresh]) -> None:
        """Take the outcomes of a commit over to the event loop, once for all. Called in the writer thread."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, outcomes, touched, fresh)
        except RuntimeError:
            # The loop has closed before the log: nobody waits any more.
            return

    def _deliver(self, outcomes: list[Outcome], touched: set[int], fresh: list[Fresh]) -> None:
        for one in fresh:
            self.tails.add(one)
        for receive, result in outcomes:
            receive(result)
        for topic in touched if self._followers else ():
            followers = self._followers.pop(topic, None)
            if followers is not None:
                followers.wake()

    def grown(self, topic: int) -> asyncio.Future[None]:
        """Return a future that is done when the topic has grown after this call."""
        followers = self._followers.get(topic)
        if followers is None:
            followers = self._followers[topic] = Waiters()
        return followers.add()

    @property
    def reader(self) -> LogReader:
        """The log's own reader, for the event loop's thread."""
        return self._reader
