"""Owns what stands for container images, and the command line that comes of an image and a container (pure)."""

from __future__ import annotations

import re
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")


class Image(msgspec.Struct, frozen=True):
    """What stands for an image: nothing is pulled, its command is one of this machine.

    `entrypoint`, `command`, `environment`, `directory` and `user` (a number; None is root) are the image's ENTRYPOINT,
    CMD, ENV, WORKDIR and USER. `reach` are paths of this machine that the image consists of: they are read inside by
    every user, even where they stand in a directory that only root may enter.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    directory: str = "/"
    user: int | None = None
    reach: tuple[str, ...] = ()

    @classmethod
    def python(cls, *arguments: str, user: int | None = None) -> Self:
        """Return an image of this interpreter with all that it can import; the entry point is `python ARGUMENTS`.

        Commands that are installed beside the interpreter, such as `headwater`, are on its path.
        """
        paths = dict.fromkeys([sys.prefix, sys.base_prefix, *sys.path, *site.getsitepackages()])
        return cls(
            entrypoint=(sys.executable, *arguments),
            environment={
                "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
                "HOME": "/tmp",  # noqa: S108 - inside
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
            },
            user=user,
            reach=tuple(path for path in paths if path.startswith("/")),
        )


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return a text with each `$(NAME)` replaced; unknown names stay as they are, and `$$` is one `$`."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        return "$" if name is None else environment.get(name, found[0])

    return _REFERENCE.sub(value, text)


def command_line(
    image: Image, command: Sequence[str] | None, arguments: Sequence[str] | None, environment: Mapping[str, str]
) -> list[str]:
    """Return what to execute. A container's command replaces the image's both parts, its arguments only the second."""
    parts = [*(command or image.entrypoint)]
    parts += arguments or (() if command else image.command)
    return [expand(part, environment) for part in parts]
