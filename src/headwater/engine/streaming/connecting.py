"""Owns how a stream gets a connection: its request past the gates, the head of the answer judged, once more if need be.

What an answer means is the source's. What becomes of a connection that is there, or of none, is the stream's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.callback import settle
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import Clock
from headwater.core.errors import FetchError
from headwater.core.http import Fetcher, Request, Response, Sink
from headwater.core.moment import Moment
from headwater.engine.gate import Gate
from headwater.engine.streaming.flow import Flow
from headwater.engine.streaming.room import Room
from headwater.sources.judge import Action, Verdict
from headwater.sources.stream.source import StreamSource
from headwater.sources.websocket.handshake import key_of


class Refusal(msgspec.Struct, frozen=True):
    """What came instead of a connection, and what that means."""

    outcome: Response | FetchError
    verdict: Verdict


class Connecting:
    """Gets the connections of one stream. What it returns is to be closed by whoever gets it.

    `sent` is the last request as the gates let it pass.
    """

    __slots__ = ("_clock", "_fetcher", "_gates", "_linger", "_room", "_source", "sent")

    def __init__(  # noqa: PLR0917 - what works together
        self,
        config: ConnectorConfig,
        source: StreamSource,
        fetcher: Fetcher,
        clock: Clock,
        room: Room,
        gates: Sequence[Gate],
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._clock = clock
        self._room = room
        self._gates = gates
        linger = config.producer.linger
        self._linger = None if linger is None else linger.total_seconds()
        self.sent: Request | None = None

    async def connect(self, checkpoint: Checkpoint, begun: int) -> Flow | Refusal:
        """Ask for a connection at `begun` (ms since the Unix epoch), with new credentials where the old are refused.

        Raises HeldError when the gates do not let it pass.
        """
        renewed = False
        while True:
            try:
                found = await self._try(checkpoint, begun)
                if isinstance(found, Flow):
                    return found
                refusal = Refusal(found, self._judge(found, checkpoint, renewed=renewed))
                if refusal.verdict.action is not Action.REAUTHENTICATE or renewed or not await self._renew():
                    return refusal
            except FetchError as error:
                return Refusal(error, self._judge(error, checkpoint, renewed=renewed))
            renewed = True

    def _judge(self, outcome: Response | FetchError, checkpoint: Checkpoint, *, renewed: bool) -> Verdict:
        now = self._clock.time_ms() / 1000
        return self._source.judge(outcome, now=now, renewed=renewed, usual_type=checkpoint.media_type)

    async def _renew(self) -> bool:
        """Have the credentials renewed; return whether that was any use."""
        sent = self.sent
        if sent is None:
            return False
        renewed = [await gate.renew(sent, sent.total_timeout) for gate in self._gates]
        return any(renewed)

    async def _try(self, checkpoint: Checkpoint, begun: int) -> Flow | Response | FetchError:
        """Ask once. Raises HeldError or FetchError where nothing was sent."""
        moment = Moment(begun, begun)
        key = key_of(secrets.token_bytes(16))
        request = self._source.request(checkpoint, moment, key)
        passed: list[Gate] = []
        try:
            for gate in self._gates:
                request = await gate.admit(request, request.total_timeout)
                passed.append(gate)
            self.sent = request
            return await self._send(request, passed, checkpoint, moment, key)
        except BaseException:
            for gate in passed:
                gate.dropped(request)
            raise

    async def _send(
        self, request: Request, passed: list[Gate], checkpoint: Checkpoint, moment: Moment, key: str
    ) -> Flow | Response | FetchError:
        """Return the connection once its head is there, or what came instead.

        `passed` are the gates that let the request pass: those that have heard what came of it are taken out.
        """
        opened: asyncio.Future[Flow | Response | FetchError] = asyncio.get_running_loop().create_future()

        def make(head: Response) -> Flow | None:
            if not self._source.takes(head, now=self._clock.time_ms() / 1000, usual_type=checkpoint.media_type):
                return None
            hear(head)
            receiving = self._source.receiving(request, head, checkpoint, moment, key)
            name = f"{request.method} {request.shown_url}"
            flow = Flow(head, receiving, self._clock, self._room, linger=self._linger, name=name)
            # At once: what comes with the head may want an answer.
            flow.begin(fetching)
            return flow

        def hear(outcome: Response | FetchError) -> None:
            while passed:
                passed.pop().heard(request, outcome)

        asking = _Asking(opened, make, hear)
        fetching = self._fetcher.begin(msgspec.structs.replace(request, open=asking.open), asking.deliver)
        try:
            return await opened
        except BaseException:
            fetching.cancel()
            asking.close()
            raise


class _Asking:
    """What the network calls for one request: until there is a connection, who asked for it; then only its flow.

    So nothing of how it was asked for stays for as long as the connection lasts.
    """

    __slots__ = ("_flow", "_hear", "_make", "_opened")

    def __init__(
        self,
        opened: asyncio.Future[Flow | Response | FetchError],
        make: Callable[[Response], Flow | None],
        hear: Callable[[Response | FetchError], None],
    ) -> None:
        self._opened: asyncio.Future[Flow | Response | FetchError] | None = opened
        self._make: Callable[[Response], Flow | None] | None = make
        self._hear: Callable[[Response | FetchError], None] | None = hear
        self._flow: Flow | None = None

    def open(self, head: Response) -> Sink | None:
        """Make the flow, if the head is that of a connection."""
        assert self._make is not None
        flow = self._flow = self._make(head)
        if flow is not None:
            self._settle(flow)
        return flow

    def deliver(self, outcome: Response | FetchError) -> None:
        """Tell whoever wants to know."""
        if self._flow is not None:
            self._flow.end(outcome)
        elif self._hear is not None:
            self._hear(outcome)
            self._settle(outcome)

    def close(self) -> None:
        """Let go of a connection that nobody waits for any more."""
        if self._flow is not None:
            self._flow.close()

    def _settle(self, found: Flow | Response | FetchError) -> None:
        if self._opened is not None:
            settle(self._opened, found)
        self._opened = self._make = self._hear = None
