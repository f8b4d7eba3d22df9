"""Owns Fluvio's file of profiles on disk: where it is, reading it, replacing it whole. Knows nothing of its text.

The one place of this layer that asks the environment; `chosen` is what commands call.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from headwater.core.disk import replace_file
from headwater.core.errors import ProfileError
from headwater.core.home import home
from headwater.profile.choice import FILE_VARIABLE, Choice, choose

# Far more than any number of profiles with certificates; what is larger is some other file.
MOST_BYTES: Final = 4 * 1024 * 1024


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `$FLV_PROFILE_PATH`, else `~/.fluvio/config`, as Fluvio's clients do."""
    given = environment.get(FILE_VARIABLE)
    return Path(given) if given else home() / ".fluvio" / "config"


def shown(path: Path) -> str:
    """Return a path as people write it: below their home with a tilde."""
    own = home()
    return f"~/{path.relative_to(own)}" if path.is_relative_to(own) and path != own else str(path)


def chosen(explicit: str | None = None, environment: Mapping[str, str] = os.environ) -> Choice:
    """Return what a command talks to; `explicit` is what `--profile` says. Raises ProfileError."""
    path = config_path(environment)
    return choose(explicit, environment, partial(read, path), file=shown(path))


def read(path: Path) -> str | None:
    """Return the text of the file with its line ends, None when there is none. Raises ProfileError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(
            f"{shown(path)} cannot be read: {error.strerror}",
            hint="make it readable, or go without it: --profile local",
        ) from error
    if len(data) > MOST_BYTES:
        raise ProfileError(f"{shown(path)} is larger than {MOST_BYTES // 1024**2} MiB: it is no file of profiles")
    # Decoded by hand: UnicodeDecodeError would carry all of the file with it.
    text = data.decode(errors="replace")
    if text.encode() != data:
        line = text.partition("\N{REPLACEMENT CHARACTER}")[0].count("\n") + 1
        raise ProfileError(
            f"{shown(path)}: not TOML: line {line} is not UTF-8",
            hint="correct the file, or go without it: --profile local",
        )
    return text


def save(path: Path, text: str, *, private: bool = False) -> None:
    """Put a text in the place of the file, at once and whole, and make its directory. Raises ProfileError.

    The file keeps its permissions; a new one, and with `private` every one, is readable by its owner alone.
    """
    try:
        path = path.resolve()  # a link stays, and what it leads to is replaced
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if private or not path.exists() else stat.S_IMODE(path.stat().st_mode)
        replace_file(path, text.encode(), mode)
    except OSError as error:
        raise ProfileError(f"{shown(path)} cannot be written: {error.strerror}") from error
