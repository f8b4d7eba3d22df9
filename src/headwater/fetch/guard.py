"""Owns the enforcement of egress policies where libcurl opens a socket: the address checked is the one connected to.

What a policy refuses is `headwater.core.egress`'s to say.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import pycurl

from headwater.core.egress import Policy, Refusal, refused_address, refused_host, refused_socket
from headwater.core.errors import EgressError
from headwater.core.http import Request


def check_host(policies: Iterable[Policy], request: Request, host: str, port: int, *, unseen: bool) -> None:
    """Raise EgressError when a policy refuses the host of a request, whatever it may resolve to."""
    for policy in policies:
        refusal = refused_host(policy, host, port, unseen=unseen)
        if refusal is not None:
            raise refused(request, refusal)


def refused(request: Request, refusal: Refusal) -> EgressError:
    """Return the error for a connection that a policy does not let be made."""
    return EgressError(
        f"{request.method} {request.shown_url}: the egress policy refuses {refusal.what}: {refusal.why}; "
        f"{refusal.remedy}",
        hint="allow it only where whoever writes configurations, or answers requests, may reach it",
    )


class Guard:
    """Opens the sockets of one request's connections, unless a policy refuses the address.

    `host` is what was resolved to the addresses. `refusal` is the last one; it is what failed if nothing was `opened`.
    """

    __slots__ = ("_host", "_policies", "opened", "refusal")

    def __init__(self, policies: Iterable[Policy], host: str) -> None:
        self._policies = tuple(policies)
        self._host = host
        self.opened = False
        self.refusal: Refusal | None = None

    def begin(self) -> None:
        """Forget what was refused to the exchange before."""
        self.opened = False
        self.refusal = None

    def open(self, purpose: int, address: Any) -> int:  # noqa: ARG002 - libcurl's signature
        """Return a new socket for an address that may be connected to, else none."""
        for policy in self._policies:
            refusal = self._refusal(policy, address)
            if refusal is not None:
                self.refusal = refusal
                return pycurl.SOCKET_BAD
        try:
            opened = socket.socket(address.family, address.socktype, address.protocol)
        except OSError:
            return pycurl.SOCKET_BAD
        self.opened = True
        return opened.detach()

    def _refusal(self, policy: Policy, address: Any) -> Refusal | None:
        if address.family == socket.AF_UNIX:
            path = address.addr
            return refused_socket(policy, path.decode(errors="replace") if isinstance(path, bytes) else str(path))
        try:
            found = ip_address(address.addr[0])
        except ValueError:
            return Refusal(str(address.addr), "it is no address", "nothing allows it")
        return refused_address(policy, "" if _same(self._host, found) else self._host, found, address.addr[1])


def _same(host: str, address: object) -> bool:
    """Return whether a host is an address as it stands in a URL."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]) == address
    except ValueError:
        return False
