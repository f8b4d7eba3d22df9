"""Owns which hosts and addresses may be connected to: policies, and what they refuse. Does not resolve or connect.

Whoever connects asks twice: about the host, before anything is resolved, and about each address, right before the
connection to that very address is made.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What answers whoever asks with the credentials of the machine: an address of the link in most clouds, a private or
# even a public one in some.
_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google, Oracle, DigitalOcean, OpenStack, Hetzner ...
            "169.254.169.253",  # the resolver of AWS
            "169.254.170.2",  # credentials of AWS ECS
            "169.254.170.23",  # credentials of AWS EKS
            "169.254.42.42",  # Scaleway
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure, in a public range
            "192.0.0.192",  # Oracle, earlier
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # credentials of AWS EKS
            "fd00:42::42",  # Scaleway
            "fd20:ce::254",  # Google
        ),
    )
)
METADATA = "the metadata service of a cloud"
_PRIVATE = "a private name"
# The names under which it, or this machine, is known where a proxy resolves names: then no address is seen here.
_NAMES = {
    "localhost": "this machine",
    "localhost.localdomain": "this machine",
    "ip6-localhost": "this machine",
    "ip6-loopback": "this machine",
    "localhost4": "this machine",
    "localhost6": "this machine",
    "metadata": METADATA,
    "metadata.google.internal": METADATA,
    "metadata.goog": METADATA,
    "instance-data": METADATA,
    "instance-data.ec2.internal": METADATA,
}
# No public name ends so: kept for this machine, this link, or a network's own use (RFC 6761, 6762, 8375, ICANN's of
# 2024), or as clusters and routers do it.
_PRIVATE_ENDS = frozenset(
    {"localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "svc", "test"}
)
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Special-purpose ranges (IANA's registries, RFC 6890), the narrowest first where they overlap.
_IPV4: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "this machine (RFC 1122)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "shared by carriers (RFC 6598)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "reserved (RFC 6890)"),
        ("192.0.2.0/24", "for documentation (RFC 5737)"),
        ("192.88.99.0/24", "reserved (RFC 7526)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "for documentation (RFC 5737)"),
        ("203.0.113.0/24", "for documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
    )
)
_IPV6: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("::/128", "this machine (RFC 4291)"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "translated to IPv4 of this network (RFC 8215)"),
        ("100::/64", "discarded (RFC 6666)"),
        ("2001::/32", "a tunnel (Teredo, RFC 4380)"),
        ("2001:db8::/32", "for documentation (RFC 3849)"),
        ("2001::/23", "reserved (RFC 2928)"),
        ("3fff::/20", "for documentation (RFC 9637)"),
        ("fc00::/7", "unique-local (RFC 4193)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local (RFC 3879)"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")
# What a host that is allowed by its name may turn out to be: places inside, but none that no name should lead to.
_INSIDE = frozenset({"loopback", "private (RFC 1918)", "shared by carriers (RFC 6598)", "unique-local (RFC 4193)"})
_MAPPED = ip_network("::ffff:0:0/96")
# Where IPv4 is reached from a network of IPv6 alone (RFC 6052): as public as the address in it.
_TRANSLATED = ip_network("64:ff9b::/96")
# Prefixes with an IPv4 address in them, and by how many bits it is shifted: translated by RFC 6052 and RFC 2765,
# compatible by RFC 4291, 6to4 by RFC 3056, and the server of Teredo.
_HOLDING: tuple[tuple[Network, int], ...] = (
    (_TRANSLATED, 0),
    (ip_network("::ffff:0:0:0/96"), 0),
    (ip_network("::/96"), 0),
    (ip_network("2002::/16"), 80),
    (ip_network("2001::/32"), 64),
)
# The second half of an address that ISATAP made of an IPv4 one (RFC 5214), its two flags left out.
_ISATAP = 0x0000_5EFE

_LABELS = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_SUGGESTED = (
    "write a host such as api.example.com or *.example.com, an address, or a network such as 10.1.0.0/16, "
    "each with :PORT or without; or unix:/PATH"
)


class Place(msgspec.Struct, frozen=True):
    """What an entry of a list stands for: a host, all hosts below a name, a network, or a unix socket; and a port.

    One of `host`, `suffix`, `network` and `socket` is set; with `port`, only that port is meant.
    """

    host: str = ""
    suffix: str = ""
    network: Network | None = None
    socket: str = ""
    port: int | None = None

    @property
    def single(self) -> bool:
        """Whether it is one address."""
        return self.network is not None and self.network.num_addresses == 1

    def named(self, host: str, port: int) -> bool:
        """Return whether a host is meant by its name, which is in lower case and has no dot at its end."""
        if self.port is not None and self.port != port:
            return False
        return bool(host) and (self.host == host or (self.suffix != "" and host.endswith(self.suffix)))

    def holds(self, address: Address, port: int) -> bool:
        """Return whether an address is meant by its network."""
        if self.network is None or (self.port is not None and self.port != port):
            return False
        return address in self.network


class Policy(msgspec.Struct, frozen=True):
    """Where connections may go: anywhere, only to public addresses, or only to what is listed in `allow`.

    `deny` wins over everything, `allow` over `rule`. A host that is allowed by its name may be at a private address,
    but at no other special one; the metadata service of a cloud is allowed only by its own address. `option` is what a
    person would add a place to.
    """

    rule: Literal["open", "public", "listed"] = "open"
    allow: tuple[Place, ...] = ()
    deny: tuple[Place, ...] = ()
    option: str = "egress.allow"

    @property
    def idle(self) -> bool:
        """Whether it refuses nothing."""
        return self.rule == "open" and not self.deny


class Refusal(msgspec.Struct, frozen=True):
    """Why a connection may not be made: to `what`, which is `why`. `remedy` says which option would allow it."""

    what: str
    why: str
    remedy: str


def place(text: str) -> Place:
    """Read an entry of a list. Raises ValueError with what would be right."""
    entry = text.strip().lower()
    if entry.startswith("unix:"):
        path = text.strip()[len("unix:") :]
        if not path.startswith("/"):
            raise ValueError(f"{text!r} names no unix socket; write unix:/PATH")
        return Place(socket=path)
    host, port = _with_port(entry, text)
    network = _network(host, text)
    if network is not None:
        return Place(network=network, port=port)
    below = host.startswith(("*.", "."))
    name = plain_host(host.removeprefix("*").removeprefix("."))
    if not _LABELS.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
        raise ValueError(f"{text!r} is no host and no network; {_SUGGESTED}")
    return Place(suffix=f".{name}", port=port) if below else Place(host=name, port=port)


def _with_port(entry: str, text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"\[([0-9a-f:.]+)\](/\d+)?(?::(\d+))?", entry)
    if found:
        host, port = found[1] + (found[2] or ""), found[3]
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
        # A network before its port or behind it: 10.0.0.0/8:443 and 10.0.0.0:443/8 cannot both be right.
        if not port.isdigit():
            raise ValueError(f"{text!r} has no port behind its colon; {_SUGGESTED}")
    else:
        return entry, None
    if port is not None and not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} names no port between 1 and 65535")
    return host, None if port is None else int(port)


def _network(host: str, text: str) -> Network | None:
    if "/" not in host and not re.fullmatch(r"[0-9.]+", host) and ":" not in host:
        return None
    try:
        return ip_network(host)
    except ValueError as error:
        if "host bits" in str(error):
            right = ip_network(host, strict=False)
            raise ValueError(f"{text!r} is an address within {right}; write one or the other") from None
        raise ValueError(f"{text!r} is no address and no network; {_SUGGESTED}") from None


def plain_host(host: str) -> str:
    """Return a host as it is compared: lower case, IDNA, no dot at its end, no brackets and no zone."""
    host = host.strip("[]").partition("%")[0].rstrip(".").lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return host
    return host


def refused_host(policy: Policy, host: str, port: int, *, unseen: bool = False) -> Refusal | None:
    """Return why a request may not go to a host, before it is resolved, or None when that is not known yet.

    `host` is as it stands in the URL, normalised: an address, or a name. With `unseen` no address will ever be seen,
    since a proxy resolves the name: then what its name does not refuse is allowed.
    """
    name = plain_host(host)
    try:
        address = ip_address(name)
    except ValueError:
        pass
    else:
        return refused_address(policy, "", address, port)
    if any(entry.named(name, port) for entry in policy.deny):
        return Refusal(name, "it is denied", _undeny(policy))
    if policy.rule == "open" or any(entry.named(name, port) for entry in policy.allow):
        return None
    if policy.rule == "public":
        # Without a proxy, whether it is allowed is known only by its address.
        local = unseen and _private_name(name)
        return Refusal(name, local, _allow(policy, name)) if local else None
    if unseen or not any(entry.network for entry in policy.allow):
        return Refusal(name, "it is not listed", _allow(policy, name))
    return None


def _private_name(name: str) -> str:
    """Return what a name is that no public one can be, else an empty text: nobody else may judge its address."""
    if name in _NAMES:
        return _NAMES[name]
    labels = name.split(".")
    if labels[-1] == "localhost":
        return "this machine"
    if _NUMERIC.fullmatch(labels[-1]):
        # libcurl does not take it for an address, but a proxy may.
        return "neither a name nor an address"
    if len(labels) == 1 or labels[-1] in _PRIVATE_ENDS or name.endswith(".home.arpa"):
        return _PRIVATE
    return ""


def refused_address(policy: Policy, host: str, address: Address, port: int) -> Refusal | None:
    """Return why a connection to an address may not be made, None when it may.

    `host` is the name that was resolved to it; empty when it stood in the URL itself.
    """
    name = plain_host(host)
    meant = forms(address)
    shown = f"{name} at {meant[0]}" if name else str(meant[0])
    if any(entry.named(name, port) or any(entry.holds(form, port) for form in meant) for entry in policy.deny):
        return Refusal(shown, "it is denied", _undeny(policy))
    if policy.rule == "open":
        return None
    why = kind(address)
    if any(entry.holds(meant[0], port) and (why != METADATA or entry.single) for entry in policy.allow):
        return None
    if any(entry.named(name, port) for entry in policy.allow) and (not why or why in _INSIDE):
        return None
    if policy.rule == "listed":
        why = why or "it is not listed"
    return Refusal(shown, why, _allow(policy, str(meant[0]))) if why else None


def refused_socket(policy: Policy, path: str) -> Refusal | None:
    """Return why a connection to a unix socket may not be made, None when it may."""
    if any(entry.socket == path for entry in policy.deny):
        return Refusal(path, "it is denied", _undeny(policy))
    if policy.rule == "open" or any(entry.socket == path for entry in policy.allow):
        return None
    return Refusal(path, "a unix socket of this machine", _allow(policy, f"unix:{path}"))


def kind(address: Address) -> str:
    """Return what an address is when it is not a public one, else an empty text; of IPv4 in IPv6 both count."""
    for form in reversed(forms(address)):
        if form in _METADATA:
            return METADATA
        ranges = _IPV4 if form.version == 4 else _IPV6
        for network, meaning in ranges:
            if form in network:
                return meaning
        if form.version == 6 and form not in _GLOBAL_UNICAST and form not in _TRANSLATED:
            return "reserved (RFC 4291)"
    return ""


def forms(address: Address) -> tuple[Address, ...]:
    """Return an address as it is connected to, and every IPv4 address that it stands for besides."""
    if address.version == 4:
        return (address,)
    number = int(address)
    if address in _MAPPED:
        return (IPv4Address(number & 0xFFFF_FFFF),)
    plain = IPv6Address(number)  # without its zone
    held = [
        IPv4Address(number >> shift & 0xFFFF_FFFF) for network, shift in _HOLDING if address in network and number > 1
    ]
    if number >> 96 == 0x2001_0000:
        # The client of Teredo, its bits turned round.
        held.append(IPv4Address(~number & 0xFFFF_FFFF))
    if number >> 32 & 0xFFFF_FFFF & ~0x0300_0000 == _ISATAP:
        held.append(IPv4Address(number & 0xFFFF_FFFF))
    return (plain, *held)


def _allow(policy: Policy, entry: str) -> str:
    return f"`{policy.option}` with {entry} would allow it"


def _undeny(policy: Policy) -> str:
    return f"`{policy.option.replace('allow', 'deny')}` says so"
