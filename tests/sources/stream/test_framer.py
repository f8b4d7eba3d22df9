"""The framer of each form, by plain parameters."""

from __future__ import annotations

import pytest

from headwater.sources.stream.events import Event
from headwater.sources.stream.framer import Form, make_framer


@pytest.mark.parametrize(
    ("form", "what", "body", "items"),
    [
        ("delimited", "line", b"a\nb\n", [b"a", b"b"]),
        ("ndjson", "line", b"1\n2\n", [b"1", b"2"]),
        ("json-seq", "text", b"\x1e1\n\x1e2\n", [b"1", b"2"]),
        ("length-prefixed", "frame", b"\0\0\0\1a\0\0\0\1b", [b"a", b"b"]),
        ("sse", "event", b"data: a\n\n", [Event(b"a", "message", "")]),
    ],
)
def test_forms(form: Form, what: str, body: bytes, items: list[object]) -> None:
    """Each form has its framer, with the defaults of the configuration."""
    framer = make_framer(form, 100)
    assert framer.what == what
    assert framer.feed(body) == items
    assert (framer.finish(), framer.lost) == ([], 0)


def test_parameters() -> None:
    """What is said of a form reaches its framer."""
    assert make_framer("delimited", 100, delimiter=b"||").feed(b"a||b") == [b"a"]
    assert make_framer("length-prefixed", 100, size=2, little=True, inclusive=True).feed(b"\3\0a") == [b"a"]
    assert make_framer("length-prefixed", 100, size=None).feed(b"\1a") == [b"a"]
    framer = make_framer("sse", 100, events=frozenset({"a"}), last_id="7")
    assert framer.feed(b"data: x\n\nevent: a\ndata: y\n\n") == [Event(b"y", "a", "7")]
