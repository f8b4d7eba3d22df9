"""Owns a watched directory of connect.yml files: it sees what changed, and lets the fleet be what the files define.

Looking at the directory a few times a second works on every file system, also where changes come through a mount.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

import structlog

from headwater.config import ENDINGS, InvalidConfigError, Problem, define_files, secret_source
from headwater.control.fleet import File, Fleet
from headwater.control.store import Mark
from headwater.core.errors import HeadwaterError

# Seconds between two looks: an edit applies within a second. Where a look takes long, so many times as long.
_PAUSE, _LONGEST_PAUSE, _TIMES = 0.3, 0.8, 10
_UNKNOWN: Mark = (-1, -1, -1)

logger = structlog.get_logger("headwater.control")


class Watcher:
    """Watches a directory. `secrets` is the file of `--secrets`, None for the environment."""

    def __init__(self, directory: Path, secrets: Path | None, fleet: Fleet) -> None:
        self._directory = directory
        self._secrets = secrets
        self._fleet = fleet
        self._wanted = fleet.files()
        self._marks: dict[str, Mark] = {file: known.mark for file, known in self._wanted.items()}
        self._tried = True
        self._unclear: dict[str, str] = {}
        self._trouble = ""
        self._took = 0.0

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            await asyncio.sleep(min(_LONGEST_PAUSE, max(_PAUSE, _TIMES * self._took)))
            try:
                await self.look()
            except Exception as error:
                # Whatever a directory does to this, what runs goes on; the next change is a new chance.
                logger.exception("a look at the watched directory ran into a defect", reason=type(error).__name__)

    async def look(self) -> None:
        """Look once, and apply what has changed. What cannot be read now leaves everything as it is."""
        began = time.monotonic()
        try:
            marks = await asyncio.to_thread(self._scan)
        except OSError as error:
            self._say(f"{error.filename or self._directory} cannot be read: {error.strerror}")
            return
        self._took = time.monotonic() - began
        self._say("")
        if marks == self._marks and self._tried:
            return
        changed = [file for file, mark in marks.items() if file and self._marks.get(file) != mark]
        if marks.get("") != self._marks.get(""):
            changed += [file for file in marks if file and file not in changed and self._may_use_secrets(file)]
        await asyncio.to_thread(self._read, changed, marks)
        for file in self._marks.keys() - marks.keys():
            self._wanted.pop(file, None)
            self._unclear.pop(file, None)
        self._marks = marks
        tried, self._tried = self._tried, await self._fleet.adopt(self._wanted, self._unclear)
        if self._tried and not tried:
            logger.info("connectors of the watched directory could be started")

    def _may_use_secrets(self, file: str) -> bool:
        known = self._wanted.get(file)
        return known is None or any(definition.secrets for definition in known.definitions)

    def _scan(self) -> dict[str, Mark]:
        """Return the marks of the files; the one of the secrets under ""."""
        marks = {}
        if self._secrets is not None:
            marks[""] = _mark(self._secrets.stat())
        with os.scandir(self._directory.absolute()) as entries:
            for entry in entries:
                if entry.name.endswith(ENDINGS) and not entry.name.startswith("."):
                    try:
                        marks[entry.path] = _mark(entry.stat())
                    except FileNotFoundError:
                        continue
                    except OSError:
                        # A link that leads nowhere but to itself: what is wrong is said when it is read.
                        marks[entry.path] = _UNKNOWN
        return dict(sorted(marks.items()))

    def _read(self, files: Sequence[str], marks: Mapping[str, Mark]) -> None:
        for file in files:
            self._wanted.pop(file, None)
            self._unclear.pop(file, None)
            try:
                _check_regular(file)
                defined = define_files([file], secrets=secret_source(self._secrets))
            except HeadwaterError as error:
                reason = "; ".join(error.message.splitlines())
                self._unclear[file] = reason
                if isinstance(error, InvalidConfigError):
                    logger.error("a file cannot be used", file=file, reason=reason)  # noqa: TRY400 - the sentence says it all
                else:
                    logger.error("a file cannot be read", file=file, reason=reason, hint=error.hint)  # noqa: TRY400 - the same
                continue
            except Exception as error:
                # One file must not keep the others from being read.
                self._unclear[file] = f"a defect: {type(error).__name__}"
                logger.exception("the reading of a file ran into a defect", file=file)
                continue
            self._wanted[file] = File(defined.definitions, defined.connectors, marks[file])

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger.error("the watched directory is away; its connectors stay", reason=trouble)
        elif self._trouble and not trouble:
            logger.info("the watched directory is back")
        self._trouble = trouble


def _check_regular(file: str) -> None:
    """Refuse what is there and no regular file: whoever opens a pipe waits for its writer, perhaps for ever."""
    with suppress(OSError):
        if not S_ISREG(Path(file).stat().st_mode):
            raise InvalidConfigError([Problem(file, 0, 0, "", "it is no regular file")])


def _mark(status: os.stat_result) -> Mark:
    # The time of the change, which nobody can set: that of the modification is kept by `cp -p` and the like.
    return status.st_ctime_ns, status.st_size, status.st_ino
