"""Parts that arrive piece by piece: held while they fit, digested when not, the same whatever the pieces."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.split.item import Large
from headwater.sources.split.lines import DelimitedSplitter, JsonLinesSplitter
from headwater.sources.split.parts import Growing, Unmarked
from sources.split.cutting import cut
from sources.stream.feeding import work

PIECES = st.lists(st.text("x \t", max_size=8).map(str.encode), max_size=12)


@given(PIECES, st.integers(1, 12), st.booleans())
def test_an_item_in_pieces(pieces: list[bytes], most: int, both: bool) -> None:  # noqa: FBT001
    """What is blank around an item does not belong to it, however much that is; what is within it does."""
    whole = b"".join(pieces)
    core = whole.strip(b" \t") if both else whole.rstrip(b" \t")
    growing = Growing(most, b" \t", both=both)
    for piece in pieces:
        growing.add(piece)
        assert growing.size <= most or growing.large
    assert growing.large == (len(core) > most)
    item = growing.take()
    if isinstance(item, Large):
        bad = item.end()
        assert (bad.data, bad.size, bad.digest) == (core, len(core), sha256(core).hexdigest())
        assert len(core) > most
    else:
        assert item.rstrip(b" \t") == core
    assert (growing.none, growing.size, growing.blank) == (True, 0, 0)


@given(st.lists(st.sampled_from([b"\xef", b"\xbb", b"\xbf", b"x", b"\xef\xbb\xbf"]), max_size=6))
def test_a_mark_in_pieces(pieces: list[bytes]) -> None:
    """One mark of UTF-8 is taken off the beginning, and nothing else."""
    unmarked = Unmarked()
    shown = b"".join(map(unmarked.feed, pieces)) + unmarked.finish()
    assert shown == b"".join(pieces).removeprefix(b"\xef\xbb\xbf")


def test_delimiters_that_overlap_are_found_from_the_left() -> None:
    """Of `aaa` the first two are the delimiter, wherever the chunks end."""
    for sizes in ([], [1], [2], [3]):
        assert cut(DelimitedSplitter(b"aa", 100), b"xaaay", sizes) == [b"x", b"ay"]
        assert cut(DelimitedSplitter(b"aa", 100, window=1), b"xaaay", sizes) == [b"x", b"ay"]


def test_windows_may_be_as_small_as_one_byte() -> None:
    """Four times the bytes of a line, byte by byte, are four times the bytes that are moved, not sixteen times."""
    for most in (1 << 20, 1000):
        long, short = (work(lambda: JsonLinesSplitter(most, window=1), b'["' + b"x" * n) for n in (32_000, 8_000))  # noqa: B023
        assert long < 6 * short
