"""Fluvio's variable-length integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import BatchError
from headwater.fluvio.varint import decode_varint, encode_varint


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (-1, "01"), (1, "02"), (63, "7e"), (64, "8001"), (-64, "7f"), (2**63 - 1, "fe" + "ff" * 8 + "01")],
)
def test_known_values(value: int, encoded: str) -> None:
    """Zig-zag, then seven bits a byte, lowest first."""
    assert encode_varint(value).hex() == encoded


@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=3))
def test_every_number_survives(value: int, before: bytes) -> None:
    """A number decodes at any position, and the position after it is returned."""
    data = before + encode_varint(value)
    assert decode_varint(data + b"\x05", len(before)) == (value, len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 10, b"\xff" * 9 + b"\x02", b"\x80" * 20])
def test_cut_and_endless_numbers_are_refused(data: bytes) -> None:
    """A number that ends too early, or has more than 64 bits, is a BatchError."""
    with pytest.raises(BatchError):
        decode_varint(data, 0)
