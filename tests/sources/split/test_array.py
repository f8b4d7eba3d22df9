"""Elements of JSON arrays, cut out of bodies in any chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.pointer import WHOLE, Pointer, parse_pointer
from headwater.sources.split.array import ArraySplitter
from headwater.sources.split.item import Bad, BrokenBodyError
from sources.split.cutting import cut, outcome

MANY = settings(max_examples=150, deadline=None)
SPACE = st.sampled_from([b"", b" ", b"\n  ", b"\t\r\n"])
TEXTS = st.text(max_size=6) | st.sampled_from(
    ['"', "\\", "},{", "[", "]", "a,b", "\ud800x".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), "é☔"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=10
)


def split(
    body: bytes, pointer: Pointer, sizes: Sequence[int] = (), *, window: int = 1 << 20, most: int = 1 << 20
) -> object:
    """Return what comes of a body."""
    return outcome(lambda: ArraySplitter(pointer, most, window=window), body, sizes)


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
    escaped: bool = draw(st.booleans())
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "replace")


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, Pointer, list[bytes]]:
    """Draw a document with an array somewhere in it, the pointer to it, and its elements as they stand there."""
    elements = [draw(spaced(value)) for value in draw(st.lists(VALUES, max_size=8))]
    if elements and draw(st.booleans()):  # type: ignore[arg-type]  # inference of a recursive strategy
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
    splitter = ArraySplitter(pointer, 1 << 20)
    items, rest = cut(splitter, body), splitter.rest
    assert items == elements
    assert split(body, pointer, sizes, window=window) == (items, rest)
    assert rest is not None
    assert json.loads(rest) == emptied(json.loads(body), pointer)


def emptied(document: Any, pointer: Pointer) -> Any:
    """Return a document with the array at a pointer empty."""
    if not pointer.steps:
        return []
    around = Pointer(pointer.steps[:-1]).find(document)
    around[pointer.steps[-1] if isinstance(around, dict) else int(pointer.steps[-1])] = []
    return document


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
    whole = split(body, pointer, most=most)
    assert split(body, pointer, sizes, window=window, most=most) == whole


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        (b"", "/", "ends before"),
        (b"   ", "/", "ends before"),
        (b"<html>", "/", "is HTML or XML, not an array"),
        (b"<html>", "/data", "is HTML or XML, not an object"),
        (b"12", "/data", "a number"),
        (b'"x"', "/", "a text, not an array"),
        (b'{"data":{"a":1}}', "/data", "/data is an object, not an array"),
        (b'{"data":5}', "/data", "/data is a number, not an array"),
        (b'{"data":true}', "/data", "/data is true or false, not an array"),
        (b"[1]", "/data", "the body is an array, not an object with /data"),
        (b"{}", "/", "the body is an object, not an array"),
        (b'{"data":[1,2', "/data", "ends before"),
        (b'{"data":[1,2]', "/data", "ends before"),
        (b'{"data":[1,2}', "/data", "ends with a brace"),
        (b'{"data":[1]}]', "/data", "goes on behind"),
        (b'{"data":[1]} x', "/data", "goes on behind"),
        (b'{"data" [1]}', "/data", "colon"),
        (b"{1:[]}", "/data", "a name is expected"),
        (b'{"data":[1],"x":tru}', "/data", "with its array left out"),
        (b'{"a":[}', "/data", "ends before"),
        (b"[1}", "/1/x", "not its own"),
        (b"[" * 20_000, "/", "nested more than 10,000 deep"),
        (b"[" + b" " * 1_100_000, "/", "nothing but white space"),
        (b'{"' + b"x" * 70_000, "/data", "a name of more than"),
        (b'{"\xff":1}', "/data", "a name is no text"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_is_no_such_document_says_so(body: bytes, pointer: str, words: str, size: int) -> None:
    """An error says what is there instead."""
    with pytest.raises(BrokenBodyError, match=words):
        cut(
            ArraySplitter(parse_pointer(pointer), 16, window=1 if size == 1 and len(body) < 100 else 1024),
            body,
            [size if len(body) < 100 else 4096],
        )


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"meta":1}', "/data"),
        (b"{}", "/data/items"),
        (b'{"data":null,"meta":1}', "/data"),
        (b'{"data":[]}', "/data/items"),
        (b"null", "/"),
        (b"null", "/data"),
        (b"[[1],[2]]", "/5"),
        (b'{"data":{"x":1}}', "/data/items"),
    ],
)
def test_an_array_that_is_not_there_has_no_items(body: bytes, pointer: str) -> None:
    """What is absent or null is told apart from an empty array, and no error."""
    splitter = ArraySplitter(parse_pointer(pointer), 100)
    assert cut(splitter, body) == []
    assert splitter.missing
    assert splitter.rest == body


def test_bad_elements_do_not_harm_the_others() -> None:
    """What is no JSON between commas is told of, and the rest goes on."""
    body = b'\xef\xbb\xbf[{"a":NaN}, {"a":1} ,, "\xff", {"b":[}}, 01, "\\ud83d", "ok", ]'
    items = cut(ArraySplitter(WHOLE, 100), body)
    assert [item.reason.partition(":")[0] if isinstance(item, Bad) else item for item in items] == [
        "it is not JSON",
        b'{"a":1}',
        "there is nothing between two commas",
        "it is not UTF-8",
        "it is not JSON",
        "it is not JSON",
        b'"\\ud83d"',
        b'"ok"',
        "there is nothing between two commas",
    ]


def test_a_large_element_is_shown_by_its_beginning() -> None:
    """What is larger than allowed is not kept: only how it begins, its size and its digest."""
    large = b'{"x":"' + b"y" * 5000 + b'"}'
    body = b"[1, " + large + b" ,2]"
    for size in (1, 100, 10_000):
        one, bad, two = cut(ArraySplitter(WHOLE, 1000, window=64), body, [size])
        assert (one, two) == (b"1", b"2")
        assert bad == Bad(bad.reason, large[:1024], "too-large", "", len(large), sha256(large).hexdigest())  # type: ignore[union-attr]


def test_an_element_in_another_charset_is_read_in_it() -> None:
    """What is not UTF-8 is what the Content-Type says, and what is UTF-8 stays, whatever it says."""
    body = '["é",'.encode() + '"é"]'.encode("latin-1")
    assert cut(ArraySplitter(WHOLE, 100, legacy="latin-1"), body) == ['"é"'.encode(), '"é"'.encode()]
    assert isinstance(cut(ArraySplitter(WHOLE, 100, legacy="cp1252"), b'["\x81"]')[0], Bad)


def test_guesses_are_right_in_large_bodies() -> None:
    """What stands between elements is learned, and the structure is hardly ever walked through."""
    elements = [b'{"id":%d,"kids":[{"id":1},{"id":2}],"x":"},{"}' % number for number in range(20_000)]
    splitter = ArraySplitter(WHOLE, 1000, window=4096)
    assert cut(splitter, b"[" + b", ".join(elements) + b"]", [1000]) == elements
    assert splitter._mark is not None
