"""Owns taking a few values out of a document's bytes without decoding the rest, so that numbers keep their digits.

Does not say what the values mean, nor what becomes of a document without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw

from headwater.core.pointer import Pointer

_ANY = msgspec.json.Decoder(Raw)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
# What msgspec refuses in a name of a field.
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')
# What decoding bytes can end with: no JSON, names that are no UTF-8, too many brackets.
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# Escapes in JSON texts: pairs of surrogates, surrogates that stand alone, all others.
_ESCAPES = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


def mended(document: bytes | Raw) -> bytes | Raw:
    """Return JSON in which surrogates that stand alone are U+FFFD: it may hold them (RFC 8259, 8.2), but no text can.

    What has none is returned as it is.
    """
    data = bytes(document)
    if b"\\ud" not in data and b"\\uD" not in data:
        return document
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[2] else found[0], data)


class DocumentError(ValueError):
    """The bytes are not JSON. The sentence says where they stop being it."""


class Extractor:
    """Takes the values at some pointers out of the bytes of documents: well under a microsecond for an item.

    A generated type of msgspec names the wanted members; everything else is skipped by its scanner. What that type
    cannot say - elements of arrays, a pointer into the value of another, something else than an object on the way - is
    found step by step. Of a name that is repeated the last one counts.
    """

    __slots__ = ("_fast", "_many", "_pick", "_pointers", "_slow")

    def __init__(self, pointers: Sequence[Pointer]) -> None:
        self._pointers = tuple(pointers)
        tree, fast, slow = _plan(self._pointers)
        self._slow = tuple(slow)
        self._fast: msgspec.json.Decoder[Any] | None = None
        self._pick: Callable[[Any], Any] = tuple
        self._many: tuple[msgspec.json.Decoder[Any], list[Callable[[Any], Any]]] | None = None
        if fast:
            paths: dict[int, str] = {}
            kind = _struct(tree, "", paths)
            self._fast = msgspec.json.Decoder(kind)
            if not slow:
                self._many = msgspec.json.Decoder(list[kind]), [attrgetter(paths[place]) for place in fast]  # type: ignore[valid-type]
            pick = attrgetter(*(paths[place] for place in fast))
            single = len(fast) == 1
            order = [fast.index(place) if place in fast else -1 for place in range(len(self._pointers))]
            if single and len(self._pointers) == 1:
                self._pick = lambda found: (pick(found),)
            elif order == list(range(len(fast))):
                self._pick = pick
            else:

                def in_order(found: Any) -> tuple[Raw | None, ...]:
                    values = (pick(found),) if single else pick(found)
                    return tuple(None if place < 0 else values[place] for place in order)

                self._pick = in_order

    def __len__(self) -> int:
        """Return how many pointers there are."""
        return len(self._pointers)

    def __call__(self, document: bytes | Raw) -> tuple[Raw | None, ...]:
        """Return the raw value at each pointer, None where there is none. Raises DocumentError.

        The values are views: they keep the whole buffer of the document alive. `bytes()` copies one.
        """
        try:
            if self._fast is None:
                return self._step_by_step(document)
            found: tuple[Raw | None, ...] = self._pick(self._fast.decode(document))
        except (msgspec.DecodeError, RecursionError):
            # Something else than an object is on the way to one of them: the others are found all the same. Or it is no
            # JSON at all, and that is told there.
            return self._step_by_step(document)
        return self._with_slow(document, found) if self._slow else found

    def columns(self, documents: Sequence[bytes | Raw]) -> list[Sequence[Raw | None]]:
        """Return for each pointer its values in many documents, each of which is JSON. Raises DocumentError."""
        if self._many is not None:
            decoder, getters = self._many
            try:
                found = decoder.decode(b"[%b]" % b",".join(documents))
            except (msgspec.DecodeError, RecursionError):
                found = ()
            if len(found) == len(documents):
                return [[*map(getter, found)] for getter in getters]
        return [*zip(*map(self, documents), strict=True)]

    def _with_slow(self, document: bytes | Raw, found: tuple[Raw | None, ...]) -> tuple[Raw | None, ...]:
        values = list(found)
        try:
            for place in self._slow:
                values[place] = _find(self._pointers[place], document)
        except _BROKEN as error:
            raise DocumentError(_sentence(error)) from None
        return tuple(values)

    def _step_by_step(self, document: bytes | Raw) -> tuple[Raw | None, ...]:
        document = checked(document)
        try:
            return tuple(_find(pointer, document) for pointer in self._pointers)
        except _BROKEN as error:
            raise DocumentError(_sentence(error)) from None


def extract(pointer: Pointer, document: bytes | Raw) -> Raw | None:
    """Return one raw value, or None. Raises DocumentError. For one document: an Extractor is faster for many."""
    document = checked(document)
    try:
        return _find(pointer, document)
    except _BROKEN as error:
        raise DocumentError(_sentence(error)) from None


def checked(document: bytes | Raw) -> bytes | Raw:
    """Return a document that decodes: itself, or `mended`. Raises DocumentError for what is not JSON."""
    try:
        _ANY.decode(document)
    except _BROKEN as error:
        better = mended(document)
        if better is document:
            raise DocumentError(_sentence(error)) from None
        try:
            _ANY.decode(better)
        except _BROKEN as worse:
            raise DocumentError(_sentence(worse)) from None
        return better
    return document


def _find(pointer: Pointer, document: bytes | Raw) -> Raw | None:
    raw = _ANY.decode(document)
    for step in pointer.steps:
        first = bytes(memoryview(raw)[:1])
        if first == b"{":
            following = _OBJECT.decode(raw).get(step)
        elif first == b"[":
            elements = _ARRAY.decode(raw)
            index = int(step) if step.isascii() and step.isdecimal() and len(step) < 10 else -1
            # 01 is no index (RFC 6901, section 4).
            following = elements[index] if 0 <= index < len(elements) and str(index) == step else None
        else:
            return None
        if following is None:
            return None
        raw = following
    return raw


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"it is not JSON: {str(error).removeprefix('JSON is malformed: ')}"


# A tree of names: what is wanted at its leaves are places in the result.
_Tree = dict[str, Any]


def _plan(pointers: tuple[Pointer, ...]) -> tuple[_Tree, list[int], list[int]]:
    """Return the tree for one generated type, the places of its leaves, and the places that it cannot serve."""
    tree: _Tree = {}
    fast: list[int] = []
    slow: list[int] = []
    for place, pointer in enumerate(pointers):
        if not pointer.steps or any(step.isdecimal() or _UNNAMEABLE.search(step) for step in pointer.steps):
            slow.append(place)
            continue
        node = tree
        for step in pointer.steps[:-1]:
            following = node.setdefault(step, {})
            if isinstance(following, list):
                break
            node = following
        else:
            leaf = node.setdefault(pointer.steps[-1], [])
            if isinstance(leaf, list):
                leaf.append(place)
                fast.append(place)
                continue
        slow.append(place)
    return tree, fast, slow


def _struct(tree: _Tree, path: str, paths: dict[int, str]) -> type[msgspec.Struct]:
    """Return the type for a node, and enter the way to each leaf into `paths`."""
    fields: list[tuple[str, Any, Any]] = []
    for number, (name, below) in enumerate(tree.items()):
        attribute = f"f{number}"
        if isinstance(below, list):
            fields.append((attribute, Raw, msgspec.field(default=None, name=name)))
            paths.update(dict.fromkeys(below, path + attribute))
        else:
            nested = _struct(below, f"{path}{attribute}.", paths)
            fields.append((attribute, nested, msgspec.field(default=nested(), name=name)))
    return msgspec.defstruct("Wanted", fields, frozen=True, gc=False)
