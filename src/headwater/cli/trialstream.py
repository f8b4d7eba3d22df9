"""Owns what `headwater test` does with a stream: one connection, for a few records or seconds, shown and not stored."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import SystemClock
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response, Sink
from headwater.core.moment import Moment
from headwater.engine.gate import Gate
from headwater.engine.streaming.flow import Flow
from headwater.engine.streaming.room import Room
from headwater.fetch import CurlFetcher
from headwater.sources.judge import Verdict
from headwater.sources.reaped import Reaped
from headwater.sources.split.item import BrokenBodyError
from headwater.sources.stream.source import StreamSource

# A trial ends after so many records, or so many seconds of a connection.
MOST_RECORDS, MOST_SECONDS = 20, 5.0


class Shown(msgspec.Struct):
    """What one connection came to: the request as it was sent, the answer, what it means, and what was taken of it.

    `end` says why the trial ended.
    """

    request: Request
    outcome: Response | FetchError
    verdict: Verdict
    reaped: Sequence[Reaped] = ()
    what: str = "frame"
    end: str = ""


async def listen(config: ConnectorConfig, fetcher: CurlFetcher, gates: Sequence[Gate]) -> Shown:
    """Have one connection and return what it brings first."""
    source = StreamSource(config)
    checkpoint = source.begun(Checkpoint())
    now = round(time.time() * 1000)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    moment = Moment(now, now)
    request = source.request(checkpoint, moment, key)
    opened: asyncio.Future[Flow | Response | FetchError] = asyncio.get_running_loop().create_future()
    flow: Flow | None = None

    def open_(head: Response) -> Sink | None:
        nonlocal flow
        if not source.takes(head, now=time.time()):
            return None
        receiving = source.receiving(request, head, checkpoint, moment, key)
        name = f"{request.method} {request.shown_url}"
        flow = Flow(head, receiving, SystemClock(), Room(), linger=None, name=name)
        opened.set_result(flow)
        return flow

    def deliver(outcome: Response | FetchError) -> None:
        if flow is None:
            opened.set_result(outcome)
        else:
            flow.end(outcome)

    try:
        for gate in gates:
            request = await gate.admit(request, 2 * request.total_timeout)
    except FetchError as error:
        return Shown(request, error, source.judge(error, now=time.time(), renewed=True))
    fetching = fetcher.begin(msgspec.structs.replace(request, open=open_), deliver)
    try:
        outcome = await opened
        if not isinstance(outcome, Flow):
            return Shown(request, outcome, source.judge(outcome, now=time.time(), renewed=True))
        head = outcome.head
        shown = Shown(request, head, source.judge(head, now=time.time(), renewed=True))
        shown.what = outcome.receiving.what
        outcome.begin(fetching)
        shown.reaped = found = []
        try:
            async with asyncio.timeout(MOST_SECONDS), aclosing(_groups(outcome, checkpoint)) as groups:
                async for reaped in groups:
                    found.append(reaped)
                    if sum(len(it.records) for it in found) >= MOST_RECORDS:
                        shown.end = "enough was seen"
                        break
                else:
                    shown.end = _end_of(outcome)
        except TimeoutError:
            shown.end = f"{MOST_SECONDS:g} s have gone by"
        except BrokenBodyError as error:
            shown.end = str(error)
        return shown
    finally:
        fetching.cancel()
        if flow is not None:
            flow.close()


async def _groups(flow: Flow, checkpoint: Checkpoint) -> AsyncGenerator[Reaped, None]:
    while (group := await flow.next()) is not None:
        now = round(time.time() * 1000)
        reaped = flow.receiving.reap(group, checkpoint, Moment(now, now))
        checkpoint = reaped.checkpoint
        yield reaped
        flow.freed(group)


def _end_of(flow: Flow) -> str:
    if isinstance(flow.outcome, FetchError):
        return str(flow.outcome)
    ended = flow.receiving.intake.ended
    return "the server ended it" if ended is None else ended.reason
