"""Owns the way from a user's files to definitions: one connector each, text and secrets apart.

What is kept of a managed connector, or put where others read it, is the text; it never holds the value of a secret
that is declared as one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import yaml

from headwater.config.dialect import repair_misprint
from headwater.config.document import NULLS
from headwater.config.load import Loaded, load_files, load_text
from headwater.config.model import ConnectorConfig
from headwater.config.origin import Origin
from headwater.config.problem import InvalidConfigError, Problem
from headwater.config.secrets import ENVIRONMENT, SecretSource
from headwater.core.managed import Definition

# Between documents of a file. In YAML three hyphens at the beginning of a line are never anything else.
_MARKER = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)[ \t]*(?:#[^\n]*)?\n?", re.MULTILINE)
_PLACE = "the secrets of the connector"


class Defined(msgspec.Struct, frozen=True):
    """What files define: each connector as its text and as its configuration, in order; and what is worth a word."""

    definitions: tuple[Definition, ...]
    connectors: tuple[ConnectorConfig, ...]
    warnings: tuple[Problem, ...] = ()


class _Noting(SecretSource):
    """A source that notes which of its secrets were asked for."""

    def __init__(self, source: SecretSource) -> None:
        super().__init__({}, source.place, closed=source.closed)
        self.source = source
        self.found: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self._noted(name, self.source.get(name))

    def find(self, name: str, origin: Origin | None) -> str | None:
        return self._noted(name, self.source.find(name, origin))

    def _noted(self, name: str, value: str | None) -> str | None:
        if value is not None:
            self.found[name] = value
        return value


def define_files(paths: Sequence[Path | str], *, secrets: SecretSource | None = None) -> Defined:
    """Define every connector of files and directories. Raises InvalidConfigError with every problem of all."""
    noting = _Noting(secrets or SecretSource(os.environ, ENVIRONMENT))
    texts: dict[str, str] = {}
    loaded = load_files(paths, secrets=noting, texts=texts, here=False)
    definitions: list[Definition] = []
    for file in dict.fromkeys(config.place.file for config in loaded.connectors):
        definitions += _definitions(texts[file], file, str(Path(file).absolute()), noting, loaded)
    return _together(definitions, loaded)


def define_text(text: str, name: str = "connect.yml", *, secrets: SecretSource | None = None) -> Defined:
    """Define every connector of a text; `name` is what problems call it. Raises InvalidConfigError."""
    noting = _Noting(secrets or SecretSource(os.environ, ENVIRONMENT))
    # A mark of the byte order, which editors write, is no character of the text: places would be off by one.
    text = text.removeprefix("\ufeff")
    loaded = load_text(text, name, secrets=noting, here=False)
    return _together(_definitions(text, name, "", noting, loaded), loaded)


def load_definition(definition: Definition, *, here: bool = True) -> ConnectorConfig:
    """Return the configuration that a definition means. Raises InvalidConfigError.

    Without `here` it runs elsewhere, and the files that it names need not be on this machine.
    """
    file = definition.file or f"{definition.name}.yml"
    secrets = SecretSource(definition.secrets, _PLACE, closed=True)
    return load_text(definition.text, file, secrets=secrets, here=here).connectors[0]


def _together(definitions: Sequence[Definition], loaded: Loaded) -> Defined:
    by_name = {definition.name: definition for definition in definitions}
    return Defined(
        tuple(by_name[config.name] for config in loaded.connectors), loaded.connectors, tuple(loaded.warnings)
    )


def _definitions(text: str, name: str, file: str, noting: _Noting, loaded: Loaded) -> list[Definition]:
    """Return the definitions of a text that was loaded; `name` is what problems call it."""
    documents = split_documents(repair_misprint(text)[0])
    if len(documents) == len(loaded.connectors) == 1:
        # All that was asked for is its own.
        return [_definition(loaded.connectors[0].name, documents[0], name, file, noting.found)]
    definitions = []
    for document in documents:
        own = _Noting(noting.source)
        connectors = load_text(document, file or name, secrets=own).connectors
        definitions += [_definition(config.name, document, name, file, own.found) for config in connectors]
    return definitions


def _definition(connector: str, document: str, name: str, file: str, found: Mapping[str, str]) -> Definition:
    bare, inline = take_secrets_out(document, name)
    return Definition(connector, bare, {**found, **inline}, file)


def split_documents(text: str) -> list[str]:
    """Cut a YAML text into its documents, those left out that hold nothing but comments."""
    pieces = _MARKER.split(text.replace("\r\n", "\n"))
    return [piece for piece in pieces if any(_says(line) for line in piece.split("\n"))]


def _says(line: str) -> bool:
    bare = line.strip()
    return bool(bare) and not bare.startswith(("#", "%"))


def take_secrets_out(document: str, file: str = "connect.yml") -> tuple[str, Mapping[str, str]]:
    """Take the values out of the `secrets:` map of a document of the page's dialect. Return the rest, and the values.

    Without a value there, a secret is looked up by its name, so the rest means the same where the values are known.
    Raises InvalidConfigError where a value is written as an alias.
    """
    values: dict[str, str] = {}
    if "secrets" not in document:
        return document, values
    root = yaml.compose(document, Loader=yaml.CSafeLoader)
    cuts: list[tuple[int, int]] = []
    if isinstance(root, yaml.MappingNode):
        for key, below in root.value:
            if key.value != "secrets" or not isinstance(below, yaml.MappingNode):
                continue
            for name, value in below.value:
                if isinstance(value, yaml.ScalarNode) and value.value and (value.style or value.value not in NULLS):
                    cut = (value.start_mark.index, value.end_mark.index)
                    inside = below.start_mark.index <= cut[0] < below.end_mark.index
                    if cut in cuts or not inside or _stands_in(root, value, below):
                        message = (
                            "the value of a secret stands elsewhere in the file, from where it cannot be taken out"
                        )
                        place = name.start_mark
                        problem = Problem(file, place.line + 1, place.column + 1, f"secrets.{name.value}", message)
                        raise InvalidConfigError([msgspec.structs.replace(problem, suggestion="write it here")])
                    values[name.value] = value.value
                    cuts.append(cut)
    for start, end in reversed(cuts):
        # The mark behind a block stands at the next key: the line break before it stays.
        kept = "\n" if document[start:end].endswith("\n") else ""
        document = f"{document[:start]}~{kept}{document[end:]}"
    return document, values


def _stands_in(node: yaml.Node, wanted: yaml.Node, without: yaml.Node) -> bool:
    """Return whether a node is in a tree, where an alias leads to it, with a part of the tree left out."""
    if node is without:
        return False
    if isinstance(node, yaml.MappingNode):
        return any(_stands_in(it, wanted, without) for pair in node.value for it in pair)
    if isinstance(node, yaml.SequenceNode):
        return any(_stands_in(it, wanted, without) for it in node.value)
    return node is wanted
