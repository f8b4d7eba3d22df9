"""Owns the store of SmartModules in a data directory: which there are, and their code. Runs none of them.

One JSON file for each, beside the code under its hash. Every file is complete from the moment it can be seen, so the
store can be changed while connectors run.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from headwater.core.disk import replace_file
from headwater.core.errors import SmartModuleError

_WORD = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?((?:[-+][0-9A-Za-z.+-]+)?)")
_LONGEST_NAME = 100


class Reference(msgspec.Struct, frozen=True):
    """How a configuration names a module: `name`, `group/name` or `group/name@version`."""

    name: str
    group: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        group = f"{self.group}/" if self.group else ""
        return f"{group}{self.name}" + (f"@{self.version}" if self.version else "")


def parse_reference(text: str) -> Reference:
    """Read the name of a module; `@10` is version 10.0.0, as in Fluvio. Raises SmartModuleError."""
    path, at, version = text.partition("@")
    group, slash, name = path.rpartition("/")
    found = _VERSION.fullmatch(version)
    for word in (name, group) if slash else (name,):
        if not _WORD.fullmatch(word) or len(word) > _LONGEST_NAME:
            raise SmartModuleError(
                f"{text!r} is no name of a SmartModule",
                hint="write name, group/name or group/name@version, in lower-case letters, digits and hyphens",
            )
    if at and found is None:
        raise SmartModuleError(f"{text!r} has no version behind the @", hint="write one such as 0.1.0, or no @")
    whole = None if found is None or not at else f"{found[1]}.{found[2] or 0}.{found[3] or 0}{found[4]}"
    return Reference(name, group if slash else None, whole)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One module of the store. `digest` is the SHA-256 of its code, `loaded` ms since the Unix epoch."""

    name: str
    digest: str
    size: int
    kind: str
    loaded: int
    group: str | None = None
    version: str | None = None
    description: str = ""
    signed_by: str = ""

    @property
    def reference(self) -> Reference:
        """What names exactly this one."""
        return Reference(self.name, self.group, self.version)


class Store:
    """The modules below a directory, which is made with the first of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def entries(self) -> list[Entry]:
        """Return all of them by name. Raises SmartModuleError for a file that is none of ours."""
        found = []
        for path in sorted(self.directory.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Entry))
            except FileNotFoundError:
                continue
            except (OSError, msgspec.DecodeError) as error:
                raise SmartModuleError(f"{path} cannot be read: {error}", hint="load the module again") from error
        return sorted(found, key=_order)

    def find(self, reference: Reference) -> Entry | None:
        """Return the module that a name means, None when there is none. Of several versions it is the newest."""
        found = [
            entry
            for entry in self.entries()
            if entry.name == reference.name
            and reference.group in {None, entry.group}
            and reference.version in {None, entry.version}
        ]
        return max(found, key=_order, default=None)

    def code(self, entry: Entry) -> bytes:
        """Return the code of a module. Raises SmartModuleError when its file is gone or damaged."""
        path = self._code_path(entry.digest)
        try:
            code = path.read_bytes()
        except OSError as error:
            raise SmartModuleError(f"{path} cannot be read: {error.strerror}", hint="load the module again") from error
        if hashlib.sha256(code).hexdigest() != entry.digest:
            raise SmartModuleError(f"{path} is damaged: its hash is another", hint="load the module again")
        return code

    def save(self, entry: Entry, code: bytes) -> None:
        """Keep a module, in the place of one with the same name, group and version. Raises SmartModuleError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            old = self._entry_path(entry.reference)
            replace_file(self._code_path(entry.digest), code)
            replace_file(old, msgspec.json.encode(entry))
        except OSError as error:
            raise SmartModuleError(f"the module cannot be kept in {self.directory}: {error.strerror}") from error
        self._sweep()

    def delete(self, reference: Reference) -> list[Entry]:
        """Delete what a name means, every version unless it has one; return what was there. Raises SmartModuleError."""
        found = [
            entry
            for entry in self.entries()
            if entry.name == reference.name
            and reference.group in {None, entry.group}
            and reference.version in {None, entry.version}
        ]
        for entry in found:
            try:
                self._entry_path(entry.reference).unlink(missing_ok=True)
            except OSError as error:
                raise SmartModuleError(f"{entry.reference} cannot be deleted: {error.strerror}") from error
        self._sweep()
        return found

    def _sweep(self) -> None:
        """Delete code that no entry names any more. What cannot be deleted is no harm."""
        with suppress(OSError, SmartModuleError):
            named = {entry.digest for entry in self.entries()}
            for path in self.directory.glob("*.wasm"):
                if path.stem not in named:
                    path.unlink(missing_ok=True)

    def _entry_path(self, reference: Reference) -> Path:
        parts = (reference.group or "", reference.name, reference.version or "")
        return self.directory / f"{'~'.join(parts)}.json"

    def _code_path(self, digest: str) -> Path:
        return self.directory / f"{digest}.wasm"


def _order(entry: Entry) -> tuple[str, str, tuple[int, ...], bool, int]:
    """Order by name, then by version: numbers as numbers, and a pre-release before what it leads to."""
    found = _VERSION.fullmatch(entry.version or "0")
    numbers = tuple(int(part or 0) for part in found.groups()[:3]) if found else ()
    return entry.name, entry.group or "", numbers, "-" not in (entry.version or ""), entry.loaded
