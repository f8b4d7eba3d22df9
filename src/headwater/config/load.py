"""Owns the way from files, texts and flags to typed connectors: the one edge where configuration is parsed.

All problems of all files come at once, each in the user's own words and place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from headwater.config.budget import over_budget
from headwater.config.dialect import Shaped, repair_misprint, shape
from headwater.config.document import MOST_CHARACTERS, Node, kind_of, read_documents
from headwater.config.expressions import check
from headwater.config.fields import Options, groups_of, is_structured, secrets_in, word_of
from headwater.config.http import HttpOptions, credentials
from headwater.config.model import CHAIN_OPTIONS, ConnectorConfig, Place, TransformOptions
from headwater.config.origin import KINDS, Origin, read_origin
from headwater.config.problem import InvalidConfigError, Problem, nearest
from headwater.config.secrets import ENVIRONMENT, NAME, SecretSource, insert, resolve_objects
from headwater.config.transport import doubts, wrong_files
from headwater.core.errors import ConfigError
from headwater.core.secret import Masker, Text

ENDINGS = (".yml", ".yaml")
# Key paths whose places are kept with a loaded connector, for what is found out only when it starts.
_PLACED = ("topic", "producer", "filter", "map", "arraymap", "dead_letter_topic", "transforms")
# The same of those below `http`.
_PLACED_BELOW = ("auth", "deduplicate", "changes", "endpoint", "stream", "format")
_LONGEST_SHOWN = 60


class Loaded(msgspec.Struct, frozen=True):
    """What was loaded, and what is worth a word without being wrong."""

    connectors: tuple[ConnectorConfig, ...]
    warnings: tuple[Problem, ...] = ()


def load_files(
    paths: Sequence[Path | str],
    *,
    secrets: SecretSource | None = None,
    overrides: Mapping[str, str] | None = None,
    texts: MutableMapping[str, str] | None = None,
    here: bool = True,
) -> Loaded:
    """Load every connector of files and of directories of `*.yml` and `*.yaml` files, sorted by name.

    `overrides` are options that win over the files' (`interval`, `retry.attempts`, `topic`, `name`). `texts` gets what
    was read of each file. Without `here` the connectors run elsewhere, and the files that they name need not be on this
    machine. Raises InvalidConfigError with every problem of every file; then nothing is loaded.
    """
    loading = _Loading(secrets or SecretSource(os.environ, ENVIRONMENT), overrides or {}, here=here)
    for path in map(Path, paths):
        for file in _files_of(path, loading):
            text = _read(file, loading)
            if text is not None:
                loading.text(text, str(file))
                if texts is not None:
                    texts[str(file)] = text
    return loading.result()


def load_text(
    text: str,
    name: str = "connect.yml",
    *,
    secrets: SecretSource | None = None,
    overrides: Mapping[str, str] | None = None,
    here: bool = True,
) -> Loaded:
    """Load the connectors of a text; `name` is what problems call it, `here` as for files.

    Raises InvalidConfigError.
    """
    loading = _Loading(secrets or SecretSource(os.environ, ENVIRONMENT), overrides or {}, here=here)
    loading.text(text, name)
    return loading.result()


def from_options(
    *,
    name: str,
    topic: str,
    options: Mapping[str, object],
    create_topic: object = True,
    secrets: SecretSource | None = None,
    transforms: Path | None = None,
    flags: bool = False,
) -> ConnectorConfig:
    """Make one connector from options of the `http:` section, as Python or flags give them.

    `options` are named as in a file; values may be those of a file or Python's own (`timedelta`, `dict`, `tuple`).
    `transforms` is a file with a `transforms:` list. With `flags` problems name the options as flags. Raises
    InvalidConfigError.
    """

    def named(key: str) -> str:
        return f"--{key.replace('_', '-')}" if flags else key

    def node(value: object, key: str) -> Node:
        if isinstance(value, list | tuple):
            return Node([node(item, key) for item in value], 0, 0, key)
        if isinstance(value, dict):
            below = {inner: f"{key}-{inner}".replace("_", "-") if flags else f"{key}.{inner}" for inner in value}
            return Node({str(inner): node(item, below[inner]) for inner, item in value.items()}, 0, 0, key)
        return Node(value, 0, 0, key)

    tree = {
        "name": node(name, named("name")),
        "topic": Node(
            {
                "name": node(topic, "--fluvio-topic" if flags else "topic"),
                "create": node(create_topic, named("create_topic")),
            },
            0,
            0,
            "",
        ),
    }
    loading = _Loading(secrets or SecretSource(os.environ, ENVIRONMENT), {})
    if transforms is not None:
        tree["transforms"] = loading.transforms(transforms)
    names = {key: key.replace("-", "_") for key in options}
    source = "command line" if flags else "from_options"
    given = {
        names[key]: loading.structured(names[key], node(value, named(key)), source) for key, value in options.items()
    }
    for key in CHAIN_OPTIONS:
        if key in given:
            tree[key] = given.pop(key)
    tree["http"] = Node(given, 0, 0, "")
    loading.connector(Shaped(Node(tree, 0, 0, ""), {}, page=True), source)
    return loading.result().connectors[0]


def load_transforms(path: Path) -> tuple[TransformOptions, ...]:
    """Load the list `transforms:` of a file, which may hold other things beside it. Raises InvalidConfigError."""
    loading = _Loading(SecretSource(os.environ, ENVIRONMENT), {})
    tree = Node({"transforms": loading.transforms(path)}, 0, 0, "")
    loading.result()
    try:
        return _Transforms.model_validate(tree.plain()).transforms
    except ValidationError as error:
        problems = [_translate(detail, tree, str(path)) for detail in error.errors(include_url=False)]
        raise InvalidConfigError(problems) from error


class _Transforms(Options):
    """A file with nothing but transforms."""

    transforms: tuple[TransformOptions, ...]


def _files_of(path: Path, loading: _Loading) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.suffix in ENDINGS and file.is_file())
    except OSError as error:
        loading.problems.append(Problem(str(path), 0, 0, "", f"the directory cannot be read: {error.strerror}"))
        return []
    if not files:
        loading.problems.append(Problem(str(path), 0, 0, "", "the directory has no *.yml or *.yaml files"))
    return files


def _read(file: Path, loading: _Loading) -> str | None:
    try:
        with file.open("rb") as stream:
            return stream.read(MOST_CHARACTERS + 1).decode("utf-8-sig")
    except OSError as error:
        loading.problems.append(Problem(str(file), 0, 0, "", f"the file cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        loading.problems.append(Problem(str(file), 0, 0, "", f"the file is not UTF-8 text (byte {error.start})"))
    return None


class _OnDemand(Mapping[str, str]):
    """Secrets that need no declaration: whatever the source has."""

    def __init__(self, given: Mapping[str, str], source: SecretSource) -> None:
        self._given = given
        self._source = source

    def __getitem__(self, name: str) -> str:
        value = self._given.get(name)
        value = self._source.get(name) if value is None else value
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


class _Loading:
    """Gathers connectors and problems over all files."""

    def __init__(self, source: SecretSource, overrides: Mapping[str, str], *, here: bool = True) -> None:
        self.problems: list[Problem] = []
        self._here = here
        self._source = source
        self._overrides = overrides
        self._connectors: list[ConnectorConfig] = []
        self._limited: list[tuple[ConnectorConfig, Node, str]] = []
        self._names: dict[str, str] = {}

    def result(self) -> Loaded:
        """Return what was loaded. Raises InvalidConfigError when anything is wrong."""
        limited, self._limited = self._limited, []
        self.problems += over_budget(limited)
        wrong = [problem for problem in self.problems if not problem.warning]
        if wrong:
            raise InvalidConfigError(self.problems)
        return Loaded(tuple(self._connectors), tuple(self.problems))

    def text(self, text: str, file: str) -> None:
        """Load every document of a text."""
        repaired, inserted = repair_misprint(text)
        roots, problems = read_documents(repaired, file, inserted)
        self.problems += problems
        lines = repaired.split("\n")
        for count, line in enumerate(inserted):
            self.problems.append(_misprint(file, lines, line, line - 1 - count))
        if not roots and not problems:
            self.problems.append(Problem(file, 0, 0, "", "there is no connector in it", "begin with `name:`"))
        for root in roots:
            shaped, wrong = shape(root, file)
            self.problems += wrong
            if shaped is not None:
                self.connector(shaped, file)

    def transforms(self, path: Path) -> Node:
        """Return the list below `transforms:` of a file; what is wrong with the file becomes problems."""
        nothing = Node([], 0, 0, "")
        text = _read(path, self)
        if text is None:
            return nothing
        roots, problems = read_documents(text, str(path), ())
        self.problems += problems
        found = roots[0].child("transforms") if roots else None
        if found is None and not problems:
            message, hint = "there is no list `transforms:` in it", "write transforms: and below it - uses: NAME"
            self.problems.append(Problem(str(path), 0, 0, "", message, hint))
        return found or nothing

    def connector(self, shaped: Shaped, file: str) -> None:
        """Put the secrets in, make the model, and translate what it says."""
        root = shaped.root
        # First what is given beside the file: it may name secrets and expressions as well.
        self._override(root, file)
        masked = self._put_secrets_in(shaped, file)
        before = len(self.problems)
        try:
            config = ConnectorConfig.model_validate(root.plain())
        except ValidationError as error:
            told = {(problem.line, problem.key) for problem in self.problems}
            for detail in error.errors(include_url=False):
                problem = _translate(detail, root, file)
                if (problem.line, problem.key) not in told:
                    self.problems.append(problem)
            if len(self.problems) > before or before:
                return
            raise
        if not self._fit_together(config, root, file):
            return
        places, origins = _places(root, shaped.secrets)
        masked += [*secrets_in(config), *credentials(config.http)]
        config.located(Place(file, root.line, root.column, places), Masker(masked), origins)
        self._look_at_transport(config, root, file)
        self._take(config, root, file)

    def _fit_together(self, config: ConnectorConfig, root: Node, file: str) -> bool:
        """Enter what does not fit together; return whether all of it can stay."""
        found = check(config.http)
        for it in found:
            node, _ = _find(root, ("http", *it.path))
            self.problems.append(node.problem(file, it.message, it.suggestion, warning=it.warning))
        return all(it.warning for it in found)

    def _look_at_transport(self, config: ConnectorConfig, root: Node, file: str) -> None:
        for path, message, better in doubts(config):
            self.problems.append(_find(root, path)[0].problem(file, message, better, warning=True))
        if self._here:
            for path, message in wrong_files(config):
                self.problems.append(_find(root, path)[0].problem(file, message))

    def _take(self, config: ConnectorConfig, root: Node, file: str) -> None:
        name = root.child("name") or root
        here = f"{file}:{name.line}" if name.line else file
        if config.name in self._names:
            message = f"a connector named {config.name!r} is in {self._names[config.name]} already"
            self.problems.append(name.problem(file, message, "give each its own name"))
            return
        self._names[config.name] = here
        self._connectors.append(config)
        http = root.child("http")
        if config.http.limits is not None and http is not None and config.http.source == "poll":
            self._limited.append((config, http.child("limits") or http, file))

    def _put_secrets_in(self, shaped: Shaped, file: str) -> list[str]:
        given: dict[str, str] = {}
        for name, node in shaped.secrets.items():
            if not NAME.fullmatch(name):
                message = f"{name!r} is no name of a secret; use letters, digits and _"
                self.problems.append(node.problem(file, message))
                continue
            value = self._value(name, node, file)
            # Known all the same where it is not there, so that its uses are not reported as well.
            given[name] = "" if value is None else value
        known: Mapping[str, str] = _OnDemand(given, self._source) if shaped.page else given
        used: list[str] = list(given.values())
        http = shaped.root.child("http")
        if http is not None:
            self.problems += resolve_objects(http, known, file)
        self.problems += insert(shaped.root, known, file)
        for scalar in shaped.root.scalars():
            if isinstance(scalar.value, Text):
                used += scalar.value.parts
        return used

    def _value(self, name: str, node: Node, file: str) -> str | None:
        """Return the value of a declared secret; that there is none becomes a problem."""
        if isinstance(node.value, bool | int | float):
            return str(node.value)
        if isinstance(node.value, str) and node.value:
            return node.value
        origin: Origin | None = None
        if isinstance(node.value, dict):
            origin, problems = read_origin(node, file)
            self.problems += problems
            if origin is None:
                return None
            node = node.value[origin.kind]
        try:
            value = self._source.find(name, origin)
        except ConfigError as error:
            self.problems.append(node.problem(file, error.message, error.hint))
            return None
        if value is None:
            message = f"the secret {name!r} is not in {self._source.place}"
            hint = f"add a line {name}=..., or name another file with --secrets"
            if origin is not None:
                message = f"{origin.sentence()} is not looked for here, and {message}"
                hint = "it is where a connector is started from a file of one's own; give the value"
            elif self._source.place == ENVIRONMENT:
                hint = f"set the variable {name}, or name a file with --secrets"
            self.problems.append(node.problem(file, message, hint))
        return value

    def structured(self, option: str, node: Node, file: str) -> Node:
        """Read a text that stands for a list or a map, as flags and overrides have them: in YAML's flow style."""
        field = HttpOptions.model_fields.get(option)
        if field is None or not groups_of(field):
            return node
        if isinstance(node.value, dict):
            for name, inner in node.value.items():
                if any(is_structured(group, name.replace("-", "_")) for group in groups_of(field)):
                    node.value[name] = self._flow(inner, file)
            return node
        return self._flow(node, file)

    def _flow(self, node: Node, file: str) -> Node:
        if not isinstance(node.value, str):
            return node
        roots, problems = read_documents(node.value, file)
        self.problems += [node.problem(file, problem.message) for problem in problems]
        return _placed(roots[0], node) if roots else node

    def _override(self, root: Node, file: str) -> None:
        for key, value in self._overrides.items():
            path = key.replace("-", "_").split(".")
            node = Node(value, 0, 0, f"--set {key}")
            tree = root.value
            if path == ["name"]:
                tree["name"] = node
            elif path == ["topic"]:
                topic = root.child("topic")
                settings = dict(topic.value) if topic is not None and isinstance(topic.value, dict) else {}
                tree["topic"] = Node({**settings, "name": node}, 0, 0, node.path)
            elif path[0] in CHAIN_OPTIONS and len(path) == 1:
                tree[path[0]] = node
            elif path[0] not in HttpOptions.model_fields:
                known = ["name", "topic", *CHAIN_OPTIONS, *HttpOptions.model_fields]
                self.problems.append(node.problem(file, "unknown option", nearest(key, known)))
            else:
                http = root.child("http")
                options = dict(http.value) if http is not None and isinstance(http.value, dict) else {}
                if len(path) == 1:
                    options[path[0]] = self.structured(path[0], node, file)
                else:
                    group = options.get(path[0])
                    inner = dict(group.value) if group is not None and isinstance(group.value, dict) else {}
                    inner[".".join(path[1:])] = node
                    options[path[0]] = self.structured(path[0], Node(inner, 0, 0, node.path), file)
                if path[0] in {"interval", "cron"}:
                    options.pop("cron" if path[0] == "interval" else "interval", None)
                tree["http"] = Node(options, root.line, root.column, "" if http is None else http.path)


def _places(
    root: Node, secrets: Mapping[str, Node]
) -> tuple[dict[tuple[str, ...], tuple[int, int, str]], dict[str, str]]:
    """Return where the parts stand that are looked at later, and how secrets come that say so themselves."""
    places: dict[tuple[str, ...], tuple[int, int, str]] = {}
    for key in _PLACED:
        node = root.child(key)
        if node is not None:
            places[key,] = (node.line, node.column, node.path)
            for index, item in enumerate(node.value if isinstance(node.value, list) else ()):
                places[key, str(index)] = (item.line, item.column, item.path)
    http = root.child("http")
    for key in _PLACED_BELOW:
        node = None if http is None else http.child(key)
        if node is not None:
            places["http", key] = (node.line, node.column, node.path)
    origins: dict[str, str] = {}
    for name, node in secrets.items():
        places["secrets", name] = (node.line, node.column, node.path)
        if isinstance(node.value, dict):
            origins[name] = next((kind for kind in KINDS if kind in node.value), "")
    return places, origins


def _placed(read: Node, place: Node) -> Node:
    """Return what was read of an option's text, in the place of that option."""
    value: Any = read.value
    if isinstance(value, dict):
        value = {key: _placed(child, place) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_placed(child, place) for child in value]
    path = f"{place.path}.{read.path}" if read.path and not read.path.startswith("[") else f"{place.path}{read.path}"
    return Node(value, place.line, place.column, path)


def _is_secret(value: object) -> bool:
    return isinstance(value, Text) and value.secret


def _misprint(file: str, lines: list[str], inserted: int, line: int) -> Problem:
    """Return the warning for the missing `parameters:` with the corrected lines. `inserted` counts from 1."""
    shown = [lines[inserted - 2], "parameters:"]
    for following in lines[inserted:]:
        if not following[:1].isspace():
            break
        shown.append(following)
    corrected = "\n".join(f"    {text.rstrip()}" for text in shown)
    message = f"a line `parameters:` is missing below it; read as\n{corrected}\n "
    return Problem(file, line, 1, "direction", message.rstrip(), warning=True)


def _translate(detail: Mapping[str, Any], root: Node, file: str) -> Problem:
    """Turn one of pydantic's errors into a problem in the user's place and our words."""
    node, missing = _find(root, detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "union_tag_invalid":
        node = node.child(str(context["discriminator"]).strip("'")) or node
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "missing":
        path = f"{node.path}.{missing}" if node.path else missing
        return Problem(file, node.line, node.column, path, "it is required")
    if kind == "extra_forbidden":
        return node.problem(file, "unknown key", nearest(last, _known_below(detail["loc"][:-1])))
    if _is_secret(node.value):
        return node.problem(file, "the secret's value cannot be used here: it is not of the right form")
    return node.problem(file, *_sentence(kind, context, detail, node.value))


def _sentence(kind: str, context: Mapping[str, Any], detail: Mapping[str, Any], value: object) -> tuple[str, str]:
    got = f"got {_shown(value)}"
    if kind == "value_error":
        return str(context.get("error", detail["msg"])), ""
    if kind in {"literal_error", "union_tag_invalid"}:
        value = context.get("tag", value)
        expected = str(context.get("expected") or context["expected_tags"]).replace("'", "").replace(" or ", ", ")
        return f"expected one of {expected}; got {_shown(value)}", nearest(str(value), expected.split(", "))
    if kind.startswith("int_"):
        return f"expected a whole number; {got}", ""
    if kind.startswith("bool_"):
        return f"expected true or false; {got}", ""
    if kind.startswith("string_"):
        return (f"expected a text; {got}" if kind == "string_type" else "it must not be empty"), ""
    if kind == "union_tag_not_found":
        return "it needs a `type:`", ""
    bounds = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        name, words = bounds[kind]
        return f"it must be {words} {context[name]}; {got}", ""
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"expected a map; {got}", ""
    if kind in {"tuple_type", "list_type"}:
        return f"expected a list; {got}", ""
    return f"it cannot be used: {detail['msg'].lower()}; {got}", ""


def _shown(value: object) -> str:
    if isinstance(value, str | Text | bool | int | float):
        shown = repr(str(value)) if isinstance(value, str | Text) else str(value).lower()
        return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
    return kind_of(value)


def _find(root: Node, location: Sequence[str | int]) -> tuple[Node, str]:
    """Walk down a location as far as there are nodes. Return the last node, and the first step that is not there."""
    node = root
    for step in location:
        below: Node | None = None
        if isinstance(step, str):
            # Words of Python's have an underscore behind them in the model.
            below = node.child(step) or node.child(step.removesuffix("_")) or node.child(step.replace("_", "-"))
        elif isinstance(node.value, list) and step < len(node.value):
            below = node.value[step]
        if below is None:
            if (kind := node.child("type")) is not None and str(kind.value) == step:
                # The word that tells groups apart: it stands in the group, not above it.
                continue
            return node, str(step)
        node = below
    return node, ""


def _known_below(location: Sequence[str | int]) -> list[str]:
    """Return the names of the options in a group of the model."""
    models: tuple[type[Options], ...] = (ConnectorConfig,)
    for step in location:
        found = [model.model_fields[step] for model in models if step in model.model_fields]
        if not found:
            # A place in a list, a name in a map, or the word that tells groups apart.
            models = tuple(model for model in models if word_of(model) == step) or models
            continue
        models = groups_of(found[0])
        if not models:
            return []
    return [name.removesuffix("_") for model in models for name in model.model_fields]
