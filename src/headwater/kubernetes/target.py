"""Owns how people name a Kubernetes cluster: `kubernetes[:CONTEXT[/NAMESPACE]]` as a profile, and shorter as a target.

Pure: which contexts there are comes from outside.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

KIND: Final = "kubernetes"
TARGET_HELP: Final = "kubernetes, or kubernetes:NAMESPACE, manages connectors in the cluster of the current kubeconfig"
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Whereabouts(msgspec.Struct, frozen=True):
    """Which cluster is meant, and where in it. None is whatever the kubeconfig says."""

    context: str | None = None
    namespace: str | None = None


def is_kubernetes(text: str) -> bool:
    """Return whether a profile or a target is one of Kubernetes; Fluvio's of that name is `fluvio:kubernetes`."""
    return text == KIND or text.startswith(f"{KIND}:")


def parse_profile(text: str, contexts: Collection[str] = ()) -> Whereabouts:
    """Read `kubernetes[:CONTEXT[/NAMESPACE]]`. Raises ValueError.

    The names of contexts may have slashes themselves: what is one of `contexts` as a whole is that one, else the last
    slash parts them; one at the end stands before no namespace.
    """
    rest = _rest(text)
    if rest is None:
        return Whereabouts()
    if rest in contexts:
        return Whereabouts(rest)
    context, slash, namespace = rest.rpartition("/")
    if not slash:
        return Whereabouts(rest)
    return Whereabouts(context or None, check_namespace(namespace) if namespace else None)


def parse_target(text: str) -> Whereabouts:
    """Read `kubernetes[:NAMESPACE]`. Raises ValueError."""
    rest = _rest(text)
    return Whereabouts() if rest is None else Whereabouts(None, check_namespace(rest))


def _rest(text: str) -> str | None:
    if not is_kubernetes(text):
        raise ValueError(f"{text!r} does not begin with {KIND}")
    _, colon, rest = text.partition(":")
    if colon and not rest:
        raise ValueError(f"{text!r} names nothing behind its colon; write {KIND} for the current context")
    return rest if colon else None


def check_namespace(name: str) -> str:
    """Return the name of a namespace. Raises ValueError unless it may be one."""
    if not _NAMESPACE.fullmatch(name):
        raise ValueError(f"{name!r} is no namespace; use lower-case letters, digits and inner hyphens, at most 63")
    return name
