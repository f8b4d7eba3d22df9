"""Owns the text of Fluvio's file of profiles (`~/.fluvio/config`): TOML in, values out. Pure; opens no file.

Version 2.0, as Fluvio's clients write it. Keys that are not known here are let be, as Fluvio lets them be.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from headwater.core.errors import ProfileError
from headwater.profile.model import (
    LOCAL,
    ClusterProfile,
    Policy,
    Tls,
    check_domain,
    check_name,
    is_pem,
    label,
    nearest,
    parse_endpoint,
    quoted,
)

Value = TypeVar("Value")

_POLICIES = {**{policy.value: policy for policy in Policy}, "disable": Policy.DISABLED, "verify": Policy.VERIFIED}
_INLINE = {"inline": True, "files": False, "file": False}
# What tomllib says of a mistake may quote the file; these words of it cannot, so that no part of a key gets out.
_PLAIN = re.compile(r"(?:Expected '..?'[A-Za-z/ ]*|[A-Za-z ]+) \(at [a-z0-9, ]+\)")
_PLACE = re.compile(r"\(at [a-z0-9, ]+\)$")
_WAY_OUT = "correct the file, or go without it: --profile local"


class FluvioConfig(msgspec.Struct, frozen=True):
    """All of a file. `dangling` are the profiles whose cluster is not there, with the name of that cluster.

    `current` may name a profile that is not there: whoever follows it asks `profile`.
    """

    file: str
    current: str | None = None
    profiles: Mapping[str, ClusterProfile] = MappingProxyType({})
    dangling: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def parse(cls, text: str, file: str) -> FluvioConfig:
        """Read the text of a file, called `file` in messages. Raises ProfileError with everything that is wrong."""
        document = read_toml(text, file)
        reader = _Reader()
        current = reader.text(document, "", "current_profile", optional=True) or None
        client_id = reader.text(document, "", "client_id", optional=True) or None
        reader.text(document, "", "version", optional=True)
        clusters = {
            name: reader.cluster(name, table, client_id) for name, table in reader.tables(document, "cluster").items()
        }
        named = {
            name: reader.text(table, f"profile.{name}", "cluster")
            for name, table in reader.tables(document, "profile").items()
        }
        if reader.problems:
            raise ProfileError("\n".join(f"{file}: {problem}" for problem in reader.problems), hint=_WAY_OUT)
        profiles = {
            name: msgspec.structs.replace(clusters[cluster], name=name)
            for name, cluster in named.items()
            if cluster in clusters
        }
        dangling = {name: cluster for name, cluster in named.items() if cluster not in clusters}
        return cls(file, current, MappingProxyType(profiles), MappingProxyType(dangling))

    @property
    def labels(self) -> tuple[str, ...]:
        """How people name the profiles of the file."""
        return tuple(map(label, (*self.profiles, *self.dangling)))

    def profile(self, name: str, *, asked: str = "") -> ClusterProfile:
        """Return a profile by its name in the file; `asked` says where the name comes from, such as ` ($VARIABLE)`.

        Raises ProfileError when there is none, or its cluster is not there.
        """
        if name in self.profiles:
            return self.profiles[name]
        if name in self.dangling:
            raise ProfileError(
                f"the profile {name!r} of {self.file} names the cluster {self.dangling[name]!r}, which is not there",
                hint=f"headwater profile add {label(name)} HOST:PORT --replace",
            )
        raise ProfileError(
            f"there is no profile {quoted(name)} in {self.file}{asked}{nearest(name, (*self.labels, LOCAL))}",
            hint="'headwater profile list' shows those there are",
        )


def read_toml(text: str, file: str) -> dict[str, Any]:
    """Return a file as plain values. Raises ProfileError with the place of the mistake, and nothing of the text."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also what int() says of a number of thousands of digits
        said = _harmless(str(error))
    except RecursionError:
        said = "it is nested too deeply"
    # Not inside `except`: the foreign error may carry the text, keys and all.
    raise ProfileError(f"{file}: not TOML: {said}", hint=_WAY_OUT)


def _harmless(said: str) -> str:
    place = _PLACE.search(said)
    if place is None:
        return "a number has too many digits"
    return said if _PLAIN.fullmatch(said) else f"what stands there may not stand there {place[0]}"


class _Reader:
    """Takes values out of TOML, and notes what is wrong with each. What is wrong reads as a harmless value."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def tables(self, document: Mapping[str, Any], key: str) -> dict[str, Mapping[str, Any]]:
        """Return the tables below a table by their names, which may be any text in TOML."""
        found: dict[str, Mapping[str, Any]] = {}
        for name, table in (self.table(document, "", key) or {}).items():
            if not self.checked(check_name, name, f"a name below {key}"):
                continue
            if isinstance(table, dict):
                found[name] = table
            else:
                self.problems.append(f"{key}.{name}: is no table; write [{key}.{name}]")
        return found

    def table(self, parent: Mapping[str, Any], path: str, key: str) -> Mapping[str, Any] | None:
        """Return a table, None when it is missing, which is no problem."""
        value = parent.get(key)
        path = f"{path}.{key}".lstrip(".")
        if value is None or isinstance(value, dict):
            return value
        self.problems.append(f"{path}: is no table; write [{path}]")
        return None

    def text(self, parent: Mapping[str, Any], path: str, key: str, *, optional: bool = False) -> str:
        """Return a text, an empty one when it may be missing and is."""
        path = f"{path}.{key}".lstrip(".")
        if key not in parent:
            if not optional:
                self.problems.append(f"{path}: is missing")
            return ""
        value = parent[key]
        if isinstance(value, str) and (value or optional):
            return value
        self.problems.append(f"{path}: is empty" if value == "" else f'{path}: is no text; write {key} = "..."')
        return ""

    def checked(self, check: Callable[[str], object], value: str, path: str) -> bool:
        """Return whether a value passes; note what its check says otherwise."""
        try:
            check(value)
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return False
        return True

    def cluster(self, name: str, table: Mapping[str, Any], client_id: str | None) -> ClusterProfile:
        """Return a cluster as a profile of its own name."""
        path = f"cluster.{name}"
        if "addr" in table and "endpoint" in table:
            self.problems.append(f"{path}: has both endpoint and addr, which mean the same; delete one")
        endpoint = self.text(table, path, "addr" if "addr" in table and "endpoint" not in table else "endpoint")
        if endpoint and self.checked(parse_endpoint, endpoint, f"{path}.endpoint"):
            endpoint = parse_endpoint(endpoint)
        spu_local = table.get("use_spu_local_address", False)
        if not isinstance(spu_local, bool):
            self.problems.append(f"{path}.use_spu_local_address: is neither true nor false")
        return ClusterProfile(name, endpoint, name, spu_local is True, self.tls(table, path), client_id)

    def tls(self, cluster: Mapping[str, Any], path: str) -> Tls:
        """Return how a cluster is protected; without a table it is not."""
        table = self.table(cluster, path, "tls")
        path += ".tls"
        if table is None:
            return Tls()
        policy = self.one_of(table, path, "tls_policy", _POLICIES)
        if policy is not Policy.VERIFIED:
            return Tls(policy or Policy.DISABLED)
        inline = self.one_of(table, path, "tls_source", _INLINE)
        if "certs" not in table:
            self.problems.append(f"{path}.certs: is missing; write [{path}.certs] with domain, key, cert and ca_cert")
            return Tls()
        certs = self.table(table, path, "certs") or {}
        path += ".certs"
        domain, key, cert, ca_cert = (self.text(certs, path, name) for name in ("domain", "key", "cert", "ca_cert"))
        if domain:
            self.checked(check_domain, domain, f"{path}.domain")
        for name, text in (("key", key), ("cert", cert), ("ca_cert", ca_cert)):
            if text and inline is not None and is_pem(text) is not inline:
                is_what, source = ("a PEM text", "inline") if is_pem(text) else ("no PEM text", "files")
                self.problems.append(f'{path}.{name}: is {is_what}; for that write tls_source = "{source}"')
        return Tls.verified(domain, key, cert, ca_cert, inline=bool(inline))

    def one_of(self, table: Mapping[str, Any], path: str, key: str, known: Mapping[str, Value]) -> Value | None:
        """Return what a word means."""
        word = self.text(table, path, key)
        if word and word not in known:
            words = ", ".join(known)
            self.problems.append(f"{path}.{key}: {quoted(word)} is none of {words}{nearest(word, tuple(known))}")
        return known.get(word)
