"""Owns the codecs of a batch's payload, in the framings that Fluvio uses. Does not choose one."""

from __future__ import annotations

from enum import IntEnum

import cramjam

from headwater.core.errors import BatchError

# A payload that decompresses beyond this is refused (bytes): twice what Fluvio takes in one request.
MOST_DECOMPRESSED = 64 * 1024 * 1024
_FIRST_GUESS = 64 * 1024


class Compression(IntEnum):
    """The codec in bits 0 to 2 of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


# Snappy and lz4 are in their frame formats, as the Rust crates that Fluvio uses write them.
_CODECS = {
    Compression.GZIP: cramjam.gzip,
    Compression.SNAPPY: cramjam.snappy,
    Compression.LZ4: cramjam.lz4,
    Compression.ZSTD: cramjam.zstd,
}


def agreed(wanted: str | None, allowed: str) -> Compression | None:
    """Return the codec of a producer that wants one (or has no wish) for a topic that allows `any` or just one.

    None when the topic does not allow what the producer wants.
    """
    if allowed == "any":
        return Compression[(wanted or "none").upper()]
    return Compression[allowed.upper()] if wanted in {None, allowed} else None


def compress(payload: bytes, codec: Compression) -> bytes:
    """Compress the payload of a batch."""
    return payload if codec is Compression.NONE else bytes(_CODECS[codec].compress(payload))


def decompress(payload: bytes, codec: int, *, most: int = MOST_DECOMPRESSED) -> bytes:
    """Decompress the payload of a batch. Raises BatchError when it is damaged, unknown, or larger than `most` bytes."""
    if codec == Compression.NONE:
        return payload
    try:
        module = _CODECS[Compression(codec)]
    except ValueError:
        raise BatchError(f"the batch names compression {codec}, which does not exist") from None
    # The size is not in the batch, and a bomb must not be unpacked to learn it: grow a buffer up to the bound.
    room = min(most, max(_FIRST_GUESS, 4 * len(payload)))
    while True:
        buffer = bytearray(room)
        try:
            size = module.decompress_into(payload, buffer)
        except cramjam.DecompressionError as error:
            if "write whole buffer" not in str(error):
                raise BatchError(f"the batch does not decompress: {error}") from error
            if room == most:
                raise BatchError(f"the batch decompresses to more than {most} bytes") from None
            room = min(most, room * 4)
        else:
            return bytes(memoryview(buffer)[:size])
