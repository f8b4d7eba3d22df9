"""What somebody sends to hurt: every splitter ends with items or with an error, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest

from headwater.core.pointer import WHOLE, parse_pointer
from headwater.core.selector import parse_selector
from headwater.sources.split.array import ArraySplitter
from headwater.sources.split.item import BrokenBodyError, Splitter
from headwater.sources.split.lines import DelimitedSplitter, JsonLinesSplitter
from headwater.sources.split.markup import MarkupSplitter
from headwater.sources.split.table import Layout, TableSplitter

MOST = 64 * 1024
MAKERS: dict[str, Callable[[], Splitter]] = {
    "array": partial(ArraySplitter, WHOLE, MOST),
    "array at a pointer": partial(ArraySplitter, parse_pointer("/data/items"), MOST),
    "ndjson": partial(JsonLinesSplitter, MOST),
    "json-seq": partial(JsonLinesSplitter, MOST, sequence=True),
    "delimited": partial(DelimitedSplitter, b"\r\n", MOST),
    "csv": partial(TableSplitter, Layout(), MOST),
    "xml": partial(MarkupSplitter, parse_selector("a"), MOST, form=True),
}
SIZE = 1_500_000
BODIES = {
    "opening brackets": b"[" * SIZE,
    "opening braces": b'{"a":' * (SIZE // 5),
    "objects in objects": b'{"data":{"items":[' + b'{"a":[' * (SIZE // 6),
    "closing brackets": b"]" * SIZE,
    "an endless text": b'["' + b"x" * SIZE,
    "an endless escape": b'["' + b"\\" * SIZE,
    "an endless number": b"[" + b"1" * SIZE,
    "an endless name": b'{"' + b"x" * SIZE,
    "a large element": b'{"data":{"items":[1,[' + b"[1,2]," * (SIZE // 6) + b"3],4]}}",
    "much before": b'{"x":[' + b'{"a":"b"},' * (SIZE // 10) + b'1],"data":{"items":[1]}}',
    "much behind": b'{"data":{"items":[1]},"x":[' + b'{"a":"b"},' * (SIZE // 10) + b"1]}",
    "white space": b"[ 1" + b" " * SIZE,
    "line feeds": b"\n" * SIZE,
    "quotes": b'"' * SIZE,
    "quoted line feeds": b'a,b\n"' + b"\n" * SIZE,
    "short rows": b"a\n" + b"1\n" * (SIZE // 8),
    "no UTF-8": b"\xff" * SIZE,
    "zeros": b"\0" * SIZE,
    "opening tags": b"<a>" * (SIZE // 3),
    "endless attributes": b"<r><a " + b"x='y' " * (SIZE // 6),
    "an endless comment": b"<r><!--" + b"-x" * (SIZE // 2),
    "endless character data": b"<r><a>" + b"x" * SIZE,
    "signs": b"<" * SIZE,
    "separators": b"\x1e" * SIZE,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_everything_comes_to_an_end(make: Callable[[], Splitter], body: bytes) -> None:
    """Whatever is sent, memory is bounded by windows and the largest item, and what is wrong is told."""
    tracemalloc.start()
    try:
        error = taken(make(), body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(error) < 300
    # Items that are given out are gone; those of one window, with what becomes of them, are the most there is.
    assert peak < (800 if isinstance(make(), TableSplitter | JsonLinesSplitter) else 160) * MOST


def taken(splitter: Splitter, body: bytes) -> str:
    """Take a body in pieces, and forget its items; return what is wrong with it, if anything is."""
    view = memoryview(body)
    try:
        for start in range(0, len(body), 65_536):
            splitter.feed(bytes(view[start : start + 65_536]))
        splitter.finish()
    except BrokenBodyError as error:
        return str(error)
    return ""
