"""Owns how values are kept that are looked at seldom: smaller where that is soon done. Pure."""

from __future__ import annotations

import cramjam

# Shorter values hardly get smaller.
_WORTH = 256
_PLAIN, _LZ4 = b"\0", b"\1"


def squeeze(value: bytes) -> bytes:
    """Return a value as it is kept: in a microsecond for each kilobyte."""
    if len(value) >= _WORTH:
        squeezed = bytes(cramjam.lz4.compress_block(value))
        if len(squeezed) < len(value):
            return _LZ4 + squeezed
    return _PLAIN + value


def unsqueeze(kept: bytes) -> bytes:
    """Return the value that `squeeze` was given. Raises ValueError for anything else."""
    how, data = kept[:1], kept[1:]
    if how == _PLAIN:
        return data
    if how != _LZ4:
        raise ValueError(f"a value is kept in a way that is not known: {how!r}")
    try:
        return bytes(cramjam.lz4.decompress_block(data))
    except cramjam.DecompressionError as error:
        raise ValueError(f"a value that is kept cannot be read: {error}") from error
