"""Frames that their length stands before, in any chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sources.split.item import Bad, BrokenBodyError
from headwater.sources.stream.length import FARTHEST, LengthFramer
from sources.stream.feeding import SIZES, framed, large, told

KINDS = st.tuples(st.sampled_from([1, 2, 4, 8, None]), st.booleans(), st.booleans())


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encoded(frame: bytes, size: int | None, *, little: bool, inclusive: bool) -> bytes:
    """Put its length before a frame."""
    if size is not None:
        return (len(frame) + size * inclusive).to_bytes(size, "little" if little else "big") + frame
    length = len(frame)
    if inclusive:
        length = next(length + own for own in range(1, 11) if len(varint(length + own)) == own)
    return varint(length) + frame


FRAMES = st.lists(st.binary(max_size=20) | st.binary(min_size=120, max_size=140), max_size=8)


@given(FRAMES, KINDS, SIZES, st.integers(1, 150))
def test_what_is_written_is_read(
    frames: list[bytes], kind: tuple[int | None, bool, bool], sizes: list[int], most: int
) -> None:
    """Frames come as they were written; those without a byte are none, larger ones are told of."""
    size, little, inclusive = kind
    body = b"".join(encoded(frame, size, little=little, inclusive=inclusive) for frame in frames)
    framer = LengthFramer(size, most, little=little, inclusive=inclusive)
    shown = [item if isinstance(item, bytes) else told(item) for item in framed(framer, body, sizes)]
    assert shown == [frame if len(frame) <= most else large(frame) for frame in frames if frame]
    assert framer.lost == 0


def frames_of(body: bytes, size: int | None, *, little: bool, inclusive: bool) -> tuple[list[bytes], str]:
    """Cut a stream the slow way; say whether it breaks, ends in a frame, or between two."""
    frames: list[bytes] = []
    place = 0
    while place < len(body):
        start = place
        if size is None:
            while start < len(body) and body[start] > 127 and start - place < 10:
                start += 1
            if start - place == 10:
                return frames, "broken"
            start += 1
            if start > len(body):
                return frames, "half"
            length = sum((byte & 127) << 7 * index for index, byte in enumerate(body[place:start]))
        else:
            start += size
            if start > len(body):
                return frames, "half"
            length = int.from_bytes(body[place:start], "little" if little else "big")
        length -= (start - place) * inclusive
        if not 0 <= length <= FARTHEST:
            return frames, "broken"
        if start + length > len(body):
            return frames, "half"
        frames.append(body[start : start + length])
        place = start + length
    return frames, "whole"


@given(
    st.lists(st.sampled_from([b"\0", b"\1", b"\2", b"\4", b"\x80", b"\xff"]), max_size=40).map(b"".join), KINDS, SIZES
)
def test_any_bytes_in_any_chunks(body: bytes, kind: tuple[int | None, bool, bool], sizes: list[int]) -> None:
    """Whatever comes, the frames before the place where it breaks are given out."""
    size, little, inclusive = kind
    wanted, end = frames_of(body, size, little=little, inclusive=inclusive)
    framer = LengthFramer(size, 1 << 20, little=little, inclusive=inclusive)
    items: list[object] = []
    try:
        for start in range(0, len(body), sizes[0] if sizes else 100):
            items += framer.feed(body[start : start + (sizes[0] if sizes else 100)])
        framer.finish()
        broken = False
    except BrokenBodyError:
        broken = True
    assert items == [frame for frame in wanted if frame]
    assert broken == (end == "broken")
    if not broken:
        assert (framer.lost > 0) == (end == "half")


@pytest.mark.parametrize(
    ("size", "little", "head"),
    [
        (1, False, "03"),
        (2, False, "0003"),
        (2, True, "0300"),
        (4, False, "00000003"),
        (4, True, "03000000"),
        (8, False, "0000000000000003"),
        (8, True, "0300000000000000"),
        (None, False, "03"),
        (None, False, "8380808000"),
    ],
)
def test_lengths(size: int | None, little: bool, head: str) -> None:  # noqa: FBT001
    """Lengths of each size and order; a varint may have more bytes than it needs, as protobuf's readers allow."""
    assert framed(LengthFramer(size, 100, little=little), bytes.fromhex(head) + b"a\0c", [1]) == [b"a\0c"]


def test_a_frame_comes_with_its_last_byte() -> None:
    """Nothing waits for the next length, and empty frames are heartbeats."""
    framer = LengthFramer(2, 100)
    assert [framer.feed(bytes([byte])) for byte in b"\0\2ab\0\0\0\1c\0"] == [[], [], [], [b"ab"], *[[]] * 4, [b"c"], []]
    assert (framer.finish(), framer.lost) == ([], 1)


@pytest.mark.parametrize("sizes", [[], [1], [7]])
def test_half_a_frame_at_the_end_is_none(sizes: list[int]) -> None:
    """But how much of it there was is counted."""
    framer = LengthFramer(4, 5)
    assert framed(framer, b"\0\0\0\1a\0\0\0\x0aabcdefg", sizes) == [b"a"]
    assert framer.lost == 11


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_frame_that_is_too_large(size: int) -> None:
    """It is told by its beginning, size and digest, and the next one is found."""
    frame = b"0123456789" * 500
    items = framed(LengthFramer(4, 4999), b"\0\0\0\1a\0\0\x13\x88" + frame + b"\0\0\0\1b", [size])
    assert [items[0], items[2]] == [b"a", b"b"]
    assert told(items[1]) == large(frame)
    assert isinstance(items[1], Bad)
    assert "max_record" in items[1].reason


@pytest.mark.parametrize(
    ("size", "inclusive", "head", "reason"),
    [
        (8, False, (2**63).to_bytes(8, "big"), "9223372036854775808"),
        (8, False, (2**64 - 1).to_bytes(8, "big"), "cannot be one"),
        (8, False, b"HTTP/1.1", "cannot be one"),
        (None, False, b"\xff" * 9 + b"\x7f", "cannot be one"),
        (None, False, b"\xff" * 10, "no end"),
        (None, False, b"\x80" * 100_000, "no end"),
        (4, True, b"\0\0\0\3", "less than its own 4 bytes"),
        (4, True, b"\0\0\0\0", "less than its own 4 bytes"),
        (None, True, b"\0", "less than its own 1 bytes"),
    ],
)
@pytest.mark.parametrize("sizes", [[], [1]])
def test_lengths_that_are_none(size: int | None, inclusive: bool, head: bytes, reason: str, sizes: list[int]) -> None:  # noqa: FBT001
    """Nothing can be found behind them, which is told with the number of the frame, behind the frames before."""
    framer = LengthFramer(size, 100, inclusive=inclusive)
    first = encoded(b"a", size, little=False, inclusive=inclusive)
    with pytest.raises(BrokenBodyError, match=reason) as error:
        framed(framer, first + head, sizes)
    assert "frame 2" in str(error.value)
    with pytest.raises(BrokenBodyError, match="frame 2"):
        framer.feed(b"more")
    assert LengthFramer(size, 100, inclusive=inclusive).feed(first + head) == [b"a"]


def test_four_bytes_can_say_nothing_that_is_passed_over() -> None:
    """A frame of almost 4 GiB is too large, not broken; nothing is held of what it says that it has."""
    framer = LengthFramer(4, 100)
    assert framer.feed(b"\xff\xff\xff\xff" + b"x" * 1000) == []
    assert len(framer._frame) == 0
    assert (framer.finish(), framer.lost) == ([], 1004)


def test_other_sizes_are_none() -> None:
    """A length has 1, 2, 4 or 8 bytes, or is a varint."""
    with pytest.raises(ValueError, match="3 bytes"):
        LengthFramer(3, 100)
