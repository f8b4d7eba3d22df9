"""Patches: applied to the one document, they make the other."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.canonical import Canon, decode, encode, same, text_of
from headwater.sources.patch import json_patch, merge_patch, merged
from sources.patching import apply_merge, apply_patch

SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.5]) | st.sampled_from(["", "a", "é~/"])
)
NAMES = st.sampled_from(["", "a", "b", "a/b", "~", "0"])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def exact(document: Any) -> str:
    """Return a document as a text in which 1, 1.0 and true differ."""
    return json.dumps(document, sort_keys=True)


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_a_patch_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    """Whatever they are; and between equal ones there is nothing to do."""
    patch = json.loads(encode(json_patch(decode(msgspec.json.encode(before)), decode(msgspec.json.encode(after)))))
    assert exact(apply_patch(before, patch)) == exact(after)
    assert bool(patch) == (exact(before) != exact(after))


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_a_merge_patch_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    """Unless it would have to set a null."""
    one, other = decode(msgspec.json.encode(before)), decode(msgspec.json.encode(after))
    patch = merge_patch(one, other)
    if patch is msgspec.UNSET:
        assert "null" in exact(after)
        return
    plain = json.loads(encode(patch))
    assert exact(apply_merge(before, plain)) == exact(after)
    assert same(merged(one, patch), other)


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}', b"[]"),
        (b'{"a":1.10}', b'{"a":1.1}', b'[{"op":"replace","path":"/a","value":1.1}]'),
        (b'{"a":1}', b'{"a":true}', b'[{"op":"replace","path":"/a","value":true}]'),
        (b'{"a":null}', b"{}", b'[{"op":"remove","path":"/a"}]'),
        (b"{}", b'{"a":null}', b'[{"op":"add","path":"/a","value":null}]'),
        (b"[1,2,3,4]", b"[1,3,4]", b'[{"op":"remove","path":"/1"}]'),
        (b"[1,4]", b"[1,2,3,4]", b'[{"op":"add","path":"/1","value":2},{"op":"add","path":"/2","value":3}]'),
        (b'[{"a":1},{"a":2}]', b'[{"a":1},{"a":3}]', b'[{"op":"replace","path":"/1/a","value":3}]'),
        (
            b'{"a/b":{"~":12345678901234567890}}',
            b'{"a/b":{"~":1e400}}',
            b'[{"op":"replace","path":"/a~1b/~0","value":1e400}]',
        ),
        (b"1", b'"1"', b'[{"op":"replace","path":"","value":"1"}]'),
    ],
    ids=[
        "order",
        "digits",
        "true is not 1",
        "null goes",
        "null comes",
        "one goes",
        "two come",
        "inside",
        "names",
        "whole",
    ],
)
def test_patches_are_small_and_keep_digits(before: bytes, after: bytes, patch: bytes) -> None:
    """Each operation is at the smallest place that differs, and has the digits of the document."""
    assert encode(json_patch(decode(before), decode(after))) == patch


def test_what_counts_of_a_document() -> None:
    """Order, space and how a text is spelt do not; digits do; what is ignored does not, wherever it is."""
    canon = Canon()
    assert (
        canon(b'{"b": 1.50, "a": "\\u00e9"}') == canon('{"a":"é","b":1.50}'.encode()) == '{"a":"é","b":1.50}'.encode()
    )
    assert canon(b"[1.0]") != canon(b"[1.00]")
    assert canon(b"[1e2]") != canon(b"[100]")
    assert canon(b"[123456789012345678901234567890]") == b"[123456789012345678901234567890]"
    from headwater.core.pointer import parse_pointer  # noqa: PLC0415 - beside what it is for

    ignoring = Canon(
        [parse_pointer("/at"), parse_pointer("/list/1/x"), parse_pointer("/list/5"), parse_pointer("/a/b")]
    )
    assert ignoring(b'{"at":1,"list":[1,{"x":2}],"a":3}') == b'{"a":3,"list":[1,{}]}'
    assert ignoring(b'{"list":[1,2,3,4,5,6]}') == b'{"list":[1,2,3,4,5,null]}'
    assert ignoring(b"[]") == b"[]"


def test_bytes_that_are_no_json() -> None:
    """They become a text."""
    assert text_of(b'say "hi"\n') == b'"say \\"hi\\"\\n"'
    assert json.loads(text_of(b"\xff")) == "�"


def test_numbers_are_never_floats() -> None:
    """A number that no float can hold comes out as it went in."""
    digits = "0.1000000000000000055511151231257827021181583404541015625"
    assert encode(decode(digits.encode())) == digits.encode()
    assert Decimal(digits) == Decimal(encode(decode(digits.encode())).decode())
