"""Owns what `headwater test` does with a stream: one connection, for a few records or seconds, shown and not stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import SystemClock
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.core.moment import Moment
from headwater.engine.gate import Gate
from headwater.engine.streaming.connecting import Connecting
from headwater.engine.streaming.flow import Flow
from headwater.engine.streaming.room import Room
from headwater.fetch import CurlFetcher
from headwater.sources.judge import Verdict
from headwater.sources.reaped import Reaped
from headwater.sources.split.item import BrokenBodyError
from headwater.sources.stream.source import StreamSource

# A trial ends after so many records, or so many seconds of a connection.
MOST_RECORDS, MOST_SECONDS = 20, 5.0


class Heard(msgspec.Struct):
    """What one connection came to: the answer, what it means, what was taken of it, and why the trial ended.

    `request` is what was asked, None when it was not even sent.
    """

    request: Request | None
    outcome: Response | FetchError
    verdict: Verdict
    reaped: list[Reaped]
    end: str = ""


async def listen(config: ConnectorConfig, source: StreamSource, fetcher: CurlFetcher, gates: Sequence[Gate]) -> Heard:
    """Have one connection and return what it brings first."""
    checkpoint = source.begun(Checkpoint())
    connecting = Connecting(config, source, fetcher, SystemClock(), Room(), gates)
    flow = await connecting.connect(checkpoint, round(time.time() * 1000))
    if not isinstance(flow, Flow):
        return Heard(connecting.sent, flow.outcome, flow.verdict, [])
    heard = Heard(connecting.sent, flow.head, source.judge(flow.head, now=time.time(), renewed=True), [])
    try:
        async with asyncio.timeout(MOST_SECONDS), aclosing(_groups(flow, checkpoint)) as groups:
            async for reaped in groups:
                heard.reaped.append(reaped)
                if sum(len(it.records) for it in heard.reaped) >= MOST_RECORDS:
                    heard.end = "enough was seen"
                    return heard
        heard.end = _end_of(flow)
    except TimeoutError:
        heard.end = f"{MOST_SECONDS:g} s have gone by"
    except BrokenBodyError as error:
        heard.end = str(error)
    finally:
        flow.close()
    return heard


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
