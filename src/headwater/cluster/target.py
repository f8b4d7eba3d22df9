"""Owns which cluster is meant, and how patient we are with it. Opens nothing."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta

import msgspec

from headwater.fluvio.frame import MOST_FRAME


def dialled(key: str | None) -> None:
    """Return no name of its own: the handshake asks for the host that is dialled."""


class Target(msgspec.Struct, frozen=True):
    """A cluster by the address of its SC, how connections to it are protected, and how long is waited for what.

    `tls` is the context of a client, None for plain connections. `server_name` returns the name that a handshake asks
    for and verifies: of the SC when it is given None, else of the SPU with that key; None means the host that is
    dialled. `use_spu_local_address` dials SPUs where the cluster's own network finds them. `connect_timeout` covers one
    connection up to the agreement on versions, `request_timeout` one answer, and `patience` all attempts together where
    something is tried again. `most_frame` is the longest answer that is read (bytes).
    """

    host: str
    port: int = 9003
    tls: ssl.SSLContext | None = None
    server_name: Callable[[str | None], str | None] = dialled
    use_spu_local_address: bool = False
    client_id: str = "headwater"
    connect_timeout: timedelta = timedelta(seconds=10)
    request_timeout: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(seconds=30)
    most_frame: int = MOST_FRAME
