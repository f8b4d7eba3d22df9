"""Owns changes to the text of Fluvio's file of profiles: every other line of it stays, comments and order too. Pure.

Lines are taken out and put in, and the result is read again: where it does not mean exactly what was asked for, the
file is written in a way that these changes cannot follow, and it is not changed. (tomlkit was tried: it cannot delete
from tables that are out of order, and loses comments.)
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, TypeAlias

from headwater.core.errors import ProfileError
from headwater.profile.model import ClusterProfile, Policy, Tls
from headwater.profile.text import FluvioConfig, read_toml

Path: TypeAlias = tuple[str, ...]
Values: TypeAlias = dict[str, Any]

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_VALUE = r"""("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|true|false)"""


def switch(text: str, name: str | None, file: str) -> str:
    """Return the text with another current profile, or with none. Raises ProfileError when it is not there."""
    config = FluvioConfig.parse(text, file)
    wanted = read_toml(text, file)
    wanted.pop("current_profile", None)
    if name is not None:
        wanted["current_profile"] = config.profile(name).name
    draft = _Draft(text)
    draft.assign((), "current_profile", name)
    return _same(draft, wanted, file)


def add(text: str, profile: ClusterProfile, file: str, *, replace: bool = False) -> str:
    """Return the text with a profile and a cluster, both of the profile's name. Which one is current does not change.

    With `replace` they may be there already: their address and protection change, the rest of the cluster stays.
    Raises ProfileError.
    """
    FluvioConfig.parse(text, file)
    wanted = read_toml(text, file)
    name = profile.name
    for what in ("profile", "cluster"):
        if name in wanted.get(what, {}) and not replace:
            raise ProfileError(
                f"there is a {what} {name!r} in {file} already", hint="'--replace' gives it another address"
            )
    values: Values = {"endpoint": profile.endpoint, "use_spu_local_address": profile.use_spu_local_address}
    tls = _tls_values(profile.tls)
    draft = _Draft(text)
    if "version" not in wanted:
        wanted["version"] = "2.0"
        draft.assign((), "version", "2.0")
    for path, settings in {("profile", name): {"cluster": name}, ("cluster", name): values}.items():
        table = wanted.setdefault(path[0], {})
        if name in table:
            for key, value in settings.items():
                draft.assign(path, key, value)
        else:
            draft.append(_table(path, settings))
        table.setdefault(name, {}).update(settings)
    wanted["cluster"][name].pop("addr", None)
    wanted["cluster"][name]["tls"] = tls
    draft.assign(("cluster", name), "addr", None)
    draft.assign(("cluster", name), "tls", None)
    draft.drop(("cluster", name, "tls"))
    draft.append(_table(("cluster", name, "tls"), tls), behind=("cluster", name))
    return _same(draft, wanted, file)


def delete(text: str, name: str, file: str) -> str:
    """Return the text without a profile, and without its cluster when no other profile names it. Raises ProfileError.

    Fluvio leaves the cluster, and with it the private key, for another command to delete. When the profile was the
    current one, none is.
    """
    config = FluvioConfig.parse(text, file)
    clusters = {known: profile.cluster for known, profile in config.profiles.items()} | dict(config.dangling)
    cluster = clusters.pop(name) if name in clusters else config.profile(name).cluster
    wanted = read_toml(text, file)
    draft = _Draft(text)
    del wanted["profile"][name]
    draft.drop(("profile", name))
    if cluster not in clusters.values():
        wanted.get("cluster", {}).pop(cluster, None)
        draft.drop(("cluster", cluster))
    if config.current == name:
        del wanted["current_profile"]
        draft.assign((), "current_profile", None)
    for key in ("profile", "cluster"):
        # Fluvio reads no file that lacks one of the two.
        if not wanted.setdefault(key, {}) and draft.header((key,)) is None:
            draft.append(_table((key,), {}))
    return _same(draft, wanted, file)


class _Draft:
    """The lines of a file while they change. A table is its header and the lines down to its last value."""

    def __init__(self, text: str) -> None:
        self.lines = _LINE.findall(text)

    def headers(self) -> list[tuple[Path, int]]:
        """Return the path and the line of each header, in order; the root, which has none, is at -1."""
        found: list[tuple[Path, int]] = [((), -1)]
        first = 0
        for number, line in enumerate(self.lines):
            # Within a text or a list of several lines, what is before this line is not complete.
            if line.lstrip().startswith("[") and _is_whole(self.lines[first:number]):
                first = number
                found.append((_path(line), number))
        return found

    def header(self, path: Path) -> int | None:
        """Return the line of a table's header."""
        return next((number for found, number in self.headers() if found == path), None)

    def _span(self, path: Path) -> range:
        """Return the lines of a table without its header; what follows its last value belongs to what comes next."""
        header = self.header(path)
        if header is None:
            return range(0)
        start = header + 1
        end = next((number for _, number in self.headers() if number >= start), len(self.lines))
        last = end
        while last > start and (not self.lines[last - 1].strip() or self.lines[last - 1].lstrip().startswith("#")):
            last -= 1
        return range(start, last if _is_whole(self.lines[start:last]) else end)

    def assign(self, path: Path, key: str, value: str | bool | None) -> None:  # noqa: FBT001 - a value of TOML
        """Give a key of a table another value, or none; a new key is put behind the last one."""
        names = "|".join(map(re.escape, (key, f'"{key}"', f"'{key}'")))
        for number in self._span(path):
            line = self.lines[number]
            if value is None and re.match(rf"\s*(?:{names})\s*=", line):
                del self.lines[number]
                return
            found = re.match(rf"\s*(?:{names})\s*=\s*{_VALUE}", line)
            if value is not None and found:
                self.lines[number] = line[: found.start(1)] + _value(value) + line[found.end(1) :]
                return
        if value is not None and self.header(path) is not None:
            self._insert(self._span(path).stop, f"{key} = {_value(value)}\n")

    def drop(self, path: Path) -> None:
        """Take a table out, and those below it."""
        while below := [found for found, _ in self.headers() if found[: len(path)] == path]:
            span = self._span(below[0])
            start, end = span.start - 1, span.stop
            if start > 0 and end < len(self.lines) and not (self.lines[start - 1] + self.lines[end]).strip():
                end += 1  # two empty lines meet
            del self.lines[start:end]

    def append(self, table: str, *, behind: Path | None = None) -> None:
        """Put a table at the end, or behind another one that is there."""
        span = self._span(behind) if behind is not None else range(0)
        number = span.stop or len(self.lines)
        apart = number and self.lines[number - 1].strip()
        self._insert(number, f"\n{table}" if apart else table)

    def _insert(self, number: int, text: str) -> None:
        if number and not self.lines[number - 1].endswith("\n"):
            self.lines[number - 1] += "\n"
        self.lines[number:number] = _LINE.findall(text)


def _same(draft: _Draft, wanted: Mapping[str, Any], file: str) -> str:
    """Return the text of a draft that means what is wanted."""
    text = "".join(draft.lines)
    try:
        if tomllib.loads(text) == wanted:
            return text
    except tomllib.TOMLDecodeError:
        pass  # the same as another meaning
    raise ProfileError(
        f"{file} is written in a way that cannot be changed here without harm to the rest; it is as it was",
        hint="make the change in an editor",
    )


def _is_whole(lines: list[str]) -> bool:
    try:
        tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _path(header: str) -> Path:
    path: list[str] = []
    table: Any = tomllib.loads(header)
    while isinstance(table, dict) and table:
        name, table = next(iter(table.items()))
        path.append(name)
    return tuple(path)


def _tls_values(tls: Tls) -> Values:
    if tls.policy is not Policy.VERIFIED:
        return {"tls_policy": tls.policy.value}
    parts = {"key": tls.key, "cert": tls.cert, "ca_cert": tls.ca_cert}
    certs = {"domain": tls.domain} | {key: text.reveal() for key, text in parts.items()}
    return {"tls_policy": tls.policy.value, "tls_source": "inline" if tls.inline else "files", "certs": certs}


def _table(path: Path, values: Values) -> str:
    """Return a table and those in it as Fluvio writes them."""
    name = ".".join(key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in path)
    lines = [
        f"[{name}]\n",
        *(f"{key} = {_value(value)}\n" for key, value in values.items() if not isinstance(value, dict)),
    ]
    below = ["\n" + _table((*path, key), value) for key, value in values.items() if isinstance(value, dict)]
    return "".join(lines + below)


def _value(value: str | bool) -> str:  # noqa: FBT001 - a value of TOML
    if isinstance(value, bool):
        return "true" if value else "false"
    if "\n" in value and '"' not in value and "\\" not in value:
        return f'"""\n{value}"""'
    # What JSON escapes, TOML escapes in the same way.
    return json.dumps(value, ensure_ascii=False)
