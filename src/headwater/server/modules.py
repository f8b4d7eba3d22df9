"""Owns the SmartModules that clients name or bring: from an invocation to a chain, and what it refuses.

What comes from the network is never a path or a Python function: only names of loaded modules, and WebAssembly.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from headwater.core.errors import SmartModuleError
from headwater.core.record import Record, StoredRecord
from headwater.fluvio import invocation as wire
from headwater.fluvio import objects
from headwater.fluvio.errorcode import ErrorCode, TransformFailure, clipped, code
from headwater.server.describe import named
from headwater.server.refused import RefusedError
from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.builtin import find_builtin
from headwater.transforms.chain import UNKNOWN, Chain, Rejection, Step
from headwater.transforms.library import Library, Loadable
from headwater.transforms.stage import Limits
from headwater.transforms.store import Entry, Reference, parse_reference
from headwater.transforms.wasm import MOST_CODE

# Calls into the C library of jq cannot be stopped, and a client could name a program that never ends.
_NOT_FOR_CLIENTS = {"jaq"}
_KINDS: dict[type[wire.ModuleKind], Kind] = {
    wire.AsFilter: Kind.FILTER,
    wire.AsMap: Kind.MAP,
    wire.AsArrayMap: Kind.ARRAY_MAP,
    wire.AsAggregate: Kind.AGGREGATE,
    wire.AsFilterMap: Kind.FILTER_MAP,
}
# The numbers by which an error names the kind of a module.
_NUMBERS = {Kind.FILTER: 0, Kind.MAP: 1, Kind.ARRAY_MAP: 2, Kind.AGGREGATE: 3, Kind.FILTER_MAP: 4}
_MOST_STAGES = 32
# What WebAssembly begins with.
_MAGIC = b"\0asm"
# A lookback by age alone must end somewhere.
MOST_LOOKED_BACK = 100_000


class Modules:
    """The SmartModules of a data directory, for clients. One call of one may take so many seconds."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self._library = Library(directory)
        self._limits = Limits(seconds=seconds)
        # The library serves one thread at a time.
        self._lock = asyncio.Lock()

    async def chain(self, invocations: Sequence[wire.Invocation]) -> Chain:
        """Return a chain of its own that is ready for records. Raises RefusedError."""
        async with self._lock:
            return await asyncio.to_thread(self._chain, invocations)

    def _chain(self, invocations: Sequence[wire.Invocation]) -> Chain:
        if len(invocations) > _MOST_STAGES:
            raise RefusedError(code("SmartModuleChainInitError", f"a chain of {len(invocations)} modules is too long:"))
        steps = []
        for number, invocation in enumerate(invocations):
            name, module = self._find(invocation.wasm)
            wanted = _KINDS.get(type(invocation.kind))
            if wanted is None and not isinstance(invocation.kind, wire.AsAny):
                raise RefusedError(code("SmartModuleInvalid", "joins are not available", name))
            if wanted is not None and module.kind is not wanted:
                raise RefusedError(code("SmartModuleInvalidExports", f"it is a {module.kind}", wanted.value))
            try:
                stage = module.stage(_parameters(invocation.parameters), self._limits)
                stage.begin(_accumulator(invocation.kind))
            except SmartModuleError as error:
                raise RefusedError(code("SmartModuleInitError", error.message)) from error
            steps.append(Step(name, str(number), stage))
        return Chain(steps)

    def _find(self, wasm: wire.Predefined | wire.AdHoc) -> tuple[str, Loadable]:
        if isinstance(wasm, wire.AdHoc):
            try:
                return "ad hoc", self._library.host.load(unzipped(wasm.wasm), "the module of the request")
            except SmartModuleError as error:
                raise RefusedError(code("SmartModuleInvalid", error.message, None)) from error
        try:
            reference = parse_reference(wasm.name)
            entry = self._library.store.find(reference)
            if entry is not None:
                return wasm.name, self._library.host.load(self._library.store.code(entry), wasm.name)
            built_in: Loadable | None = None if reference.name in _NOT_FOR_CLIENTS else find_builtin(reference)
        except SmartModuleError as error:
            raise RefusedError(code("SmartModuleInvalid", error.message, wasm.name)) from error
        if built_in is None:
            raise RefusedError(code("SmartModuleNotFound", wasm.name))
        return wasm.name, built_in

    async def create(self, name: str, spec: objects.ModuleSpec, *, now_ms: int, dry_run: bool) -> str:
        """Keep a module that a client has sent; return the name that it is listed by. Raises RefusedError."""
        async with self._lock:
            return await asyncio.to_thread(self._create, name, spec, now_ms, dry_run)

    def _create(self, name: str, spec: objects.ModuleSpec, now_ms: int, dry_run: bool) -> str:  # noqa: FBT001 - called by create alone
        try:
            package = spec.metadata.package if spec.metadata else None
            # What a client sends is read as strictly as what a person writes.
            reference = parse_reference(
                str(Reference(package.name, package.group or None, package.version or None)) if package else name
            )
            wasm = unzipped(spec.wasm)
            module = self._library.host.load(wasm, str(reference))
            entry = Entry(
                name=reference.name,
                group=reference.group,
                version=reference.version,
                digest=hashlib.sha256(wasm).hexdigest(),
                size=len(wasm),
                kind=module.kind,
                loaded=now_ms,
                description=(package.description or "") if package else "",
            )
            if not dry_run:
                self._library.store.save(entry, wasm)
        except SmartModuleError as error:
            raise RefusedError(code("SmartModuleInvalid", error.message, name)) from error
        return str(entry.reference)

    async def delete(self, name: str) -> None:
        """Delete a module. Raises RefusedError when there is none of that name."""
        async with self._lock:
            try:
                found = await asyncio.to_thread(self._library.store.delete, parse_reference(name))
            except SmartModuleError as error:
                raise RefusedError(code("SmartModuleInvalid", error.message, name)) from error
        if not found:
            raise RefusedError(code("SmartModuleNotFound", name))

    async def listed(self, filters: Sequence[str], *, summary: bool) -> list[objects.Module]:
        """Return the modules whose names contain one of the filters, or all; with their code unless `summary`."""
        async with self._lock:
            return await asyncio.to_thread(self._listed, filters, summary)

    def _listed(self, filters: Sequence[str], summary: bool) -> list[objects.Module]:  # noqa: FBT001 - called by listed alone
        found = []
        for entry in self._library.store.entries():
            name = str(entry.reference)
            if not named(name, filters):
                continue
            package = None
            if entry.group or entry.version:
                version = entry.version or "0.0.0"
                package = objects.ModuleMetadata(
                    objects.Package(entry.name, entry.group or "", version, "0.0.0", entry.description or None), {}
                )
            summed = objects.ModuleSummary(entry.size) if summary else None
            wasm = b"" if summary else zipped(self._library.store.code(entry))
            found.append(objects.Module(name, objects.ModuleSpec(package, summed, 0, wasm)))
        return found


def unzipped(data: bytes) -> bytes:
    """Return code from under gzip, of a bounded size. Raises SmartModuleError."""
    if data.startswith(_MAGIC):
        # The client for Python sends a new module as it is in the file.
        wasm = data
    else:
        try:
            wasm = zlib.decompressobj(wbits=31).decompress(data, MOST_CODE + 1)
        except zlib.error as error:
            raise SmartModuleError(f"its code is neither WebAssembly nor under gzip: {error}") from error
    if len(wasm) > MOST_CODE:
        raise SmartModuleError(f"it is larger than {MOST_CODE} bytes")
    return wasm


def zipped(wasm: bytes) -> bytes:
    """Return code under gzip, as clients expect it."""
    zipper = zlib.compressobj(level=6, wbits=31)
    return zipper.compress(wasm) + zipper.flush()


def _parameters(parameters: wire.Parameters) -> Parameters:
    lookback = parameters.lookback
    if lookback is None:
        return Parameters(parameters.values)
    age = None if lookback.age is None else lookback.age.total_seconds()
    return Parameters(parameters.values, Lookback(min(lookback.last, MOST_LOOKED_BACK), age))


def _accumulator(kind: wire.ModuleKind) -> bytes | None:
    if isinstance(kind, wire.AsAggregate):
        return kind.accumulator
    if isinstance(kind, wire.AsAny) and isinstance(kind.context, wire.AggregateContext):
        return kind.context.accumulator
    return None


class Passed(msgspec.Struct, frozen=True):
    """What a chain left of records, at their offsets, and the code for the first that it refused."""

    records: Sequence[StoredRecord]
    code: ErrorCode


def passed(chain: Chain, records: Sequence[StoredRecord]) -> Passed:
    """Pass records of a partition that follow each other through a chain. Blocks. Raises SmartModuleError."""
    first = records[0]
    outcome = chain.run(
        [Record(it.value, it.key, it.timestamp) for it in records],
        base_timestamp=first.timestamp,
        base_offset=first.offset,
    )
    left = []
    offset = first.offset
    for record, origin in zip(outcome.records, outcome.origins, strict=True):
        # What was made of several records stands where the last one before it stood.
        offset = offset if origin == UNKNOWN else records[origin].offset
        timestamp = first.timestamp if record.timestamp is None else record.timestamp
        left.append(StoredRecord(record.value, record.key, timestamp, first.partition, offset))
    refused = outcome.rejections
    return Passed(left, _refusal(chain, refused[0], records) if refused else code("None"))


def _refusal(chain: Chain, rejection: Rejection, records: Sequence[StoredRecord]) -> ErrorCode:
    kind = chain.steps[rejection.stage - 1].stage.kind
    offset = -1 if rejection.origin == UNKNOWN else records[rejection.origin].offset
    record = rejection.record
    hint = f"{rejection.name}: {rejection.reason}"
    return code(
        "SmartModuleRuntimeError", TransformFailure(clipped(hint), offset, _NUMBERS[kind], record.key, record.value)
    )
