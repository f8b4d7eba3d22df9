"""Owns the transform of JSON that Jolt's specifications describe: shift, default and remove.

A specification is read once into rules; applying them to a document neither recurses deeper than the document nor
changes what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from headwater.core.record import Record
from headwater.transforms.python import smartmodule

_DEEPEST = 200
_REFERENCE = re.compile(r"&(?:\((\d+)(?:,\s*(\d+))?\)|(\d+))?")
_ABSENT = object()


class Jolt:
    """The operations of a specification, one or a list, in their order. Raises ValueError for one that is wrong."""

    def __init__(self, text: str) -> None:
        try:
            given = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(f"it is not JSON: {error}") from error
        operations = given if isinstance(given, list) else [given]
        self._steps = [_step(operation, place) for place, operation in enumerate(operations, start=1)]

    def __call__(self, document: Any) -> Any:
        """Return what the operations make of a document."""
        for step in self._steps:
            document = step(document)
        return document


@smartmodule
def jolt(record: Record, *, spec: Jolt) -> Record:
    """Restructure a JSON value as a Jolt specification says. The key stays."""
    return Record(msgspec.json.encode(spec(msgspec.json.decode(record.value))), record.key)


def _step(operation: Any, place: int) -> Any:
    if not isinstance(operation, dict) or "operation" not in operation:
        raise ValueError(f"operation {place} is not a map with the keys operation and spec")
    kinds = {"shift": Shift, "default": Default, "remove": Remove}
    name = operation["operation"]
    if name not in kinds:
        raise ValueError(f"operation {place} is {name!r}; there are {', '.join(kinds)}")
    spec = operation.get("spec")
    if not isinstance(spec, dict):
        raise ValueError(f"operation {place} ({name}) has no map `spec`")
    _check_depth(spec, place)
    return kinds[name](spec)


def _check_depth(spec: Any, place: int, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"operation {place} is nested more than {_DEEPEST} deep")
    if isinstance(spec, dict | list):
        for value in spec.values() if isinstance(spec, dict) else spec:
            _check_depth(value, place, depth + 1)


class _Level:
    """One step down a document: the key that was matched and what its wildcards stood for."""

    __slots__ = ("captures", "hits", "value")

    def __init__(self, captures: Sequence[str], value: Any) -> None:
        self.captures = captures
        self.value = value
        # How many keys below have matched each rule, for `#` and for arrays.
        self.hits = 0


class _Pattern:
    """The left side of a rule: names, wildcards or references to levels above."""

    def __init__(self, text: str) -> None:
        self.text = text
        alternatives = _split(text, "|")
        self.literals = [_unescaped(it) for it in alternatives if "*" not in it and not it.startswith("&")]
        self.references = [it for it in alternatives if it.startswith("&")]
        self.wildcards = [
            re.compile("(.*?)".join(re.escape(part) for part in it.split("*")), re.DOTALL)
            for it in alternatives
            if "*" in it
        ]

    @property
    def rank(self) -> tuple[int, int]:
        """Names before references before wildcards, the longest wildcard first and `*` last."""
        return (2, -len(self.text)) if self.wildcards else (1, 0) if self.references else (0, 0)

    def match(self, key: str, levels: Sequence[_Level]) -> list[str] | None:
        """Return the key and what its wildcards stand for, None when it does not match."""
        if key in self.literals:
            return [key]
        if any(_resolved(reference, levels) == key for reference in self.references):
            return [key]
        for wildcard in self.wildcards:
            found = wildcard.fullmatch(key)
            if found is not None:
                return [key, *found.groups()]
        return None


class Shift:
    """Copies values to other places. What no rule names is left behind."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._rules = _Rules(spec)

    def __call__(self, document: Any) -> Any:
        """Return the new document; null when no rule matched anything."""
        output = _Output()
        self._rules.apply(document, [_Level(["root"], document)], output)
        return output.document()


class _Rules:
    """The rules of one level of a shift."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._special: list[tuple[str, Any]] = []
        rules = []
        for key, value in spec.items():
            target: Any = _Rules(value) if isinstance(value, dict) else _targets(value, key)
            if key[:1] in {"@", "$", "#"}:
                if isinstance(target, _Rules) and key[:1] != "@":
                    raise ValueError(f"{key!r} needs a path, not a map")
                self._special.append((key, target))
            else:
                rules.append((_Pattern(key), target))
        self._rules = sorted(rules, key=lambda rule: rule[0].rank)

    def apply(self, value: Any, levels: list[_Level], output: _Output) -> None:
        """Match a value's members, the last of `levels` being the value itself."""
        for key, target in self._special:
            # Such a key is a level of its own, with the names of the one that it stands in.
            value_of = _special(key, levels)
            below = [*levels, _Level(levels[-1].captures, value)]
            _put(target, value_of, below, output)
        for key, member in _members(value):
            for pattern, target in self._rules:
                captures = pattern.match(key, levels)
                if captures is not None:
                    level = _Level(captures, member)
                    _put(target, member, [*levels, level], output)
                    levels[-1].hits += 1
                    break
        if not isinstance(value, dict | list) and isinstance(value, str | int | float | bool):
            # A rule may name a value of a leaf: {"flag": {"true": "on"}}.
            self._apply_to_leaf(value, levels, output)

    def _apply_to_leaf(self, value: Any, levels: list[_Level], output: _Output) -> None:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for pattern, target in self._rules:
            captures = pattern.match(text, levels)
            if captures is not None:
                # Below the value of a leaf there is nothing but `@` and `$`.
                _put(target, None, [*levels, _Level(captures, None)], output)
                return


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield str(index), member


def _put(target: Any, value: Any, levels: list[_Level], output: _Output) -> None:
    if value is _ABSENT:
        return
    if isinstance(target, _Rules):
        target.apply(value, levels, output)
        return
    for path in target:
        output.put(_steps(path, levels), value)


def _targets(value: Any, key: str) -> list[list[str]]:
    """Read the right side of a rule: a path, several, or null for nowhere."""
    if value is None:
        return []
    paths = value if isinstance(value, list) else [value]
    if not all(isinstance(path, str) for path in paths):
        raise ValueError(f"{key!r} must have a path, a list of paths or a map")
    return [_path(path) for path in paths]


def _path(path: str) -> list[str]:
    """Cut `a.b[0].&` into the steps `a`, `b`, `[0]`, `&`."""
    steps = []
    for part in _split(path, "."):
        name, *indexes = re.split(r"(?=(?<!\\)\[)", part)
        if name:
            steps.append(name)
        steps += indexes
    for step in steps:
        if step.startswith("[") and not step.endswith("]"):
            raise ValueError(f"the path {path!r} has a [ without its ]")
    return steps


def _special(key: str, levels: Sequence[_Level]) -> Any:
    """Return the value that `@`, `@(2,a.b)`, `$`, `$1` or `#text` on the left side stands for."""
    if key.startswith("#"):
        return key[1:]
    if key.startswith("$"):
        return _resolved(f"&{key[1:]}", levels)
    return _looked_up(key, levels)


def _looked_up(reference: str, levels: Sequence[_Level]) -> Any:
    inner = reference[1:].strip("()")
    up, _, path = inner.partition(",") if inner[:1].isdigit() else ("0", "", inner)
    if int(up) >= len(levels):
        return _ABSENT
    value = levels[-1 - int(up)].value
    for step in _split(path.strip(), ".") if path else ():
        if step.startswith("&"):
            step = _resolved(step, levels)  # noqa: PLW2901 - the step that it stands for
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _ABSENT
    return value


def _resolved(text: str, levels: Sequence[_Level]) -> str:
    """Replace `&`, `&1`, `&(1,2)` in a text by the keys of levels above."""

    def replace(found: re.Match[str]) -> str:
        up = int(found[1] or found[3] or 0)
        capture = int(found[2] or 0)
        if up >= len(levels) or capture >= len(levels[-1 - up].captures):
            raise ValueError(f"{found[0]} leads out of the document")
        return levels[-1 - up].captures[capture]

    return _REFERENCE.sub(replace, text)


def _steps(path: list[str], levels: Sequence[_Level]) -> list[str | int | None]:
    """Return the keys, indexes and appends (None) that a path means here."""
    steps: list[str | int | None] = []
    for step in path:
        if step == "[]":
            steps.append(None)
        elif step.startswith("["):
            inner = step[1:-1]
            if inner.startswith("#"):
                steps.append(levels[-1 - int(inner[1:] or 0) - 1].hits if len(levels) > 1 else 0)
            else:
                resolved = _resolved(inner, levels)
                if not resolved.isdecimal() or int(resolved) > 100_000:
                    raise ValueError(f"{resolved!r} is no index")
                steps.append(int(resolved))
        elif step.startswith("@"):
            value = _looked_up(step, levels)
            if not isinstance(value, str | int):
                raise ValueError(f"{step} does not lead to a name")
            steps.append(str(value))
        else:
            steps.append(_unescaped(_resolved(step, levels)))
    return steps


class _Output:
    """A document in the making. A second value at one place makes an array of the two."""

    def __init__(self) -> None:
        self._root: list[Any] = [_ABSENT]

    def put(self, steps: Sequence[str | int | None], value: Any) -> None:
        holder: Any = self._root
        key: Any = 0
        for step in steps:
            below = holder[key] if isinstance(holder, list) else holder.get(key, _ABSENT)
            wanted = dict if isinstance(step, str) else list
            if below is _ABSENT or (below is None and wanted is list):
                below = wanted()
                holder[key] = below
            if not isinstance(below, wanted):
                raise ValueError(f"there is another kind of value above {step!r}")
            if isinstance(below, list):
                index = len(below) if step is None else int(step)
                below += [None] * (index + 1 - len(below))
                below[index] = _ABSENT if below[index] is None else below[index]
                step = index  # noqa: PLW2901 - the place that it stands for
            holder, key = below, step
        there = holder[key] if isinstance(holder, list) else holder.get(key, _ABSENT)
        if there is _ABSENT:
            holder[key] = value
        elif isinstance(there, _Several):
            there.append(value)
        else:
            holder[key] = _Several((there, value))

    def document(self) -> Any:
        return None if self._root[0] is _ABSENT else self._root[0]


class _Several(list[Any]):
    """The values that were put at one place."""


class Default:
    """Puts values where there are none. A null is a value, as in Fluvio."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec

    def __call__(self, document: Any) -> Any:
        """Return the document with the values put in."""
        return _defaulted({} if document is None else document, self._spec)


def _defaulted(document: Any, spec: dict[str, Any]) -> Any:
    if not isinstance(document, dict | list):
        return document
    made: Any = document.copy()
    for key, value in spec.items():
        name = key.removesuffix("[]")
        if "*" in name or "|" in name:
            pattern = _Pattern(name)
            for known, member in list(_members(made)):
                if pattern.match(known, ()) is not None and isinstance(value, dict):
                    made[_place(made, known)] = _defaulted(member, value)
            continue
        place = _place(made, name)
        if place is None:
            continue
        if isinstance(made, dict):
            there = made.get(place, _ABSENT)
        else:
            there = made[place] if place < len(made) else _ABSENT
            made += [None] * (place + 1 - len(made))
        if isinstance(value, dict):
            made[place] = _defaulted(_empty(value, key) if there is _ABSENT else there, value)
        elif there is _ABSENT:
            made[place] = value
    return made


def _empty(value: dict[str, Any], key: str) -> Any:
    return [None] * (max((int(it) for it in value if it.isdecimal()), default=-1) + 1) if key.endswith("[]") else {}


def _place(holder: Any, key: str) -> Any:
    """Return a key as its holder takes it: a name, or an index that is not absurd."""
    if isinstance(holder, dict):
        return key
    return int(key) if key.isdecimal() and int(key) <= 100_000 else None


class Remove:
    """Takes members away."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._rules = [(_Pattern(key), value) for key, value in spec.items()]
        self._below = {
            id(pattern): Remove(value) if isinstance(value, dict) else None for pattern, value in self._rules
        }

    def __call__(self, document: Any) -> Any:
        """Return the document without what the rules name."""
        if not isinstance(document, dict | list):
            return document
        kept: dict[str, Any] = {}
        for key, member in _members(document):
            for pattern, _ in self._rules:
                if pattern.match(key, ()) is not None:
                    below = self._below[id(pattern)]
                    if below is not None:
                        kept[key] = below(member)
                    break
            else:
                kept[key] = member
        return kept if isinstance(document, dict) else list(kept.values())


def _split(text: str, mark: str) -> list[str]:
    """Split at a mark that is neither escaped nor inside brackets."""
    parts, depth, part, escaped = [], 0, "", False
    for letter in text:
        if letter == mark and not escaped and not depth:
            parts.append(part)
            part = ""
        else:
            part += letter
            depth += {"(": 1, ")": -1}.get(letter, 0) if not escaped else 0
        escaped = letter == "\\" and not escaped
    if part or parts:
        parts.append(part)
    return parts


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
