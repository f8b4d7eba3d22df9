"""Owns what stands around every message of Fluvio's protocol: the frame, the header, the agreement on versions. Pure.

A frame is four bytes of length and that many bytes. A request begins with its API, its version, the number by which its
replies name it, and who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Annotated

from headwater.core.errors import WireError
from headwater.fluvio.errorcode import OK, ErrorCode
from headwater.fluvio.wire import I16, I32, U16, Message, Reader, Since, decode, encode

API_VERSIONS = 18
# The version of the request for versions itself; every connection begins with it.
API_VERSIONS_VERSION = 2
# Ours and Fluvio's bound for one request (bytes).
MOST_FRAME = 32 * 1024 * 1024
_LENGTH = Struct(">i")


class Header(Message, frozen=True):
    """What a request begins with. `correlation` is the number that its replies bear."""

    api: U16
    version: I16
    correlation: I32
    client: str


class ApiVersions(Message, frozen=True):
    """The request that begins a connection: which client this is."""

    client_version: Annotated[str, Since(1)] = ""
    os: Annotated[str, Since(1)] = ""
    arch: Annotated[str, Since(1)] = ""


class ApiRange(Message, frozen=True):
    """The versions of one API that a server knows."""

    api: I16
    lowest: I16
    highest: I16


class ApiVersionsReply(Message, frozen=True):
    """What a server knows. `platform` must be a semantic version."""

    code: ErrorCode = OK
    apis: tuple[ApiRange, ...] = ()
    platform: str = "0.0.0"


Ranges = Mapping[int, tuple[int, int]]


def ranges_of(reply: ApiVersionsReply) -> dict[int, tuple[int, int]]:
    """Return the versions that a server knows, by API."""
    return {it.api & 0xFFFF: (it.lowest, it.highest) for it in reply.apis}


def announced(ranges: Ranges) -> tuple[ApiRange, ...]:
    """Return what is told to a client of the versions that are known here."""
    return tuple(ApiRange(api, *ranges[api]) for api in ranges)


def agreed_version(api: int, ours: tuple[int, int], theirs: Ranges) -> int:
    """Return the version of an API that both sides speak: the highest. Raises WireError when there is none."""
    lowest, highest = theirs.get(api, (1, 0))
    version = min(ours[1], highest)
    if version < max(ours[0], lowest):
        raise WireError(
            f"the server speaks versions {lowest} to {highest} of API {api}, and this client {ours[0]} to {ours[1]}"
            if api in theirs
            else f"the server does not know API {api}",
            hint="its Fluvio is too old or too new for this Headwater",
        )
    return version


def request(header: Header, body: bytes) -> bytes:
    """Return the frame of a request."""
    head = encode(header, 0)
    return b"".join((_LENGTH.pack(len(head) + len(body)), head, body))


def reply(correlation: int, body: Iterable[bytes]) -> list[bytes]:
    """Return the frame of a reply as its parts, so that large ones are not copied."""
    parts = list(body)
    return [_LENGTH.pack(4 + sum(map(len, parts))), _LENGTH.pack(correlation), *parts]


def frame_length(prefix: bytes, most: int = MOST_FRAME) -> int:
    """Return how many bytes follow the four that a frame begins with. Raises WireError when they are too many."""
    (length,) = _LENGTH.unpack(prefix)
    if not 4 <= length <= most:
        raise WireError(f"a frame of {length} bytes, where 4 to {most} are allowed")
    return int(length)


def decode_header(reader: Reader) -> Header:
    """Return the header of a request. Raises WireError."""
    return decode(Header, reader, 0)
