"""What an egress policy refuses: every way of writing an address that is not public, and what lists allow."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.egress import (
    METADATA,
    Policy,
    forms,
    kind,
    place,
    plain_host,
    refused_address,
    refused_host,
    refused_socket,
)

PUBLIC = Policy("public")

# Addresses that a request must not reach under `public`, and what they are.
INSIDE = {
    "0.0.0.0": "this machine",
    "0.1.2.3": "this machine",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "shared by carriers",
    "100.127.255.255": "shared by carriers",
    "100.100.100.200": METADATA,
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": METADATA,
    "169.254.0.1": "link-local",
    "169.254.169.254": METADATA,
    "169.254.170.2": METADATA,
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "reserved",
    "192.0.0.192": METADATA,
    "192.0.2.1": "documentation",
    "192.88.99.1": "reserved",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarks",
    "198.19.255.255": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "this machine",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": METADATA,
    "::ffff:0.0.0.0": "this machine",
    "::ffff:0:127.0.0.1": "loopback",
    "::127.0.0.1": "loopback",
    "::8.8.8.8": "reserved",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b::169.254.169.254": METADATA,
    "64:ff9b:1::8.8.8.8": "translated",
    "100::1": "discarded",
    "2001:0:808:808:0:0:f7f7:f7f7": "tunnel",
    "2001:0:7f00:1:0:0:f7f7:f7f7": "loopback",
    "2001:0:808:808:0:0:80ff:fffe": "loopback",
    "2001:2::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "loopback",
    "2002:a9fe:a9fe::": METADATA,
    "2a00:1450::5efe:10.0.0.1": "private",
    "2a00:1450::200:5efe:192.168.0.1": "private",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "unique-local",
    "fd00:ec2::254": METADATA,
    "fd20:ce::254": METADATA,
    "fdff::1": "unique-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
OUTSIDE = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2002:808:808::1",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
)


@pytest.mark.parametrize(("text", "meaning"), INSIDE.items())
def test_what_is_not_public(text: str, meaning: str) -> None:
    """Each is refused, by itself and as what a name resolves to, with what it is and what would allow it."""
    address = ip_address(text)
    assert meaning in kind(address)
    for host in ("", "api.example.com"):
        refusal = refused_address(PUBLIC, host, address, 443)
        assert refusal is not None
        assert meaning in refusal.why
        assert str(forms(address)[0]) in refusal.what
        assert refusal.remedy == f"`egress.allow` with {forms(address)[0]} would allow it"
    assert refused_host(PUBLIC, f"[{text}]" if ":" in text else text, 443) is not None
    alone = Policy("public", (place(str(forms(address)[0])),))
    assert refused_address(alone, "", address, 443) is None


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_is_public(text: str) -> None:
    """Neighbours of every range, and public addresses within others, are not refused."""
    assert kind(ip_address(text)) == ""
    assert refused_address(PUBLIC, "", ip_address(text), 80) is None


@given(st.ip_addresses(v=4))
def test_every_form_of_an_address_is_judged_alike(address: IPv4Address) -> None:
    """What IPv4 refuses, no IPv6 form of it allows."""
    number = int(address)
    mapped = IPv6Address(0xFFFF << 32 | number)
    assert forms(mapped) == (address,)
    assert kind(mapped) == kind(address)
    inside = (
        IPv6Address(number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | (~number & 0xFFFFFFFF)),
        IPv6Address(0x2A001450 << 96 | 0x00005EFE << 32 | number),
    )
    if kind(address):
        assert all(kind(form) for form in inside)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_better(address: IPv4Address | IPv6Address) -> None:
    """Of any address that is allowed, the standard library does not say that it is private or anything special."""
    if not kind(address):
        connected = forms(address)[0]
        assert connected.is_global
        assert not connected.is_multicast


def test_lists() -> None:
    """Hosts, everything below a host, networks and ports; what is denied wins."""
    policy = Policy(
        "public",
        tuple(map(place, ("db.example", "*.corp.example", "10.1.0.0/16", "192.168.1.5:8080", "fd00::/64"))),
        tuple(map(place, ("evil.corp.example", "10.1.2.0/24", "8.8.8.8", "down.example:81"))),
    )

    def allowed(host: str, address: str, port: int = 80) -> bool:
        return refused_address(policy, host, ip_address(address), port) is None

    assert allowed("db.example", "10.9.9.9")
    assert allowed("DB.example.", "fd00:1::1")
    assert allowed("a.b.corp.example", "127.0.0.1")
    assert not allowed("corp.example", "10.9.9.9")
    assert not allowed("evilcorp.example", "10.9.9.9")
    assert not allowed("evil.corp.example", "10.1.0.1")
    assert not allowed("evil.corp.example", "1.1.1.1")
    assert allowed("any.example", "10.1.0.1")
    assert allowed("any.example", "::ffff:10.1.0.1")
    assert not allowed("any.example", "10.1.2.1")
    assert not allowed("any.example", "::ffff:10.1.2.1")
    assert not allowed("any.example", "64:ff9b::10.1.0.1")
    assert not allowed("any.example", "64:ff9b::8.8.8.8")
    assert not allowed("db.example", "8.8.8.8")
    assert allowed("", "192.168.1.5", 8080)
    assert not allowed("", "192.168.1.5", 80)
    assert allowed("", "fd00::9")
    assert not allowed("down.example", "1.1.1.1", 81)
    assert allowed("down.example", "1.1.1.1", 80)


@pytest.mark.parametrize("address", ["169.254.169.254", "169.254.1.1", "0.0.0.0", "224.0.0.1", "fe80::1", "192.0.2.1"])
def test_no_name_leads_to_special_places(address: str) -> None:
    """A host that is allowed by its name may be inside, but whoever has its DNS cannot make it the metadata service."""
    policy = Policy("public", (place("db.example"), place("100.64.0.0/10")))
    assert refused_address(policy, "db.example", ip_address(address), 80) is not None
    # Nor does a network that merely holds it allow a metadata service.
    assert refused_address(policy, "", ip_address("100.100.100.200"), 80) is not None
    assert refused_address(policy, "", ip_address("100.100.100.201"), 80) is None


def test_listed() -> None:
    """`listed` lets requests go nowhere else: by name before anything is resolved, by address after."""
    policy = Policy("listed", (place("api.example.com"), place("*.example.org:443")))
    assert refused_host(policy, "api.example.com", 80) is None
    assert refused_host(policy, "www.example.org", 80) is not None
    refusal = refused_host(policy, "www.example.com", 443)
    assert refusal is not None
    assert refusal.why == "it is not listed"
    assert refused_address(policy, "api.example.com", ip_address("1.1.1.1"), 80) is None
    assert refused_address(policy, "", ip_address("1.1.1.1"), 80) is not None
    networks = Policy("listed", (place("1.1.1.0/24"),))
    assert refused_host(networks, "any.example", 80) is None
    assert refused_host(networks, "any.example", 80, unseen=True) is not None
    assert refused_address(networks, "any.example", ip_address("1.1.1.1"), 80) is None
    assert refused_address(networks, "any.example", ip_address("1.1.2.1"), 80) is not None


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "metadata.google.internal", "127.0.0.1", "[::1]", "instance-data"],
)
def test_where_no_address_is_seen(host: str) -> None:
    """Where a proxy resolves, names of this machine and of metadata services are refused, and literal addresses."""
    assert refused_host(PUBLIC, host, 80, unseen=True) is not None
    assert refused_host(Policy("open"), host, 80, unseen=True) is None
    assert refused_host(PUBLIC, "api.example.com", 80, unseen=True) is None


def test_unix_sockets() -> None:
    """They are places of this machine: allowed one by one."""
    assert refused_socket(Policy(), "/run/x") is None
    refusal = refused_socket(PUBLIC, "/run/x")
    assert refusal is not None
    assert refusal.remedy == "`egress.allow` with unix:/run/x would allow it"
    assert refused_socket(Policy("public", (place("unix:/run/x"),)), "/run/x") is None
    assert refused_socket(Policy("public", (place("unix:/run/x"),)), "/run/x/../y") is not None
    assert refused_socket(Policy("open", deny=(place("unix:/run/x"),)), "/run/x") is not None


def test_open() -> None:
    """Without a rule only what is denied is refused."""
    assert Policy().idle
    policy = Policy(deny=(place("10.0.0.0/8"), place("bad.example")))
    assert not policy.idle
    assert refused_address(policy, "", ip_address("127.0.0.1"), 80) is None
    assert refused_address(policy, "", ip_address("10.1.1.1"), 80) is not None
    assert refused_host(policy, "bad.example", 80) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no host"),
        ("a b", "no host"),
        ("*", "no host"),
        ("a..b", "no host"),
        ("-a", "no host"),
        ("1.2.3", "no network"),
        ("1.2.3.4.5", "no network"),
        ("10.0.0.1/8", "within 10.0.0.0/8"),
        ("fe80::1/10", "within fe80::/10"),
        ("http://a", "no port"),
        ("a:0", "between 1 and 65535"),
        ("a:65536", "between 1 and 65535"),
        ("a:b", "no port"),
        ("[::1]:99999", "between 1 and 65535"),
        ("unix:run", "unix:/PATH"),
    ],
)
def test_what_is_no_place(text: str, said: str) -> None:
    """What cannot be meant is said with what can."""
    with pytest.raises(ValueError, match=said):
        place(text)


@given(st.text(max_size=40))
def test_any_text_is_a_place_or_is_refused(text: str) -> None:
    """No text makes reading one fail otherwise, and a host is the same when it is read again."""
    try:
        found = place(text)
    except ValueError:
        return
    assert bool(found.host) + bool(found.suffix) + bool(found.socket) + (found.network is not None) == 1
    assert plain_host(found.host) == found.host


@given(st.text(max_size=60))
def test_any_host(host: str) -> None:
    """No host of a hostile URL makes deciding fail."""
    refused_host(PUBLIC, host, 80)
    refused_host(Policy("listed", (place("a.example"),)), host, 80, unseen=True)


@pytest.mark.parametrize(
    "name",
    [
        "localhost6",
        "x.localhost",
        "intranet",
        "host.docker.internal",
        "kubernetes.default.svc",
        "db.prod.svc.cluster.local",
        "printer.local",
        "router.home.arpa",
        "nas.lan",
        "metadata.azure.internal",
        "4294967297",
        "0x100007f000001",
        ".127.0.0.1",
        "127.0.0.1.0x1",
        "a.1",
    ],
)
def test_names_that_a_proxy_would_find_inside(name: str) -> None:
    """Where a proxy resolves, what no public name can be is refused; allowed by its name it is not."""
    assert refused_host(PUBLIC, name, 80, unseen=True) is not None
    # Without a proxy its address decides.
    assert refused_host(PUBLIC, name, 80) is None


@pytest.mark.parametrize(
    "name", ["api.example.com", "x.internal.example.com", "localhost.example.com", "1.example.com"]
)
def test_names_that_a_proxy_may_find(name: str) -> None:
    """Public names go through a proxy, and private ones that are allowed."""
    assert refused_host(PUBLIC, name, 80, unseen=True) is None
    allowing = Policy("public", (place("host.docker.internal"), place("*.svc")))
    assert refused_host(allowing, "host.docker.internal", 80, unseen=True) is None
    assert refused_host(allowing, "kubernetes.default.svc", 80, unseen=True) is None
