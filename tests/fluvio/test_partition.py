"""Keys choose partitions as in Fluvio."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.fluvio.partition import partition_of, siphash

# The first vectors of the reference implementation: key 00 01 .. 0f, input 00 01 .. of each length.
VECTORS = {
    0: 0x726FDB47DD0E0E31,
    1: 0x74F839C593DC67FD,
    7: 0xAB0200F58B01D137,
    8: 0x93F5F5799A932462,
    15: 0xA129CA6149BE45E5,
}


@pytest.mark.parametrize(("length", "digest"), VECTORS.items())
def test_siphash_of_the_paper(length: int, digest: int) -> None:
    """SipHash-2-4 gives the published values."""
    assert siphash(bytes(range(length)), bytes(range(16))) == digest


@given(st.binary(max_size=300), st.integers(1, 1000))
def test_a_key_stays_in_its_partition(key: bytes, partitions: int) -> None:
    """The same key always goes to the same partition, and there is one for each key."""
    assert 0 <= partition_of(key, partitions) < partitions
    assert partition_of(key, partitions) == partition_of(bytes(key), partitions)


def test_keys_spread() -> None:
    """Many keys use all partitions about equally."""
    counts = [0] * 10
    for number in range(5000):
        counts[partition_of(b"key-%d" % number, 10)] += 1
    assert min(counts) > 400
