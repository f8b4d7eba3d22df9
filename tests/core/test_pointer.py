"""Pointers into JSON, decoded or as bytes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.extract import DocumentError, Extractor, extract
from headwater.core.pointer import MISSING, Pointer, kind_of, parse_pointer, scalar_bytes, scalar_text

NAMES = st.text(max_size=4) | st.sampled_from(["0", "1", "01", "a/b", "~", "id", "-"])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        ("/", ()),
        ("$", ()),
        (".", ()),
        ("/data/items", ("data", "items")),
        ("data.items", ("data", "items")),
        ("$.data.items", ("data", "items")),
        (".data.items", ("data", "items")),
        ("$.data.items[*]", ("data", "items")),
        ("[*]", ()),
        ("items[0].id", ("items", "0", "id")),
        ("$[0]", ("0",)),
        ("/items/0/id", ("items", "0", "id")),
        ("/a~1b/~0x", ("a/b", "~x")),
        ("/a~01", ("a~1",)),
        ("/a/", ("a", "")),
        ("['']", ("",)),
        ("$['@odata.nextLink']", ("@odata.nextLink",)),
        ('a["x\\"y"].z', ("a", 'x"y', "z")),
        ("a.'b c'.d", ("a", "b c", "d")),
        ("data items.x", ("data items", "x")),
        ("$top.x", ("$top", "x")),
        (" /a ", ("a",)),
    ],
)
def test_both_spellings_are_read(text: str, steps: tuple[str, ...]) -> None:
    """RFC 6901 and dotted paths come to the same steps, and what is printed is read again."""
    pointer = parse_pointer(text)
    assert pointer.steps == steps
    assert parse_pointer(str(pointer)) == pointer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a/-", "behind the last element"),
        ("/a~2", "neither ~0"),
        ("a[*].b", "in the middle"),
        ("a..b", "is no pointer"),
        ("a.", "is no pointer"),
        ("a/b", "a dot or ["),
        ("a[", "without an index"),
        ("a[x]", "without an index"),
        ("a[-1]", "without an index"),
        ("#/x", "without the #"),
        ("/a" * 65, "too deep"),
        ("a" * 5000, "too long"),
    ],
)
def test_a_mistake_has_its_sentence(text: str, words: str) -> None:
    """What is no pointer is refused with what to write instead."""
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_pointer(text)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        # The examples of RFC 6901, section 5.
        ("", ...),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/foo/2", MISSING),
        ("/foo/00", MISSING),
        ("/foo/x", MISSING),
        ("/m~0n/x", MISSING),
        ("/foo/99999999999999999999", MISSING),
    ],
)
def test_values_are_found(pointer: str, value: Any) -> None:
    """A value is found in a decoded document and in its bytes alike, or is missing in both."""
    document = dict(
        zip(["foo", "a/b", "c%d", "e^f", "g|h", "i\\j", 'k"l', " ", "m~n"], [["bar", "baz"], *range(1, 9)], strict=True)
    )
    wanted = document if value is ... else value
    parsed = parse_pointer(pointer)
    assert parsed.find(document) == wanted
    raw = extract(parsed, json.dumps(document).encode())
    assert (MISSING if raw is None else json.loads(bytes(raw))) == wanted
    assert not MISSING
    assert repr(MISSING) == "MISSING"


@given(st.data(), JSON)
def test_bytes_and_documents_agree(data: st.DataObject, document: Any) -> None:
    """Whatever the document and the pointers, what is taken out of the bytes is what is found in the decoded one."""
    pointers = [pointer_into(data, document) for _ in range(data.draw(st.integers(1, 4)))]
    raws = Extractor(pointers)(json.dumps(document).encode())
    found = [MISSING if raw is None else json.loads(bytes(raw)) for raw in raws]
    assert found == [pointer.find(document) for pointer in pointers]
    columns = Extractor(pointers).columns([json.dumps(document).encode(), b'{"id":1}'])
    assert [MISSING if column[0] is None else json.loads(bytes(column[0])) for column in columns] == found
    assert {len(column) for column in columns} == {2}


def pointer_into(data: st.DataObject, document: Any) -> Pointer:
    """Draw a pointer that leads somewhere in the document, or a step beside it."""
    steps: list[str] = []
    while data.draw(st.integers(0, 3)):
        if isinstance(document, dict) and document:
            steps.append(data.draw(st.sampled_from(sorted(document))))
            document = document[steps[-1]]
        elif isinstance(document, list) and document:
            steps.append(str(data.draw(st.integers(0, len(document) - 1))))
            document = document[int(steps[-1])]
        else:
            break
    return Pointer((*steps, *data.draw(st.lists(NAMES, max_size=1))))


def test_numbers_keep_their_digits() -> None:
    """No value is turned into a float on the way."""
    (raw,) = Extractor([parse_pointer("/n")])(b'{"n": 12345678901234567890.10 , "m":1}')
    assert raw is not None
    assert scalar_text(bytes(raw)) == "12345678901234567890.10"


def test_a_null_on_the_way_hides_only_what_is_behind_it() -> None:
    """Where something else than an object stands, the other values are found all the same."""
    pointers = [parse_pointer(text) for text in ("/user/id", "/id", "/user", "/tags/1", "/user/name")]
    for user in (b"null", b"5", b'"x"', b"[]"):
        found = Extractor(pointers)(b'{"user":%b,"id":7,"tags":["a","b"],"id":8}' % user)
        assert [None if raw is None else bytes(raw) for raw in found] == [None, b"8", user, b'"b"', None]


@pytest.mark.parametrize(
    ("document", "words"),
    [(b'{"a":1', "truncated"), (b"<html>", "byte 0"), (b'{"a":01}', "byte 6"), (b"[" * 9000, "nested too deeply")],
)
@pytest.mark.parametrize("pointer", ["/a", "/a/0", ""])
def test_what_is_not_json_says_so(document: bytes, words: str, pointer: str) -> None:
    """An error says where the bytes stop being JSON."""
    with pytest.raises(DocumentError, match=words):
        Extractor([parse_pointer(pointer)])(document)
    with pytest.raises(DocumentError, match=words):
        extract(parse_pointer(pointer), document)


@pytest.mark.parametrize(
    ("raw", "text", "kind"),
    [
        (b'"a\\u00e9\\n"', "aé\n", "text"),
        (b'"plain"', "plain", "text"),
        ('"é"'.encode(), "é", "text"),
        (b"-1.50e3", "-1.50e3", "number"),
        (b"true", "true", "bool"),
        (b"false", "false", "bool"),
        (b"null", None, "null"),
    ],
)
def test_scalars_as_text(raw: bytes, text: str | None, kind: str) -> None:
    """Texts are decoded, everything else is its own letters, null is none."""
    assert scalar_text(raw) == text
    assert scalar_bytes(raw) == (None if text is None else text.encode())
    assert kind_of(raw) == kind


@pytest.mark.parametrize("raw", [b"{}", b"[1]", b'"\xff"', b'"\\ud800"'])
def test_what_is_no_scalar_is_refused(raw: bytes) -> None:
    """Objects, arrays and texts that are no UTF-8 are no text."""
    with pytest.raises(ValueError, match="it is"):
        scalar_text(raw)
    with pytest.raises(ValueError, match="it is"):
        scalar_bytes(raw)
