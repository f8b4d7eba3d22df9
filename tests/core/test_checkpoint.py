"""What a source remembers, and its encoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from headwater.core.errors import LogCorruptError

TEXTS = st.text().filter(lambda text: text.isprintable())


@given(st.builds(Checkpoint, exchanges=st.integers(0, 2**53), etag=st.none() | TEXTS, last_modified=st.none() | TEXTS))
def test_a_checkpoint_survives_its_encoding(checkpoint: Checkpoint) -> None:
    """Encoding and decoding give the same checkpoint."""
    assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint


def test_fields_of_later_versions_are_ignored() -> None:
    """A checkpoint written by a newer version can be read."""
    assert decode_checkpoint(b'{"exchanges":2,"cursor":"abc"}') == Checkpoint(exchanges=2)


@pytest.mark.parametrize("data", [b"", b"{", b'{"exchanges":"x"}', b"\xff", b"[]"])
def test_a_broken_checkpoint_is_a_broken_log(data: bytes) -> None:
    """What does not decode is reported, not taken for an empty checkpoint."""
    with pytest.raises(LogCorruptError, match="does not decode"):
        decode_checkpoint(data)
