"""Owns the two dialects of connect.yml: each becomes one tree of nodes in the shape of the model, places kept. Pure.

The page's: `name, type, topic, parameters, ...` at the root. Today's: `apiVersion, meta, http, transforms`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from headwater.config.document import Node, kind_of
from headwater.config.http import HttpOptions
from headwater.config.model import CHAIN_OPTIONS
from headwater.config.problem import Problem, nearest

_PAGE_KEYS = (
    "api_version",
    "name",
    "type",
    "version",
    "connector_version",
    "topic",
    "create_topic",
    "direction",
    "parameters",
    "secrets",
    "producer",
    "consumer",
    "transforms",
)
_TODAY_KEYS = ("apiVersion", "meta", "http", "transforms")
_META_KEYS = ("name", "type", "topic", "create_topic", "version", "producer", "consumer", "secrets", "direction")
_VERSIONS = ("0.0.0", "0.1.0", "0.2.0")
# Where the settings of a 0.2.0 topic object stand in the model.
TOPIC_SETTINGS = {
    ("partition", "count"): "partitions",
    ("partition", "max_size"): "max_partition_size",
    ("partition", "replication"): "replication",
    ("partition", "ignore_rack_assignment"): "ignore_rack_assignment",
    ("retention", "time"): "retention_time",
    ("retention", "segment_size"): "segment_size",
    ("compression", "type"): "compression",
}
_MISPRINT = re.compile(r"direction:[ \t]*source[ \t]*(#.*)?")
_INDENTED_OPTION = re.compile(r"[ \t]+[A-Za-z_-]+:(\s.*)?")


class Shaped(msgspec.Struct):
    """One connector in the shape of the model. `secrets` are the declared ones, with the values that the file gives."""

    root: Node
    secrets: dict[str, Node]
    page: bool


def repair_misprint(text: str) -> tuple[str, tuple[int, ...]]:
    """Insert the `parameters:` that the page forgot to print below `direction: source`.

    Return the text, and the lines in it that were inserted, counted from 1.
    """
    lines = text.split("\n")
    repaired: list[str] = []
    inserted: list[int] = []
    for index, line in enumerate(lines):
        repaired.append(line)
        if _MISPRINT.fullmatch(line.rstrip("\r")):
            following = next((other for other in lines[index + 1 :] if other.strip()), "")
            if _INDENTED_OPTION.fullmatch(following.rstrip("\r")):
                repaired.append("parameters:")
                inserted.append(len(repaired))
    return "\n".join(repaired), tuple(inserted)


def shape(root: Node, file: str) -> tuple[Shaped | None, list[Problem]]:
    """Bring a document of either dialect into the shape of the model. Return None when it cannot be told what it is."""
    if not isinstance(root.value, dict):
        return None, [root.problem(file, f"expected a connector, got {kind_of(root.value)}", "begin with `name:`")]
    today = any(key in root.value for key in ("apiVersion", "meta", "http"))
    shaping = _Shaping(file)
    shaped = shaping.today(root) if today else shaping.page(root)
    return shaped, shaping.problems


class _Shaping:
    """Moves the nodes of one document to where the model wants them, gathering what is wrong."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def _wrong(self, node: Node, message: str, suggestion: str = "") -> None:
        self.problems.append(node.problem(self._file, message, suggestion))

    def page(self, root: Node) -> Shaped:
        keys = self._snake(root)
        self._known(keys, _PAGE_KEYS, under_parameters=True)
        tree: dict[str, Node] = {key: keys[key] for key in ("name", "type", "transforms") if key in keys}
        if version := keys.get("version") or keys.get("connector_version"):
            tree["version"] = _as_text(version)
        self._direction(keys.get("direction"))
        self._topic(root, tree, keys.get("topic"), keys.get("create_topic"))
        self._options(root, tree, keys.get("parameters"), "parameters")
        self._groups(tree, keys)
        return Shaped(Node(tree, root.line, root.column, ""), self._secret_map(keys.get("secrets")), page=True)

    def today(self, root: Node) -> Shaped:
        assert isinstance(root.value, dict)
        for key, node in root.value.items():
            if key in _TODAY_KEYS:
                continue
            if key.replace("-", "_") in _PAGE_KEYS:
                where = "http" if key == "parameters" else f"meta.{key}"
                self._wrong(node, "this key belongs to the older form, without `meta` and `http`", f"write {where}")
            elif (name := key.replace("-", "_")) in CHAIN_OPTIONS or name in HttpOptions.model_fields:
                self._wrong(node, "this option belongs under `http:`", f"indent it below `http:` as {key}")
            else:
                self._wrong(node, "unknown key", nearest(key, _TODAY_KEYS))
        version = root.child("apiVersion")
        if version is not None and str(version.value) not in _VERSIONS:
            self._wrong(version, f"expected one of {', '.join(_VERSIONS)}, got {version.value!r}")
        meta = self._mapping(root.child("meta"))
        if root.child("meta") is None:
            self._wrong(Node(None, root.line, root.column, "meta"), "it is required, with name, type and topic")
        self._known(meta, _META_KEYS)
        tree: dict[str, Node] = {key: meta[key] for key in ("name", "type") if key in meta}
        if "version" in meta:
            tree["version"] = _as_text(meta["version"])
        self._direction(meta.get("direction"))
        self._topic(root.child("meta") or root, tree, meta.get("topic"), meta.get("create_topic"))
        self._options(root, tree, root.child("http"), "http")
        self._groups(tree, meta)
        if (transforms := root.child("transforms")) is not None:
            tree["transforms"] = self._transforms(transforms)
        tree["default_interval"] = Node("10s", 0, 0, "")
        # What the model then misses, such as the name, a person has to write below `meta`.
        place = root.child("meta") or root
        return Shaped(Node(tree, place.line, place.column, "meta"), self._secret_list(meta.get("secrets")), page=False)

    def _snake(self, node: Node) -> dict[str, Node]:
        """Return a mapping with its keys in snake case; both spellings of one key are a problem."""
        assert isinstance(node.value, dict)
        keys: dict[str, Node] = {}
        for key, child in node.value.items():
            name = key.replace("-", "_")
            if name in keys:
                self._wrong(child, f"this key is there already, in line {keys[name].line}")
            keys[name] = child
        return keys

    def _mapping(self, node: Node | None) -> dict[str, Node]:
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            self._wrong(node, f"expected a map, got {kind_of(node.value)}")
            return {}
        return self._snake(node)

    def _known(self, keys: dict[str, Node], known: Sequence[str], *, under_parameters: bool = False) -> None:
        for key, node in keys.items():
            if key in known:
                continue
            if under_parameters and (key in HttpOptions.model_fields or key in CHAIN_OPTIONS):
                self._wrong(node, "this option belongs under `parameters:`", f"indent it below `parameters:` as {key}")
            else:
                self._wrong(node, "unknown key", nearest(key, known))

    def _direction(self, node: Node | None) -> None:
        if node is not None and node.value != "source":
            self._wrong(node, f"expected source, got {node.value!r}", "this connector only brings records in")

    def _topic(self, root: Node, tree: dict[str, Node], topic: Node | None, create: Node | None) -> None:
        settings: dict[str, Node] = {}
        place = topic or root
        if topic is None:
            self._wrong(Node(None, root.line, root.column, _under(root, "topic")), "it is required")
            return
        if isinstance(topic.value, dict):
            self._topic_object(topic, settings)
        else:
            settings["name"] = topic
        if create is not None:
            settings["create"] = create
        tree["topic"] = Node(settings, place.line, place.column, place.path)

    def _topic_object(self, topic: Node, settings: dict[str, Node]) -> None:
        keys = self._snake(topic)
        self._known(keys, ("version", "meta", "partition", "retention", "compression", "deduplication"))
        meta = self._mapping(keys.get("meta"))
        if "name" in meta:
            settings["name"] = meta["name"]
        else:
            self._wrong(topic, "it needs a name", "write meta: {name: ...} below it")
        for group in ("partition", "retention", "compression"):
            for key, node in self._mapping(keys.get(group)).items():
                if (target := TOPIC_SETTINGS.get((group, key))) is not None:
                    settings[target] = node
                elif (group, key) != ("partition", "maps"):
                    known = [name for where, name in TOPIC_SETTINGS if where == group]
                    self._wrong(node, "unknown key", nearest(key, known))
        if (drops := keys.get("deduplication")) is not None:
            settings["deduplication"] = self._deduplication(drops)

    def _deduplication(self, node: Node) -> Node:
        groups = {
            name: Node(self._mapping(child), child.line, child.column, child.path)
            for name, child in self._mapping(node).items()
        }
        return Node(groups, node.line, node.column, node.path)

    def _options(self, root: Node, tree: dict[str, Node], node: Node | None, section: str) -> None:
        if node is None:
            # The endpoint is what a person will have to write; the section alone would tell half of it.
            self._wrong(Node(None, root.line, root.column, f"{section}.endpoint"), "it is required")
            return
        options = self._mapping(node)
        for key in CHAIN_OPTIONS:
            if key in options:
                tree[key] = options.pop(key)
        if "retry" in options:
            retry = options["retry"]
            options["retry"] = Node(self._mapping(retry), retry.line, retry.column, retry.path)
        tree["http"] = Node(options, node.line, node.column, node.path)

    def _groups(self, tree: dict[str, Node], keys: dict[str, Node]) -> None:
        producer = keys.get("producer")
        if producer is not None:
            tree["producer"] = Node(self._mapping(producer), producer.line, producer.column, producer.path)
        if "transforms" in keys:
            tree["transforms"] = self._transforms(keys["transforms"])

    def _transforms(self, node: Node) -> Node:
        if node.value is None:
            return Node([], node.line, node.column, node.path)
        # `with` holds names of the module's own: they are left as they are.
        return node

    def _secret_map(self, node: Node | None) -> dict[str, Node]:
        return self._mapping(node) if node is None or not isinstance(node.value, list) else self._secret_list(node)

    def _secret_list(self, node: Node | None) -> dict[str, Node]:
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, list):
            self._wrong(node, f"expected a list of names, got {kind_of(node.value)}", "write - name: MY_SECRET")
            return {}
        secrets: dict[str, Node] = {}
        for item in node.value:
            name = item.child("name")
            if name is None or not isinstance(name.value, str):
                self._wrong(item, "expected `name: MY_SECRET`")
            else:
                # Whatever else it says is where it comes from.
                rest = {key: child for key, child in item.value.items() if key != "name"}
                secrets[name.value] = Node(rest or None, name.line, name.column, name.path)
        return secrets


def _as_text(node: Node) -> Node:
    """Return the node of a version, which YAML may have read as a number."""
    return Node(None if node.value is None else str(node.value), node.line, node.column, node.path)


def _under(node: Node, key: str) -> str:
    return f"{node.path}.{key}" if node.path else key
