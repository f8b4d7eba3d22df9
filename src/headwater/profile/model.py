"""Owns a profile of Fluvio as a value: its names, how its cluster is reached, and how the connection is protected.

Pure. Does not know of the file that profiles stand in (text.py), nor which one is meant (choice.py).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

import msgspec

from headwater.core.secret import MASK, Text

LOCAL: Final = "local"
PREFIX: Final = "fluvio:"
DEFAULT_PORT: Final = 9003
_LONGEST = 255

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})")


class Policy(StrEnum):
    """How a connection is protected: not at all, encrypted only, or encrypted with both sides known."""

    DISABLED = "disabled"
    ANONYMOUS = "anonymous"
    VERIFIED = "verified"


class Tls(msgspec.Struct, frozen=True):
    """How a cluster is spoken to. With `verified`, `key`, `cert` and `ca_cert` are PEM texts when `inline`, else paths.

    PEM texts are masked wherever they are shown, certificates too: people put a key beside them.
    """

    policy: Policy = Policy.DISABLED
    domain: str = ""
    key: Text = Text("")
    cert: Text = Text("")
    ca_cert: Text = Text("")
    inline: bool = False

    @classmethod
    def verified(cls, domain: str, key: str, cert: str, ca_cert: str, *, inline: bool) -> Tls:
        """Return settings that verify `domain` and show a client certificate."""

        def masked(text: str) -> Text:
            return Text(text, MASK if inline or is_pem(text) else None)

        return cls(Policy.VERIFIED, domain, masked(key), masked(cert), masked(ca_cert), inline)


class ClusterProfile(msgspec.Struct, frozen=True):
    """A profile and the cluster that it names. `endpoint` is the SC's host:port; an IPv6 host is in brackets."""

    name: str
    endpoint: str
    cluster: str = ""
    use_spu_local_address: bool = False
    tls: Tls = Tls()
    client_id: str | None = None

    @property
    def host(self) -> str:
        """The host of the endpoint, without brackets."""
        return self.endpoint.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of the endpoint."""
        return int(self.endpoint.rpartition(":")[2])


def label(name: str) -> str:
    """Return how people name a profile of Fluvio's: `fluvio:local` where `local` would be the embedded log."""
    return PREFIX + name if name == LOCAL or name.startswith(PREFIX) else name


def fluvio_name(text: str) -> str | None:
    """Return which of Fluvio's profiles people mean, None for the embedded log. The inverse of `label`."""
    return None if text == LOCAL else text.removeprefix(PREFIX)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or an empty text when none is near."""
    found = get_close_matches(word, known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def check_name(name: str) -> None:
    """Raise ValueError unless `name` may name a profile: it stands in commands and in lines of output."""
    if not name or not name.isprintable() or len(name) > _LONGEST:
        raise ValueError(f"the name of a profile is 1 to {_LONGEST} printable characters")


def check_domain(domain: str) -> None:
    """Raise ValueError unless `domain` may stand in a certificate and in the server name of a handshake."""
    if not _DOMAIN.fullmatch(domain) or len(domain) > _LONGEST - 2:
        raise ValueError(f"{quoted(domain)} is no domain that a certificate can have; write one such as fluvio.local")


def is_pem(text: str) -> bool:
    """Return whether a text is the inside of a PEM file, not the path of one."""
    return "-----BEGIN" in text or "\n" in text


def parse_endpoint(text: str) -> str:
    """Return host:port; the port is 9003 unless one is written. Raises ValueError that says what is wrong."""
    if "://" in text:
        raise ValueError(f"{quoted(text)} is a URL; write host:port")
    address = _ipv6(text)  # may come without brackets when it comes without a port
    if address:
        return f"{address}:{DEFAULT_PORT}"
    host, colon, port = (text, "", "") if text.endswith("]") else text.rpartition(":")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"{quoted(text)} has no port between 1 and 65535 behind its colon; write host:port")
    if host.startswith("[") and host.endswith("]"):
        host = _ipv6(host[1:-1])
    elif not _HOST.fullmatch(host) or len(host) > _LONGEST:
        host = ""
    if not host:
        raise ValueError(f"{quoted(text)} has no host name or address; write host:port")
    return f"{host}:{int(port)}"


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return ""
    # Behind % is an interface, which may be any text.
    return f"[{address}]" if str(address).isprintable() and "]" not in str(address) else ""


def quoted(text: str) -> str:
    """Return a text for a message, when it is a word: what is longer may be the inside of a key."""
    return repr(text) if len(text) <= 60 and text.isprintable() else f"a text of {len(text)} characters"
