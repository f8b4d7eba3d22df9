"""Owns how transforms are made ready: their state as of the checkpoint, and records for those that look back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from headwater.core.record import Record
from headwater.engine.target import Target
from headwater.transforms.abi import Lookback
from headwater.transforms.chain import Chain

# A lookback by age alone must end somewhere.
_MOST_LOOKED_BACK = 100_000


async def begin(chain: Chain, state: Mapping[str, bytes], target: Target, topic: str, now: int) -> None:
    """Begin a chain whose records go to `topic`. `now` is ms since the Unix epoch."""
    await asyncio.to_thread(chain.begin, state)
    for index, lookback in chain.lookbacks:
        earlier = await _earlier(lookback, target, topic, now)
        if earlier:
            await asyncio.to_thread(chain.steps[index].stage.look_back, earlier)


async def _earlier(lookback: Lookback, target: Target, topic: str, now: int) -> list[Record]:
    """Return the last records that a lookback asks for."""
    found = await target.last(topic, min(lookback.last or _MOST_LOOKED_BACK, _MOST_LOOKED_BACK))
    since = 0 if lookback.age is None else now - lookback.age * 1000
    return [Record(it.value, it.key, it.timestamp) for it in found if it.timestamp >= since]
