"""Owns objects as YAML, for people and for GitOps; and what is said of a Secret that is not among them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from headwater.core.managed import Definition
from headwater.kubernetes.group.render import Group, render_group, render_member
from headwater.kubernetes.names import secret_name
from headwater.kubernetes.options import Settings
from headwater.kubernetes.render import Manifest, render


class _Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as they are, and nothing as an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(objects: Iterable[Manifest]) -> str:
    """Return objects as the documents of one YAML text."""
    return "".join(
        "---\n" + yaml.dump(it, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) for it in objects
    )


def manifest(
    definitions: Sequence[Definition], settings: Settings, *, namespace: str = "", with_secrets: bool = False
) -> str:
    """Return everything that a cluster needs to run these connectors, as YAML.

    Secrets are left out unless `with_secrets`: then comments say which are expected. Raises InvalidConfigError.
    """
    text = ""
    for definition in definitions:
        objects = render(definition, settings, namespace=namespace)
        if not with_secrets:
            objects = [it for it in objects if it["kind"] != "Secret"]
        text += (expected(definition, settings.secret) if not with_secrets or settings.secret else "") + to_yaml(
            objects
        )
    return text


def group_manifest(
    definitions: Sequence[Definition],
    group: Group,
    secret: str = "",
    *,
    namespace: str = "",
    with_secrets: bool = False,
) -> str:
    """Return everything that a cluster needs to run a group with these connectors, as YAML. See `manifest`."""
    text = to_yaml(render_group(group, namespace))
    for definition in definitions:
        objects = render_member(definition, group.name, namespace=namespace, secret=secret)
        if not with_secrets:
            objects = [it for it in objects if it["kind"] != "Secret"]
        text += (expected(definition, secret) if not with_secrets or secret else "") + to_yaml(objects)
    return text


def expected(definition: Definition, secret: str) -> str:
    """Return the comment that says which Secret with which keys a connector expects, "" when it has no secrets.

    `secret` names the one that somebody else keeps, "" for one of ours.
    """
    if not definition.secrets:
        return ""
    name = secret or secret_name(definition.name, definition.secrets)
    lines = [f"# {definition.name} expects a Secret {name} with these keys:"]
    lines += [f"#   {key}" for key in sorted(definition.secrets)]
    return "\n".join(lines) + "\n"
