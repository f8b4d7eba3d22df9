"""A profile of Fluvio as a value: names, addresses, and keys that nobody sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.profile.model import (
    ClusterProfile,
    Policy,
    Tls,
    check_domain,
    check_name,
    fluvio_name,
    label,
    nearest,
    parse_endpoint,
)

KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("written", "meant", "host", "port"),
    [
        ("sc.example.com:9003", "sc.example.com:9003", "sc.example.com", 9003),
        ("sc.example.com", "sc.example.com:9003", "sc.example.com", 9003),
        ("127.0.0.1:30003", "127.0.0.1:30003", "127.0.0.1", 30003),
        ("[::1]:9103", "[::1]:9103", "::1", 9103),
        ("[::1]", "[::1]:9003", "::1", 9003),
        ("::1", "[::1]:9003", "::1", 9003),
        ("fluvio-sc-public:09003", "fluvio-sc-public:9003", "fluvio-sc-public", 9003),
    ],
)
def test_addresses(written: str, meant: str, host: str, port: int) -> None:
    """The port is 9003 unless one is written; IPv6 stands in brackets."""
    assert parse_endpoint(written) == meant
    assert parse_endpoint(meant) == meant
    profile = ClusterProfile("x", meant)
    assert (profile.host, profile.port) == (host, port)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("https://cloud.fluvio.io", "'https://cloud.fluvio.io' is a URL; write host:port"),
        ("host:", "'host:' has no port between 1 and 65535 behind its colon; write host:port"),
        ("host:0", "'host:0' has no port between 1 and 65535 behind its colon; write host:port"),
        ("host:65536", "'host:65536' has no port between 1 and 65535 behind its colon; write host:port"),
        ("host:٩٠٠٣", "'host:٩٠٠٣' has no port between 1 and 65535 behind its colon; write host:port"),
        ("", "'' has no host name or address; write host:port"),
        (":9003", "':9003' has no host name or address; write host:port"),
        ("a b:9003", "'a b:9003' has no host name or address; write host:port"),
        ("[::1:9003", "'[::1:9003' has no host name or address; write host:port"),
        ("[zz]:9003", "'[zz]:9003' has no host name or address; write host:port"),
        ("fe80::1%a]b", "'fe80::1%a]b' has no port between 1 and 65535 behind its colon; write host:port"),
        ("x" * 256, "a text of 256 characters has no host name or address; write host:port"),
    ],
)
def test_what_is_no_address(written: str, wrong: str) -> None:
    """Each mistake is named, with what to write."""
    with pytest.raises(ValueError, match="write host:port") as caught:
        parse_endpoint(written)
    assert str(caught.value) == wrong


@given(st.text(max_size=80) | st.from_regex(r"[\[\]:%.a-f0-9]{0,30}", fullmatch=True))
def test_any_text_is_an_address_or_a_mistake(text: str) -> None:
    """What is taken is taken again as it is, and has a host and a port."""
    try:
        meant = parse_endpoint(text)
    except ValueError:
        return
    assert parse_endpoint(meant) == meant
    profile = ClusterProfile("x", meant)
    assert profile.host
    assert 0 < profile.port < 65536


def test_local_is_the_embedded_log() -> None:
    """`local` alone never means a profile of Fluvio's; every profile of Fluvio's has a name of its own."""
    assert fluvio_name("local") is None
    assert [label(name) for name in ("local", "cloud", "fluvio:x")] == ["fluvio:local", "cloud", "fluvio:fluvio:x"]
    assert fluvio_name("fluvio:cloud") == fluvio_name("cloud") == "cloud"


@given(st.text(min_size=1))
def test_labels_lead_back(name: str) -> None:
    """What people are shown is what they may type."""
    assert fluvio_name(label(name)) == name


def test_names() -> None:
    """A name can stand in a line of output."""
    check_name("my cluster.1")
    for name in ("", "a\nb", "\x1b[2J", "x" * 256):
        with pytest.raises(ValueError, match=r"^the name of a profile is 1 to 255 printable characters$"):
            check_name(name)


def test_domains() -> None:
    """A domain can stand in a handshake."""
    for domain in ("fluvio.local", "localhost", "_a.b-c.d", "10.0.0.1", "x" * 63):
        check_domain(domain)
    for domain in ("", ".local", "a..b", "a.", "*.fluvio.local", "x" * 64, "x." * 127 + "y", "ü.example", "a b", "-a"):
        with pytest.raises(
            ValueError, match=r"is no domain that a certificate can have; write one such as fluvio.local"
        ):
            check_domain(domain)


def test_the_nearest_name() -> None:
    """A slip is answered with what was meant, nonsense with nothing."""
    assert nearest("clod", ["local", "cloud"]) == "; did you mean 'cloud'?"
    assert nearest("zzz", ["local", "cloud"]) == ""


@pytest.mark.parametrize("inline", [True, False])
def test_keys_are_not_shown(inline: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Neither the text nor the repr of settings has a key in it, also when a key stands where a path should."""
    tls = Tls.verified("fluvio.local", KEY, KEY, KEY, inline=inline)
    profile = ClusterProfile("cloud", "host:9003", tls=tls)
    for shown in (repr(profile), str(profile), str(tls.key), f"{tls.cert}"):
        assert "c2VjcmV0" not in shown
        assert "BEGIN" not in shown
    assert tls.key.reveal() == KEY
    assert tls.policy is Policy.VERIFIED


def test_paths_are_shown() -> None:
    """A path is no secret."""
    tls = Tls.verified("fluvio.local", "/k.pem", "/c.pem", "/ca.pem", inline=False)
    assert [str(part) for part in (tls.key, tls.cert, tls.ca_cert)] == ["/k.pem", "/c.pem", "/ca.pem"]
