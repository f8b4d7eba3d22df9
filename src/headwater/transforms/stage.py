"""Owns what every stage of a chain has in common: its limits, and what one call of it gives back. Calls nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headwater.core.record import Record
from headwater.transforms.abi import Kind, Lookback


class Limits(msgspec.Struct, frozen=True):
    """What one call may use: seconds of time, and bytes of a WebAssembly module's memory, as in Fluvio's engine."""

    seconds: float = 5.0
    memory: int = 1_000_000_000


class Call(msgspec.Struct, frozen=True):
    """What one call of a stage did.

    `origins` says for each of `records` which of the given ones it comes from. With a `complaint` the record at index
    `refused` was refused, and those behind it were not looked at. `encoded` is the list of `records` in bytes, where a
    stage has it and none of the given ones is missing: the next stage may save the encoding.
    """

    records: Sequence[Record]
    origins: Sequence[int]
    complaint: str | None = None
    refused: int = 0
    encoded: bytes | None = None


class Stage(Protocol):
    """One module at work in one chain: it may have state, so it serves one stream of records, one call at a time."""

    @property
    def kind(self) -> Kind:
        """What it does with records."""

    @property
    def lookback(self) -> Lookback | None:
        """Which earlier records it must be shown before its first call, None when it looks at none."""

    @property
    def state(self) -> bytes | None:
        """What must survive a restart, as of the last call that did not raise; None when there is nothing."""

    def begin(self, state: bytes | None) -> None:
        """Make it ready, with the state of an earlier run. Raises SmartModuleError."""

    def look_back(self, records: Sequence[Record]) -> None:
        """Show it earlier records, oldest first. Raises SmartModuleError."""

    def call(
        self,
        records: Sequence[Record],
        *,
        base_offset: int = 0,
        base_timestamp: int = 0,
        places: Sequence[int] | None = None,
        encoded: bytes | None = None,
    ) -> Call:
        """Give it records. Raises SmartModuleTrapError when it crashed or broke a limit; its state is as before then.

        A record's offset is `base_offset` and its place, which is its index unless `places` has other, rising ones.
        `base_timestamp` is ms since the Unix epoch. `encoded` is what another stage's call with the same base had.
        """
