"""Owns YAML: text in, plain values with the position of each out. Knows no option and no dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from headwater.config.problem import Problem
from headwater.core.secret import Text

# More than any connector needs, and little enough that a hostile file costs nothing (characters; levels; nodes).
MOST_CHARACTERS = 64 * 1024 * 1024
_MOST_DEPTH = 32
_MOST_NODES = 100_000

# YAML 1.2's core types. 1.1, which PyYAML speaks, would read `no` as false and `1:30` as ninety.
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Node:
    """A value of a file with its place. `value` is a scalar, a list of nodes, or a dict of nodes by key.

    `line` and `column` are those of the key, or of the value in a list, from 1. `path` is how the user would name it.
    """

    __slots__ = ("column", "line", "path", "value")

    def __init__(self, value: Any, line: int, column: int, path: str) -> None:
        self.value = value
        self.line = line
        self.column = column
        self.path = path

    def child(self, key: str) -> Node | None:
        """Return the node of a key, None when this is no mapping or has none."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def plain(self) -> Any:
        """Return the value without places: dicts, lists, scalars, and Text where a secret went in."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def scalars(self) -> Iterator[Node]:
        """Yield every scalar below this node, or itself."""
        if isinstance(self.value, dict):
            for node in self.value.values():
                yield from node.scalars()
        elif isinstance(self.value, list):
            for node in self.value:
                yield from node.scalars()
        else:
            yield self

    def problem(self, file: str, message: str, suggestion: str = "", *, warning: bool = False) -> Problem:
        """Return a problem in this place."""
        return Problem(file, self.line, self.column, self.path, message, suggestion, warning)


def kind_of(value: object) -> str:
    """Return the kind of a value in words: a text, a number, a list, ..."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    for types, word in (((int, float), "a number"), ((str, Text), "a text"), ((list,), "a list"), ((dict,), "a map")):
        if isinstance(value, types):
            return word
    return type(value).__name__


def read_documents(text: str, file: str, inserted: tuple[int, ...] = ()) -> tuple[list[Node], list[Problem]]:
    """Read every document of a YAML text. Return their roots, empty documents left out, and what is wrong.

    `inserted` names lines of `text`, counted from 1, that are not in the user's file: places leave them out.
    """
    if len(text) > MOST_CHARACTERS:
        return [], [Problem(file, 0, 0, "", f"the file has more than {MOST_CHARACTERS} characters")]
    reading = _Reading(file, inserted)
    roots = []
    try:
        for composed in yaml.compose_all(text, Loader=_Loader):
            if composed is not None:
                root = reading.document(composed)
                if root.value is not None:
                    roots.append(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        line, column = (reading.line(mark.line), mark.column + 1) if mark else (0, 0)
        reading.problems.append(Problem(file, line, column, "", f"this is not YAML: {said}"))
    except UnicodeEncodeError as error:
        reading.problems.append(Problem(file, 0, 0, "", f"this is not UTF-8 text (character {error.start})"))
    except yaml.reader.ReaderError as error:
        reading.problems.append(Problem(file, 0, 0, "", f"this is not YAML: {error.reason}"))
    except _TooMuchError as error:
        reading.problems.append(Problem(file, 0, 0, "", str(error)))
    return roots, reading.problems


def read_plain(text: str) -> Any:
    """Read one YAML document that is none of ours as plain values, YAML 1.2's types. Raises ValueError.

    It may be larger than a connector: aliases are the same value again, so that they cost nothing.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"the text has more than {MOST_CHARACTERS} characters")
    try:
        composed = yaml.compose(text, Loader=_LargeLoader)
        return None if composed is None else _plain(composed, {})
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ValueError("the text is neither JSON nor YAML") from error
    except _TooMuchError as error:
        raise ValueError(str(error)) from error


def _plain(composed: yaml.Node, known: dict[int, Any]) -> Any:
    if id(composed) in known:
        return known[id(composed)]
    if isinstance(composed, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        known[id(composed)] = mapping
        for key, value in composed.value:
            if isinstance(key, yaml.ScalarNode):
                mapping[key.value] = _plain(value, known)
        return mapping
    if isinstance(composed, yaml.SequenceNode):
        items: list[Any] = []
        known[id(composed)] = items
        items += [_plain(item, known) for item in composed.value]
        return items
    assert isinstance(composed, yaml.ScalarNode)
    return _scalar(composed)


class _TooMuchError(Exception):
    """The file passes a bound."""

    def __init__(self) -> None:
        super().__init__(f"a document has more than {_MOST_NODES} values, or more than {_MOST_DEPTH} levels")


class _Loader(yaml.CSafeLoader):
    """Composes within the bounds: each level takes a piece of the stack, and without any left the process is gone."""

    _depth = 0
    _nodes = 0
    # Keys are nodes as well.
    most_nodes = 2 * _MOST_NODES
    most_depth = _MOST_DEPTH

    def descend_resolver(self, *_: object) -> None:
        """Count a node below the one before, or the root of a document. Nothing is resolved by its path."""
        self._nodes = self._nodes + 1 if self._depth else 0
        self._depth += 1
        if self._nodes > self.most_nodes or self._depth > self.most_depth + 1:
            raise _TooMuchError

    def ascend_resolver(self) -> None:
        """Leave the node that was entered last."""
        self._depth -= 1


class _LargeLoader(_Loader):
    """Composes documents that are none of ours: those of large APIs have a million values."""

    most_nodes = 50 * _MOST_NODES
    most_depth = 100


class _Reading:
    """Turns composed YAML into nodes, within bounds, gathering what is wrong."""

    def __init__(self, file: str, inserted: tuple[int, ...]) -> None:
        self.file = file
        self._inserted = inserted
        self.problems: list[Problem] = []
        self._nodes = 0

    def line(self, index: int) -> int:
        """Turn a line of the text, counted from 0, into one of the user's file, counted from 1."""
        return index + 1 - sum(1 for line in self._inserted if line <= index + 1)

    def document(self, composed: yaml.Node) -> Node:
        """Read one document; the bound on values is each one's own, for a file may hold thousands of connectors."""
        self._nodes = 0
        return self.node(composed, "", 0)

    def node(self, composed: yaml.Node, path: str, depth: int, place: yaml.Node | None = None) -> Node:
        # Aliases come as the same node again: counting every visit bounds what they can unfold to.
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _MOST_DEPTH:
            raise _TooMuchError
        mark = (place or composed).start_mark
        line, column = self.line(mark.line), mark.column + 1
        if isinstance(composed, yaml.MappingNode):
            return Node(self._mapping(composed, path, depth), line, column, path)
        if isinstance(composed, yaml.SequenceNode):
            items = [self.node(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(composed.value)]
            return Node(items, line, column, path)
        assert isinstance(composed, yaml.ScalarNode)
        return Node(_scalar(composed), line, column, path)

    def _mapping(self, composed: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        mapping: dict[str, Node] = {}
        for key, value in composed.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            below = f"{path}.{name}" if path else name
            node = self.node(value, below, depth + 1, place=key)
            if not name:
                self.problems.append(node.problem(self.file, "this key is not a plain text"))
            elif name in mapping:
                first = mapping[name]
                self.problems.append(node.problem(self.file, f"this key is there already, in line {first.line}"))
            else:
                mapping[name] = node
        return mapping


def _scalar(composed: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = composed.value
    if composed.style:  # quoted or a block; plain scalars have none
        return text
    if text in NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) < 20:
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in {"0x", "0o"} else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
