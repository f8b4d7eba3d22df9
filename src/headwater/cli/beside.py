"""Owns what is served beside connectors at work, metrics and probes, and how the process keeps its memory calm."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
import structlog

if TYPE_CHECKING:
    from headwater.engine import Engine
    from headwater.engine.probes import State

# What was allocated beyond what was freed before the collector looks, and how often it looks at what is older.
_COLLECT_AFTER = (20_000, 20, 50)

logger = structlog.get_logger("headwater")


class Serving(msgspec.Struct, frozen=True):
    """What is served beside the work, each at [HOST:]PORT; None where not."""

    metrics: str | None = None
    health: str | None = None


def calm_collector() -> None:
    """Have the collector look less often: what was loaded stays until the end, and polls leave hardly any cycles."""
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def serve_beside(
    cleanup: AsyncExitStack,
    serving: Serving,
    engine: Engine,
    size: Callable[[], int],
    wanted: Callable[[], list[str]],
    *,
    server: bool = False,
) -> None:
    """Serve what is asked for until `cleanup` is left.

    `size` returns how many bytes the log has on disk, `wanted` the names of the connectors that are to run. A `server`
    is there for others than its connectors as well.
    """
    if serving.metrics is not None:
        from headwater.engine.metrics import serve_metrics  # noqa: PLC0415 - only --metrics pays for the import

        address, stop_metrics = serve_metrics(serving.metrics, engine.figures, size)
        cleanup.callback(stop_metrics)
        logger.info("serving metrics", url=address)
    if serving.health is not None:
        from headwater.engine.metrics import EngineCollector  # noqa: PLC0415 - only --health pays for the imports
        from headwater.engine.probes import state_of  # noqa: PLC0415 - the same
        from headwater.engine.probeserver import serve_probes  # noqa: PLC0415 - the same

        def observe() -> State:
            fatal = str(engine.fatal.result()) if engine.fatal.done() else ""
            return state_of(wanted(), engine.runs(), engine.figures, fatal, server=server)

        collector = EngineCollector(engine.figures, size)
        address = await cleanup.enter_async_context(serve_probes(serving.health, observe, collector))
        logger.info("serving health", url=address)
