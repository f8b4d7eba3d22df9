"""Owns which of the embedded log and Fluvio's clusters a command talks to. Pure: the file's text comes from a function.

`--profile`, else $HEADWATER_PROFILE, else the current profile of Fluvio's file, else `local`. `local` is always the
embedded log. Fluvio calls the profile of a cluster on this machine `local` too: people name that one `fluvio:local`,
and while it is the current one of Fluvio's file, it is what commands talk to, as Fluvio's own do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from headwater.core.errors import ProfileError
from headwater.profile.model import LOCAL, ClusterProfile, fluvio_name, label
from headwater.profile.text import FluvioConfig

VARIABLE: Final = "HEADWATER_PROFILE"
FILE_VARIABLE: Final = "FLV_PROFILE_PATH"


class Choice(msgspec.Struct, frozen=True):
    """What was chosen. `cluster` is None for the embedded log; `name` chooses the same again, with `--profile`.

    `origin` says where an unsaid choice comes from, such as ` from ~/.fluvio/config`.
    """

    name: str
    cluster: ClusterProfile | None = None
    origin: str = ""

    def sentence(self, data_dir: str) -> str:
        """Return the line that a command says at its start; `data_dir` is how people see where the embedded log is."""
        place = f"embedded log in {data_dir}" if self.cluster is None else f"Fluvio at {self.cluster.endpoint}"
        return f"profile {self.name} ({place})" + (f", from {self.origin}" if self.origin else "")


def choose(
    explicit: str | None, environment: Mapping[str, str], read: Callable[[], str | None], *, file: str
) -> Choice:
    """Return what a command talks to.

    `explicit` is what `--profile` says. `read` gives the text of Fluvio's file, None when there is none; it is called
    only where the file decides, so that `local` works beside a broken one. `file` is what messages call it.

    Raises ProfileError when the file is broken or the profile is not there: never another place in silence.
    """
    wanted, origin = explicit, ""
    if wanted is None and environment.get(VARIABLE):
        wanted, origin = environment[VARIABLE], f"${VARIABLE}"
    if wanted is None:
        return _current(environment, read(), file)
    if not wanted:
        raise ProfileError("--profile is empty", hint="'headwater profile list' shows those there are")
    name = fluvio_name(wanted)
    if name is None:
        return Choice(LOCAL, origin=origin)
    text = read()
    asked = f" (from {origin})" if origin else ""
    if text is None:
        raise ProfileError(
            f"there is no profile {name!r}{asked}: {file} does not exist",
            hint=f"'headwater profile add {name} HOST:PORT' makes it; --profile local is the embedded log",
        )
    cluster = FluvioConfig.parse(text, file).profile(name, asked=asked)
    return Choice(label(name), cluster, origin)


def _current(environment: Mapping[str, str], text: str | None, file: str) -> Choice:
    if text is None:
        if environment.get(FILE_VARIABLE):
            # A file that is named but missing is a mistake, and the embedded log would be the wrong place.
            raise ProfileError(
                f"{file} does not exist, and ${FILE_VARIABLE} names it",
                hint="unset the variable, or go without Fluvio: --profile local",
            )
        return Choice(LOCAL)
    config = FluvioConfig.parse(text, file)
    if config.current is None:
        return Choice(LOCAL)
    if config.current not in {*config.profiles, *config.dangling}:
        raise ProfileError(
            f"the current profile of {file} is {config.current!r}, which is not there",
            hint="choose another with 'headwater profile switch NAME', or go without: --profile local",
        )
    return Choice(label(config.current), config.profile(config.current), file)
