"""Owns one connection of a stream while it lasts: what comes is taken in, and given out group by group.

It holds the network back when the log is slower. What bytes mean is `sources.stream`'s, storing a group the stream's.
"""

from __future__ import annotations

import asyncio

from headwater.core.callback import Cancellable, settle
from headwater.core.clock import Clock
from headwater.core.errors import FetchError, ProtocolError, ReadTimeoutError
from headwater.core.http import Fetching, Response
from headwater.engine.streaming.room import Room
from headwater.sources.split.item import BrokenBodyError
from headwater.sources.stream.receiving import Group, Receiving

# How much is stored in one step, and from how much on it is made ready while the step before is on its way (bytes).
STEP = 1024 * 1024
# For how long the other side may answer that we close a connection (seconds).
_PARTING = 1.0


class Flow:
    """What comes over one connection: the sink of its response.

    `outcome` is what it came to, None while it lasts. `name` is what it is called in errors. `linger` is for how long a
    group gathers (seconds); None: for as long as the one before is on its way to the log.
    """

    __slots__ = (
        "_clock",
        "_fetching",
        "_first",
        "_held",
        "_linger",
        "_name",
        "_room",
        "_storing",
        "_taken",
        "_timer",
        "_waiter",
        "head",
        "outcome",
        "receiving",
        "stopping",
    )

    def __init__(
        self, head: Response, receiving: Receiving, clock: Clock, room: Room, *, linger: float | None, name: str
    ) -> None:
        self.head = head
        self.receiving = receiving
        self._clock = clock
        self._room = room
        self._linger = linger
        self._name = name
        self._fetching: Fetching | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: Cancellable | None = None
        self._storing = False
        # Whether the network is held back.
        self._held = False
        # When the first frame came of those that wait (monotonic).
        self._first = 0.0
        # What it has in memory, groups on their way to the log included (bytes).
        self._taken = 0
        self.outcome: Response | FetchError | None = None
        self.stopping = False

    def begin(self, fetching: Fetching) -> None:
        """Know the exchange, and say what is to be said first."""
        self._fetching = fetching
        self._say(self.receiving.intake.greeting())
        self._look()

    # What the network calls.

    def write(self, chunk: bytes) -> bool:
        """Take the next bytes; return whether more may come."""
        receiving = self.receiving
        before = receiving.size
        if not receiving.waiting:
            self._first = self._clock.monotonic()
        try:
            receiving.feed(chunk, self._clock.time_ms())
        except BrokenBodyError as error:
            raise ProtocolError(f"{self._name}: {error}") from None
        self._take(receiving.size - before)
        self._say(receiving.intake.outgoing())
        self._held = not self._room.wants_more(receiving.size)
        if receiving.intake.ended is not None:
            # Not from here: whoever ends an exchange may not be in the middle of it.
            asyncio.get_running_loop().call_soon(self._close)
        if self._ready() or (before == 0 and receiving.waiting):
            # Whoever waits for a group finds one, or that one gathers, for a time.
            self._wake()
        return not self._held

    def _take(self, size: int) -> None:
        self._taken += size
        self._room.taken += size

    def end(self, outcome: Response | FetchError) -> None:
        """Take in what the exchange came to. What is left behind the last delimiter is whole where a response ended."""
        if self.outcome is not None:
            return
        if (ended := self.receiving.intake.ended) is not None:
            # How that ended counts, whatever becomes of what carried it.
            outcome = ProtocolError(f"{self._name}: {ended.reason}") if ended.failed else self.head
        self.outcome = outcome
        if isinstance(outcome, Response):
            before = self.receiving.size
            try:
                self.receiving.finish()
            except BrokenBodyError as error:
                self.outcome = ProtocolError(f"{self._name}: {error}")
            self._take(self.receiving.size - before)
        self._wake()

    def _close(self) -> None:
        """End a connection that the other side has closed over what is spoken on it."""
        ended = self.receiving.intake.ended
        assert ended is not None
        error = ProtocolError(f"{self._name}: {ended.reason}") if ended.failed else None
        self._cut(error or self.head)

    def _cut(self, outcome: Response | FetchError) -> None:
        if self.outcome is None and self._fetching is not None:
            self._fetching.cancel()
            # The response goes on: what has come of a frame is not all of it.
            self.outcome = outcome
            self._wake()

    # Time.

    def _look(self) -> None:
        """Do what is due on the connection itself, and look again when more will be."""
        self._timer = None
        if self.outcome is not None:
            return
        now = self._clock.monotonic()
        due = self.receiving.intake.due(now, held=self._held)
        if due is None:
            return
        if due.dead:
            self._cut(ReadTimeoutError(f"{self._name}: {due.dead}"))
            return
        self._say(due.frames)
        self._timer = self._clock.call_at(due.again_at, self._look)

    # What the stream calls.

    async def next(self) -> Group | None:
        """Return the next group that is to be stored, None when there is none any more."""
        while not self._ready():
            if self.outcome is not None:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            timer = self._lingering()
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        group = self.receiving.gather(STEP)
        self._first = self._clock.monotonic()
        return group

    def _lingering(self) -> Cancellable | None:
        """Set a timer for a group that gathers."""
        if self._linger is None or not self.receiving.waiting:
            return None
        return self._clock.call_at(self._first + self._linger, self._wake)

    def _ready(self) -> bool:
        """Return whether a group is to be stored now."""
        receiving = self.receiving
        if not receiving.waiting:
            return False
        if self.outcome is not None or self.stopping or self._held or receiving.size >= STEP:
            return True
        if self._storing:
            return False
        return self._linger is None or self._clock.monotonic() >= self._first + self._linger

    def storing(self, *, under_way: bool) -> None:
        """Know whether a group is on its way to the log."""
        self._storing = under_way
        if not under_way:
            self._wake()

    def freed(self, group: Group) -> None:
        """Take in that a group is stored: there is room for more."""
        self._take(-group.size)
        if self.outcome is None and self._fetching is not None and self._room.wants_more(self.receiving.size):
            self._held = False
            self._fetching.resume()

    def stop(self) -> None:
        """Let the connection end: nothing more comes, and what has come is given out."""
        self.stopping = True
        farewell = self.receiving.intake.farewell()
        if self.outcome is None and farewell:
            self._say(farewell)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._clock.call_at(self._clock.monotonic() + _PARTING, self._part)
        else:
            self._part()

    def _part(self) -> None:
        self._cut(self.head)
        self._wake()

    def close(self) -> None:
        """Let go of everything, whatever is left."""
        if self._fetching is not None and self.outcome is None:
            self._fetching.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._take(-self._taken)

    def _say(self, data: bytes) -> None:
        if data and self._fetching is not None:
            self._fetching.send(data)

    def _wake(self) -> None:
        if self._waiter is not None:
            settle(self._waiter, None)
