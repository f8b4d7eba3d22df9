"""Owns SmartModules in Python: the decorator, what a function's types say, and calling it within a time limit.

A function is trusted: it runs in this process and may do what the user may do. Only its time is bounded.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from headwater.core.errors import SmartModuleError, SmartModuleTrapError
from headwater.core.record import Record
from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.stage import Call, Limits
from headwater.transforms.timelimit import ExpiredError, within

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK = "__headwater_smartmodule__"
# Whatever a user's code raises is trouble of its own, also what would end the process: sys.exit() in a function.
_RAISED = (Exception, SystemExit, KeyboardInterrupt, CancelledError)
_FORMS = (
    "Record -> bool (filter), Record -> Record (map), Record -> Record | None (filter_map), "
    "Record -> Iterable[Record] (array_map) or (State, Record) -> State (aggregate)"
)


@overload
def smartmodule(function: _Function) -> _Function: ...
@overload
def smartmodule(*, kind: str) -> Callable[[_Function], _Function]: ...


def smartmodule(function: _Function | None = None, *, kind: str | None = None) -> Any:
    """Declare a function to be a SmartModule. Its types say which kind, unless `kind` does.

    The forms are `Record -> bool` (filter), `Record -> Record` (map), `Record -> Record | None` (filter_map), `Record
    -> Iterable[Record]` (array_map) and `(State, Record) -> State` (aggregate), where the state is bytes or anything
    that is JSON. Keyword-only arguments are its parameters, taken from `with` and converted to their types. A record is
    refused by raising an exception.
    """

    def mark(function: _Function) -> _Function:
        setattr(function, _MARK, None if kind is None else Kind(kind))
        return function

    return mark if function is None else mark(function)


class PythonModule:
    """One function that is a SmartModule. Raises SmartModuleError when its types are of no kind."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.name = name
        self.function = function
        try:
            self._hints = typing.get_type_hints(function)
        except _RAISED as error:
            raise SmartModuleError(f"the types of {name} cannot be read: {error}") from error
        arguments = inspect.signature(function).parameters.values()
        positional = [it for it in arguments if it.kind in {it.POSITIONAL_ONLY, it.POSITIONAL_OR_KEYWORD}]
        self._named = {it.name: it for it in arguments if it.kind is it.KEYWORD_ONLY}
        marked: Kind | None = getattr(function, _MARK)
        found = marked or _kind_of(self._hints.get("return"), len(positional))
        if found is None or len(positional) != (2 if found is Kind.AGGREGATE else 1):
            raise SmartModuleError(f"the types of {name} are of no kind of SmartModule", hint=f"write {_FORMS}")
        self.kind = found
        self.state_type: Any = self._hints.get(positional[0].name, bytes) if found is Kind.AGGREGATE else None

    def arguments(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the keyword arguments that parameters stand for. Raises SmartModuleError."""
        converted: dict[str, Any] = {}
        for name, text in values.items():
            if name not in self._named:
                known = ", ".join(self._named) or "none at all"
                raise SmartModuleError(f"{self.name} has no parameter {name!r}", hint=f"it knows {known}")
            wanted = self._hints.get(name, str)
            try:
                converted[name] = _converted(text, wanted)
            except ValueError as error:
                raise SmartModuleError(f"{self.name} cannot use the value of {name!r}: {error}") from error
        missing = [name for name, it in self._named.items() if it.default is it.empty and name not in values]
        if missing:
            raise SmartModuleError(f"{self.name} needs the parameter {missing[0]!r}", hint="give it below `with:`")
        return converted

    def stage(self, parameters: Parameters | None = None, limits: Limits | None = None) -> PythonStage:
        """Return a stage of its own that calls this function; `begin` it before use."""
        return PythonStage(self, parameters or Parameters(), limits or Limits())


def _converted(text: str, wanted: Any) -> Any:
    if wanted is str:
        return text
    if wanted in {int, float, bool}:
        return msgspec.convert(text, wanted, strict=False)
    if isinstance(wanted, type) and type(wanted) is type and wanted.__module__ != "builtins":
        # A class that is made from one text, such as a compiled expression.
        return wanted(text)
    return msgspec.json.decode(text, type=wanted)


def _kind_of(returned: Any, positional: int) -> Kind | None:
    """Return the kind that a return type means."""
    if positional == 2:
        return Kind.AGGREGATE
    if returned is bool:
        return Kind.FILTER
    if returned is Record:
        return Kind.MAP
    origin, inner = typing.get_origin(returned), typing.get_args(returned)
    if origin in {typing.Union, types.UnionType} and set(inner) == {Record, type(None)}:
        return Kind.FILTER_MAP
    if isinstance(origin, type) and issubclass(origin, Iterable) and inner and inner[0] is Record:
        return Kind.ARRAY_MAP
    return None


class PythonStage:
    """A function at work in one chain: a stage. Its `state` is an aggregate's, encoded."""

    def __init__(self, module: PythonModule, parameters: Parameters, limits: Limits) -> None:
        self._module = module
        self._parameters = parameters
        self._limits = limits
        self.kind = module.kind
        self._arguments: dict[str, Any] = {}
        self._state: Any = None

    @property
    def lookback(self) -> Lookback | None:
        """None: a function has no way to be shown earlier records."""
        return None

    @property
    def state(self) -> bytes | None:
        """The state of an aggregate: bytes as they are, anything else as JSON."""
        return self._encoded(self._state) if self.kind is Kind.AGGREGATE else None

    def begin(self, state: bytes | None) -> None:
        """Read the parameters, and take the state over. Raises SmartModuleError."""
        self._arguments = self._module.arguments(self._parameters.values)
        if self.kind is not Kind.AGGREGATE:
            return
        try:
            if state is None:
                self._state = self._module.state_type()
            else:
                self._restore(state)
        except _RAISED as error:
            raise SmartModuleError(f"{self._module.name} cannot begin with its state: {error}") from error

    def _restore(self, state: bytes | None) -> None:
        if state is not None:
            wanted = self._module.state_type
            self._state = state if wanted is bytes else msgspec.json.decode(state, type=wanted)

    def look_back(self, records: Sequence[Record]) -> None:
        """Do nothing."""

    def call(
        self,
        records: Sequence[Record],
        *,
        base_offset: int = 0,  # noqa: ARG002 - functions are given records, and records know no offset
        base_timestamp: int = 0,
        places: Sequence[int] | None = None,  # noqa: ARG002 - the same
        encoded: bytes | None = None,  # noqa: ARG002 - the same
    ) -> Call:
        """Give it records; see `Stage`."""
        made: list[Record] = []
        origins: list[int] = []
        # Encoded, because a function may change its state in place.
        before = self.state
        index = 0

        def work() -> None:
            nonlocal index
            for index, record in enumerate(records):
                known = record
                if record.timestamp is None:
                    known = Record(record.value, record.key, base_timestamp)
                results = list(self._one(record, known))
                made.extend(results)
                origins.extend([index] * len(results))

        try:
            within(self._limits.seconds, work)
        except ExpiredError:
            self._restore(before)
            raise SmartModuleTrapError(
                f"{self._module.name} took longer than {self._limits.seconds:g} s", "transform-timeout"
            ) from None
        except SmartModuleError as error:
            self._restore(before)
            raise SmartModuleTrapError(f"{self._module.name} {error.message}", "transform-output") from error
        except _RAISED as error:
            return Call(made, origins, _sentence(error), index)
        return Call(made, origins)

    def _one(self, record: Record, known: Record) -> Iterator[Record]:
        """Yield what one record becomes. `known` is the record with its time."""
        function, arguments, kind = self._module.function, self._arguments, self.kind
        if kind is Kind.FILTER:
            if _checked(function(known, **arguments), bool, "True or False"):
                yield record
        elif kind is Kind.ARRAY_MAP:
            for made in function(known, **arguments):
                yield _checked(made, Record, "records")
        elif kind is Kind.AGGREGATE:
            state = function(self._state, known, **arguments)
            value = self._encoded(state)
            self._state = state
            yield Record(value, record.key, record.timestamp)
        else:
            made = function(known, **arguments)
            if made is not None or kind is Kind.MAP:
                made = _checked(made, Record, "a record")
                # As in Fluvio the time is the record's: a map gives a key and a value.
                yield Record(made.value, made.key, record.timestamp)

    def _encoded(self, state: Any) -> bytes:
        if self._module.state_type is bytes:
            return _checked(state, bytes, "bytes")
        try:
            return msgspec.json.encode(state)
        except (TypeError, ValueError) as error:
            raise SmartModuleError(f"returned a state that is not JSON: {error}") from error


_Wanted = TypeVar("_Wanted")


def _checked(value: Any, wanted: type[_Wanted], words: str) -> _Wanted:
    if isinstance(value, Record):
        parts: tuple[Any, ...] = (value.value, value.key or b"")
        if not all(isinstance(part, bytes) for part in parts):
            raise SmartModuleError("returned a record whose value or key is not bytes")
    if not isinstance(value, wanted):
        raise SmartModuleError(f"returned {type(value).__name__}, not {words}")
    return value


def _sentence(error: BaseException) -> str:
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class PythonLoader:
    """Loads functions from packages and files, anew when their file has changed."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[tuple[int, int], types.ModuleType]] = {}

    def load(self, uses: str, base: Path) -> PythonModule:
        """Load `python:package.module:function` or `./file.py:function`.

        `base` is the directory that relative paths begin at, and where packages are looked for first. Raises
        SmartModuleError.
        """
        where, _, function = uses.removeprefix("python:").rpartition(":")
        if not where or not function.isidentifier():
            raise SmartModuleError(
                f"{uses!r} names no function", hint="write python:package.module:function or ./file.py:function"
            )
        loaded = self._file(base / Path(where).expanduser(), uses) if where.endswith(".py") else _package(where, base)
        found = getattr(loaded, function, None)
        if found is None:
            known = [name for name, value in vars(loaded).items() if hasattr(value, _MARK)]
            hint = f"its SmartModules are {', '.join(known)}" if known else ""
            raise SmartModuleError(f"there is no {function} in {where}", hint=hint)
        if not callable(found) or not hasattr(found, _MARK):
            raise SmartModuleError(
                f"{function} in {where} is not declared to be a SmartModule",
                hint="write @smartmodule above it, with: from headwater import smartmodule",
            )
        return PythonModule(found, uses)

    def _file(self, path: Path, uses: str) -> types.ModuleType:
        try:
            status = path.stat()
        except OSError as error:
            raise SmartModuleError(f"{path} cannot be read: {error.strerror}", hint=f"named by {uses!r}") from error
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._files.get(path)
        if known is None or known[0] != stamp:
            name = f"headwater_smartmodule_{path.stem}"
            loaded = types.ModuleType(name)
            loaded.__file__ = str(path)
            # Types that stand in it as texts are looked up here.
            sys.modules[name] = loaded
            with _importing(str(path)):
                exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(loaded))  # noqa: S102 - the user's own code, named in the user's own file
            known = self._files[path] = (stamp, loaded)
        return known[1]


_stamps: dict[str, float] = {}


def _package(name: str, base: Path) -> types.ModuleType:
    """Import a module, or import it again when its file has changed since."""
    folder = str(base.resolve())
    sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()
        with _importing(name):
            loaded = importlib.import_module(name)
            stamp = _stamp(loaded)
            if _stamps.setdefault(name, stamp) != stamp:
                loaded = importlib.reload(loaded)
                _stamps[name] = stamp
    finally:
        sys.path.remove(folder)
    return loaded


def _stamp(module: types.ModuleType) -> float:
    try:
        return Path(module.__file__ or "").stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def _importing(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise SmartModuleError(
            f"{name} cannot be imported: {error}", hint="install it, or put it beside the configuration"
        ) from error
    except _RAISED as error:
        line = _line(error, name)
        raise SmartModuleError(f"{name} cannot be imported: {_sentence(error)}{line}") from error


def _line(error: BaseException, file: str) -> str:
    """Return where in a file an error came from."""
    trace = error.__traceback__
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""
