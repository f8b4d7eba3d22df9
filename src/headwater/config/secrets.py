"""Owns `${{ secrets.NAME }}`: finding the values, and putting them into scalars that are parsed already.

A secret can therefore never become YAML of its own, and every place it went to is known. Expressions that have a value
only when a request is made stay where they are, marked as what the configuration itself says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from headwater.config.document import Node
from headwater.config.origin import MOST_BYTES, Origin, obtain
from headwater.config.problem import Problem, nearest
from headwater.core.errors import ConfigError
from headwater.core.expression import SPACES, ExpressionError, evaluate, parse_expression, text_of
from headwater.core.secret import MASK, Text
from headwater.core.template import EXPRESSION

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENVIRONMENT = "the environment"
# Secrets have their values when the configuration is read, everything else when a request is made.
_SPACES = {"secrets": None, **SPACES}


class SecretSource:
    """Where the values of secrets are looked up: a file of NAME=VALUE lines, a directory, or the environment.

    With `closed` there is nothing but `values`: whatever a text says, no file is read for it and no command run.
    """

    def __init__(self, values: Mapping[str, str], place: str, *, closed: bool = False) -> None:
        self._values = values
        self.place = place
        self.closed = closed
        # A command that several connectors name runs once for all that are loaded together.
        self._obtained: dict[Origin, str | ConfigError] = {}

    def get(self, name: str) -> str | None:
        """Return the value of a secret, None when it is not there."""
        return self._values.get(name)

    def find(self, name: str, origin: Origin | None) -> str | None:
        """Return the value of a declared secret, None when it is not there. It may block for seconds.

        Where its declaration says where it comes from, that counts, unless somebody gave the value for this run.
        Raises ConfigError when it cannot be had from there.
        """
        if origin is None or self.closed or self.place != ENVIRONMENT:
            value = self.get(name)
            if value is not None or origin is None or self.closed:
                return value
        found = self._obtained.get(origin)
        if found is None:
            known = [it for it in self._obtained.values() if isinstance(it, str)]
            known += () if self.place == ENVIRONMENT else self._values.values()
            try:
                found = obtain(origin, known)
            except ConfigError as error:
                found = error
            self._obtained[origin] = found
        if isinstance(found, ConfigError):
            raise found
        return found

    def __repr__(self) -> str:
        return f"SecretSource({self.place!r})"


def secret_source(path: Path | None) -> SecretSource:
    """Return the source for `--secrets PATH`, or the environment without one. Raises ConfigError.

    In a directory every file is a secret of its name, taken as it is: so Kubernetes mounts them.
    """
    if path is None:
        return SecretSource(os.environ, ENVIRONMENT)
    if path.is_dir():
        return SecretSource(_read_directory(path), str(path))
    try:
        data = path.read_bytes()[:MOST_BYTES]
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"--secrets {path}: {error.strerror}", hint="name a file of NAME=VALUE lines") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--secrets {path}: not UTF-8 text", hint="name a file of NAME=VALUE lines") from error
    return SecretSource(parse_secrets(text), str(path))


def _read_directory(path: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        for file in sorted(path.iterdir()):
            if NAME.fullmatch(file.name) and file.is_file():
                with file.open("rb") as opened:
                    values[file.name] = opened.read(MOST_BYTES).decode()
    except OSError as error:
        hint = "name a directory that is readable, with a file for each secret"
        raise ConfigError(f"--secrets {error.filename or path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--secrets {path}: not UTF-8 text", hint="each file is the value of a secret") from error
    return values


def parse_secrets(text: str) -> dict[str, str]:
    """Read NAME=VALUE lines: trimmed, the first of a name counts, a value may hold `=`; `#` begins a comment line."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.lstrip().startswith("#"):
            values.setdefault(name.strip(), value.strip())
    return values


def insert(root: Node, known: Mapping[str, str], file: str) -> list[Problem]:
    """Replace every text with an expression below `root` by a Text with the secrets' values. Return what is wrong."""
    problems = []
    for scalar in root.scalars():
        text = scalar.value
        if not isinstance(text, str):
            continue
        if "${%" in text or "${#" in text:
            problems.append(
                scalar.problem(file, "blocks and comments of templates are not supported", "use ${{ secrets.NAME }}")
            )
        elif "${{" in text:
            problems += _insert_one(scalar, text, known, file)
    return problems


def _insert_one(scalar: Node, text: str, known: Mapping[str, str], file: str) -> list[Problem]:
    problems: list[Problem] = []
    real: list[str] = []
    shown: list[str] = []
    used: list[str] = []
    spans: list[tuple[int, int]] = []
    position = length = 0
    for found in EXPRESSION.finditer(text):
        before = text[position : found.start()]
        position = found.end()
        try:
            expression = parse_expression(found[1], _SPACES)
        except ExpressionError as error:
            problems.append(_unknown(scalar, found, error, file))
            continue
        value = found[0]
        if expression.space != "secrets":
            spans.append((length + len(before), length + len(before) + len(value)))
            mask = value
        elif (name := expression.name) not in known and not expression.has_default:
            near = nearest(name, list(known)) or "declare it under secrets"
            problems.append(scalar.problem(file, f"there is no secret {name!r}", near))
            continue
        else:
            secret = known.get(name)
            value, mask = text_of(evaluate(expression, {"secrets": {name: secret}})), MASK
            used += [part for part in (secret, value) if part]
        real += (before, value)
        shown += (before, mask)
        length += len(before) + len(value)
    if text.count("${{") > len(EXPRESSION.findall(text)):
        problems.append(scalar.problem(file, "${{ is not closed by }}"))
    if not problems:
        scalar.value = Text(
            "".join([*real, text[position:]]),
            "".join([*shown, text[position:]]),
            tuple(dict.fromkeys(used)),
            tuple(spans),
        )
    return problems


def _unknown(scalar: Node, found: re.Match[str], error: ExpressionError, file: str) -> Problem:
    """Return what is wrong with an expression; one that is like none of ours is told what is most wanted."""
    space = re.match(r"\s*(\w*)", found[1])
    if space is None or space[1] not in _SPACES:
        near = nearest(space[1], list(_SPACES)) if space else ""
        if space and space[1] in {"now", "today"}:
            near = "use ${{ scheduled }}, which is the same for all requests of a round, whatever comes between"
        message = f"{found[0]} is not an expression that is known here"
        return scalar.problem(file, message, near or "use ${{ secrets.NAME }}")
    return scalar.problem(file, f"{found[0]}: {error}", error.suggestion)


def resolve_objects(node: Node, known: Mapping[str, str], file: str) -> list[Problem]:
    """Replace Fluvio's `{secret: {name: NAME}}` objects below `node` by a Text. Return what is wrong."""
    problems: list[Problem] = []
    children = (
        node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    )
    for child in children:
        inner = child.child("secret")
        if inner is None or len(child.value) != 1:
            problems += resolve_objects(child, known, file)
            continue
        name = inner.child("name")
        if name is None or not isinstance(name.value, str):
            problems.append(inner.problem(file, "expected the name of a secret", "write {secret: {name: MY_SECRET}}"))
            child.value = ""
        elif name.value not in known:
            near = nearest(name.value, list(known)) or "declare it under secrets"
            problems.append(name.problem(file, f"there is no secret {name.value!r}", near))
            child.value = ""
        else:
            value = known[name.value]
            child.value = Text(value, MASK, (value,) if value else ())
    return problems
