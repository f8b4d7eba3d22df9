"""The HTML standard's rules of event streams (9.2.5 and 9.2.6), one by one, each whole and byte by byte."""

from __future__ import annotations

import pytest

from headwater.sources.stream.events import Event, EventFramer
from sources.stream.feeding import framed

_NEVER = 1 << 20


def one(data: str, event: str = "message", id: str = "") -> Event:  # noqa: A002
    return Event(data.encode(), event, id)


RULES: dict[str, tuple[bytes, list[Event]]] = {
    # The examples of the standard.
    "three lines of data are one event": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [one("YHOO\n+2\n10")]),
    "four blocks: comment, id, id reset, space kept": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [one("first event", id="1"), one("second event"), one(" third event")],
    ),
    "two events, and one that is not complete": (b"data\n\ndata\ndata\n\ndata:", [one(""), one("\n")]),
    "the space behind the colon is left out": (b"data:test\n\ndata: test\n\n", [one("test"), one("test")]),
    "types": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        [one("73857293", "add"), one("2153", "remove")],
    ),
    # The stream and its lines.
    "a mark at the beginning is left out": (b"\xef\xbb\xbfdata: a\n\n", [one("a")]),
    "only one": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [one("b")]),
    "only at the beginning": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [one("a")]),
    "a mark is data where it stands in data": (b"data: \xef\xbb\xbf\n\n", [one("\ufeff")]),
    "half a mark is a name": (b"\xef\xbbdata: a\ndata: b\n\n", [one("b")]),
    "LF": (b"data: a\ndata: b\n\n", [one("a\nb")]),
    "CR": (b"data: a\rdata: b\r\r", [one("a\nb")]),
    "CR LF": (b"data: a\r\ndata: b\r\n\r\n", [one("a\nb")]),
    "mixed": (b"data: a\rdata: b\r\ndata: c\n\rdata: d\r\n\n", [one("a\nb\nc"), one("d")]),
    "LF CR are two ends": (b"data: a\n\rdata: b\n\r", [one("a"), one("b")]),
    "CR CR LF are two ends": (b"data: a\r\r\ndata: b\n\n", [one("a"), one("b")]),
    "other ends of lines are none": ("data: a\u2028b\x0bc\x0cd\x85e\n\n".encode(), [one("a\u2028b\x0bc\x0cd\x85e")]),
    "the last line needs an end": (b"data: a\n\ndata: b", [one("a")]),
    "the last event needs a blank line": (b"data: a\n\ndata: b\n", [one("a")]),
    "an empty stream": (b"", []),
    "only blank lines": (b"\n\r\r\n\n", []),
    "what is no UTF-8 becomes U+FFFD": (b"data: a\xffb\xc3\n\n", [one("a\ufffdb\ufffd")]),
    "one for each longest beginning of a character": (
        b"data: \xf0\x9f\x98 \xed\xa0\x80 \xc0\x80 \xf4\x90\n\n",
        [one("\ufffd \ufffd\ufffd\ufffd \ufffd\ufffd \ufffd\ufffd")],
    ),
    "UTF-8 is kept": ("data: ü€😀\n\n".encode(), [one("ü€😀")]),
    # Fields.
    "a line that begins with a colon is a comment": (b":data: a\n: b\n:\ndata: c\n\n", [one("c")]),
    "a comment does not end an event": (b"data: a\n:\ndata: b\n\n", [one("a\nb")]),
    "a field without a colon has an empty value": (b"data\ndata: a\n\n", [one("\na")]),
    "only the first colon counts": (b"data: a: b:c\n\n", [one("a: b:c")]),
    "only one space is left out": (b"data:  a \n\n", [one(" a ")]),
    "a tab is not": (b"data:\ta\n\n", [one("\ta")]),
    "a name has no space": (b"data : a\n data: b\ndata: c\n\n", [one("c")]),
    "names are told apart by case": (b"Data: a\nDATA: b\ndata: c\nID: 1\n\n", [one("c")]),
    "other names are left out": (b"dat: a\ndataa: b\nfoo: c\nfoo\ndata: d\n\n", [one("d")]),
    "NUL is data": (b"data: a\0b\n\n", [one("a\0b")]),
    "data may begin with a colon": (b"data::a\n\n", [one(":a")]),
    "data of blank lines only": (b"data\ndata\ndata\n\n", [one("\n\n")]),
    # Types.
    "the last type counts": (b"event: a\nevent: b\ndata: c\n\n", [one("c", "b")]),
    "an empty type is message": (b"event: a\nevent\ndata: b\n\nevent:\ndata: c\n\n", [one("b"), one("c")]),
    "a type is for its event only": (b"event: a\ndata: b\n\ndata: c\n\n", [one("b", "a"), one("c")]),
    "an event without data leaves no type": (b"event: a\n\ndata: b\n\n", [one("b")]),
    "a type behind its data": (b"data: a\nevent: b\n\n", [one("a", "b")]),
    "a type that is no UTF-8": (b"event: \xff\ndata: a\n\n", [one("a", "\ufffd")]),
    "spaces of a type are kept": (b"event:  a \ndata: b\n\n", [one("b", " a ")]),
    # Ids.
    "an id is for the events that follow as well": (
        b"id: 1\ndata: a\n\ndata: b\n\n",
        [one("a", id="1"), one("b", id="1")],
    ),
    "an id behind its data": (b"data: a\nid: 1\n\n", [one("a", id="1")]),
    "the last id counts": (b"id: 1\nid: 2\ndata: a\n\n", [one("a", id="2")]),
    "an id with NUL is none": (b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [one("a", id="1"), one("b", id="1")]),
    "an id with NUL does not undo one": (b"id: 1\nid: \0\ndata: a\n\n", [one("a", id="1")]),
    "an empty id is one": (
        b"id: 1\ndata: a\n\nid\ndata: b\n\nid:\ndata: c\n\n",
        [one("a", id="1"), one("b"), one("c")],
    ),
    "an id without data counts": (b"id: 1\n\ndata: a\n\n", [one("a", id="1")]),
    "an id is a text": ("id: ü 1:2\ndata: a\n\n".encode(), [one("a", id="ü 1:2")]),
    "an id that is no UTF-8": (b"id: \xff\ndata: a\n\n", [one("a", id="\ufffd")]),
    # Events without data.
    "a type and an id alone are no event": (b"event: a\nid: 1\n\n", []),
    "a comment alone is no event": (b": heartbeat\n\n", []),
    "empty data is data": (b"data:\n\n", [one("")]),
}


@pytest.mark.parametrize("sizes", [[], [1], [2], [3]], ids=["whole", "1", "2", "3"])
@pytest.mark.parametrize(("stream", "events"), RULES.values(), ids=list(RULES))
def test_rule(stream: bytes, events: list[Event], sizes: list[int]) -> None:
    """Each rule holds whatever the chunks."""
    assert framed(EventFramer(_NEVER), stream, sizes) == events


@pytest.mark.parametrize("sizes", [[], [1]], ids=["whole", "1"])
@pytest.mark.parametrize("end", [b"", b"data: a\n\n", b"data: \xff\n\n"], ids=["open", "event", "no UTF-8"])
@pytest.mark.parametrize(
    ("value", "retry"),
    [
        (b"retry: 10000", 10_000),
        (b"retry:0", 0),
        (b"retry: 007", 7),
        (b"retry: " + b"0" * 5000 + b"8", 8),
        (b"retry: 1000\nretry: 2000", 2000),
        (b"retry: 1000\nretry: x", 1000),
        (b"retry", None),
        (b"retry: ", None),
        (b"retry:  5", None),
        (b"retry: 5 ", None),
        (b"retry: -5", None),
        (b"retry: +5", None),
        (b"retry: 1.5", None),
        (b"retry: 1e3", None),
        (b"retry: 1_000", None),
        ("retry: \u0665".encode(), None),
        ("retry: \u00b2".encode(), None),
        (b"retry: " + b"9" * 100_000, None),
        (b"retry: " + b"9" * 6000, 10**15),
    ],
)
def test_retry(value: bytes, retry: int | None, end: bytes, sizes: list[int]) -> None:
    """Only ASCII digits are a time to wait, at once, whether an event follows or not."""
    framer = EventFramer(_NEVER)
    framed(framer, value + b"\n" + end, sizes)
    assert framer.retry == retry


@pytest.mark.parametrize("sizes", [[], [1]], ids=["whole", "1"])
@pytest.mark.parametrize(
    ("stream", "last"),
    [
        (b"id: 1\n\n", "1"),
        (b"id: 1\r\r", "1"),
        (b"id: 1\n", ""),
        (b"id: 1\ndata: a\n", ""),
        (b"id: 1\n\nid: 2\n", "1"),
        (b"id: 1\n\nid\n\n", ""),
        (b"id: 1\n\nid: \0\n\n", "1"),
        (b"id: 1\n: comment\n\n", "1"),
        (b"id: 1\nevent: a\n\n", "1"),
    ],
)
def test_the_last_event_id(stream: bytes, last: str, sizes: list[int]) -> None:
    """It follows each blank line, whether an event is given out or not."""
    framer = EventFramer(_NEVER)
    assert framed(framer, stream, sizes) == []
    assert framer.last_id == last
