"""Elements of JSON arrays, cut out of bodies in any chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.pointer import Pointer
from headwater.sources.split.array import ArraySplitter
from headwater.sources.split.item import Bad, BrokenBodyError, Item

MANY = settings(max_examples=300, deadline=None)
SPACE = st.sampled_from([b"", b" ", b"\n  ", b"\t\r\n"])
TEXTS = st.text(max_size=6) | st.sampled_from(
    ['"', "\\", "},{", "[", "]", "a,b", "\ud800x".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), "é☔"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=10
)


def cut(
    body: bytes, pointer: Pointer, sizes: Sequence[int] = (), *, window: int = 1 << 20, most: int = 1 << 20
) -> tuple[list[bytes | Bad], bytes | None]:
    """Split a body in chunks of these sizes, again and again; without any, whole."""
    splitter = ArraySplitter(pointer, most, window=window)
    items: list[Item] = []
    start = number = 0
    while start < len(body):
        size = sizes[number % len(sizes)] if sizes else len(body)
        items += splitter.feed(body[start : start + size])
        start += size
        number += 1
    items += splitter.finish()
    return [item if isinstance(item, Bad) else bytes(item) for item in items], splitter.rest


def outcome(body: bytes, pointer: Pointer, sizes: Sequence[int] = (), **bounds: int) -> object:
    """Return what comes of a body, an error included, as far as chunks may not change it."""
    try:
        return cut(body, pointer, sizes, **bounds)
    except BrokenBodyError:
        return "broken"


@st.composite
def spaced(draw: st.DrawFn, value: Any) -> bytes:
    """Draw JSON text with space between its tokens, and with escapes that nobody needs."""
    if isinstance(value, list):
        inner = b",".join([draw(SPACE) + draw(spaced(it)) + draw(SPACE) for it in value])
        return b"[" + (inner or draw(SPACE)) + b"]"
    if isinstance(value, dict):
        pairs = [
            draw(SPACE) + json.dumps(name).encode() + draw(SPACE) + b":" + draw(spaced(it))
            for name, it in value.items()
        ]
        return b"{" + b",".join(pairs) + draw(SPACE) + b"}"
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, Pointer, list[bytes]]:
    """Draw a document with an array somewhere in it, the pointer to it, and its elements as they stand there."""
    elements = [draw(spaced(value)) for value in draw(st.lists(VALUES, max_size=8))]
    if elements and draw(st.booleans()):
        elements *= draw(st.integers(1, 5))
    text = b"[" + (b",".join(draw(SPACE) + it + draw(SPACE) for it in elements) or draw(SPACE)) + b"]"
    steps: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        before = [draw(spaced(value)) for value in draw(st.lists(VALUES, max_size=3))]
        behind = [draw(spaced(value)) for value in draw(st.lists(VALUES, max_size=3))]
        if draw(st.booleans()):
            name = draw(TEXTS)
            names = [f"{name}{number}" for number in range(1, 9)]
            pairs = [json.dumps(names.pop()).encode() + b" :" + it for it in before]
            pairs += [json.dumps(name).encode() + draw(SPACE) + b":" + draw(SPACE) + text]
            pairs += [json.dumps(names.pop()).encode() + b":" + it for it in behind]
            text = b"{" + b",".join(draw(SPACE) + pair + draw(SPACE) for pair in pairs) + b"}"
            steps.insert(0, name)
        else:
            text = b"[" + b",".join(draw(SPACE) + it + draw(SPACE) for it in [*before, text, *behind]) + b"]"
            steps.insert(0, str(len(before)))
    return draw(SPACE) + text + draw(SPACE), Pointer(tuple(steps)), elements


@MANY
@given(documents(), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 60))
def test_any_document_in_any_chunks(
    document: tuple[bytes, Pointer, list[bytes]], sizes: list[int], window: int
) -> None:
    """Each element comes with its own bytes, and what is around the array is the document with the array empty."""
    body, pointer, elements = document
    items, rest = cut(body, pointer)
    assert items == elements
    assert cut(body, pointer, sizes, window=window) == (items, rest)
    assert rest is not None
    emptied = json.loads(body)
    if pointer.steps:
        Pointer(pointer.steps[:-1]).find(emptied)[
            pointer.steps[-1] if isinstance(Pointer(pointer.steps[:-1]).find(emptied), dict) else int(pointer.steps[-1])
        ] = []
    else:
        emptied = []
    assert json.loads(rest) == emptied


@MANY
@given(
    documents(), st.data(), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 60), st.integers(1, 40)
)
def test_damage_does_not_depend_on_chunks(
    document: tuple[bytes, Pointer, list[bytes]], data: st.DataObject, sizes: list[int], window: int, most: int
) -> None:
    """Whatever is done to a document, the same items are good and the same are bad in any chunks, or it is broken."""
    body, pointer, _ = document
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(body)))
        body = (
            body[:at]
            + data.draw(st.sampled_from([b"", b"NaN", b",", b"]", b"}", b"[", b'"', b"\\", b"\xff", b"{}", b"\x00"]))
            + body[at + data.draw(st.integers(0, 2)) :]
        )
    whole = outcome(body, pointer, most=most)
    assert outcome(body, pointer, sizes, window=window, most=most) == whole
