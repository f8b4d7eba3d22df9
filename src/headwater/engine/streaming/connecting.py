"""Owns how a stream gets a connection: its request past the gates, the head of the answer judged, once more if need be.

What an answer means is the source's. What becomes of a connection that is there, or of none, is the stream's.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.callback import settle
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response, Sink
from headwater.core.moment import Moment
from headwater.engine.gate import Gate
from headwater.engine.round import Surroundings
from headwater.engine.streaming.flow import Flow
from headwater.sources.judge import Action, Verdict
from headwater.sources.stream.source import StreamSource


class Refusal(msgspec.Struct, frozen=True):
    """What came instead of a connection, and what that means."""

    outcome: Response | FetchError
    verdict: Verdict


class Connecting:
    """Gets the connections of one stream. What it returns is to be closed by whoever gets it."""

    __slots__ = ("_gates", "_linger", "_sent", "_shared", "_source")

    def __init__(
        self, config: ConnectorConfig, source: StreamSource, shared: Surroundings, gates: Sequence[Gate]
    ) -> None:
        self._source = source
        self._shared = shared
        self._gates = gates
        linger = config.producer.linger
        self._linger = None if linger is None else linger.total_seconds()
        # The last request as the gates let it pass.
        self._sent: Request | None = None

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
                refusal = Refusal(found, self._judge(found, renewed=renewed))
                if refusal.verdict.action is not Action.REAUTHENTICATE or renewed or not await self._renew():
                    return refusal
            except FetchError as error:
                return Refusal(error, self._judge(error, renewed=renewed))
            renewed = True

    def _judge(self, outcome: Response | FetchError, *, renewed: bool) -> Verdict:
        return self._source.judge(outcome, now=self._shared.clock.time_ms() / 1000, renewed=renewed)

    async def _renew(self) -> bool:
        """Have the credentials renewed; return whether that was any use."""
        sent = self._sent
        if sent is None:
            return False
        renewed = [await gate.renew(sent, sent.total_timeout) for gate in self._gates]
        return any(renewed)

    async def _try(self, checkpoint: Checkpoint, begun: int) -> Flow | Response | FetchError:
        """Ask once. Raises HeldError or FetchError where nothing was sent."""
        moment = Moment(begun, begun)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = self._source.request(checkpoint, moment, key)
        passed: list[Gate] = []
        try:
            for gate in self._gates:
                request = await gate.admit(request, request.total_timeout)
                passed.append(gate)
            self._sent = request
            return await _Attempt(self._source, self._shared, request, passed, self._linger).run(
                checkpoint, moment, key
            )
        except BaseException:
            for gate in passed:
                gate.dropped(request)
            raise


class _Attempt:
    """One request under way. `passed` are the gates that let it pass, until they have heard what came of it."""

    def __init__(
        self, source: StreamSource, shared: Surroundings, request: Request, passed: list[Gate], linger: float | None
    ) -> None:
        self._source = source
        self._shared = shared
        self._request = request
        self._passed = passed
        self._linger = linger
        self._flow: Flow | None = None
        self._opened: asyncio.Future[Flow | Response | FetchError] = asyncio.get_running_loop().create_future()

    async def run(self, checkpoint: Checkpoint, moment: Moment, key: str) -> Flow | Response | FetchError:
        """Send it; return the connection once its head is there, or what came instead."""
        request, shared = self._request, self._shared

        def open_(head: Response) -> Sink | None:
            if not self._source.takes(head, now=shared.clock.time_ms() / 1000):
                return None
            self._hear(head)
            receiving = self._source.receiving(request, head, checkpoint, moment, key)
            name = f"{request.method} {request.shown_url}"
            self._flow = flow = Flow(head, receiving, shared.clock, shared.room, linger=self._linger, name=name)
            settle(self._opened, flow)
            return flow

        fetching = shared.fetcher.begin(msgspec.structs.replace(request, open=open_), self._deliver)
        try:
            found = await self._opened
        except BaseException:
            fetching.cancel()
            raise
        if isinstance(found, Flow):
            found.begin(fetching)
        return found

    def _hear(self, outcome: Response | FetchError) -> None:
        while self._passed:
            self._passed.pop().heard(self._request, outcome)

    def _deliver(self, outcome: Response | FetchError) -> None:
        if self._flow is not None:
            self._flow.end(outcome)
        else:
            self._hear(outcome)
            settle(self._opened, outcome)
