"""What somebody sends to hurt framers: memory stays bounded, and small chunks cost what their bytes do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from headwater.sources.split.item import BrokenBodyError
from headwater.sources.stream.delimited import DelimitedFramer, JsonLinesFramer
from headwater.sources.stream.events import LONGEST, EventFramer
from headwater.sources.stream.length import LengthFramer
from headwater.sources.stream.sequence import SequenceFramer
from sources.stream.feeding import Fed, held, work

MOST = 16 * 1024
CHUNK = 8 * 1024
MAKERS: dict[str, Callable[[int], Fed]] = {
    "lines": partial(DelimitedFramer, b"\n"),
    "parts": partial(DelimitedFramer, b"\r\n--"),
    "ndjson": JsonLinesFramer,
    "json-seq": SequenceFramer,
    "length of 4": partial(LengthFramer, 4),
    "length of 8": partial(LengthFramer, 8),
    "varint": partial(LengthFramer, None),
    "events": EventFramer,
}
# More than the bound of the memory.
SIZE = 150_000
BODIES = {
    "nothing but x": b"x" * SIZE,
    "a text": b'\x1e["' + b"x" * SIZE,
    "a text of many lines": b"\x1e[" + b"1,\n" * (SIZE // 3),
    "a text of many brackets": b"\x1e" + b"[\n" * (SIZE // 2),
    "separators": b"\x1e" * (SIZE // 8),
    "lines of data": b"data: x\n" * (SIZE // 8),
    "one line of data": b"data: " + b"x" * SIZE,
    "lines of empty data": b"data\n" * (SIZE // 5),
    "comments": b": x\n" * (SIZE // 4),
    "one comment": b":" + b"x" * SIZE,
    "ids": b"id: x\n" * (SIZE // 6),
    "one id": b"id: " + b"x" * SIZE,
    "one type": b"event:" + b"x" * SIZE,
    "one time to wait": b"retry: " + b"9" * SIZE,
    "one unknown field": b"field: " + b"x" * SIZE,
    "one name": b"data" + b"x" * SIZE,
    "spaces": b" " * SIZE,
    "text, then spaces": b"\x1e1" + b" " * SIZE,
    "LFs": b"\n" * SIZE,
    "CRs": b"\r" * SIZE,
    "text, then CRs": b"x" + b"\r" * SIZE,
    "CR LFs": b"\r\n" * (SIZE // 2),
    "NULs": b"\0" * SIZE,
    "no UTF-8": b"data: " + b"\xff" * SIZE,
    "varints without an end": b"\x80" * SIZE,
    "a length of 2 GiB": b"\x7f\xff\xff\xff" + b"x" * SIZE,
    "a length of 8 EiB": b"\x80" + b"\0" * 7 + b"x" * SIZE,
    "beginnings of delimiters": b"\r\n-" * (SIZE // 3),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_memory_is_bounded(make: Callable[[int], Fed], body: bytes) -> None:
    """No more is held than the largest frame, a line's beginning, a chunk, and what a bytearray has to spare."""
    parts = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    try:
        most = held(make(MOST), parts)
    except BrokenBodyError:
        # Nothing more is taken then.
        most = 0
    assert most < 1.25 * (MOST + LONGEST + CHUNK) + 8192


ENDLESS = {
    "lines": b"x" * 64,
    "parts": b"\r\n-" * 21,
    "ndjson": b'["' + b"x" * 62,
    "json-seq": b'\x1e["' + b"x" * 61,
    "length of 4": b"\0\0\xff\xff" + b"x" * 60,
    "length of 8": b"\0" * 6 + b"\xff\xff" + b"x" * 56,
    "varint": b"\xff\xff\x03" + b"x" * 61,
    "events": b"data: " + b"x" * 58,
}
SHORT = 4_000
# What a frame that is begun so may go on with; a large one, as lines of a text or of an event.
FURTHER = {"json-seq": b'",\n"', "events": b"\ndata: x"}


@pytest.mark.parametrize("bound", [1 << 20, 1000], ids=["held", "too large"])
@pytest.mark.parametrize("further", ["the same", "lines"])
@pytest.mark.parametrize("name", MAKERS)
def test_many_small_chunks_cost_what_their_bytes_do(name: str, further: str, bound: int) -> None:
    """Four times the bytes of a frame, byte by byte, are four times the bytes that are moved, not sixteen times."""
    more = FURTHER.get(name, b"x") if further == "lines" else b"x"
    make = partial(MAKERS[name], bound)
    short, long = (ENDLESS[name] + more * (size // len(more)) for size in (SHORT, 4 * SHORT))
    # What is made once is not counted.
    work(make, short[:1000])
    assert work(make, long) < 6 * work(make, short)


def test_what_is_quadratic_would_be_seen() -> None:
    """The measure of the test above tells joining at every chunk from growing in place."""

    class Joining:
        def __init__(self) -> None:
            self.all = b""

        def feed(self, chunk: bytes) -> list[bytes]:
            self.all = self.all + chunk
            return []

        def finish(self) -> list[bytes]:
            return []

    assert work(Joining, b"x" * 4 * SHORT) > 12 * work(Joining, b"x" * SHORT)
