"""Changes to Fluvio's file of profiles: what is asked for changes, everything else stays."""

from __future__ import annotations

import tomllib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ProfileError
from headwater.profile.edit import add, delete, switch
from headwater.profile.model import ClusterProfile, Policy, Tls
from headwater.profile.text import FluvioConfig

FILE = "~/.fluvio/config"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIE/+==\n-----END PRIVATE KEY-----\n"
# As people write it: out of order, with comments, and with what nobody here knows.
MINE = """\
# mine
version = "2.0"
current_profile = "local"  # while at home

[profile.local]
cluster = "local"
# where it is
[cluster.local]
addr = "127.0.0.1:9003" # loopback

[cluster.local.metadata.installation]
type = "local"

[profile.cloud] # paid for
cluster = "cloud"
topic = "cats"

[profile.again]
cluster = "cloud"

# the cloud's
[cluster.cloud]
endpoint = "host:9003"
[cluster.cloud.tls]
tls_policy = "anonymous"

[other]
x = [
  1, # one
]
"""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_switching_changes_one_line() -> None:
    """The rest is as it was, and so is the comment behind it."""
    assert switch(MINE, "cloud", FILE) == MINE.replace('current_profile = "local"', 'current_profile = "cloud"')
    without = switch(MINE, None, FILE)
    assert without == MINE.replace('current_profile = "local"  # while at home\n', "")
    assert switch(without, None, FILE) == without
    assert tomllib.loads(switch(without, "local", FILE)) == tomllib.loads(MINE)


def test_switching_to_what_is_not_there() -> None:
    """Nothing is changed, and the nearest is named."""
    with pytest.raises(ProfileError, match=r"^there is no profile 'clod' in ~/.fluvio/config; did you mean 'cloud'\?$"):
        switch(MINE, "clod", FILE)


def test_adding_to_nothing() -> None:
    """The first profile makes a file as Fluvio writes one."""
    text = add("", ClusterProfile("cloud", "host:9003", tls=Tls(Policy.ANONYMOUS)), FILE)
    assert text == (
        'version = "2.0"\n\n[profile.cloud]\ncluster = "cloud"\n\n'
        '[cluster.cloud]\nendpoint = "host:9003"\nuse_spu_local_address = false\n\n'
        '[cluster.cloud.tls]\ntls_policy = "anonymous"\n'
    )


@pytest.mark.parametrize(
    "tls",
    [
        Tls(),
        Tls(Policy.ANONYMOUS),
        Tls.verified("d.example", "/k", "/c", "/ca", inline=False),
        Tls.verified("d.example", PEM, PEM, PEM, inline=True),
    ],
)
@pytest.mark.parametrize("text", ["", MINE])
def test_what_is_added_is_read(text: str, tls: Tls) -> None:
    """Every kind of protection is written as it is read; nothing that was there goes."""
    profile = ClusterProfile("new.1", "[::1]:9003", "new.1", use_spu_local_address=True, tls=tls)
    added = add(text, profile, FILE)
    config = FluvioConfig.parse(added, FILE)
    assert config.profile("new.1") == profile
    assert config.current == FluvioConfig.parse(text, FILE).current
    assert added.startswith(text)


def test_adding_what_is_there() -> None:
    """It is refused, unless it is to be replaced; a cluster that a deleted profile left counts too."""
    cloud = ClusterProfile("cloud", "other:1", "cloud")
    for text, what in ((MINE, "profile"), ('[cluster.cloud]\nendpoint = "x:1"', "cluster")):
        with pytest.raises(ProfileError) as caught:
            add(text, cloud, FILE)
        assert caught.value.report() == (
            f"headwater: there is a {what} 'cloud' in ~/.fluvio/config already\n"
            "  hint: '--replace' gives it another address"
        )
        assert FluvioConfig.parse(add(text, cloud, FILE, replace=True), FILE).profile("cloud") == cloud


def test_replacing_keeps_the_rest_of_a_cluster() -> None:
    """Metadata and comments stay; the old name of the address goes."""
    text = add(MINE, ClusterProfile("local", "other:1", "local"), FILE, replace=True)
    assert tomllib.loads(text)["cluster"]["local"] == {
        "endpoint": "other:1",
        "use_spu_local_address": False,
        "tls": {"tls_policy": "disabled"},
        "metadata": {"installation": {"type": "local"}},
    }
    gone = 'addr = "127.0.0.1:9003" # loopback'
    assert [line for line in lines(text) if line in lines(MINE)] == [line for line in lines(MINE) if line != gone]


def test_deleting() -> None:
    """The cluster goes with its last profile, and so does being the current one."""
    one = delete(MINE, "cloud", FILE)
    assert FluvioConfig.parse(one, FILE).labels == ("fluvio:local", "again")
    assert FluvioConfig.parse(one, FILE).current == "local"
    assert "the cloud's" in one
    two = delete(one, "again", FILE)
    assert set(tomllib.loads(two)["cluster"]) == {"local"}
    three = delete(two, "local", FILE)
    left = {"version": "2.0", "profile": {}, "cluster": {}, "other": {"x": [1]}}
    assert tomllib.loads(three) == left
    assert "# mine" in three
    assert "1, # one" in three
    assert FluvioConfig.parse(add(three, ClusterProfile("a", "b:1"), FILE), FILE).labels == ("a",)
    with pytest.raises(ProfileError, match=r"^there is no profile 'x' in ~/.fluvio/config$"):
        delete(three, "x", FILE)


def test_deleting_a_profile_without_a_cluster() -> None:
    """What leads nowhere can be deleted."""
    assert tomllib.loads(delete('[profile.lost]\ncluster = "x"\n', "lost", FILE)) == {"profile": {}, "cluster": {}}


@pytest.mark.parametrize(
    "text",
    [
        '[profile]\na.cluster = "a"\n[cluster]\na.endpoint = "x:1"\nb.endpoint = "x:2"\n',
        'profile = { b = { cluster = "b" } }\n',
        '[profile.a]\ncluster = """a"""\n',
        '[cluster.a]\nendpoint = "x:1"\ntls.tls_policy = "anonymous"\n',
    ],
)
def test_a_text_that_cannot_be_changed(text: str) -> None:
    """What would not come out as it should is refused, and left as it is."""
    with pytest.raises(ProfileError) as caught:
        add(text, ClusterProfile("a", "y:1"), FILE, replace=True)
    assert caught.value.report() == (
        "headwater: ~/.fluvio/config is written in a way that cannot be changed here without harm to the rest; "
        "it is as it was\n  hint: make the change in an editor"
    )


NAMES = st.sampled_from(["a", "b.c", "d e", "local", "ü"])
COMMENTS = st.sampled_from(["", "# one", "\n# two\n", "#"])
QUIRKS = st.sampled_from(["", " # behind", "\t"])


@st.composite
def files(draw: st.DrawFn) -> str:
    """Return a file whose tables come in any order, with comments and strange keys between."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    tables = []
    for name in names:
        rest = draw(st.sampled_from(["", "x = 1\n", 'use_spu_local_address = true\n"odd key" = [1, # c\n 2]\n']))
        tls = draw(st.sampled_from(["", f'\n[cluster."{name}".tls]\ntls_policy = "anonymous"\n']))
        tables.append(f'[profile."{name}"]{draw(QUIRKS)}\ncluster = "{name}"\n')
        tables.append(f'[cluster."{name}"]{draw(QUIRKS)}\nendpoint = "{draw(st.sampled_from("xyz"))}:1"\n{rest}{tls}')
    tables.append(
        draw(st.sampled_from(["", "[other.table]\ny = 1979-05-27\n", "[[array]]\n[[array]]\nz = '''\n[a]'''\n"]))
    )
    current = draw(st.sampled_from(["", *(f'current_profile = "{name}"\n' for name in names)]))
    parts = [f'version = "2.0"\n{current}', *draw(st.permutations(tables))]
    return "".join(f"{draw(COMMENTS)}\n{part}" for part in parts)


@given(files(), NAMES, st.data())
def test_a_change_is_that_change(text: str, name: str, data: st.DataObject) -> None:
    """Whatever order a file is in: it changes as asked, keeps the rest with its comments, or is refused."""
    what = data.draw(st.sampled_from(["switch", "add", "delete"]))
    expected = tomllib.loads(text)
    there = name in expected.get("profile", {})
    try:
        if what == "switch":
            changed = switch(text, name, FILE)
            expected["current_profile"] = name
        elif what == "add":
            changed = add(text, ClusterProfile(name, "new:1", name), FILE, replace=True)
            expected.setdefault("profile", {}).setdefault(name, {})["cluster"] = name
            expected.setdefault("cluster", {}).setdefault(name, {}).update(
                endpoint="new:1", use_spu_local_address=False, tls={"tls_policy": "disabled"}
            )
        else:
            changed = delete(text, name, FILE)
            del expected["profile"][name], expected["cluster"][name]
            if expected.get("current_profile") == name:
                del expected["current_profile"]
    except ProfileError as error:
        assert not there, error  # noqa: PT017 - a file of the usual form is never refused
        assert error.message.startswith(f"there is no profile {name!r} in ~/.fluvio/config")  # noqa: PT017 - the same
        return
    assert tomllib.loads(changed) == expected
    # No line is gone but those of values that changed and of tables that were deleted, and never a comment.
    gone = Counter(lines(text)) - Counter(lines(changed))
    assert not any(line.startswith("#") for line in gone)
    if what != "delete":
        changeable = ("endpoint", "use_spu_local_address", "tls_policy", "current_profile", f'[cluster."{name}".tls]')
        assert all(line.startswith(changeable) for line in gone)
