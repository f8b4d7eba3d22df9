"""Owns how a long-running command ends: the first signal asks it to, the second one cuts what is under way."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from headwater.cli.boundary import INTERRUPTED, left_in_time

logger = structlog.get_logger("headwater")


class Stopping:
    """Whether a command is to end: `asked` is set by the first signal."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.received: list[signal.Signals] = []

    def status(self) -> int:
        """Return the exit status, with which the process ends in a moment: 130 after Ctrl-C, 0 after SIGTERM."""
        return left_in_time(INTERRUPTED if signal.SIGINT in self.received else 0)


@contextmanager
def stopping(grace: float, busy: Callable[[], bool] = lambda: True) -> Iterator[Stopping]:
    """Take SIGINT and SIGTERM for the task of the running event loop; it is cancelled by the second one, in peace.

    `busy` is whether anything is under way that may take up to `grace` seconds, which is worth a line.
    """
    state = Stopping()
    task = asyncio.current_task()
    assert task is not None

    def on_signal(number: signal.Signals) -> None:
        state.received.append(number)
        if len(state.received) > 1:
            task.cancel()
            return
        if busy():
            logger.info("stopping; what is under way may finish", signal=number.name, grace=f"{grace:g}s")
        state.asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    try:
        yield state
    except asyncio.CancelledError:
        if not state.received:
            raise
