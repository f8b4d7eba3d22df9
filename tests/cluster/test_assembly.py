"""Frames come out as they went in, in whatever pieces they arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.cluster.assembly import Assembly
from headwater.core.errors import WireError
from headwater.fluvio.frame import reply


def frames_of(assembly: Assembly, pieces: list[bytes]) -> list[bytes]:
    return [it.data[it.position : it.end] for piece in pieces for it in assembly.feed(piece)]


@given(bodies=st.lists(st.binary(max_size=300), max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_any_pieces(bodies: list[bytes], cuts: list[int]) -> None:
    """However the bytes are cut, the same frames come out."""
    data = b"".join(b"".join(reply(number, [body])) for number, body in enumerate(bodies))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    expected = [number.to_bytes(4) + body for number, body in enumerate(bodies)]
    assert frames_of(Assembly(), pieces) == expected


def test_byte_by_byte() -> None:
    """A frame that drips in is whole with its last byte."""
    data = b"".join(reply(7, [b"hello"]))
    assembly = Assembly()
    assert frames_of(assembly, [data[index : index + 1] for index in range(len(data) - 1)]) == []
    assert frames_of(assembly, [data[-1:]]) == [b"\0\0\0\7hello"]


@pytest.mark.parametrize("length", [-1, 0, 3, 1001, 0x7FFFFFFF])
def test_a_length_that_cannot_be(length: int) -> None:
    """A frame that is too short for its number, or too long to be read, is refused before it is waited for."""
    with pytest.raises(WireError, match=f"a frame of {length} bytes"):
        Assembly(1000).feed(length.to_bytes(4, signed=True))
