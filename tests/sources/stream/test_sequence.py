"""JSON text sequences (RFC 7464), in any chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.sources.split.item import Bad, json_item
from headwater.sources.stream.sequence import SequenceFramer
from sources.stream.feeding import SIZES, framed, large, told

_BLANK = b" \t\r\n"


def over(text: bytes) -> bool:
    """Return whether no line behind these can belong to the text that they begin, looking at each byte."""
    depth, inside, escaped = 0, False, False
    for byte in text:
        if inside:
            if byte == ord("\n"):
                return True
            if escaped:
                escaped = False
            elif byte == ord("\\"):
                escaped = True
            elif byte == ord('"'):
                inside = False
        elif byte == ord('"'):
            inside = True
        else:
            depth += (byte in b"{[") - (byte in b"}]")
            if byte == ord("\n") and depth <= 0:
                return True
    return False


def texts_of(body: bytes, most: int) -> list[Any]:
    """Cut a sequence the slow way: each beginning of each text is looked at anew."""
    items: list[Any] = []
    before, *texts = body.split(b"\x1e")
    items += [("stray", *shown(line, most)) for line in before.split(b"\n") if line.strip(_BLANK)]
    for text in texts:
        ends = [place for place in range(1, len(text) + 1) if text[place - 1] == ord("\n")]
        end = next((end for end in ends if text[:end].strip(_BLANK) and over(text[:end].lstrip(_BLANK))), None)
        core = text[:end].strip(_BLANK)
        if len(core) > most or not core:
            core = text.strip(_BLANK)
            items += [("text", *shown(core, most))] if core else []
            continue
        short = end is None and text[-1:] not in _BLANK.split() and text[-1] not in b' \t\r\n}]"'
        one = json_item(core)
        items.append(("text", core[:1024], None) if short or isinstance(one, Bad) else one)
        if end is not None:
            items += [("stray", *shown(line, most)) for line in text[end:].split(b"\n") if line.strip(_BLANK)]
    return items


def shown(text: bytes, most: int) -> tuple[bytes, int | None]:
    text = text.strip(_BLANK)
    return text[:1024], len(text) if len(text) > most else None


def seen(items: list[Any]) -> list[Any]:
    return [
        (item.place.split()[0].replace("behind", "stray").replace("before", "stray"), item.data, item.size)
        if isinstance(item, Bad)
        else item
        for item in items
    ]


PIECES = st.sampled_from(
    [
        b"\x1e",
        b"\n",
        b"\x1e1\n",
        b'\x1e{"a":1}\n',
        b'{"a":',
        b"1",
        b"}",
        b"[",
        b"]",
        b" ",
        b'"',
        b"\\",
        b'"x"',
        b"true",
        b"\xff",
    ]
)


@example([b"\x1e1\n", b'"', b"\n", b"\x1e1\n"], [], 40)
@example([b"\x1e1\n", b"\x1e", b'"', b"\n", b'"', b"\n", b"\x1e1\n"], [], 40)
@example([b'{"a":', b"\n"], [], 1)
@given(st.lists(PIECES, max_size=20), SIZES, st.integers(1, 40))
def test_any_pieces_in_any_chunks(pieces: list[bytes], sizes: list[int], most: int) -> None:
    """What comes of a sequence, right or wrong, is what a slow reader makes of it."""
    body = b"".join(pieces)
    assert seen(framed(SequenceFramer(most), body, sizes)) == texts_of(body, most)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(VALUES, st.sampled_from([None, 1])), max_size=6), SIZES)
def test_what_is_written_is_read(values: list[tuple[Any, int | None]], sizes: list[int]) -> None:
    """Texts over several lines are one each, and come as they were written, at their last line feed."""
    texts = [json.dumps(value, indent=indent).encode() for value, indent in values]
    framer = SequenceFramer(1 << 20)
    assert framed(framer, b"".join(b"\x1e" + text + b"\n" for text in texts), sizes) == texts
    framer = SequenceFramer(1 << 20)
    assert [framer.feed(b"\x1e" + text + b"\n") for text in texts] == [[text] for text in texts]


def test_a_text_comes_with_its_line_feed() -> None:
    """It does not wait for the separator of the next one; line feeds within it do not end it."""
    framer = SequenceFramer(100)
    assert framer.feed(b'\x1e{"a":\n[1,\n"]}"\n]') == []
    assert framer.feed(b"}") == []
    assert framer.feed(b"\n") == [b'{"a":\n[1,\n"]}"\n]}']
    assert framer.feed(b"\x1e12") == []
    assert framer.feed(b"\n") == [b"12"]
    assert framer.finish() == []


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b"12", False),
        (b"true", False),
        (b"null", False),
        (b"12 ", True),
        (b'{"a":1}', True),
        (b"[1]", True),
        (b'"a"', True),
    ],
)
@pytest.mark.parametrize("sizes", [[], [1]])
@pytest.mark.parametrize("end", [b"", b"\x1e3\n"])
def test_texts_that_may_be_cut_short(text: bytes, whole: bool, sizes: list[int], end: bytes) -> None:  # noqa: FBT001
    """Without white space behind it, a number may have been longer (section 2.4); other texts end by themselves."""
    first = framed(SequenceFramer(100), b"\x1e" + text + end, sizes)[0]
    assert first == text.strip() if whole else isinstance(first, Bad) and "cut short" in first.reason


@pytest.mark.parametrize("sizes", [[], [1]])
def test_a_broken_text_does_not_break_the_next(sizes: list[int]) -> None:
    """A text that is cut by the next separator is bad by its number, and the next one is read (section 2.3)."""
    items = framed(SequenceFramer(100), b'\x1e{"a":[1\n\x1e\x1e{"b":2}\n\x1enope\n\x1e3\n', sizes)
    assert seen(items) == [("text", b'{"a":[1', None), b'{"b":2}', ("text", b"nope", None), b"3"]
    assert [item.place for item in items if isinstance(item, Bad)] == ["text 1", "text 4"]


@pytest.mark.parametrize("sizes", [[], [1]])
def test_lines_without_a_separator_are_told_at_once(sizes: list[int]) -> None:
    """Who sends NDJSON instead hears of it with the first line."""
    framer = SequenceFramer(100)
    items = framed(framer, b'{"a":1}\n\n{"a":2}\n\x1e3\n4\n', sizes)
    assert [item if isinstance(item, bytes) else (item.place, item.data) for item in items] == [
        ("before the first text", b'{"a":1}'),
        ("before the first text", b'{"a":2}'),
        b"3",
        ("behind text 1", b"4"),
    ]
    assert SequenceFramer(100).feed(b"1\n") != []


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_text_that_is_too_large(size: int) -> None:
    """It is told by its beginning, size and digest, over all of its lines, and the next one is found."""
    text = b'["' + b"x" * 2000 + b'",\n"' + b"y" * 2000 + b'"]'
    one, bad, two = framed(SequenceFramer(3000), b"\x1e1\n\x1e " + text + b"\r\n\x1e2\n", [size])
    assert (one, two) == (b"1", b"2")
    assert told(bad) == large(text)
    assert bad.place == "text 2"
