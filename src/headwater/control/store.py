"""Owns what is kept of managed connectors: one file each in the data directory, readable by its owner alone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from headwater.core.disk import replace_file
from headwater.core.errors import ManagerError
from headwater.core.managed import Definition
from headwater.core.names import is_name

_FOLDER = "connectors"
_SUFFIX = ".json"
# Far more than a connector needs.
_MOST_BYTES = 8 * 1024 * 1024

# What tells that a file has changed: modification time (ns), size, inode.
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

        Raises ManagerError when the directory cannot be read.
        """
        kept: list[Kept] = []
        damaged: list[str] = []
        try:
            paths = sorted(path for path in self.directory.iterdir() if path.suffix == _SUFFIX and is_name(path.stem))
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise ManagerError(f"{self.directory} cannot be read: {error.strerror}") from error
        for path in paths:
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
        """Return whether anything is kept."""
        try:
            return any(path.suffix == _SUFFIX for path in self.directory.iterdir())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ManagerError(f"{self.directory} cannot be read: {error.strerror}") from error

    def put(self, kept: Kept) -> None:
        """Keep a connector, in the place of what was kept of it."""
        # What comes from a watched file is there again with the next look.
        durable = not kept.origin
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path(kept.definition.name), msgspec.json.encode(kept), durable=durable)
        except OSError as error:
            raise ManagerError(
                f"the connector {kept.definition.name} cannot be kept in {self.directory}: {error.strerror}",
                hint="nothing was changed; try again when the directory can be written",
            ) from error

    def remove(self, name: str) -> None:
        """Forget a connector."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise ManagerError(f"{self._path(name)} cannot be deleted: {error.strerror}") from error

    def _path(self, name: str) -> Path:
        # Names come from outside; none that could leave the directory is a name.
        assert is_name(name)
        return self.directory / f"{name}{_SUFFIX}"
