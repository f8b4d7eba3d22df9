"""Owns what counts of an item, as bytes: members in one order, no space, no pointers that are ignored, digits kept.

Compares nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from headwater.core.pointer import MISSING, Pointer

# A fraction or an exponent stays as it is written: 1.10 is not 1.1, and 0.1 is no binary fraction.
_DECODER = msgspec.json.Decoder(float_hook=lambda digits: Raw(digits.encode()))
_SORTED = msgspec.json.Encoder(order="deterministic")
_ENCODER = msgspec.json.Encoder()
# What decoding bytes can end with: no JSON, texts that are no UTF-8, too many brackets.
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(document: bytes | Raw) -> Any:
    """Return a document as objects of Python, numbers with a fraction or an exponent as Raw. Raises one of BROKEN."""
    return _DECODER.decode(document)


def encode(document: Any) -> bytes:
    """Return what `decode` has decoded as compact JSON, in its own order."""
    return _ENCODER.encode(document)


def text_of(document: bytes | Raw) -> bytes:
    """Return bytes that are no JSON as a JSON text; what is no UTF-8 becomes U+FFFD."""
    return _ENCODER.encode(bytes(document).decode(errors="replace"))


def same(one: Any, other: Any) -> bool:
    """Return whether two decoded documents are the same JSON, whatever the order of their members."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class Canon:
    """Makes the canonical form of documents. `ignored` are pointers to what does not count."""

    __slots__ = ("_ignored",)

    def __init__(self, ignored: Sequence[Pointer] = ()) -> None:
        self._ignored = tuple(ignored)

    def __call__(self, document: bytes | Raw) -> bytes:
        """Return the form of a document. Raises one of BROKEN."""
        decoded = _DECODER.decode(document)
        for pointer in self._ignored:
            _leave_out(decoded, pointer)
        return _SORTED.encode(decoded)


def _leave_out(document: Any, pointer: Pointer) -> None:
    if pointer.find(document) is MISSING:
        return
    above, last = Pointer(pointer.steps[:-1]).find(document), pointer.steps[-1]
    if isinstance(above, dict):
        del above[last]
    else:
        # The others keep their places.
        above[int(last)] = None
