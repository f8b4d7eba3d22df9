"""Owns how a request names the SmartModules that its records are to pass, in all the forms there have been. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

import msgspec

from headwater.fluvio.wire import U64, Message, Since


class Predefined(Message, frozen=True):
    """A SmartModule of the cluster, by its name."""

    TAG: ClassVar[int] = 0
    name: str


class AdHoc(Message, frozen=True):
    """A SmartModule that comes with the request: its code under gzip."""

    TAG: ClassVar[int] = 1
    wasm: bytes


class AsFilter(Message, frozen=True):
    """The module must be a filter."""

    TAG: ClassVar[int] = 0


class AsMap(Message, frozen=True):
    """The module must be a map."""

    TAG: ClassVar[int] = 1


class AsArrayMap(Message, frozen=True):
    """The module must be an array map."""

    TAG: ClassVar[int] = 2


class AsAggregate(Message, frozen=True):
    """The module must be an aggregate."""

    TAG: ClassVar[int] = 3
    accumulator: bytes = b""


class AsFilterMap(Message, frozen=True):
    """The module must be a filter map."""

    TAG: ClassVar[int] = 4


class AsJoin(Message, frozen=True):
    """A join, which Fluvio has given up."""

    TAG: ClassVar[int] = 5
    topic: str


class AsJoinStream(Message, frozen=True):
    """A join, which Fluvio has given up."""

    TAG: ClassVar[int] = 6
    topic: str
    derived: str


class NoContext(Message, frozen=True):
    """Nothing but the module."""

    TAG: ClassVar[int] = 0


class AggregateContext(Message, frozen=True):
    """What an aggregate begins with."""

    TAG: ClassVar[int] = 1
    accumulator: bytes = b""


class JoinContext(Message, frozen=True):
    """A join, which Fluvio has given up."""

    TAG: ClassVar[int] = 2
    topic: str


class JoinStreamContext(Message, frozen=True):
    """A join, which Fluvio has given up."""

    TAG: ClassVar[int] = 3
    topic: str
    derived: str


class AsAny(Message, frozen=True):
    """The module is what it says itself."""

    TAG: ClassVar[int] = 7
    context: NoContext | AggregateContext | JoinContext | JoinStreamContext = NoContext()


ModuleKind = AsFilter | AsMap | AsArrayMap | AsAggregate | AsFilterMap | AsJoin | AsJoinStream | AsAny


class Lookback(Message, frozen=True):
    """Which earlier records a module is shown."""

    last: U64 = 0
    age: Annotated[timedelta | None, Since(21)] = None


class Parameters(Message, frozen=True):
    """What a module is told."""

    values: dict[str, str] = msgspec.field(default_factory=dict)
    lookback: Annotated[Lookback | None, Since(20)] = None


class Invocation(Message, frozen=True):
    """A SmartModule that a request wants its records to pass."""

    wasm: Predefined | AdHoc
    kind: ModuleKind = AsAny()
    parameters: Parameters = Parameters()
    name: Annotated[str | None, Since(25)] = None


class RawWasm(Message, frozen=True):
    """A module of a client of 2021: its code."""

    TAG: ClassVar[int] = 0
    wasm: bytes


class GzipWasm(Message, frozen=True):
    """A module of a client of 2022: its code under gzip."""

    TAG: ClassVar[int] = 1
    wasm: bytes


class LegacyInvocation(Message, frozen=True):
    """A SmartModule as clients up to 0.10.8 send it."""

    wasm: RawWasm | GzipWasm
    kind: ModuleKind
    values: dict[str, str]


class DerivedStream(Message, frozen=True):
    """A derived stream, which Fluvio has given up."""

    stream: str
    values: dict[str, str]
