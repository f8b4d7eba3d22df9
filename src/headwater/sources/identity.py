"""Owns what tells items of a collection apart: the key of each, from its bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from headwater.core.extract import DocumentError, Extractor
from headwater.core.memory import LONGEST_KEY
from headwater.core.pointer import Pointer, kind_of, scalar_bytes

# The key where each answer is one item.
_ONLY = b"null"
_TEXT = msgspec.json.Decoder(str)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError)
# How an object, an array and null begin.
_NO_KEYS = frozenset({b"{", b"[", b"n"})


class ItemError(ValueError):
    """An item that cannot be told apart from others. The sentence says why."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What tells an item apart: as JSON in its events, and as the key of its records; None where one item is all."""

    json: bytes
    key: bytes | None

    @classmethod
    def of(cls, key: bytes) -> Identity:
        """Return what an `Identify` has found, in both forms."""
        return cls(key, key if key[:1] == b"[" else scalar_bytes(key))


class Identify:
    """Finds the keys of items, as JSON: what is at a pointer, or a list of what is at several.

    Without a pointer an item that is no object and no array is its own key. `whole`: each answer is one item, and needs
    no key.
    """

    __slots__ = ("_extract", "_places", "_whole")

    def __init__(self, pointers: Sequence[Pointer] = (), *, whole: bool = False) -> None:
        self._extract = Extractor(pointers)
        self._places = tuple(f" at {pointer}" for pointer in pointers)
        self._whole = whole and not pointers

    def __call__(self, document: bytes | Raw) -> bytes:
        """Return the key of an item. Raises ItemError."""
        if not self._places:
            return _ONLY if self._whole else _scalar(document)
        try:
            found = self._extract(document)
        except DocumentError as error:
            raise ItemError(str(error)) from None
        if len(found) == 1:
            return _scalar(found[0], self._places[0])
        key = b"[%b]" % b",".join(map(_scalar, found, self._places))
        if len(key) > LONGEST_KEY:
            raise _too_long(key)
        return key


def _scalar(raw: bytes | Raw | None, where: str = "") -> bytes:
    """Return a raw scalar in the one form of it that is a key. `where` is where it was found, in words."""
    if raw is None:
        raise ItemError(f"there is nothing{where}, where its key should be")
    key = bytes(raw)
    first = key[:1]
    if first == b'"':
        if b"\\" in key or not key.isascii():
            try:
                key = msgspec.json.encode(_TEXT.decode(key))
            except _BROKEN as error:
                raise ItemError(f"its key{where} is no text: {error}") from None
    elif first in _NO_KEYS:
        kind = kind_of(key)
        article = "" if kind == "null" else "an "
        raise ItemError(f"its key{where} is {article}{kind}, where a text or a number is expected")
    if len(key) > LONGEST_KEY:
        raise _too_long(key)
    return key


def _too_long(key: bytes) -> ItemError:
    return ItemError(f"its key has {len(key):,} bytes, more than the {LONGEST_KEY:,} that a key may have")
