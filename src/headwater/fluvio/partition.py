"""Owns which partition a key belongs to: Fluvio's own rule, so that clients of either kind agree. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.core.record import Record

_MASK = (1 << 64) - 1


def grouped(records: Sequence[Record], partitions: int) -> dict[int | None, Sequence[Record]]:
    """Return which records go to which partition, by their keys; None stands for those without one."""
    if partitions == 1 or all(record.key is None for record in records):
        return {None: records}
    groups: dict[int | None, list[Record]] = {}
    for record in records:
        place = None if record.key is None else partition_of(record.key, partitions)
        groups.setdefault(place, []).append(record)
    return {**groups}


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key among `partitions`.

    As in Fluvio's clients: SipHash-2-4 with a zero key, over the length as eight bytes and the key.
    """
    return siphash(len(key).to_bytes(8, "little") + key) % partitions


def siphash(data: bytes, key: bytes = bytes(16)) -> int:
    """Return SipHash-2-4 of `data` under a key of 16 bytes (Aumasson and Bernstein, 2012)."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    padded = data + bytes(-(len(data) + 1) % 8) + bytes((len(data) & 0xFF,))
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v0, v1, v2, v3 = _rounds(2, v0, v1, v2, v3 ^ word)
        v0 ^= word
    v0, v1, v2, v3 = _rounds(4, v0, v1, v2 ^ 0xFF, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = (v0 + v1) & _MASK
        v1 = (v1 << 13 & _MASK | v1 >> 51) ^ v0
        v0 = v0 << 32 & _MASK | v0 >> 32
        v2 = (v2 + v3) & _MASK
        v3 = (v3 << 16 & _MASK | v3 >> 48) ^ v2
        v0 = (v0 + v3) & _MASK
        v3 = (v3 << 21 & _MASK | v3 >> 43) ^ v0
        v2 = (v2 + v1) & _MASK
        v1 = (v1 << 17 & _MASK | v1 >> 47) ^ v2
        v2 = v2 << 32 & _MASK | v2 >> 32
    return v0, v1, v2, v3
