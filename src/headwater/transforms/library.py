"""Owns where a module comes from: what a configuration says after `uses:` becomes a stage, and its chain a chain.

In this order: a Python function, a file, a module of the store, a transform that comes with Headwater.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from headwater.config import ChainLink, ConnectorConfig, InvalidConfigError, Problem, TransformOptions
from headwater.config.model import names_python
from headwater.core.errors import SmartModuleError
from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.builtin import BUILTINS, find_builtin
from headwater.transforms.chain import Chain, Step
from headwater.transforms.python import PythonLoader
from headwater.transforms.stage import Limits, Stage
from headwater.transforms.store import Store, parse_reference
from headwater.transforms.wasm import MOST_CODE, Host

# The page's options name what they want a module to be.
_OPTION_KINDS = {"filter": Kind.FILTER, "map": Kind.MAP, "arraymap": Kind.ARRAY_MAP}


class Loadable(Protocol):
    """A module that was found: it makes stages."""

    @property
    def kind(self) -> Kind:
        """What it does with records."""

    def stage(self, parameters: Parameters | None = None, limits: Limits | None = None) -> Stage:
        """Return a stage of its own that runs it."""


class Library:
    """The modules that there are, with the compiled ones kept. Safe to use from one thread at a time."""

    def __init__(self, data_dir: Path, given: Mapping[str, bytes] | None = None) -> None:
        """`given` is the code of modules that are kept elsewhere, by their names; it goes before what is here."""
        self._given = given or {}
        self.store = Store(data_dir / "smartmodules")
        self._host: Host | None = None
        self._python = PythonLoader()

    @property
    def host(self) -> Host:
        """What compiles and runs WebAssembly, made when it is first needed."""
        if self._host is None:
            self._host = Host(self.store.directory / "compiled")
        return self._host

    def find(self, uses: str, base: Path = Path()) -> Loadable:
        """Return the module that `uses` names. `base` is where relative paths begin. Raises SmartModuleError."""
        if names_python(uses):
            return self._python.load(uses, base)
        if uses.endswith(".wasm"):
            return self.host.load(_read(base / Path(uses).expanduser()), uses)
        if uses in self._given:
            return self.host.load(self._given[uses], uses)
        reference = parse_reference(uses)
        entry = self.store.find(reference)
        if entry is not None:
            return self.host.load(self.store.code(entry), uses)
        built_in: Loadable | None = find_builtin(reference)
        if built_in is not None:
            return built_in
        known = [str(entry.reference) for entry in self.store.entries()] + list(BUILTINS)
        same = [name for name in known if name.partition("@")[0].rpartition("/")[2] == reference.name]
        near = f"there is {', '.join(same)}" if same else f"load it with: headwater smartmodule load {reference.name}"
        raise SmartModuleError(f"there is no SmartModule {uses!r}", hint=near + ("" if same else " --wasm-file FILE"))

    def chain_of(self, config: ConnectorConfig) -> Chain:
        """Return the chain of a connector, begun once to see that it can be. Raises InvalidConfigError."""
        limits = Limits(config.transform_timeout.total_seconds(), config.transform_memory)
        base = Path(config.place.file).parent
        steps, problems = [], []
        for number, link in enumerate(config.chain):
            try:
                steps.append(self._step(link, number, base, limits))
            except SmartModuleError as error:
                problems.append(config.problem(link.key_path, error.message, error.hint))
        if problems:
            raise InvalidConfigError(problems)
        return Chain(steps)

    def _step(self, link: ChainLink, number: int, base: Path, limits: Limits) -> Step:
        step = self.step(link.transform, number, base, limits)
        wanted = _OPTION_KINDS.get(link.option or "")
        if wanted is not None and step.stage.kind is not wanted:
            raise SmartModuleError(
                f"{step.name} is of the kind {step.stage.kind}, not {wanted}",
                hint=f"write it below `transforms:` as - uses: {step.name}",
            )
        # What a module says of its parameters is best heard before anything runs.
        step.stage.begin(None)
        return step

    def step(self, transform: TransformOptions, number: int, base: Path, limits: Limits) -> Step:
        """Return one stage of a chain; `number` counts from 0. Raises SmartModuleError."""
        values = {name: text.reveal() for name, text in transform.with_.items()}
        lookback = None
        if transform.lookback is not None:
            age: timedelta | None = transform.lookback.age
            lookback = Lookback(transform.lookback.last, None if age is None else age.total_seconds())
        stage = self.find(transform.uses, base).stage(Parameters(values, lookback), limits)
        # State belongs to a module by its name and to its parameters: a new build of it goes on with it.
        told = msgspec.json.encode([transform.uses, sorted(values.items())])
        return Step(transform.uses, f"{number}:{hashlib.blake2b(told, digest_size=8).hexdigest()}", stage)


def chains_of(library: Library, configs: Sequence[ConnectorConfig]) -> dict[str, Chain]:
    """Return the chains of connectors by their names. Raises InvalidConfigError with every problem of all."""
    chains: dict[str, Chain] = {}
    problems: list[Problem] = []
    for config in configs:
        if not config.chain:
            continue
        try:
            chains[config.name] = library.chain_of(config)
        except InvalidConfigError as error:
            problems += error.problems
    if problems:
        # A stream, and what asks for its gaps, have the same.
        raise InvalidConfigError([*dict.fromkeys(problems)])
    return chains


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_CODE + 1)
    except OSError as error:
        raise SmartModuleError(f"{path} cannot be read: {error.strerror}") from error
