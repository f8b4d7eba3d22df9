"""Owns what is kept of managed connectors: one file each in the data directory, readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from headwater.core.disk import replace_file
from headwater.core.errors import ManagerError
from headwater.core.managed import Definition
from headwater.core.names import is_name

_FOLDER = "connectors"
_SUFFIX = ".json"
# What stands for a connector that was deleted, until its checkpoint is forgotten as well.
_GONE = ".gone"
# Far more than a connector needs.
_MOST_BYTES = 8 * 1024 * 1024

# What tells that a file has changed: time of the change (ns), size, inode.
Mark = tuple[int, int, int]


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a managed connector. Times are ms since the Unix epoch.

    `origin` is the file of a watched directory that it comes from, "" when somebody created it; `mark` tells whether
    the file has changed since, and `siblings` is how many connectors it had in all.
    """

    definition: Definition
    created: int
    updated: int
    paused: bool = False
    origin: str = ""
    mark: Mark = (0, 0, 0)
    siblings: int = 1


_DECODER = msgspec.json.Decoder(Kept)


class Store:
    """The kept connectors of a data directory. What cannot be written raises ManagerError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / _FOLDER

    def load(self) -> tuple[list[Kept], list[str]]:
        """Return every connector by name, and a sentence on each file that is damaged; those are left as they are.

        What a kill has left half written, perhaps with secrets in it, is deleted. Raises ManagerError when the
        directory cannot be read.
        """
        kept: list[Kept] = []
        damaged: list[str] = []
        everything = self._everything()
        for path in everything:
            if path.name.startswith(".") and f"{_SUFFIX}-" in path.name:
                with suppress(OSError):
                    path.unlink()
        for path in everything:
            if path.suffix != _SUFFIX or not is_name(path.stem):
                continue
            try:
                with path.open("rb") as file:
                    found = _DECODER.decode(file.read(_MOST_BYTES + 1))
            except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
                damaged.append(f"{path} is no connector: {error}")
                continue
            if found.definition.name == path.stem:
                kept.append(found)
            else:
                damaged.append(f"{path} is no connector of that name: its name is {found.definition.name}")
        return kept, damaged

    def any(self) -> bool:
        """Return whether anything is kept, or something left to be done."""
        return any(path.suffix in {_SUFFIX, _GONE} for path in self._everything())

    def put(self, kept: Kept) -> None:
        """Keep a connector, in the place of what was kept of it."""
        # What comes from a watched file is there again with the next look; that somebody paused it is not.
        durable = kept.paused or not kept.origin
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path(kept.definition.name), msgspec.json.encode(kept), durable=durable)
        except OSError as error:
            raise ManagerError(
                f"the connector {kept.definition.name} cannot be kept in {self.directory}: {error.strerror}",
                hint="nothing was changed; try again when the directory can be written",
            ) from error

    def remove(self, name: str) -> None:
        """Forget a connector whose checkpoint stays."""
        self._changed(name, lambda path: path.unlink(missing_ok=True))

    def bury(self, name: str) -> None:
        """Forget a connector, but that it was: until `forget`, over restarts and kills too."""

        def work(path: Path) -> None:
            gone = path.with_suffix(_GONE)
            with suppress(FileNotFoundError):
                path.replace(gone)
                # Its secrets go at once.
                os.truncate(gone, 0)

        self._changed(name, work)

    def is_buried(self, name: str) -> bool:
        """Return whether something is left to be done for a connector that was deleted."""
        return self._path(name).with_suffix(_GONE).exists()

    def buried(self) -> list[str]:
        """Return the names of those for which something is left to be done."""
        return [path.stem for path in self._everything() if path.suffix == _GONE and is_name(path.stem)]

    def forget(self, name: str) -> None:
        """Forget that a connector was."""
        self._changed(name, lambda path: path.with_suffix(_GONE).unlink(missing_ok=True))

    def _everything(self) -> list[Path]:
        try:
            return sorted(self.directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ManagerError(f"{self.directory} cannot be read: {error.strerror}") from error

    def _changed(self, name: str, work: Callable[[Path], None]) -> None:
        try:
            work(self._path(name))
        except OSError as error:
            raise ManagerError(
                f"{self._path(name)} cannot be deleted: {error.strerror}",
                hint="nothing was changed; try again when the directory can be written",
            ) from error

    def _path(self, name: str) -> Path:
        # Names come from outside; none that could leave the directory is a name.
        assert is_name(name)
        return self.directory / f"{name}{_SUFFIX}"
