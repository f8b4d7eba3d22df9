"""Owns the one empty set of names: Python makes another of 200 bytes each time, and each connector has half a dozen."""

from __future__ import annotations

from typing import Final

NO_NAMES: Final[frozenset[str]] = frozenset()
