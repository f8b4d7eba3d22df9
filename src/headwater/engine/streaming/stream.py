"""Owns one stream at work: a connection, what it brings into the log, and the next connection when it has ended.

How it gets a connection is `connecting`'s, how that flows `flow`'s, how long to wait for the next `reconnecting`'s.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint, StreamPosition, decode_checkpoint, encode_checkpoint
from headwater.core.errors import FetchError, HeadwaterError, ReadTimeoutError
from headwater.core.exchange import Decision, Exchange
from headwater.core.http import Response
from headwater.core.moment import Moment
from headwater.engine.appending import Appender
from headwater.engine.counters import StreamFigures
from headwater.engine.deadletter import told, told_bad
from headwater.engine.gate import Gate, HeldError
from headwater.engine.harvest import Harvest, Harvester
from headwater.engine.lookback import begin
from headwater.engine.round import LARGE, Surroundings
from headwater.engine.standing import Standing
from headwater.engine.streaming.account import Account
from headwater.engine.streaming.backfilling import Backfilling, Gap, added
from headwater.engine.streaming.connecting import Connecting, Refusal
from headwater.engine.streaming.flow import STEP, Flow
from headwater.engine.streaming.reconnecting import Connection, Reconnecting
from headwater.fluvio.compression import Compression
from headwater.log import Append
from headwater.sources.judge import Action, media_type
from headwater.sources.output import phrase
from headwater.sources.split.item import BrokenBodyError
from headwater.sources.stream.receiving import Group
from headwater.sources.stream.source import OVER, StreamSource
from headwater.transforms.chain import Chain

# From this size on a group does not wait for others to share its commit (bytes).
_BUSY = 64 * 1024
# A connection that brings nothing is told to be well after so long (seconds): not at once, for many end at once.
_SETTLED = 3.0
# So many connections in a row that bring nothing and end at once are trouble: one may be a server that restarts.
_ENOUGH_BARREN = 2


class Behind(msgspec.Struct, frozen=True):
    """What asks for the gaps of a stream beside it: transforms and gates of its own."""

    chain: Chain | None
    gates: Sequence[Gate]


class Stream:
    """One connector whose source is a stream. `run` has connections until it is cancelled, or `stop` was called."""

    __slots__ = (
        "_appender",
        "_backfilling",
        "_barren",
        "_chain",
        "_clock",
        "_connecting",
        "_counters",
        "_due",
        "_figures",
        "_flow",
        "_gates",
        "_harvester",
        "_idle",
        "_over",
        "_read",
        "_reconnecting",
        "_shared",
        "_source",
        "_standing",
        "_stopping",
        "_target",
        "_task",
        "_waiting",
        "checkpoint",
        "config",
    )

    def __init__(
        self,
        config: ConnectorConfig,
        shared: Surroundings,
        compression: Compression = Compression.NONE,
        *,
        offset: float = 0.0,
        chain: Chain | None = None,
        partitions: int = 1,
        gates: Sequence[Gate] = (),
        behind: Behind | None = None,
    ) -> None:
        self.config = config
        self._shared = shared
        self._target = shared.target
        self._clock = shared.clock
        self._chain = chain
        self._gates = gates
        self._source = StreamSource(config)
        self._connecting = Connecting(config, self._source, shared.fetcher, shared.clock, shared.room, gates)
        self._counters = shared.figures.of(config.name)
        self._counters.stream = self._figures = StreamFigures()
        self._standing = Standing(config, shared.clock, self._counters)
        self._harvester = Harvester(
            config,
            compression,
            chain,
            mask=self._standing.told,
            partitions=partitions,
            most_record=shared.target.most_record,
        )
        self._appender = Appender(shared.target, shared.clock, self._standing, shared.chance, self._nap)
        self._backfilling = None if behind is None else self._asking(behind, compression, partitions)
        options = config.http.reconnect
        self._reconnecting = Reconnecting(
            options.initial.total_seconds(), options.max.total_seconds(), options.healthy.total_seconds()
        )
        self.checkpoint = Checkpoint()
        # Whether it waits for a time, and whether nothing would be lost if it were cancelled now.
        self._waiting = self._idle = False
        self._stopping = self._over = False
        # How many bytes of the connection are counted, and how many in a row brought nothing.
        self._read = self._barren = 0
        self._task: asyncio.Task[None] | None = None
        self._flow: Flow | None = None
        # When the next connection is due (monotonic).
        self._due = shared.clock.monotonic() + offset

    def _asking(self, behind: Behind, compression: Compression, partitions: int) -> Backfilling:
        return Backfilling(
            self.config,
            self._shared,
            compression,
            behind.chain,
            partitions,
            behind.gates,
            Appender(self._target, self._clock, self._standing, self._shared.chance, self._rest),
            self._filled,
        )

    def stop(self) -> None:
        """Ask the stream to end: what has come is stored first."""
        self._stopping = True
        if self._backfilling is not None:
            self._backfilling.stop()
        for gate in self._gates:
            gate.stop()
        if self._flow is not None:
            self._flow.stop()
        if self._idle and self._task is not None:
            self._task.cancel()

    def next_poll(self) -> int | None:
        """Return when the next connection is due, ms since the Unix epoch; None while there is one, and when never."""
        if not self._waiting or self._over:
            return None
        return round((self._due - self._clock.monotonic()) * 1000) + self._clock.time_ms()

    @property
    def finished(self) -> bool:
        """Whether the server has said that the stream is over."""
        return self._over

    async def run(self) -> None:
        """Have connections for ever. Raises LogError: unless retryable, the log is beyond repair."""
        self._task = asyncio.current_task()
        self._over = False
        stored = await self._target.checkpoint(self.config.name)
        self.checkpoint = self._source.begun(Checkpoint() if stored is None else decode_checkpoint(stored))
        if self._chain is not None:
            state, topic = self.checkpoint.transforms, self.config.topic.name
            await begin(self._chain, state, self._target, topic, self._clock.time_ms())
        if self._position.until:
            # Nobody was connected since, as far as is known.
            self._figures.lost = self._position.until
        if self._backfilling is None:
            await self._go_on()
            return
        asking = asyncio.create_task(self._backfilling.run(self._position.gaps))
        going_on = asyncio.create_task(self._go_on())
        try:
            await asyncio.wait((asking, going_on), return_when=asyncio.FIRST_EXCEPTION)
            for task in (asking, going_on):
                if task.done() and not task.cancelled():
                    # What one raises is the end of both.
                    task.result()
        finally:
            for task in (asking, going_on):
                task.cancel()
            await asyncio.gather(asking, going_on, return_exceptions=True)

    async def _go_on(self) -> None:
        """Have connections, one after the other."""
        self._task = asyncio.current_task()
        while not self._stopping:
            await self._nap(self._due)
            found = await self._connect()
            connection = await self._have(found) if isinstance(found, Flow) else found
            if self._over:
                await self._nap(float("inf"))
            self._due = self._clock.monotonic() + self._reconnecting.after(connection, self._shared.chance())

    @property
    def _position(self) -> StreamPosition:
        return self.checkpoint.stream or StreamPosition()

    async def _connect(self) -> Flow | Connection:
        """Return a connection, or how it went that there is none."""
        begun = self._clock.time_ms()
        self._counters.attempts += 1
        self._idle = True
        try:
            found = await self._connecting.connect(self.checkpoint, begun)
        except HeldError as held:
            return self._held(held, begun)
        finally:
            self._idle = False
        return found if isinstance(found, Flow) else self._failed(found, begun)

    # A connection that is there.

    async def _have(self, flow: Flow) -> Connection:
        """Store what a connection brings until it has ended."""
        since, now = self._clock.monotonic(), self._clock.time_ms()
        account = Account(self.config.name, self.config.topic.name, now)
        self._flow, self._read = flow, 0
        status = flow.head.status
        words = f"{status} {phrase(status)}".rstrip()
        self._note(account.connected(status, words, self._found(now, flow.head), now))
        healthy = self.config.http.reconnect.healthy.total_seconds()
        settled = self._clock.call_at(since + min(healthy, _SETTLED), self._recovered)
        if self._stopping:
            flow.stop()
        try:
            trouble = await self._store_all(flow, account)
        finally:
            flow.close()
            settled.cancel()
            self._flow = None
            self._figures.connected = False
            self._count_bytes(flow)
            self._figures.lost = self._clock.time_ms()
        lasted = self._clock.monotonic() - since
        self._figures.lost = self._known(flow, now, trouble)
        return await self._end(flow, account, trouble, lasted)

    def _known(self, flow: Flow, begun: int, trouble: str) -> int:
        """Return up to when a connection that has ended is known to have been there, with all that came stored."""
        if trouble:
            return max(self._position.until, begun)
        if isinstance(flow.outcome, ReadTimeoutError):
            # It was dead for long before that was noticed.
            return flow.receiving.heard or begun
        return self._clock.time_ms()

    def _count_bytes(self, flow: Flow) -> None:
        self._counters.bytes += flow.receiving.received - self._read
        self._read = flow.receiving.received

    async def _store_all(self, flow: Flow, account: Account) -> str:
        """Store group after group; return why it was no use to go on, or nothing when the connection has ended."""
        latest = self.checkpoint
        storing: asyncio.Task[None] | None = None
        try:
            while (group := await flow.next()) is not None:
                try:
                    harvest = await self._made(flow, group, latest)
                except BrokenBodyError as error:
                    if storing is not None:
                        await storing
                        storing = None
                    return f"{error}"
                if storing is not None:
                    await storing
                    storing = None
                if self.config.on_error == "fail" and (harvest.rejections or harvest.bad):
                    return await self._refuse(harvest)
                latest = harvest.checkpoint
                flow.storing(under_way=True)
                if flow.receiving.size < STEP:
                    await self._store(flow, account, group, harvest)
                else:
                    # The next one is made ready meanwhile.
                    storing = asyncio.create_task(self._store(flow, account, group, harvest))
            if storing is not None:
                await storing
                storing = None
        finally:
            if storing is not None:
                storing.cancel()
                with suppress(asyncio.CancelledError):
                    await storing
        return ""

    async def _made(self, flow: Flow, group: Group, before: Checkpoint) -> Harvest:
        now = self._clock.time_ms()
        if self._chain is None and group.size < LARGE:
            return self._make(flow, group, before, now)
        return await asyncio.to_thread(self._make, flow, group, before, now)

    def _make(self, flow: Flow, group: Group, before: Checkpoint, now: int) -> Harvest:
        if before.stream is not None and before.stream.gaps != (gaps := self._position.gaps):
            before = msgspec.structs.replace(before, stream=msgspec.structs.replace(before.stream, gaps=gaps))
        reaped = flow.receiving.reap(group, before, Moment(now, now))
        exchange = Exchange(self.config.name, now, now, 0, Decision.ACCEPTED, "", records=len(reaped.records))
        return self._harvester.harvest(reaped, before, exchange, now=now)

    async def _store(self, flow: Flow, account: Account, group: Group, harvest: Harvest) -> None:
        now = self._clock.time_ms()
        said = account.due(now)
        append = msgspec.structs.replace(
            harvest.append,
            exchange=account.with_group(harvest, flow.receiving.received, now) if said else None,
            # What is large anyway gains nothing by sharing a commit.
            linger=self._harvester.linger if group.size < _BUSY else 0.0,
        )
        receipt = await self._appender.store(append)
        account.stored(harvest, receipt, said=said, now=now)
        self._stored(harvest)
        self._count_bytes(flow)
        flow.freed(group)
        flow.storing(under_way=False)

    def _stored(self, harvest: Harvest) -> None:
        """Count what is in the log now."""
        gaps = self._position.gaps
        self.checkpoint = harvest.checkpoint
        if self._position.gaps != gaps:
            # One was filled, or found, while it was stored.
            self._set_gaps(gaps)
        counters, made = self._counters, harvest.exchange
        counters.records += made.records
        counters.rejected += made.rejected
        counters.decisions[Decision.ACCEPTED] += 1
        counters.last_record = harvest.at
        if self._chain is not None:
            self._standing.passed(harvest.rejections)
        if counters.trouble is not None and counters.trouble.ours:
            # That of the endpoint is over when a connection does well.
            self._standing.good()

    async def _refuse(self, harvest: Harvest) -> str:
        """Let a connection end because of a record that is refused: nothing of its group is stored."""
        if self._chain is not None:
            # What the transforms remember of the group must be forgotten with it.
            await asyncio.to_thread(self._chain.begin, self.checkpoint.transforms)
        if harvest.rejections:
            return told(harvest.rejections, whither="refused", mask=self._standing.told)
        return told_bad(harvest.bad, whither="refused", mask=self._standing.told)

    # A connection that is no more, or never was.

    def _found(self, now: int, head: Response) -> int | None:
        """Take in that there is a connection; return for how long there was none (ms), None for the first ever."""
        figures, lost = self._figures, self._figures.lost
        figures.connected, figures.lost = True, None
        self.checkpoint = msgspec.structs.replace(
            self.checkpoint, exchanges=self.checkpoint.exchanges + 1, media_type=media_type(head)
        )
        if lost is None:
            return None
        gap = max(0, now - lost)
        figures.gap += gap / 1000
        options = self.config.http.gap
        if self._backfilling is not None and options is not None and gap >= options.shortest.total_seconds() * 1000:
            self._set_gaps(added(self._position.gaps, (lost, now)))
            self._backfilling.add((lost, now))
        return gap

    def _filled(self, gap: Gap) -> None:
        """Take in that all of a gap is stored."""
        self._set_gaps(tuple(it for it in self._position.gaps if it[1] > gap[1]))

    def _set_gaps(self, gaps: tuple[Gap, ...]) -> None:
        # It is stored with the next group; until then a new start finds the same gap again, or that it is filled.
        stream = msgspec.structs.replace(self._position, gaps=gaps)
        self.checkpoint = msgspec.structs.replace(self.checkpoint, stream=stream)

    async def _end(self, flow: Flow, account: Account, trouble: str, lasted: float) -> Connection:
        """Enter how a connection ended, and say so where it did not go as connections should."""
        outcome, ended = flow.outcome, flow.receiving.intake.ended
        error = outcome if isinstance(outcome, FetchError) else None
        if trouble:
            words, slug, hint = trouble, "refused", "on_error: fail is why the connection was ended"
        elif error is not None:
            words, slug, hint = str(error), error.slug, error.hint
        elif flow.stopping:
            words = slug = hint = "stopped"
        else:
            words = "the server ended it" if ended is None else ended.reason
            slug, hint = "closed", "see what it sends with: headwater test"
        failed = bool(trouble) or error is not None
        words = self._standing.told(words)
        now = self._clock.time_ms()
        if not trouble:
            self.checkpoint = flow.receiving.moved(self.checkpoint)
        await self._leave(account.ended(words, failed=failed, received=flow.receiving.received, now=now))
        if flow.stopping:
            return Connection(lasted)
        connection = Connection(lasted, account.records, failed, retry=self._position.retry)
        if self._reconnecting.well(connection):
            self._barren = 0
            self._recovered()
            return connection
        self._barren += 1
        if failed or self._barren >= _ENOUGH_BARREN:
            self._standing.bad(slug, words, hint)
        return connection

    async def _leave(self, entry: Exchange) -> None:
        """Keep up to when there was a connection, with its last entry."""
        assert self._figures.lost is not None
        stream = msgspec.structs.replace(self._position, until=self._figures.lost)
        kept = self.checkpoint = msgspec.structs.replace(self.checkpoint, stream=stream)
        append = Append(None, (), None, (self.config.name, encode_checkpoint(kept)), entry)
        self._counters.decisions[entry.decision] += 1
        refused = await self._appender.receipt(append)
        if isinstance(refused, HeadwaterError):
            # The log has what counts: it will only seem that there was no connection for longer.
            self._target.note(entry)
            self._standing.bad("log", refused.message, refused.hint)

    def _failed(self, refusal: Refusal, begun: int) -> Connection:
        """Enter a connection that never was there."""
        outcome, verdict = refusal.outcome, refusal.verdict
        status = received = None
        if isinstance(outcome, Response):
            status, received = outcome.status, outcome.received
        now = self._clock.time_ms()
        reason = self._standing.told(verdict.reason)
        self._note(
            Exchange(
                self.config.name,
                begun,
                begun,
                max(0, now - begun) * 1000,
                Decision.EMPTY if verdict.action is Action.EMPTY else Decision.FAILED,
                reason,
                status,
                received or 0,
                1,
            )
        )
        if verdict.action is Action.EMPTY:
            self._recovered()
            return Connection(failed=True, wait=verdict.wait, retry=self._position.retry)
        hint = outcome.hint if isinstance(outcome, FetchError) else ""
        if isinstance(outcome, Response) and outcome.status < 300 and self._source.socket:
            hint = "what is no WebSocket has an endpoint with http:// or https://"
        if verdict.slug == OVER:
            self._over = True
            hint = "start the connector again to ask anew"
        self._standing.bad(verdict.slug, reason, hint)
        return Connection(failed=True, wait=verdict.wait, retry=self._position.retry)

    def _held(self, held: HeldError, begun: int) -> Connection:
        """Enter a connection that was not asked for."""
        self._counters.attempts -= 1
        self._counters.held[held.slug] = self._counters.held.get(held.slug, 0) + 1
        reason = self._standing.told(held.reason)
        decision = Decision.FAILED if held.failing else Decision.SKIPPED
        self._note(Exchange(self.config.name, begun, begun, 0, decision, reason))
        if held.failing:
            self._standing.held(held.trouble, reason)
        return Connection(held=True, wait=held.wait)

    def _recovered(self) -> None:
        """Take in that the endpoint does well. Of what is not its trouble that says nothing."""
        trouble = self._counters.trouble
        if trouble is None or not trouble.ours:
            self._standing.good()

    def _note(self, exchange: Exchange) -> None:
        self._target.note(exchange)
        self._counters.decisions[exchange.decision] += 1

    async def _rest(self, deadline: float) -> None:
        """Wait until a monotonic time as what works beside the stream does: a stop need not wait for it."""
        if self._stopping:
            raise asyncio.CancelledError
        await self._clock.sleep_until(deadline)

    async def _nap(self, deadline: float) -> None:
        """Wait until a monotonic time. Meanwhile `stop` may cancel the stream."""
        if self._stopping:
            raise asyncio.CancelledError
        self._idle = self._waiting = True
        try:
            if math.isinf(deadline):
                await asyncio.get_running_loop().create_future()
            await self._clock.sleep_until(deadline)
        finally:
            self._idle = self._waiting = False
