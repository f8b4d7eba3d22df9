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

import structlog

from headwater.config import ENDINGS, InvalidConfigError, define_files, secret_source
from headwater.control.fleet import File, Fleet
from headwater.control.store import Mark
from headwater.core.errors import HeadwaterError

# Seconds between two looks: an edit applies within a second. Where a look takes long, so many times as long.
_PAUSE, _LONGEST_PAUSE, _TIMES = 0.3, 0.8, 10

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
            await self.look()

    async def look(self) -> None:
        """Look once, and apply what has changed. What cannot be read now leaves everything as it is."""
        began = time.monotonic()
        try:
            marks = await asyncio.to_thread(self._scan)
        except OSError as error:
            self._say(f"{self._directory} cannot be read: {error.strerror}")
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
                    with suppress(FileNotFoundError):
                        marks[entry.path] = _mark(entry.stat())
        return dict(sorted(marks.items()))

    def _read(self, files: Sequence[str], marks: Mapping[str, Mark]) -> None:
        for file in files:
            self._wanted.pop(file, None)
            self._unclear.pop(file, None)
            try:
                defined = define_files([file], secrets=secret_source(self._secrets))
            except HeadwaterError as error:
                reason = "; ".join(error.message.splitlines())
                self._unclear[file] = reason
                if isinstance(error, InvalidConfigError):
                    logger.error("a file cannot be used", file=file, reason=reason)  # noqa: TRY400 - the sentence says it all
                else:
                    logger.error("a file cannot be read", file=file, reason=reason, hint=error.hint)  # noqa: TRY400 - the same
                continue
            self._wanted[file] = File(defined.definitions, defined.connectors, marks[file])

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger.error("the watched directory is away; its connectors stay", reason=trouble)
        elif self._trouble and not trouble:
            logger.info("the watched directory is back")
        self._trouble = trouble


def _mark(status: os.stat_result) -> Mark:
    return status.st_mtime_ns, status.st_size, status.st_ino
