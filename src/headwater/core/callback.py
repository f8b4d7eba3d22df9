"""Owns what callbacks need beside a function: a way to take them back, and a way to await one.

Thousands of polls a second go by callbacks, since a future and the wake-up of a task cost more than what they wait for.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, TypeVar

from headwater.core.errors import HeadwaterError

_Value = TypeVar("_Value")


class Cancellable(Protocol):
    """Something that was asked for and calls back; cancelled, it never does. Cancelling it again changes nothing."""

    def cancel(self) -> None:
        """Ask for it no more."""
        ...


def settle(future: asyncio.Future[_Value], value: _Value) -> None:
    """Give a future its result, unless nobody waits for it any more."""
    if not future.done():
        future.set_result(value)


def resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    """Give a future its result, or the error that stands for it, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(outcome, HeadwaterError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
