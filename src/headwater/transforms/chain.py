"""Owns the order of things in a chain of transforms: every record passes every stage, or is rejected with the reason.

It blocks while its stages work, so the engine calls it in a thread. What becomes of what was rejected is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import msgspec

from headwater.core.errors import SmartModuleTrapError
from headwater.core.record import Record
from headwater.transforms.abi import Lookback
from headwater.transforms.stage import Stage

# One call gets at most this much: enough that its cost is nothing to each record, little enough that the one record
# which spoils it is soon found, and that a module's copy of it is small.
_MOST_RECORDS = 1000
_MOST_BYTES = 4 * 1024 * 1024
# After so many time-outs of one stage in one run the rest is rejected untried: ten minutes late is no better.
_MOST_TIMEOUTS = 5
# The origin of a record that a stage made of several.
UNKNOWN = -1


class Step(msgspec.Struct, frozen=True):
    """A stage in its place. `name` is how the user called the module; `key` names its state in checkpoints."""

    name: str
    key: str
    stage: Stage


class Rejection(msgspec.Struct, frozen=True):
    """A record that did not pass, with the stage (counted from 1), its module and the reason.

    `slug` is a stable word for the kind of trouble: `transform-error` when the module itself refused the record.
    `record` is as it came to the stage, `origin` the index of the given record that it was once, or UNKNOWN.
    """

    stage: int
    name: str
    slug: str
    reason: str
    record: Record
    origin: int


class Passed(msgspec.Struct, frozen=True):
    """What a chain made of records. `origins` are indexes of the given ones, or UNKNOWN."""

    records: Sequence[Record]
    origins: Sequence[int]
    rejections: Sequence[Rejection] = ()


Watch = Callable[[int, Sequence[Record], Sequence[Rejection]], None]


class Chain:
    """Stages in their order. `begin` before the first run, and again to go back to an earlier state."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def state(self) -> dict[str, bytes]:
        """What the stages must remember across restarts, by the keys of the steps."""
        kept = ((step.key, step.stage.state) for step in self.steps)
        return {key: state for key, state in kept if state is not None}

    @property
    def lookbacks(self) -> list[tuple[int, Lookback]]:
        """Which steps want to see earlier records, and which."""
        wanted = ((index, step.stage.lookback) for index, step in enumerate(self.steps))
        return [(index, lookback) for index, lookback in wanted if lookback is not None]

    def begin(self, state: Mapping[str, bytes]) -> None:
        """Make every stage ready, with its state where there is one. Raises SmartModuleError."""
        for step in self.steps:
            step.stage.begin(state.get(step.key))

    def run(
        self,
        records: Sequence[Record],
        *,
        base_timestamp: int,
        base_offset: int | None = None,
        watch: Watch | None = None,
    ) -> Passed:
        """Pass records through all stages. Raises SmartModuleError when a stage cannot be used at all.

        `base_timestamp` is the time of records without one, ms since the Unix epoch. `base_offset` is the offset of the
        first when they have offsets. `watch` is told what every stage left: its number, the records, what it rejected.
        """
        origins: Sequence[int] = range(len(records))
        rejections: list[Rejection] = []
        encoded: bytes | None = None
        for number, step in enumerate(self.steps, start=1):
            run = _Run(number, step, records, origins, base_timestamp=base_timestamp, base_offset=base_offset)
            run.work(encoded)
            records, origins, encoded = run.made, run.made_origins, run.encoded
            rejections += run.rejections
            if watch is not None:
                watch(number, records, run.rejections)
        return Passed(records, origins, rejections)


class _Run:
    """One stage working through what it is given, call by call."""

    def __init__(
        self,
        number: int,
        step: Step,
        records: Sequence[Record],
        origins: Sequence[int],
        *,
        base_timestamp: int,
        base_offset: int | None,
    ) -> None:
        self._number = number
        self._step = step
        self._records = records
        self._origins = origins
        self._base_timestamp = base_timestamp
        self._base_offset = base_offset
        # Offsets can be told only while every record still is one of those that have them.
        self._placed = base_offset is not None and all(one < other for one, other in pairwise((UNKNOWN, *origins)))
        self._timeouts = 0
        self.made: list[Record] = []
        self.made_origins: list[int] = []
        self.rejections: list[Rejection] = []
        # What the stage made in bytes, when one call made it all.
        self.encoded: bytes | None = None
        self._given: bytes | None = None

    def work(self, encoded: bytes | None) -> None:
        """Give the stage everything, however often it refuses or crashes. `encoded` is all of it in bytes, if known."""
        self._given = encoded
        position, alone_until, total = 0, 0, len(self._records)
        # After a refusal calls are small at first, for each refusal costs what was encoded behind it.
        most = _MOST_RECORDS
        while position < total:
            count = 1 if position < alone_until else self._fitting(position, most)
            try:
                taken, refused = self._call(position, count)
            except SmartModuleTrapError as error:
                if error.slug == "transform-timeout":
                    self._timeouts += 1
                if count == 1:
                    self._reject(position, error.slug, error.message)
                    position += 1
                else:
                    # One by one up to the end of what spoilt the call: its two crashes are all that it costs.
                    alone_until = position + count
                if self._timeouts >= _MOST_TIMEOUTS:
                    self._give_up(position)
                    return
            else:
                position += taken
                most = 16 if refused else min(most * 2, _MOST_RECORDS)

    def _fitting(self, position: int, most: int) -> int:
        size = 0
        for count, record in enumerate(self._records[position : position + most]):
            size += len(record.value)
            if size > _MOST_BYTES:
                return max(1, count)
        return min(most, len(self._records) - position)

    def _call(self, position: int, count: int) -> tuple[int, bool]:
        """Give the stage some records. Return how many of them are dealt with, and whether the last was refused."""
        end = position + count
        origins = self._origins[position:end]
        placed = self._placed and origins != range(position, end)
        call = self._step.stage.call(
            self._records[position:end],
            base_offset=(self._base_offset or 0) + (0 if placed else position),
            base_timestamp=self._base_timestamp,
            places=list(origins) if placed else None,
            encoded=self._given if count == len(self._records) else None,
        )
        self.encoded = call.encoded if count == len(self._records) else None
        self.made += call.records
        self.made_origins += [UNKNOWN if index < 0 else origins[index] for index in call.origins]
        if call.complaint is None:
            return count, False
        self._reject(position + call.refused, "transform-error", call.complaint)
        return call.refused + 1, True

    def _give_up(self, position: int) -> None:
        reason = f"not tried: {self._step.name} ran out of time {self._timeouts} times before it in the same poll"
        for index in range(position, len(self._records)):
            self._reject(index, "transform-timeout", reason)

    def _reject(self, index: int, slug: str, reason: str) -> None:
        self.rejections.append(
            Rejection(self._number, self._step.name, slug, reason, self._records[index], self._origins[index])
        )
