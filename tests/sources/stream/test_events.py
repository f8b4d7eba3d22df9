"""Server-Sent Events in any chunks: against a slow reader that follows the standard's sentences one by one."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.sources.split.item import Bad
from headwater.sources.stream.events import LONGEST, Event, EventFramer
from sources.stream.feeding import SIZES, framed, large, told


def interpreted(stream: bytes) -> tuple[list[Event], str, int | None]:
    """Return the events of a stream, the last event id and the reconnection time, as 9.2.6 says, in its order."""
    text = stream.decode("utf-8", "replace")
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    *lines, _ = re.split("\r\n|\n|\r", text)
    events: list[Event] = []
    data = kind = buffer = last = ""
    retry = None
    for line in lines:
        if line == "":
            last = buffer
            if data == "":
                kind = ""
                continue
            events.append(Event(data.removesuffix("\n").encode(), kind or "message", last))
            data = kind = ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data += value + "\n"
        elif field == "id":
            if "\0" not in value:
                buffer = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return events, last, retry


PIECES = st.sampled_from(
    [
        *[
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"\r\n\r\n",
            b":",
            b" ",
            b"x",
            b"\0",
            b"\xff",
            b"\xc3",
            b"\xbc",
            b"\xef\xbb\xbf",
        ],
        *[b"data", b"data:", b"data: ", b"data: a\n", b"data: b\n\n", b"id", b"id: ", b"id: 1\n", b"event: e\n"],
        *[
            b"event:",
            b"retry: 1",
            b"retry: 20\n",
            b"retry:",
            b": comment\n",
            b"other: y\n",
            "ü€😀".encode(),
            b"\xf0\x9f",
        ],
    ]
)


@example([b"data: b\n\n", b"\n", b"id: 1\n", b"\n\n"], [], 40)
@example([b"data", b"\r", b"\r", b"\n", b"\n", b"data: b\n\n"], [1], 40)
@given(st.lists(PIECES, max_size=30), SIZES, st.integers(40, 60))
def test_any_pieces_in_any_chunks(pieces: list[bytes], sizes: list[int], most: int) -> None:
    """What comes of a stream is what the standard says, but for data that is larger than it may be."""
    body = b"".join(pieces)
    framer = EventFramer(1 << 20)
    events, last, retry = interpreted(body)
    assert framed(framer, body, sizes) == events
    assert (framer.last_id, framer.retry) == (last, retry)
    bounded = framed(EventFramer(most), body, sizes)
    assert [item if isinstance(item, Event) else None for item in bounded] == [
        event if len(event.data) <= most else None for event in events
    ]


@given(
    st.lists(st.sampled_from([b"data: aaaaa\n", b"data\n", b"\n", b"id: 1\n", b"data: \xff\xff\n"]), max_size=20), SIZES
)
def test_what_is_told_of_large_events_does_not_depend_on_chunks(pieces: list[bytes], sizes: list[int]) -> None:
    """Size and digest are those of the data, whatever the chunks."""
    body = b"".join(pieces)
    assert framed(EventFramer(7), body, sizes) == framed(EventFramer(7), body)


LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
WORD = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=6)


@given(
    st.lists(st.tuples(st.lists(LINE, min_size=1, max_size=4), WORD, st.none() | WORD), max_size=8),
    st.sampled_from(["\n", "\r", "\r\n"]),
    SIZES,
)
def test_what_is_written_is_read(events: list[tuple[list[str], str, str | None]], end: str, sizes: list[int]) -> None:
    """Events come as they were written, bytes unchanged, with the id of the last event that had one."""
    body, wanted, last = "", [], ""
    for lines, kind, ident in events:
        fields = [f"data: {line}" for line in lines] + [f"event: {kind}"] * bool(kind)
        if ident is not None:
            fields.insert(0, f"id: {ident}")
            last = ident
        body += "".join(field + end for field in fields) + end
        wanted.append(Event("\n".join(lines).encode(), kind or "message", last))
    assert framed(EventFramer(1 << 20), body.encode(), sizes) == wanted


@pytest.mark.parametrize("sizes", [[], [1], [3]])
def test_only_events_that_are_wanted(sizes: list[int]) -> None:
    """Others are left out, too large or not, but their ids count; the usual type is `message`."""
    body = b"event: a\nid: 1\ndata: x\n\nid: 2\ndata: y\n\nevent: b\nid: 3\ndata: %b\n\nevent:\ndata: z\n\n" % (
        b"b" * 99
    )
    framer = EventFramer(50, frozenset({"a"}))
    assert framed(framer, body, sizes) == [Event(b"x", "a", "1")]
    assert framer.last_id == "3"
    assert framed(EventFramer(50, frozenset({"message"})), body, sizes) == [
        Event(b"y", "message", "2"),
        Event(b"z", "message", "3"),
    ]


@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_an_event_that_is_too_large(size: int) -> None:
    """It is told by its beginning, size and digest, whether it is one line or many, and the next one is found."""
    one, many = b"x" * 70_000, [b"line %d" % number for number in range(1500)]
    body = (
        b"data: a\n\nid: 7\ndata: "
        + one
        + b"\n\n"
        + b"".join(b"data: %b\r\n" % line for line in many)
        + b"\r\ndata: b\n\n"
    )
    framer = EventFramer(9000)
    first, large_one, large_many, last = framed(framer, body, [size])
    assert (first, last) == (Event(b"a", "message", ""), Event(b"b", "message", "7"))
    assert told(large_one) == large(one)
    assert told(large_many) == large(b"\n".join(many))
    assert "max_record" in large_one.reason


def test_data_that_grows_by_replacement_is_bounded_too() -> None:
    """U+FFFD has three bytes, where what it stands for may have one."""
    assert framed(EventFramer(6), b"data: \xff\xff\n\n") == [Event(b"\xef\xbf\xbd" * 2, "message", "")]
    (bad,) = framed(EventFramer(6), b"data: \xff\xff\xff\n\n")
    assert told(bad) == large(b"\xef\xbf\xbd" * 3)


@pytest.mark.parametrize("sizes", [[], [1], [1000]])
def test_ids_and_types_have_a_bound(sizes: list[int]) -> None:
    """One that is too long makes its event bad; such an id is none, so that the one before is what counts."""
    longest, longer = b"x" * LONGEST, b"x" * (LONGEST + 1)
    framer = EventFramer(1 << 20, frozenset({"message", "a"}))
    body = b"id: %b\ndata: a\n\nid: %b\ndata: b\n\nevent: %b\nid: 3\ndata: c\n\n" % (longest, longer, longer)
    body += b"event: none\nid: %b\ndata: d\n\nevent: %b\n\ndata: e\n\n" % (longer, longer)
    first, ident, kind, last = framed(framer, body, sizes)
    assert first == Event(b"a", "message", longest.decode())
    assert isinstance(ident, Bad)
    assert isinstance(kind, Bad)
    assert ("its id" in ident.reason, ident.data) == (True, b"b")
    assert ("its event" in kind.reason, kind.data) == (True, b"c")
    assert last == Event(b"e", "message", "3")


def test_the_id_of_the_connection_before_goes_on() -> None:
    """Events without ids after a reconnection still have the last one; an empty id resets it."""
    framer = EventFramer(100, last_id="41")
    assert framer.feed(b"data: a\n\nid\ndata: b\n\n") == [Event(b"a", "message", "41"), Event(b"b", "message", "")]
    assert framer.last_id == ""


def test_an_id_counts_with_its_blank_line() -> None:
    """That of an event that was not complete does not: the event comes again with the next connection."""
    framer = EventFramer(100)
    assert framer.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n") == [Event(b"a", "message", "1")]
    assert (framer.finish(), framer.last_id, framer.lost) == ([], "1", 1)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_comes_with_its_blank_line(end: bytes) -> None:
    """A CR that may have an LF behind it ends the event at once; the LF is passed over when it comes."""
    framer = EventFramer(100)
    for number in range(3):
        ident = b"%d" % number
        whole = b"id: " + ident + end + b"data: x" + end + end
        # Only the last byte of CR LF is not needed.
        needed = whole[:-1] if end == b"\r\n" else whole
        assert [framer.feed(bytes([byte])) for byte in needed[:-1]] == [[]] * (len(needed) - 1)
        assert framer.feed(needed[-1:]) == [Event(b"x", "message", ident.decode())]
        assert framer.feed(whole[len(needed) :]) == []
