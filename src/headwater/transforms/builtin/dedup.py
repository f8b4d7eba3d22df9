"""Owns the filter that drops repeats: its parameters and its state. Telling repeats is the window's."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.core.errors import SmartModuleError
from headwater.core.record import Record
from headwater.core.units import parse_duration
from headwater.core.window import MOST_REMEMBERED, Window
from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.stage import Call, Limits


class Deduplicator:
    """Makes the stages of `infinyon-labs/dedup-filter`."""

    name = "infinyon-labs/dedup-filter"
    kind = Kind.FILTER

    def stage(self, parameters: Parameters | None = None, limits: Limits | None = None) -> DedupStage:  # noqa: ARG002 - its time is bounded by what it is
        """Return a stage of its own; `begin` it before use."""
        return DedupStage(parameters or Parameters())


class DedupStage:
    """Drops a record whose key, or whose value when it has no key, was there within the window.

    At least the last `count` are remembered, and longer those that are not yet `age` old; at most MOST_REMEMBERED.
    """

    kind = Kind.FILTER

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._window = Window(0)
        self._state: bytes | None = None

    @property
    def lookback(self) -> Lookback | None:
        """The lookback of the configuration."""
        return self._parameters.lookback

    @property
    def state(self) -> bytes | None:
        """What is remembered, 24 bytes each."""
        if self._state is None:
            self._state = self._window.packed()
        return self._state

    def begin(self, state: bytes | None) -> None:
        """Read the parameters, and take over what was remembered. Raises SmartModuleError."""
        values = dict(self._parameters.values)
        count, age = values.pop("count", None), values.pop("age", None)
        if values:
            raise SmartModuleError(f"dedup-filter has no parameter {next(iter(values))!r}", hint="it has count and age")
        if count is None or not count.isascii() or not count.isdecimal() or not 0 < int(count) <= MOST_REMEMBERED:
            raise SmartModuleError(
                f"dedup-filter needs a count of records to remember, from 1 to {MOST_REMEMBERED}; got {count!r}",
                hint='write with: {count: "1000"}',
            )
        try:
            self._window = Window(int(count), 0 if age is None else _milliseconds(age), state or b"")
        except ValueError as error:
            raise SmartModuleError(f"dedup-filter cannot begin with its state: {error}") from error
        self._state = None

    def look_back(self, records: Sequence[Record]) -> None:
        """Remember earlier records."""
        for record in records:
            self._new(record, record.timestamp or 0)

    def call(
        self,
        records: Sequence[Record],
        *,
        base_offset: int = 0,  # noqa: ARG002 - offsets say nothing of repeats
        base_timestamp: int = 0,
        places: Sequence[int] | None = None,  # noqa: ARG002 - the same
        encoded: bytes | None = None,  # noqa: ARG002 - the same
    ) -> Call:
        """Give it records; see `Stage`."""
        kept = [
            index
            for index, record in enumerate(records)
            if self._new(record, base_timestamp if record.timestamp is None else record.timestamp)
        ]
        return Call([records[index] for index in kept], kept)

    def _new(self, record: Record, now: int) -> bool:
        """Remember a record; return whether it is new."""
        new = self._window.new(record.key, record.value, now)
        if new:
            self._state = None
        return new


def _milliseconds(age: str) -> int:
    """Read an age: a number is milliseconds, as Fluvio passes it; anything else has units."""
    if age.isascii() and age.isdecimal():
        return int(age)
    try:
        return round(parse_duration(age).total_seconds() * 1000)
    except ValueError as error:
        raise SmartModuleError(f"dedup-filter cannot use the age: {error}") from error
