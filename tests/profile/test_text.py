"""Fluvio's file of profiles, read."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ProfileError
from headwater.profile.model import ClusterProfile, Policy, Tls
from headwater.profile.text import FluvioConfig, read_toml

FILE = "~/.fluvio/config"
SECRET = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
WHOLE = f'''\
version = "2.0"
current_profile = "local"
client_id = "me"

[profile.local]
cluster = "local"

[profile.cloud]
cluster = "cluster-1"
topic = "cats"

[profile.lost]
cluster = "nowhere"

[cluster.local]
addr = "127.0.0.1:9003"

[cluster.cluster-1]
endpoint = "sc.example.com"
use_spu_local_address = true
colour = "blue"

[cluster.cluster-1.tls]
tls_policy = "verify"
tls_source = "inline"

[cluster.cluster-1.tls.certs]
domain = "example.com"
key = """
-----BEGIN PRIVATE KEY-----
{SECRET}
-----END PRIVATE KEY-----
"""
cert = "-----BEGIN CERTIFICATE-----"
ca_cert = "-----BEGIN CERTIFICATE-----"

[cluster.cluster-1.metadata.installation]
type = "cloud"
'''
VERIFIED = """\
[cluster.a.tls]
tls_policy = "{}"
tls_source = "{}"
[cluster.a.tls.certs]
domain = "d"
key = "k"
cert = "c"
ca_cert = "ca"
"""
FILES = Tls.verified("d", "k", "c", "ca", inline=False)


def problems(text: str) -> list[str]:
    """Return what is said of a file."""
    with pytest.raises(ProfileError) as caught:
        FluvioConfig.parse(text, FILE)
    assert caught.value.hint == "correct the file, or go without it: --profile local"
    assert caught.value.exit_code == 3
    lines = caught.value.message.splitlines()
    assert all(line.startswith(f"{FILE}: ") for line in lines)
    return [line.removeprefix(f"{FILE}: ") for line in lines]


def test_a_whole_file() -> None:
    """All that Fluvio's clients write is read; what is not known is let be."""
    config = FluvioConfig.parse(WHOLE, FILE)
    assert config.current == "local"
    assert config.profile("local") == ClusterProfile("local", "127.0.0.1:9003", "local", client_id="me")
    cloud = config.profile("cloud")
    assert (cloud.endpoint, cloud.cluster, cloud.use_spu_local_address) == ("sc.example.com:9003", "cluster-1", True)
    assert (cloud.tls.policy, cloud.tls.domain, cloud.tls.inline) == (Policy.VERIFIED, "example.com", True)
    assert SECRET in cloud.tls.key.reveal()
    assert SECRET not in repr(config)
    assert config.labels == ("fluvio:local", "cloud", "lost")


def test_profiles_that_are_not_there() -> None:
    """A slip is answered with the nearest name, a profile without its cluster with how to give it one."""
    config = FluvioConfig.parse(WHOLE, FILE)
    with pytest.raises(ProfileError) as caught:
        config.profile("clod", asked=" (from $HEADWATER_PROFILE)")
    assert caught.value.report() == (
        "headwater: there is no profile 'clod' in ~/.fluvio/config (from $HEADWATER_PROFILE); did you mean 'cloud'?\n"
        "  hint: 'headwater profile list' shows those there are"
    )
    with pytest.raises(ProfileError) as caught:
        config.profile("lost")
    assert caught.value.report() == (
        "headwater: the profile 'lost' of ~/.fluvio/config names the cluster 'nowhere', which is not there\n"
        "  hint: headwater profile add lost HOST:PORT --replace"
    )


@pytest.mark.parametrize("text", ["", "\n", 'version = "2.0"\n[profile]\n[cluster]\n', 'current_profile = ""'])
def test_a_file_without_profiles(text: str) -> None:
    """An empty file is no mistake."""
    config = FluvioConfig.parse(text, FILE)
    assert (config.current, config.labels) == (None, ())


@pytest.mark.parametrize(
    ("tls", "meant"),
    [
        ("", Tls()),
        ('[cluster.a.tls]\ntls_policy = "disabled"', Tls()),
        ('[cluster.a.tls]\ntls_policy = "disable"', Tls()),
        ('[cluster.a.tls]\ntls_policy = "anonymous"', Tls(Policy.ANONYMOUS)),
        (VERIFIED.format("verified", "files"), FILES),
        (VERIFIED.format("verify", "file"), FILES),
    ],
)
def test_how_a_cluster_is_protected(tls: str, meant: Tls) -> None:
    """Every policy and source has the names that Fluvio gives it."""
    text = f'[profile.a]\ncluster = "a"\n[cluster.a]\nendpoint = "x:1"\n{tls}'
    assert FluvioConfig.parse(text, FILE).profile("a").tls == meant


def test_every_problem_is_told_at_once() -> None:
    """Each has its place in the file, what is wrong, and what would be right."""
    text = """\
version = 2
current_profile = ["a"]
[profile]
no-table = 1
"a\\nb" = {}
[profile.a]
[profile.b]
cluster = 7
[cluster.one]
[cluster.two]
endpoint = "x:1"
addr = "x:1"
use_spu_local_address = "yes"
tls = "anonymous"
[cluster.three]
endpoint = "https://x"
tls = { tls_policy = "verifed" }
[cluster.four]
endpoint = ""
tls = { tls_policy = "verified", tls_source = "filez" }
[cluster.five]
addr = 5
tls = { tls_policy = "verified", tls_source = "files", certs = { domain = ".x", key = "-----BEGIN" } }
[cluster.six]
endpoint = "x"
tls = { tls_policy = "verified", tls_source = "inline", certs = { domain = "d", key = "k", cert = "", ca_cert = 1 } }
[cluster.seven]
endpoint = "x"
tls = {}
"""
    words = "disabled, anonymous, verified, disable, verify"
    assert problems(text) == [
        'current_profile: is no text; write current_profile = "..."',
        'version: is no text; write version = "..."',
        "cluster.one.endpoint: is missing",
        "cluster.two: has both endpoint and addr, which mean the same; delete one",
        "cluster.two.use_spu_local_address: is neither true nor false",
        "cluster.two.tls: is no table; write [cluster.two.tls]",
        "cluster.three.endpoint: 'https://x' is a URL; write host:port",
        f"cluster.three.tls.tls_policy: 'verifed' is none of {words}; did you mean 'verified'?",
        "cluster.four.endpoint: is empty",
        "cluster.four.tls.tls_source: 'filez' is none of inline, files, file; did you mean 'file'?",
        "cluster.four.tls.certs: is missing; write [cluster.four.tls.certs] with domain, key, cert and ca_cert",
        'cluster.five.addr: is no text; write addr = "..."',
        "cluster.five.tls.certs.cert: is missing",
        "cluster.five.tls.certs.ca_cert: is missing",
        "cluster.five.tls.certs.domain: '.x' is no domain that a certificate can have; write one such as fluvio.local",
        'cluster.five.tls.certs.key: is a PEM text; for that write tls_source = "inline"',
        "cluster.six.tls.certs.cert: is empty",
        'cluster.six.tls.certs.ca_cert: is no text; write ca_cert = "..."',
        'cluster.six.tls.certs.key: is no PEM text; for that write tls_source = "files"',
        "cluster.seven.tls.tls_policy: is missing",
        "profile.no-table: is no table; write [profile.no-table]",
        "a name below profile: the name of a profile is 1 to 255 printable characters",
        "profile.a.cluster: is missing",
        'profile.b.cluster: is no text; write cluster = "..."',
    ]
    assert problems("profile = 1\ncluster = 2") == [
        "cluster: is no table; write [cluster]",
        "profile: is no table; write [profile]",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = [", "not TOML: Invalid value (at end of document)"),
        ("a\n", "not TOML: Expected '=' after a key in a key/value pair (at line 1, column 2)"),
        ("[a]\n[a]\n", "not TOML: what stands there may not stand there (at line 2, column 3)"),
        ("a = " + "[" * 3000, "not TOML: it is nested too deeply"),
        ("a = " + "1" * 5000, "not TOML: a number has too many digits"),
    ],
)
def test_what_is_not_toml(text: str, said: str) -> None:
    """The place is told where there is one."""
    assert problems(text) == [said]


@pytest.mark.parametrize(
    "broken",
    [
        WHOLE.replace('key = """', 'key = "'),
        WHOLE.replace('key = """', "key = "),
        WHOLE.replace('key = """\n-----BEGIN PRIVATE KEY-----\n', f"{SECRET} = 1\n"),
        WHOLE.replace('"""\ncert', "cert"),
        f"[{SECRET}]\n[{SECRET}]\n",
        f"a = {{ {SECRET} = 1, {SECRET} = 2 }}\n",
        WHOLE.replace('tls_source = "inline"', f'tls_source = "files"\nkey = "{SECRET}"'),
        WHOLE.replace('domain = "example.com"', f'domain = "-----BEGIN PRIVATE KEY-----\\n{SECRET}"'),
        WHOLE.replace('tls_policy = "verify"', f'tls_policy = "-----BEGIN PRIVATE KEY-----\\n{SECRET}"'),
    ],
)
def test_no_mistake_shows_a_key(broken: str) -> None:
    """Whatever is wrong with the file, the private key is in no message, nor in an error behind it."""
    with pytest.raises(ProfileError) as caught:
        FluvioConfig.parse(broken, FILE)
    assert SECRET not in caught.value.report()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


LINES = st.sampled_from(
    [
        *WHOLE.splitlines(),
        "[cluster]",
        "[profile]",
        "[[cluster.a]]",
        "[cluster.local.tls]",
        "tls = {}",
        "key = '''",
        'endpoint = "[::1]"',
        "current_profile = 1",
        "addr = 1.5",
        "cluster = nan",
        "tls_policy = 1979-05-27",
        "certs = []",
    ]
)


@given(st.lists(LINES, max_size=25).map("\n".join) | st.text(max_size=200))
def test_any_text_is_a_file_or_a_profile_error(text: str) -> None:
    """Nothing else is ever raised, and no key is shown."""
    try:
        config = FluvioConfig.parse(text, FILE)
    except ProfileError as error:
        assert SECRET not in error.report()  # noqa: PT017 - either outcome is right
    else:
        # By their texts: nan is not even itself.
        assert repr(tomllib.loads(text)) == repr(read_toml(text, FILE))
        assert SECRET not in repr(config)
        for name in config.profiles:
            assert config.profile(name).name == name


@given(st.sampled_from(WHOLE.splitlines()), st.text(max_size=20))
def test_any_value_in_any_place(line: str, value: str) -> None:
    """A file of which one line has another value is read, or told of."""
    changed = line.partition("=")[0] + "= " + value
    try:
        FluvioConfig.parse(WHOLE.replace(line, changed), FILE)
    except ProfileError as error:
        assert error.message.startswith(FILE)  # noqa: PT017 - either outcome is right
        assert SECRET not in error.report()  # noqa: PT017 - the same
