"""Owns what stands around a connector in a rehearsal: schedule, a log beside, fetchers that record or play, threads.

Who puts it together is `rehearsal`'s.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from headwater.core.errors import FetchError, HeadwaterError, RequestError
from headwater.core.exchange import Exchange
from headwater.core.http import Deliver, Fetcher, Fetching, Request, Response
from headwater.core.memory import Recall
from headwater.core.record import StoredRecord
from headwater.engine.schedule import Schedule, Tick
from headwater.log import Append, Log, Receipt, TopicInfo, TopicSpec
from headwater.recording.tape import Answered, Asked, Mask, Player, Take, answered, asked

# So much is kept of the ledger.
_MOST_ENTRIES = 100_000


class Counted:
    """A schedule that ends after so many rounds."""

    def __init__(self, inner: Schedule, most: int) -> None:
        self._inner = inner
        self._most = most
        # The rounds that were asked about: each is asked what follows it several times.
        self._rounds: set[float] = set()

    @property
    def wall(self) -> bool:
        """Whether times are Unix time."""
        return self._inner.wall

    def first(self, now: float) -> Tick:
        """Return the first tick."""
        return self._inner.first(now)

    def after(self, last: float, now: float) -> Tick:
        """Return the tick that follows, at infinity when that would be one too many."""
        self._rounds.add(last)
        return self._inner.after(last, now) if len(self._rounds) < self._most else Tick(math.inf)


class Listed:
    """A schedule of given times, on the monotonic scale."""

    wall = False

    def __init__(self, times: Sequence[float]) -> None:
        self._times = list(times)

    def leave_out(self, now: float) -> None:
        """Leave out what has been, for a connector that is started again."""
        self._times = [at for at in self._times if at > now]

    def first(self, now: float) -> Tick:
        """Return the first time."""
        return Tick(max(now, self._times[0]) if self._times else math.inf)

    def after(self, last: float, now: float) -> Tick:
        """Return the time that follows; those that have gone by meanwhile are left out."""
        return Tick(next((at for at in self._times if at > max(last, now)), math.inf))


class Beside:
    """A log that finds SmartModules in another directory, keeps its ledger, and says when something was stored."""

    def __init__(self, log: Log, directory: Path, stored: Callable[[], None]) -> None:
        self.directory = directory
        self._log = log
        self._stored = stored
        # The ledger, in order: in the log itself some of it waits for an occasion.
        self.entries: list[Exchange] = []
        # Appends under way.
        self.pending = 0

    async def topics(self) -> Sequence[TopicInfo]:
        """Return the log's topics."""
        return await self._log.topics()

    async def create_topic(self, name: str, spec: TopicSpec | None = None) -> TopicInfo:
        """Create a topic in the log."""
        return await self._log.create_topic(name, spec)

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Store in the log, and say so."""
        self.pending += 1

        def received(outcome: Receipt | HeadwaterError) -> None:
            self.pending -= 1
            if isinstance(outcome, Receipt):
                self._keep(append.exchange)
                self._stored()
            receive(outcome)

        self._log.store(append, received)

    def note(self, exchange: Exchange) -> None:
        """Keep an entry of the ledger."""
        self._keep(exchange)
        self._log.note(exchange)

    def _keep(self, exchange: Exchange | None) -> None:
        if exchange is not None and len(self.entries) < _MOST_ENTRIES:
            self.entries.append(exchange)

    async def checkpoint(self, connector: str) -> bytes | None:
        """Return the log's checkpoint."""
        return await self._log.checkpoint(connector)

    @property
    def most_record(self) -> int | None:
        """The largest record that the log takes."""
        return self._log.most_record

    @property
    def remembers(self) -> bool:
        """Whether what connectors remember of items is kept."""
        return self._log.remembers

    def recall(self, connector: str) -> Recall:
        """Return what the log remembers of items."""
        return self._log.recall(connector)

    async def modules(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the log's own SmartModules."""
        return await self._log.modules(names)

    async def last(self, topic: str, most: int) -> list[StoredRecord]:
        """Return the newest records of a topic of the log."""
        return await self._log.last(topic, most)


class RecordingFetcher:
    """Keeps what goes through another fetcher, masked, up to so many exchanges and bytes."""

    def __init__(self, inner: Fetcher, mask: Mask, *, most: int, most_bytes: int) -> None:
        self._inner = inner
        self._mask = mask
        self._most = most
        self._room = most_bytes
        self._kept: list[tuple[Request, Response | FetchError]] = []
        self.full = asyncio.Event()

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        """Begin an exchange. Its body is gathered, however the connector would have it."""

        def keep(outcome: Response | FetchError) -> None:
            size = len(outcome.body) if isinstance(outcome, Response) else 0
            if len(self._kept) < self._most and size <= self._room:
                self._room -= size
                self._kept.append((request, outcome))
            else:
                self.full.set()
            deliver(outcome)

        return self._inner.begin(
            msgspec.structs.replace(request, open=None, idle_timeout=None, stream=False, upgrade=False), keep
        )

    def takes(self) -> list[Take]:
        """Return what was kept, masked by all that is known to be secret now: a token is known once it was used."""
        return [Take(asked(request, self._mask), answered(outcome, self._mask)) for request, outcome in self._kept]


class _Played:
    """An exchange of a replay under way."""

    def __init__(self, handle: asyncio.Handle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        self._handle.cancel()

    def resume(self) -> None:
        """Nothing is held back."""

    def send(self, data: bytes) -> None:
        """Nobody is there."""

    @property
    def unsent(self) -> int:
        """Return that nothing waits."""
        return 0


class PlayingFetcher:
    """Answers from a recording."""

    def __init__(self, player: Player, mask: Mask) -> None:
        self._player = player
        self._mask = mask

    def begin(self, request: Request, deliver: Deliver) -> Fetching:
        """Deliver what was recorded for a request, or that there is nothing."""
        wanted: Asked = asked(request, self._mask)
        found: Answered | None = self._player.answer(wanted)
        outcome: Response | FetchError
        if found is None:
            hint = "record it again, or look at what has changed in the configuration"
            outcome = RequestError(f"it is not in the recording: {wanted.sentence()}", hint=hint)
        else:
            outcome = found.outcome(request.url)
        return _Played(asyncio.get_running_loop().call_soon(deliver, outcome))


class Threads(ThreadPoolExecutor):
    """The threads of a replay's event loop, which say how many of them are at work."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="replay")
        self._lock = threading.Lock()
        self.busy = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Begin some work."""
        with self._lock:
            self.busy += 1
        begun = super().submit(work, *args, **named)
        begun.add_done_callback(self._done)
        return begun

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self.busy -= 1
