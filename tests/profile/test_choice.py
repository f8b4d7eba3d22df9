"""Which of the embedded log and Fluvio's clusters a command talks to."""

from __future__ import annotations

import pytest

from headwater.core.errors import ProfileError
from headwater.profile.choice import Choice, choose

FILE = "~/.fluvio/config"
TWO = """\
current_profile = "cloud"
[profile.cloud]
cluster = "cloud"
[profile.local]
cluster = "local"
[profile.lost]
cluster = "nowhere"
[cluster.cloud]
endpoint = "host:9003"
[cluster.local]
endpoint = "127.0.0.1:9003"
"""
BROKEN = "current_profile = ["


def chosen(explicit: str | None = None, variable: str | None = None, text: str | None = TWO) -> Choice:
    environment = {} if variable is None else {"HEADWATER_PROFILE": variable}
    return choose(explicit, environment, lambda: text, file=FILE)


def refused(
    explicit: str | None = None, variable: str | None = None, text: str | None = TWO, path: str | None = None
) -> str:
    """Return what a choice that cannot be made says."""
    environment = {} if variable is None else {"HEADWATER_PROFILE": variable}
    if path is not None:
        environment["FLV_PROFILE_PATH"] = path
    with pytest.raises(ProfileError) as caught:
        choose(explicit, environment, lambda: text, file=FILE)
    return caught.value.report()


@pytest.mark.parametrize(
    ("explicit", "variable", "text", "sentence"),
    [
        ("cloud", "lost", TWO, "profile cloud (Fluvio at host:9003)"),
        ("fluvio:cloud", None, TWO, "profile cloud (Fluvio at host:9003)"),
        ("local", "cloud", TWO, "profile local (embedded log in ~/.headwater)"),
        ("local", None, BROKEN, "profile local (embedded log in ~/.headwater)"),
        ("fluvio:local", None, TWO, "profile fluvio:local (Fluvio at 127.0.0.1:9003)"),
        (None, "cloud", TWO, "profile cloud (Fluvio at host:9003), from $HEADWATER_PROFILE"),
        (None, "local", BROKEN, "profile local (embedded log in ~/.headwater), from $HEADWATER_PROFILE"),
        (None, None, TWO, "profile cloud (Fluvio at host:9003), from ~/.fluvio/config"),
        (None, "", TWO, "profile cloud (Fluvio at host:9003), from ~/.fluvio/config"),
        (
            None,
            None,
            TWO.replace('"cloud"', '"local"', 1),
            "profile fluvio:local (Fluvio at 127.0.0.1:9003), from ~/.fluvio/config",
        ),
        (None, None, TWO.partition("\n")[2], "profile local (embedded log in ~/.headwater)"),
        (None, None, "", "profile local (embedded log in ~/.headwater)"),
        (None, None, None, "profile local (embedded log in ~/.headwater)"),
    ],
)
def test_the_order_of_choice(explicit: str | None, variable: str | None, text: str | None, sentence: str) -> None:
    """The option, the variable, Fluvio's current profile, the embedded log; and the line that says so."""
    choice = chosen(explicit, variable, text)
    assert choice.sentence("~/.headwater") == sentence
    assert (choice.cluster is None) == ("embedded" in sentence)
    assert chosen(choice.name, None, text).cluster == choice.cluster


def test_the_file_is_read_only_where_it_decides() -> None:
    """`local` works beside a file that cannot be read."""

    def read() -> str:
        raise ProfileError("~/.fluvio/config cannot be read")

    assert choose("local", {}, read, file=FILE).cluster is None
    assert choose(None, {"HEADWATER_PROFILE": "local"}, read, file=FILE).cluster is None
    with pytest.raises(ProfileError, match="cannot be read"):
        choose(None, {}, read, file=FILE)


def test_a_profile_that_is_not_there() -> None:
    """It is never another one in silence; the nearest is named, and where the name came from."""
    known = "\n  hint: 'headwater profile list' shows those there are"
    assert refused("clod") == f"headwater: there is no profile 'clod' in ~/.fluvio/config; did you mean 'cloud'?{known}"
    assert refused("lokal", text="") == (
        f"headwater: there is no profile 'lokal' in ~/.fluvio/config; did you mean 'local'?{known}"
    )
    assert refused(None, "zzz") == (
        f"headwater: there is no profile 'zzz' in ~/.fluvio/config (from $HEADWATER_PROFILE){known}"
    )
    assert refused("") == f"headwater: --profile is empty{known}"
    assert refused("cloud", text=None) == (
        "headwater: there is no profile 'cloud': ~/.fluvio/config does not exist\n"
        "  hint: 'headwater profile add cloud HOST:PORT' makes it; --profile local is the embedded log"
    )


def test_a_current_profile_that_is_not_there() -> None:
    """What the file says is current must be there; the way out is named."""
    assert refused(text='current_profile = "gone"') == (
        "headwater: the current profile of ~/.fluvio/config is 'gone', which is not there\n"
        "  hint: choose another with 'headwater profile switch NAME', or go without: --profile local"
    )
    assert refused(text=TWO.replace('"cloud"', '"lost"', 1)) == (
        "headwater: the profile 'lost' of ~/.fluvio/config names the cluster 'nowhere', which is not there\n"
        "  hint: headwater profile add lost HOST:PORT --replace"
    )


def test_a_broken_file() -> None:
    """A broken file is an error also when nobody named it: the embedded log might be the wrong place."""
    assert refused(text=BROKEN) == (
        "headwater: ~/.fluvio/config: not TOML: Invalid value (at end of document)\n"
        "  hint: correct the file, or go without it: --profile local"
    )


def test_a_file_that_is_named_but_missing() -> None:
    """$FLV_PROFILE_PATH that leads nowhere is a mistake."""
    assert refused(text=None, path="/nowhere") == (
        "headwater: ~/.fluvio/config does not exist, and $FLV_PROFILE_PATH names it\n"
        "  hint: unset the variable, or go without Fluvio: --profile local"
    )
