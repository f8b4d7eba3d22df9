"""The codecs of a batch's payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import BatchError
from headwater.fluvio.compression import Compression, compress, decompress


@given(st.binary(max_size=5000), st.sampled_from(Compression))
def test_every_codec_gives_back_what_it_took(payload: bytes, codec: Compression) -> None:
    """Compressing and decompressing give the same bytes."""
    assert decompress(compress(payload, codec), codec) == payload


@pytest.mark.parametrize("codec", [codec for codec in Compression if codec])
def test_a_bomb_is_cut(codec: Compression) -> None:
    """A payload that grows beyond the bound is refused, however small it came."""
    bomb = compress(bytes(2_000_000), codec)
    with pytest.raises(BatchError, match="more than 1000000 bytes"):
        decompress(bomb, codec, most=1_000_000)
    assert len(decompress(bomb, codec, most=2_000_000)) == 2_000_000


@pytest.mark.parametrize("codec", [codec for codec in Compression if codec])
def test_damage_is_a_batch_error(codec: Compression) -> None:
    """A payload that is cut off does not decompress to less: it is refused."""
    payload = compress(b"payload" * 100, codec)
    with pytest.raises(BatchError, match="does not decompress"):
        decompress(payload[:-3], codec)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_codec_is_a_batch_error(codec: int) -> None:
    """Codecs that Fluvio does not have are named in the error."""
    with pytest.raises(BatchError, match=f"compression {codec}"):
        decompress(b"x", codec)


def test_snappy_and_lz4_are_framed() -> None:
    """The first bytes are those of the frame formats, which Rust's crates expect."""
    assert compress(b"x", Compression.SNAPPY).startswith(b"\xff\x06\x00\x00sNaPpY")
    assert compress(b"x", Compression.LZ4).startswith(bytes.fromhex("04224d18"))
