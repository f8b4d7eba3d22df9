"""Owns a target that somebody looks at: what is stored there, told before whoever gave it hears that it is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.core.errors import HeadwaterError
from headwater.engine.target import Target
from headwater.log import Append, Receipt


class Watched:
    """A target in all; `tell` is given each append with a checkpoint that is stored. It must not raise."""

    __slots__ = ("_target", "_tell")

    def __init__(self, target: Target, tell: Callable[[Append], None]) -> None:
        self._target = target
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def store(self, append: Append, receive: Callable[[Receipt | HeadwaterError], None]) -> None:
        """Store an append; tell of it before whoever gave it hears that it is stored."""

        def received(outcome: Receipt | HeadwaterError) -> None:
            if isinstance(outcome, Receipt) and append.checkpoint is not None:
                self._tell(append)
            receive(outcome)

        self._target.store(append, received)
