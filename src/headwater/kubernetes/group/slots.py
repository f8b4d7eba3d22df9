"""Owns which slot a connector is in, and how many slots each pod of a group is to have. Pure.

What pods share are not connectors but slots, a fixed number of them, so that a lease is not kept for each connector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Final

SLOTS: Final = 16
MOST_SLOTS: Final = 128


def slot_of(connector: str, slots: int) -> int:
    """Return the slot of a connector: the same in every process and version, as long as `slots` is the same."""
    return int.from_bytes(hashlib.sha256(connector.encode()).digest()[:8]) % slots


def quota(identity: str, live: Collection[str], slots: int) -> int:
    """Return how many slots a pod is to have among those that live: equal shares, and one more for the first ones."""
    each, more = divmod(slots, len(live))
    return each + (sorted(live).index(identity) < more)


def preferred(identity: str, slots: Iterable[int]) -> list[int]:
    """Return slots in the order in which a pod is to take them: another one for each, so that few want the same."""
    return sorted(slots, key=lambda slot: hashlib.sha256(f"{identity} {slot}".encode()).digest())
