"""Owns how people write where to listen: a port, or a host and a port. Pure."""

from __future__ import annotations


def parse_address(address: str) -> tuple[str, int]:
    """Read `PORT`, `HOST:PORT` or `[IPV6]:PORT`; without a host it is loopback. Raises ValueError."""
    host, separator, port = address.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not [HOST:]PORT")
    if not separator or not host:
        host = "127.0.0.1"
    return host.strip("[]"), int(port)
