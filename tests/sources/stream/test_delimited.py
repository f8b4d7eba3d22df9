"""Streams cut at a delimiter, and NDJSON, in any chunks."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.sources.stream.delimited import DelimitedFramer, JsonLinesFramer
from sources.stream.feeding import SIZES, framed, good, large, told


def parts_of(body: bytes, delimiter: bytes) -> list[bytes]:
    """Cut a body the slow way, byte by byte."""
    parts, part, place = [], b"", 0
    while place < len(body):
        if body.startswith(delimiter, place):
            parts.append(part)
            part = b""
            place += len(delimiter)
        else:
            part += body[place : place + 1]
            place += 1
    parts.append(part)
    kept = [part.rstrip(b"\r") if delimiter == b"\n" else part for part in parts]
    return [part for part in kept if part]


@example([b"aa", b"", b"a"], b"aa", [1], 20)
@example([b"a\r\r", b"\r", b"b\r"], b"\n", [1], 1)
@given(
    st.lists(st.text("ab\r\n", max_size=6).map(str.encode) | st.binary(max_size=12), max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"aa", b"aba", b"\x00"]) | st.binary(min_size=1, max_size=3),
    SIZES,
    st.integers(1, 20),
)
def test_parts_between_any_delimiter(parts: list[bytes], delimiter: bytes, sizes: list[int], most: int) -> None:
    """Parts are what stands between delimiters, from left to right; larger ones are told of; chunks do not matter."""
    body = delimiter.join(parts)
    wanted = parts_of(body, delimiter)
    assert framed(DelimitedFramer(delimiter, 1 << 20), body, sizes) == wanted
    items = framed(DelimitedFramer(delimiter, most), body, sizes)
    shown = [item if isinstance(item, bytes) else told(item) for item in items]
    assert shown == [part if len(part) <= most else large(part) for part in wanted]


def test_a_line_comes_with_its_line_feed() -> None:
    """Nothing waits for what comes later, but what stands behind the last delimiter waits for the end."""
    framer = DelimitedFramer(b"\n", 100)
    assert framer.what == "line"
    assert [framer.feed(bytes([byte])) for byte in b"a\n\r\nb\r\nc"] == [[], [b"a"], [], [], [], [], [b"b"], []]
    assert framer.finish() == [b"c"]


def test_a_delimiter_over_the_border_of_chunks() -> None:
    """A delimiter of several bytes is found wherever it is cut, and what only begins like one is data."""
    framer = DelimitedFramer(b"\r\n--", 100)
    assert framer.what == "part"
    assert framed(framer, b"\0\r\n-\r\n--b\n\r\n-", [1]) == [b"\0\r\n-", b"b\n\r\n-"]


def test_a_delimiter_has_bytes() -> None:
    """One without would never end a part."""
    with pytest.raises(ValueError, match="at least one byte"):
        DelimitedFramer(b"", 100)


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
@pytest.mark.parametrize("delimiter", [b"\n", b"||"])
def test_a_part_that_is_too_large(delimiter: bytes, size: int) -> None:
    """It is told by its beginning, size and digest, and the next one is found."""
    part = b"0123456789" * 500
    items = framed(DelimitedFramer(delimiter, 4999), delimiter.join([b"a", part, b"b", part]), [size])
    assert [items[0], items[2]] == [b"a", b"b"]
    assert [told(items[1]), told(items[3])] == [large(part)] * 2
    assert "max_record" in items[1].reason


def test_carriage_returns_without_end_are_counted_not_held() -> None:
    """They may belong to the line feed that comes, or to the line: it is as long as it is then."""
    returns = [b"ab"] + [b"\r" * 1000] * 50
    framer = DelimitedFramer(b"\n", 10)
    assert [framer.feed(chunk) for chunk in returns] == [[]] * 51
    assert framer._parts._part.size == 2
    assert framer.feed(b"\nc\n") == [b"ab", b"c"]
    for chunk in returns:
        framer.feed(chunk)
    (bad,) = framer.feed(b"c\r\n")
    assert told(bad) == large(b"".join(returns) + b"c")


# Lines, and whether each is one JSON text.
LINES = st.sampled_from(
    [
        (b'{"a":1}', True),
        (b" 12 ", True),
        (b"\t\r", False),
        (b"nope", False),
        (b'"\xff"', False),
        (b"1,2", False),
        (b"[1", False),
        (b"2]", False),
        (b'"\\ud800"', True),
        (b'{"b":"' + b"x" * 30 + b'"}', True),
        (b"NaN", False),
        (b"1 2", False),
        (b'"\x00"', False),
        (b"\xef\xbb\xbf1", False),
    ]
)


@given(st.lists(LINES, max_size=12), st.booleans(), st.sampled_from([b"\n", b"\r\n"]), SIZES, st.integers(1, 40))
def test_lines_of_json(lines: list[tuple[bytes, bool]], mark: bool, end: bytes, sizes: list[int], most: int) -> None:  # noqa: FBT001
    """Each line that is not blank is one JSON text as it came, or bad by its number; chunks do not matter."""
    body = (b"\xef\xbb\xbf" if mark else b"") + end.join(line for line, _ in lines)
    texts = [(line.strip(b" \t\r\n"), fine, f"line {number}") for number, (line, fine) in enumerate(lines, 1)]
    if texts and not mark and lines[0][0].startswith(b"\xef"):
        texts[0] = (b"1", True, "line 1")
    texts = [text for text in texts if text[0]]
    items = framed(JsonLinesFramer(most), body, sizes)
    assert len(items) == len(texts)
    for item, (text, fine, place) in zip(items, texts, strict=True):
        if fine and len(text) <= most:
            assert item == text
        else:
            assert (item.place, item.data) == (place, text)
            assert (item.slug == "too-large") == (len(text) > most)


def test_blank_lines_are_heartbeats() -> None:
    """Whatever comes to keep a connection alive, blanks for hours too, is no record and takes no memory."""
    framer = JsonLinesFramer(100)
    assert [framer.feed(b" " * 1_000_000) for _ in range(20)] == [[]] * 20
    assert framer._parts._part.size == 0
    assert framer.feed(b'\r\n\n\n {"a": 1} \r\n') == [b'{"a": 1}']
    assert good(framed(framer, b"\n\r\n \n2")) == [b"2"]


def test_half_a_line_at_the_end_is_bad() -> None:
    """What a line has lost cannot be told from a line that is wrong, so that it is told."""
    one, bad = framed(JsonLinesFramer(100), b'{"a":1}\n{"a":')
    assert one == b'{"a":1}'
    assert (bad.place, bad.data) == ("line 2", b'{"a":')
