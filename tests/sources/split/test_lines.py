"""Bodies cut at separators, in any chunks."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.sources.split.item import Bad, BrokenBodyError
from headwater.sources.split.lines import DelimitedSplitter, JsonLinesSplitter
from headwater.sources.split.whole import WholeSplitter
from sources.split.cutting import cut, outcome

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
MANY = settings(max_examples=200, deadline=None)


@MANY
@given(
    st.lists(st.binary(max_size=12), max_size=12),
    st.binary(min_size=1, max_size=3),
    SIZES,
    st.integers(1, 40),
    st.integers(1, 20),
)
def test_parts_between_any_delimiter(
    parts: list[bytes], delimiter: bytes, sizes: list[int], window: int, most: int
) -> None:
    """Parts are what stands between the delimiters; empty ones are none; chunks do not matter."""
    body = delimiter.join(parts)
    whole = cut(DelimitedSplitter(delimiter, 1 << 20), body)
    wanted = body.split(delimiter)
    if delimiter == b"\n":
        wanted = [part.rstrip(b"\r") for part in wanted]
    assert whole == [part for part in wanted if part]
    assert cut(DelimitedSplitter(delimiter, 1 << 20, window=window), body, sizes) == whole
    bounded = outcome(lambda: DelimitedSplitter(delimiter, most), body)
    assert outcome(lambda: DelimitedSplitter(delimiter, most, window=window), body, sizes) == bounded


LINES = st.sampled_from(
    [
        b'{"a":1}',
        b" 12 ",
        b"",
        b"  ",
        b"\r",
        b"nope",
        b'"\xff"',
        b"1,2",
        b"[1",
        b"2]",
        b'"\\ud800"',
        b'{"b":"' + b"x" * 30 + b'"}',
        b"NaN",
    ]
)


@MANY
@given(
    st.lists(LINES, max_size=12),
    st.sampled_from(["sequence", "crlf", "lf"]),
    SIZES,
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_lines_of_json_in_any_chunks(lines: list[bytes], form: str, sizes: list[int], window: int, most: int) -> None:
    """Each line is an item or bad, whatever the chunks."""
    sequence = form == "sequence"
    body = b"\x1e" + b"\n\x1e".join(lines) if sequence else (b"\r\n" if form == "crlf" else b"\n").join(lines)
    whole = outcome(lambda: JsonLinesSplitter(most, sequence=sequence), body)
    assert outcome(lambda: JsonLinesSplitter(most, sequence=sequence, window=window), body, sizes) == whole


def test_ndjson() -> None:
    """Blank lines are skipped, CRLF is a line end, the last line needs none, and bad lines are told by their number."""
    body = b'\xef\xbb\xbf{"a":1}\n\n  \r\n{"a":01}\r\n{"a":2.50}\n1,2\n{"a":3}'
    good, first, two, second, three = cut(JsonLinesSplitter(100), body)
    assert (good, two, three) == (b'{"a":1}', b'{"a":2.50}', b'{"a":3}')
    assert isinstance(first, Bad)
    assert first.place == "line 4"
    assert first.data == b'{"a":01}'
    assert isinstance(second, Bad)
    assert second.place == "line 6"


def test_a_line_may_not_make_up_for_another() -> None:
    """Two texts in one line and one in two lines are three bad lines."""
    items = cut(JsonLinesSplitter(100), b"1,2\n[1\n2]\n5")
    assert [isinstance(item, Bad) for item in items] == [True, True, True, False]


def test_text_sequences() -> None:
    """Texts begin with RS and may have line feeds; what is before the first RS is none."""
    assert cut(JsonLinesSplitter(100, sequence=True), b'\x1e{"a":\n1}\n\x1e\x1e2\n') == [b'{"a":\n1}', b"2"]


def test_a_long_line_is_shown_by_its_beginning() -> None:
    """Only the beginning, the size and the digest of what is too long are kept."""
    line = b'"' + b"x" * 3000 + b'"'
    for size in (1, 50, 10_000):
        (one, bad, two) = cut(JsonLinesSplitter(100, window=16), b"1\n  " + line + b" \r\n2", [size])
        assert (one, two) == (b"1", b"2")
        assert isinstance(bad, Bad)
        assert (bad.data, bad.size, bad.digest) == (line[:1024], 3002, sha256(line).hexdigest())


def test_white_space_without_end_is_broken() -> None:
    """Memory is bounded also where there is nothing."""
    with pytest.raises(BrokenBodyError, match="white space"):
        cut(JsonLinesSplitter(100), b" " * 3_000_000, [100_000])


def test_a_whole_body_is_one_item() -> None:
    """A body is an item as it is; as JSON it has to be that, and can be pointed into."""
    assert cut(WholeSplitter(100, json=False), b"any\xff", [2]) == [b"any\xff"]
    assert cut(WholeSplitter(100, json=False), b"") == []
    splitter = WholeSplitter(100, json=True)
    assert cut(splitter, b'\xef\xbb\xbf{"a":1}', [2]) == [b'{"a":1}']
    assert splitter.rest == b'{"a":1}'
    with pytest.raises(BrokenBodyError, match="not JSON"):
        cut(WholeSplitter(100, json=True), b"<html>")
    (bad,) = cut(WholeSplitter(5, json=True), b"123456789", [2])
    assert isinstance(bad, Bad)
    assert (bad.size, bad.digest) == (9, sha256(b"123456789").hexdigest())
