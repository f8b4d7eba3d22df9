"""Owns what `headwater test` does with a stream: one connection, for a few records or seconds, shown and not stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta

import msgspec

from headwater.config import ConnectorConfig
from headwater.core.checkpoint import Checkpoint
from headwater.core.clock import SystemClock
from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.core.moment import Moment
from headwater.core.units import format_duration
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
# A connection that is left has so long to be left properly (seconds).
_PARTING = 2.0


class Begun(msgspec.Struct, frozen=True):
    """How a connection began: what was asked, None when it was not even sent, the answer, and what that means."""

    request: Request | None
    outcome: Response | FetchError
    verdict: Verdict


class End(msgspec.Struct, frozen=True):
    """Why a trial ended, in words. `failed`: it was no proper end of the connection."""

    reason: str
    failed: bool = False


async def listen(
    config: ConnectorConfig,
    source: StreamSource,
    fetcher: CurlFetcher,
    gates: Sequence[Gate],
    *,
    begun: Callable[[Begun], None],
    brought: Callable[[Reaped], None],
) -> End | None:
    """Have one connection: tell how it began, and what it brings first. Return None when there was none."""
    checkpoint = source.begun(Checkpoint())
    connecting = Connecting(config, source, fetcher, SystemClock(), Room(), gates)
    flow = await connecting.connect(checkpoint, round(time.time() * 1000))
    if not isinstance(flow, Flow):
        begun(Begun(connecting.sent, flow.outcome, flow.verdict))
        return None
    since, records = time.monotonic(), 0
    try:
        begun(Begun(connecting.sent, flow.head, source.judge(flow.head, now=time.time(), renewed=True)))
        async with asyncio.timeout(MOST_SECONDS), aclosing(_groups(flow, checkpoint)) as groups:
            async for reaped in groups:
                brought(reaped)
                records += len(reaped.records)
                if records >= MOST_RECORDS:
                    return End(f"a trial ends after {MOST_RECORDS}")
        return _end_of(flow, time.monotonic() - since)
    except TimeoutError:
        return End(f"a trial ends after {MOST_SECONDS:g} s")
    except BrokenBodyError as error:
        return End(str(error), failed=True)
    finally:
        await _leave(flow)


async def _groups(flow: Flow, checkpoint: Checkpoint) -> AsyncGenerator[Reaped, None]:
    while (group := await flow.next()) is not None:
        now = round(time.time() * 1000)
        reaped = flow.receiving.reap(group, checkpoint, Moment(now, now))
        checkpoint = reaped.checkpoint
        yield reaped
        flow.freed(group)


async def _leave(flow: Flow) -> None:
    """End a connection as its protocol has it, as far as the other side takes part in that."""
    try:
        flow.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                while (group := await flow.next()) is not None:
                    flow.freed(group)
    finally:
        flow.close()


def _end_of(flow: Flow, seconds: float) -> End:
    milliseconds = round(seconds * 1000)
    after = f", after {format_duration(timedelta(milliseconds=milliseconds))}" if milliseconds else " at once"
    if isinstance(flow.outcome, FetchError):
        return End(f"{flow.outcome}{after}", failed=True)
    ended = flow.receiving.intake.ended
    return End(f"{'the server ended it' if ended is None else ended.reason}{after}")
