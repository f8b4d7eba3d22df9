"""Owns Fluvio's variable-length integers: zig-zag, then seven bits a byte, lowest first. Only records use them."""

from __future__ import annotations

from headwater.core.errors import BatchError

_LONGEST = 10  # bytes that 64 bits need


def _encode(value: int) -> bytes:
    zigzag = (value << 1) ^ (value >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


# Lengths and offset deltas are nearly always small: a look-up costs a tenth of encoding.
VARINTS: tuple[bytes, ...] = tuple(_encode(value) for value in range(16384))


def encode_varint(value: int) -> bytes:
    """Encode a signed 64-bit integer."""
    return VARINTS[value] if 0 <= value < 16384 else _encode(value)


def decode_varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode an integer at `position`; return it and the position after it. Raises BatchError."""
    zigzag = shift = 0
    for index in range(position, position + _LONGEST):
        if index >= len(data):
            raise BatchError(f"a number at byte {position} of a batch is cut off")
        byte = data[index]
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            if zigzag >> 64:
                break
            return (zigzag >> 1) ^ -(zigzag & 1), index + 1
        shift += 7
    raise BatchError(f"a number at byte {position} of a batch has more than 64 bits")
