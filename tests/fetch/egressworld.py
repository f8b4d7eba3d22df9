"""A world with a public address, a resolver that lies, and something inside that no request may reach.

`python egressworld.py DIRECTORY` runs inside of fresh namespaces and prints what became of every request as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvloop

from headwater.core.egress import Policy
from headwater.core.errors import FetchError
from headwater.core.http import Request, Transport
from headwater.fetch import CurlFetcher
from headwater.testing import Answer, ScriptedServer
from worlds import bring_up_loopback, mount

# Somebody's address elsewhere, and in this world ours.
PUBLIC = "93.184.215.14"
_RESOLVER = "127.0.0.53"
# What the resolver says, by name: addresses, or the name that it is another name for.
ZONE: dict[str, list[str]] = {
    "good.example": [PUBLIC],
    "both.example": ["127.0.0.1", PUBLIC],
    "six-and-four.example": ["::1", PUBLIC],
    "localhost": ["127.0.0.1"],
    "loop.example": ["127.0.0.1"],
    "loop-six.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "translated.example": ["64:ff9b::7f00:1"],
    "zero.example": ["0.0.0.0"],
    "zero-six.example": ["::"],
    "private.example": ["10.0.0.1", "192.168.0.1"],
    "metadata.example": ["169.254.169.254"],
    "alias.example": ["localhost."],
    "alias-of-alias.example": ["loop.example."],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "127-0-0-1.nip.example": ["127.0.0.1"],
    "7f000001.nip.example": ["127.0.0.1"],
    "a.b.169.254.169.254.nip.example": ["169.254.169.254"],
    "public-suffix.127.0.0.1.example": ["127.0.0.1"],
}
REFUSED = (
    *(name for name in ZONE if name not in {"good.example", "both.example", "six-and-four.example"}),
    "in-hosts.example",
    "in-hosts-six.example",
    "loop.example.",
    "LOOP.example",
)
ALLOWED = ("good.example", "both.example", "six-and-four.example", "good.example.")
_HOSTS = "127.0.0.1 localhost in-hosts.example\n::1 in-hosts-six.example\n"


class Resolver(asyncio.DatagramProtocol):
    """Answers for the zone; `rebind...` is public to the first who asks, and this machine from then on."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where answers go."""
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        labels, place = [], 12
        while length := data[place]:
            labels.append(data[place + 1 : place + 1 + length].decode())
            place += 1 + length
        (kind,) = struct.unpack("!H", data[place + 1 : place + 3])
        name = ".".join(labels).lower()
        self.asked[name, kind] += 1
        records = self._records(name, kind)
        header = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
        self._transport.sendto(header + data[12 : place + 5] + b"".join(records), addr)

    def _records(self, name: str, kind: int) -> list[bytes]:
        if name.startswith("rebind"):
            values = [PUBLIC if self.asked[name, kind] == 1 else "127.0.0.1"]
        else:
            values = ZONE.get(name, [])
        records = []
        for value in values:
            if value.endswith("."):
                # Another name, and as resolvers do, what that one is.
                records += [_record(name, 5, _wire(value.rstrip("."))), *self._records(value.rstrip("."), kind)]
            elif (address := ip_address(value)).version == (4 if kind == 1 else 6):
                records.append(_record(name, kind, address.packed))
        return records


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, content: bytes) -> bytes:
    return _wire(name) + struct.pack("!HHIH", kind, 1, 0, len(content)) + content


async def outcome(fetcher: CurlFetcher, host: str) -> str:
    """Return what answered, or the kind of the error."""
    url = f"http://{host}/"
    transport = Transport(egress=Policy("public"))
    try:
        return (await fetcher.fetch(Request("GET", url, url, transport=transport, total_timeout=10))).body.decode()
    except FetchError as error:
        return type(error).__name__


async def live() -> dict[str, list[Any]]:
    """Ask for everything."""
    found: dict[str, list[Any]] = {}
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Resolver, local_addr=(_RESOLVER, 53))
    async with (
        ScriptedServer(host="127.0.0.1", port=80) as inside,
        ScriptedServer(host="::1", port=80) as inside_six,
        ScriptedServer(host=PUBLIC, port=80) as outside,
    ):
        for server, words in ((inside, b"secret"), (inside_six, b"secret"), (outside, b"public")):
            server.route("/", Answer(body=words, close=True))

        def reached() -> int:
            return inside.connections + inside_six.connections

        for name in (*REFUSED, *ALLOWED):
            async with CurlFetcher() as fetcher:
                before = reached()
                kind = await outcome(fetcher, name)
                found[name] = [kind, reached() - before]
        async with CurlFetcher() as first, CurlFetcher() as second, CurlFetcher() as third:
            kinds = [await outcome(fetcher, "rebind.example") for fetcher in (first, second, third)]
            found["rebinding"] = [*kinds, reached()]
            # The second name resolves anew, in the middle of an exchange.
            await outcome(first, "rebind-later.example")
            outside.route("/", Answer(302, headers=(("location", "http://rebind-later.example/"),), close=True))
            found["rebinding behind a redirect"] = [await outcome(second, "good.example"), reached()]
    return found


def main() -> None:
    """Make the world, and print what became of every request."""
    directory = Path(sys.argv[1])
    bring_up_loopback(PUBLIC)
    mount(_HOSTS, "/etc/hosts", directory)
    mount(f"nameserver {_RESOLVER}\noptions timeout:2 attempts:1\n", "/etc/resolv.conf", directory)
    mount("hosts: files dns\n", "/etc/nsswitch.conf", directory)
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    print(json.dumps(uvloop.run(live())))


if __name__ == "__main__":
    main()
