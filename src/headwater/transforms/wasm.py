"""Owns running Fluvio's SmartModules in WebAssembly: compiling, bounding, calling. What the bytes mean is abi's.

A call of the guest costs one call from Python: a small module of our own beside it takes the input over, calls, and
brings the output back.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import stat
import struct
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import wasmtime
from crc32c import crc32c

from headwater.core.errors import SmartModuleError, SmartModuleTrapError
from headwater.core.record import Record
from headwater.transforms.abi import (
    FIRST_VERSION,
    INIT_ERROR,
    LOOK_BACK_ERROR,
    OLD_VERSION,
    STATUS,
    UNDECODABLE,
    VERSION,
    Kind,
    Lookback,
    Output,
    Parameters,
    decode_init_error,
    decode_look_back_error,
    decode_output,
    encode_input,
    encode_parameters,
)
from headwater.transforms.stage import Call, Limits

# How exactly a call is stopped that runs too long (seconds).
_TICK = 0.02
# Far above the largest published module, and enough to keep a hostile file from filling the memory when it is compiled.
MOST_CODE = 64 * 1024 * 1024
_VERSION = metadata.version("wasmtime")
_I32 = [wasmtime.ValType.i32()]
_WASI = "wasi_snapshot_preview1"
_TRAP = re.compile(r"wasm trap: (.*)")
_PAGE = 65_536
_CHECKSUM = struct.Struct(">I")

_CATCHER = """
(module
  (global $at (export "at") (mut i32) (i32.const 0))
  (global $length (export "length") (mut i32) (i32.const 0))
  (func (export "copy_records") (param i32 i32)
    (global.set $at (local.get 0))
    (global.set $length (local.get 1))))
"""

_FIT = """
  (memory $io (export "io") 1)
  (func $fit (export "fit") (param $size i32)
    (local $more i32)
    (local.set $more
      (i32.sub
        (i32.wrap_i64 (i64.shr_u (i64.add (i64.extend_i32_u (local.get $size)) (i64.const 65535)) (i64.const 16)))
        (memory.size $io)))
    (if (i32.gt_s (local.get $more) (i32.const 0))
      (then (if (i32.eq (memory.grow $io (local.get $more)) (i32.const -1)) (then unreachable)))))
"""


def _caller(functions: Sequence[str], *, versioned: bool, dealloc: bool) -> str:
    """Return the text of the module that calls a guest's functions: input and output are in its memory `io`.

    Each returns the status in the upper half and the length of the output in the lower one. The guest frees its input;
    the output it forgets, so it is freed here.
    """
    third = " i32" if versioned else ""
    imports = "".join(
        f'(import "guest" "{name}" (func ${name} (param i32 i32{third}) (result i32)))' for name in functions
    )
    free = "(if (global.get $length) (then (call $dealloc (global.get $at) (global.get $length))))" if dealloc else ""
    calls = "".join(
        f"""
  (func (export "{name}") (param $size i32) (param $version i32) (result i64)
    (local $input i32) (local $status i32)
    (global.set $at (i32.const 0))
    (global.set $length (i32.const 0))
    (local.set $input (call $alloc (local.get $size)))
    (memory.copy $guest $io (local.get $input) (i32.const 0) (local.get $size))
    (local.set $status
      (call ${name} (local.get $input) (local.get $size) {"(local.get $version)" if versioned else ""}))
    (if (global.get $length)
      (then (drop (i32.load8_u $guest
        (i32.sub (i32.add (global.get $at) (global.get $length)) (i32.const 1))))))
    (call $fit (global.get $length))
    (memory.copy $io $guest (i32.const 0) (global.get $at) (global.get $length))
    {free}
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $status)) (i64.const 32))
      (i64.extend_i32_u (global.get $length))))"""
        for name in functions
    )
    return f"""(module
  (import "guest" "memory" (memory $guest 0))
  (import "guest" "alloc" (func $alloc (param i32) (result i32)))
  {'(import "guest" "dealloc" (func $dealloc (param i32 i32)))' if dealloc else ""}
  (import "catcher" "at" (global $at (mut i32)))
  (import "catcher" "length" (global $length (mut i32)))
  {imports}{_FIT}{calls})"""


class _Ticker:
    """Moves the engine's clock while calls are under way, so that the ones that run too long are stopped."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._calls = 0
        self._thread: threading.Thread | None = None

    @contextmanager
    def timed(self, store: wasmtime.Store, seconds: float) -> Iterator[None]:
        """Stop what the store runs in the block after about so many seconds."""
        # The first tick may come at once, so one more is waited for.
        store.set_epoch_deadline(max(2, round(seconds / _TICK) + 1))
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="headwater-epochs", daemon=True)
                    self._thread.start()
                self._busy.set()
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls:
                    self._busy.clear()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._busy.wait()
            pause.wait(_TICK)
            self._engine.increment_epoch()


class Host:
    """Compiles modules, once each. `cache` is a directory for the compiled ones, made when it is not there.

    Safe to use from several threads; what it returns is not, but for `Module`.
    """

    def __init__(self, cache: Path | None = None) -> None:
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.wasm_multi_memory = True
        self.engine = wasmtime.Engine(config)
        self.ticker = _Ticker(self.engine)
        self.catcher = wasmtime.Module(self.engine, _CATCHER)
        self._cache = cache
        self._modules: dict[str, Module] = {}
        self._callers: dict[str, wasmtime.Module] = {}
        self._lock = threading.Lock()

    def load(self, code: bytes, name: str) -> Module:
        """Compile a module, or take it from the cache. `name` is what errors call it. Raises SmartModuleError."""
        if len(code) > MOST_CODE:
            raise SmartModuleError(f"{name} has {len(code)} bytes; a SmartModule may have at most {MOST_CODE}")
        digest = hashlib.sha256(code).hexdigest()
        with self._lock:
            known = self._modules.get(digest)
            if known is None:
                known = Module(self, self._compiled(code, digest, name), name, digest)
                self._modules[digest] = known
        return known

    def caller(self, functions: Sequence[str], *, versioned: bool, dealloc: bool) -> wasmtime.Module:
        """Return the module that calls these functions of a guest."""
        text = _caller(functions, versioned=versioned, dealloc=dealloc)
        if text not in self._callers:
            code = bytes(wasmtime.wat2wasm(text))
            self._callers[text] = self._compiled(code, hashlib.sha256(code).hexdigest(), "the caller")
        return self._callers[text]

    def _compiled(self, code: bytes, digest: str, name: str) -> wasmtime.Module:
        place = None if self._cache is None else self._cache / f"{digest}-{_VERSION}-epoch.cwasm"
        if place is not None and (stored := _read_own(place)) is not None:
            # A file of ours that was cut or damaged is not native code to run: its own checksum stands before it.
            native = stored[_CHECKSUM.size :]
            if len(stored) > _CHECKSUM.size and _CHECKSUM.pack(crc32c(native)) == stored[: _CHECKSUM.size]:
                with suppress(wasmtime.WasmtimeError):
                    return wasmtime.Module.deserialize(self.engine, native)
        if not code.startswith(b"\0asm"):
            raise SmartModuleError(
                f"{name} is not a WebAssembly module", hint="build it for wasm32-wasi, or load a .wasm file"
            )
        try:
            compiled = wasmtime.Module(self.engine, code)
        except wasmtime.WasmtimeError as error:
            raise SmartModuleError(f"{name} does not compile: {_said(error)}") from error
        if place is not None:
            # Without the file the next start is only slower.
            with suppress(OSError):
                _write_own(place, bytes(compiled.serialize()))
        return compiled


def _read_own(place: Path) -> bytes | None:
    """Return the bytes of a file that nobody but us can have written; it holds native code."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        for status in (os.fstat(descriptor), place.parent.stat()):
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
        return file.read()


def _write_own(place: Path, native: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_CHECKSUM.pack(crc32c(native)))
            file.write(native)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Module:
    """One compiled SmartModule, checked against the interface. Raises SmartModuleError when it is none."""

    def __init__(self, host: Host, compiled: wasmtime.Module, name: str, digest: str) -> None:
        self.host = host
        self.name = name
        self.digest = digest
        self.compiled = compiled
        exports = {export.name: export.type for export in compiled.exports}
        functions = {export: kind for export, kind in exports.items() if isinstance(kind, wasmtime.FuncType)}
        found = next((kind for kind in Kind if kind in functions), None)
        if found is None:
            raise SmartModuleError(
                f"{name} is not a SmartModule: it exports none of {', '.join(Kind)}",
                hint="mark its function with #[smartmodule(filter)] or another kind",
            )
        self.kind = found
        if not isinstance(exports.get("memory"), wasmtime.MemoryType):
            raise SmartModuleError(f"{name} is not a SmartModule: it does not export its memory")
        self._check("alloc", functions, (1,), 1)
        arguments = self._check(self.kind, functions, (3, 2), 1)
        self.versioned = arguments == 3
        self.has_init = "init" in functions
        self.has_look_back = "look_back" in functions
        for optional in ("init", "look_back"):
            if optional in functions:
                self._check(optional, functions, (3,), 1)
        dealloc = functions.get("dealloc")
        self.frees = dealloc is not None and (list(dealloc.params), list(dealloc.results)) == (_I32 * 2, [])
        self.wasi = self._check_imports()
        called = [self.kind.value]
        if self.versioned:
            called += [name for name in ("init", "look_back") if name in functions]
        self.caller = host.caller(called, versioned=self.versioned, dealloc=self.frees)

    def _check(
        self, name: str, functions: dict[str, wasmtime.FuncType], arguments: tuple[int, ...], results: int
    ) -> int:
        """Return how many arguments a function takes, all of them 32-bit integers."""
        function = functions.get(name)
        if function is None:
            raise SmartModuleError(f"{self.name} is not a SmartModule: it does not export {name}")
        for count in arguments:
            if (list(function.params), list(function.results)) == (_I32 * count, _I32 * results):
                return count
        raise SmartModuleError(f"{self.name} is not a SmartModule: its {name} has other arguments than the interface")

    def _check_imports(self) -> bool:
        """Return whether it needs WASI; refuse what nobody provides."""
        wasi = catches = False
        for wanted in self.compiled.imports:
            if wanted.module == _WASI:
                wasi = True
            elif wanted.name == "copy_records":
                kind = wanted.type
                catches = isinstance(kind, wasmtime.FuncType) and (list(kind.params), list(kind.results)) == (
                    _I32 * 2,
                    [],
                )
                if not catches:
                    raise SmartModuleError(f"{self.name} imports copy_records with other arguments than the interface")
            else:
                raise SmartModuleError(
                    f"{self.name} needs {wanted.module}.{wanted.name}, which SmartModules are not given",
                    hint="build it for wasm32-wasi or wasm32-unknown-unknown, without wasm-bindgen",
                )
        if not catches:
            raise SmartModuleError(f"{self.name} is not a SmartModule: it does not import copy_records")
        return wasi

    def stage(self, parameters: Parameters | None = None, limits: Limits | None = None) -> WasmStage:
        """Return a stage of its own that runs this module; `begin` it before use."""
        return WasmStage(self, parameters or Parameters(), limits or Limits())


class _Guest:
    """One instance of a module, for as long as it has not trapped."""

    def __init__(self, module: Module, limits: Limits) -> None:
        host = module.host
        self._module = module
        self._limits = limits
        self._ticker = host.ticker
        self._store = store = wasmtime.Store(host.engine)
        store.set_limits(memory_size=limits.memory)
        self._memory: Any = None
        linker = wasmtime.Linker(host.engine)
        linker.allow_shadowing = True
        if module.wasi:
            # Nothing of this machine is in it: no files, no variables, no arguments, no output.
            store.set_wasi(wasmtime.WasiConfig())
            linker.define_wasi()
        with self._caught("be instantiated"):
            catcher = wasmtime.Instance(store, host.catcher, [])
            copy = catcher.exports(store)["copy_records"]
            for wanted in module.compiled.imports:
                if wanted.name == "copy_records":
                    linker.define(store, wanted.module, "copy_records", copy)
            guest = linker.instantiate(store, module.compiled)
            exports = guest.exports(store)
            self._memory = exports["memory"]
            linker.define_instance(store, "guest", guest)
            linker.define_instance(store, "catcher", catcher)
            self._calls: Any = linker.instantiate(store, module.caller).exports(store)
        self._io: Any = self._calls["io"]
        self._functions: dict[str, Any] = {}
        self._room = _PAGE

    def call(self, function: str, data: bytes, version: int) -> tuple[int, bytes]:
        """Give the function these bytes. Return its status and its output. Raises SmartModuleTrapError."""
        store = self._store
        called = self._functions.get(function)
        if called is None:
            called = self._functions[function] = self._calls[function]
        size = len(data)
        with self._caught(f"run its {function}"):
            if size > self._room:
                self._calls["fit"](store, size)
                self._room = self._io.data_len(store)
            ctypes.memmove(self._io.data_ptr(store), data, size)
            both = called(store, size, version)
            length = both & 0xFFFF_FFFF
            output = ctypes.string_at(self._io.data_ptr(store), length) if length else b""
        return both >> 32, output

    @contextmanager
    def _caught(self, what: str) -> Iterator[None]:
        """Bound the time of the block, and turn what wasmtime raises in it into an error of ours."""
        name = self._module.name
        try:
            with self._ticker.timed(self._store, self._limits.seconds):
                yield
        except wasmtime.Trap as error:
            if error.trap_code is wasmtime.TrapCode.INTERRUPT:
                raise SmartModuleTrapError(
                    f"{name} took longer than {self._limits.seconds:g} s to {what}", "transform-timeout"
                ) from error
            # Guests only abort when they are refused more, so that a crash with much in use is one of memory.
            if self.memory * 2 > self._limits.memory:
                raise SmartModuleTrapError(
                    f"{name} needed more than the {self._limits.memory} bytes of memory that it may use",
                    "transform-memory",
                ) from error
            raise SmartModuleTrapError(f"{name} crashed: {_said(error)}", "transform-trap") from error
        except wasmtime.ExitTrap as error:
            raise SmartModuleTrapError(f"{name} ended itself: {_said(error)}", "transform-trap") from error
        except wasmtime.WasmtimeError as error:
            raise SmartModuleError(f"{name} cannot {what}: {_said(error)}") from error

    @property
    def memory(self) -> int:
        """The bytes of memory that it has."""
        size: int = 0 if self._memory is None else self._memory.data_len(self._store)
        return size


def _said(error: Exception) -> str:
    """Return the sentence in what wasmtime says, without the addresses."""
    text = str(error)
    found = _TRAP.search(text)
    return found[1] if found else text.strip().splitlines()[-1].strip()


class WasmStage:
    """A SmartModule at work in one chain: a stage. Its `state` is an aggregate's accumulator."""

    def __init__(self, module: Module, parameters: Parameters, limits: Limits) -> None:
        self._module = module
        self._limits = limits
        self.kind = module.kind
        self._aggregate = module.kind is Kind.AGGREGATE
        self._version = VERSION if module.versioned else FIRST_VERSION
        self._parameters = parameters
        # Modules from before `init` read their parameters from every input.
        self._in_every_input = bool(parameters.values) and module.versioned and not module.has_init
        self._state: bytes | None = b"" if self._aggregate else None
        self._shown: Sequence[Record] = ()
        self._guest: _Guest | None = None

    @property
    def lookback(self) -> Lookback | None:
        """The lookback of the configuration, when the module has a function for it."""
        return self._parameters.lookback if self._module.has_look_back else None

    @property
    def state(self) -> bytes | None:
        """The accumulator of an aggregate."""
        return self._state

    @property
    def memory(self) -> int:
        """The bytes of memory that the instance has, 0 when there is none."""
        return 0 if self._guest is None else self._guest.memory

    def begin(self, state: bytes | None) -> None:
        """Make an instance and initialise it. Raises SmartModuleError, also when it refuses its parameters."""
        if self._parameters.values and not self._module.versioned:
            raise SmartModuleError(
                f"{self._module.name} is of the first generation, which takes no parameters", hint="remove `with`"
            )
        if self._aggregate:
            self._state = state or b""
        self._shown = ()
        self._guest = self._new()

    def _new(self) -> _Guest:
        guest = _Guest(self._module, self._limits)
        if self._module.has_init and self._module.versioned:
            status, output = guest.call("init", encode_parameters(self._parameters), VERSION)
            if status < 0:
                said = decode_init_error(output) if status == INIT_ERROR and output else _status(status)
                raise SmartModuleError(f"{self._module.name} refuses its parameters: {said}", hint="see its `with`")
        return guest

    def look_back(self, records: Sequence[Record]) -> None:
        """Show it earlier records. Raises SmartModuleError."""
        self._shown = tuple(records)
        self._look_back(self._ready())

    def _look_back(self, guest: _Guest) -> None:
        status, output = self._guarded(guest, "look_back", encode_input(self._shown), VERSION)
        if status < 0:
            said = decode_look_back_error(output).hint if status == LOOK_BACK_ERROR and output else _status(status)
            raise SmartModuleError(f"{self._module.name} failed when it looked back: {said}")

    def call(
        self,
        records: Sequence[Record],
        *,
        base_offset: int = 0,
        base_timestamp: int = 0,
        places: Sequence[int] | None = None,
        encoded: bytes | None = None,
    ) -> Call:
        """Give it records; see `Stage`."""
        guest = self._ready()
        status, output = self._run(guest, records, base_offset, base_timestamp, places=places, encoded=encoded)
        if status == UNDECODABLE and self._aggregate and self._version == VERSION:
            # Aggregates of before 0.10.14 look for their state where newer inputs have a time.
            self._version = OLD_VERSION
            status, output = self._run(guest, records, base_offset, base_timestamp, places=places, encoded=encoded)
        if status < 0:
            raise self._trap(f"{self._module.name} returned an error: {_status(status)}", "transform-status")
        filters = self.kind is Kind.FILTER
        try:
            result = decode_output(
                output, accumulator=self._aggregate and self._version > FIRST_VERSION, values=not filters
            )
            call = self._restored(records, result, base_offset, places)
        except SmartModuleError as error:
            raise self._trap(f"{self._module.name} broke its interface: {error.message}", "transform-output") from error
        if self._aggregate:
            if result.accumulator is not None:
                self._state = result.accumulator
            elif call.records:
                self._state = call.records[-1].value
        if not self._module.frees and guest.memory * 4 > self._limits.memory:
            # It forgets its outputs and has no way to free them: better a fresh instance than a crash to come.
            self._guest = None
        return call

    def _run(
        self,
        guest: _Guest,
        records: Sequence[Record],
        base_offset: int,
        base_timestamp: int,
        *,
        places: Sequence[int] | None,
        encoded: bytes | None,
    ) -> tuple[int, bytes]:
        data = encode_input(
            records,
            base_offset=base_offset,
            base_timestamp=base_timestamp,
            version=self._version,
            parameters=encode_parameters(self._parameters, self._version) if self._in_every_input else None,
            accumulator=self._state if self._aggregate else None,
            places=places,
            raw=encoded,
        )
        return self._guarded(guest, self.kind.value, data, self._version)

    def _restored(
        self, records: Sequence[Record], result: Output, base_offset: int, places: Sequence[int] | None
    ) -> Call:
        """Give records what the module does not return: a filter's whole record, others' times."""
        count = len(records)
        made: Sequence[Record] = result.records
        deltas = result.deltas
        complaint = result.complaint
        refused = 0
        if complaint is not None:
            refused = _index(complaint.offset - base_offset, count, places)
        if self.kind is Kind.ARRAY_MAP:
            # It numbers nothing: where its records come from is known only when there was one.
            deltas = [0 if count == 1 else -1] * len(deltas)
        else:
            if places is not None:
                deltas = [_index(delta, count, places) for delta in deltas]
            elif deltas and not 0 <= min(deltas) <= max(deltas) < count:
                raise SmartModuleError(f"it returned a record at place {max(deltas)} of {count}")
            if self.kind is Kind.FILTER:
                made = [records[delta] for delta in deltas]
            elif any(record.timestamp is not None for record in records):
                made = [
                    Record(record.value, record.key, records[delta].timestamp)
                    for record, delta in zip(made, deltas, strict=True)
                ]
        if complaint is None:
            # Only with every record at its own place is its encoded form what a fresh one would be.
            whole = places is None and self.kind is not Kind.ARRAY_MAP and deltas == list(range(count))
            return Call(made, deltas, encoded=result.raw if whole else None)
        return Call(made, deltas, complaint.hint or "it gave no reason", refused)

    def _ready(self) -> _Guest:
        """Return the instance, or a fresh one that has been shown the same after a crash."""
        if self._guest is None:
            guest = self._new()
            if self._shown:
                self._look_back(guest)
            self._guest = guest
        return self._guest

    def _guarded(self, guest: _Guest, function: str, data: bytes, version: int) -> tuple[int, bytes]:
        try:
            return guest.call(function, data, version)
        except SmartModuleError:
            # What it had in memory may be torn.
            self._guest = None
            raise

    def _trap(self, message: str, slug: str) -> SmartModuleTrapError:
        self._guest = None
        return SmartModuleTrapError(message, slug)


def _index(place: int, count: int, places: Sequence[int] | None) -> int:
    """Return the index of the record at a place. Raises SmartModuleError when there is none."""
    index = place if places is None else bisect_left(places, place)
    if not 0 <= index < count or (places is not None and places[index] != place):
        raise SmartModuleError(f"it told of a record at place {place}, which it was not given")
    return index


def _status(status: int) -> str:
    return f"{STATUS.get(status, 'an unknown error')} (status {status})"
