"""What comes over a connection on its way to records: however it is cut, and however it is grouped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import SecretSource, load_text
from headwater.core.checkpoint import Checkpoint
from headwater.core.http import Response
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources.reaped import BadItem
from headwater.sources.stream.receiving import Receiving
from headwater.sources.stream.source import StreamSource
from sources.stream.feeding import SIZES, chunks

MOMENT = Moment(1_700_000_000_000, 1_700_000_000_000)
CURSOR = {"cursor": {"seq": {"from": "/seq"}, "at": {"from": "/at", "take": "last"}}}
KEYED = {"key": "id"}
ITEMS = {"key": "/id", "metadata": True, "timestamp": "/at", "timestamp_format": "ms"}
# What a configuration says of frames, and how each of them is made a part of a body.
FORMS: dict[str, tuple[dict[str, Any], bytes, bytes]] = {
    "delimited": ({"stream": True, "delimiter": "\\r\\n"}, b"", b"\r\n"),
    "with cursors": ({"stream": True, **CURSOR}, b"", b"\n"),
    "with items": ({"stream": True, "records": ITEMS, **CURSOR}, b"", b"\n"),
    "split": ({"stream": True, "records": {"split": "/all", **ITEMS}, **CURSOR}, b"", b"\n"),
    "ndjson": ({"format": "ndjson", "records": ITEMS, **CURSOR}, b"", b"\n"),
    "json-seq": ({"format": "json-seq", **CURSOR}, b"\x1e", b"\n"),
    "sse": ({"format": "sse", "sse": {"key": "id"}}, b"id: %d\nretry: 1%d\ndata: ", b"\n\n"),
    "sse with items": (
        {"format": "sse", "sse": {"key": "id"}, "records": {"split": "/all"}},
        b"id: %d\ndata: ",
        b"\n\n",
    ),
    "json": ({"stream": True, "output_type": "json", "output_parts": "full"}, b"", b"\n"),
}


def source(**http: Any) -> StreamSource:
    """Return the source that options describe. Its secret KEY is `t0ps3cret`, or what KEY says."""
    given = SecretSource({"KEY": http.pop("KEY", "t0ps3cret")}, "a test")
    document = {
        "apiVersion": "0.1.0",
        "meta": {"name": "cats", "type": "http-source", "topic": "cats", "secrets": [{"name": "KEY"}]},
        "http": {"endpoint": "https://api.example.com/x", **http},
    }
    return StreamSource(load_text(json.dumps(document), secrets=given).connectors[0])


def receiving(one: StreamSource, checkpoint: Checkpoint) -> Receiving:
    """Return what takes in what follows a head."""
    head = Response(200, "HTTP/1.1", (("x-a", "b"),), b"", "https://api.example.com/x", 0.0, 0)
    return one.receiving(one.request(checkpoint, MOMENT, "k"), head, checkpoint, MOMENT, "k")


def received(
    one: StreamSource, body: bytes, sizes: Sequence[int], groups: Sequence[int], most: int = 1 << 20
) -> tuple[list[Record], list[BadItem], Checkpoint]:
    """Feed a body in chunks of these sizes, make a group after so many chunks each time; return what it comes to."""
    checkpoint = one.begun(Checkpoint())
    coming = receiving(one, checkpoint)
    records: list[Record] = []
    bad: list[BadItem] = []

    def gather(checkpoint: Checkpoint) -> Checkpoint:
        while coming.waiting:
            reaped = coming.reap(coming.gather(most), checkpoint, MOMENT)
            records.extend(reaped.records)
            bad.extend(reaped.bad)
            checkpoint = reaped.checkpoint
            assert checkpoint.records == len(records)
        return checkpoint

    left, turn = groups[0] if groups else 0, 0
    for chunk in chunks(body, sizes):
        coming.feed(chunk)
        left -= 1
        if groups and left <= 0:
            checkpoint = gather(checkpoint)
            turn += 1
            left = groups[turn % len(groups)]
    coming.finish()
    checkpoint = coming.moved(gather(checkpoint))
    assert coming.size == 0
    assert coming.received == len(body)
    return records, bad, checkpoint


def document(number: int, kind: int) -> bytes:
    """Return one of several kinds of frames: good ones, poor ones, and none at all."""
    whole = {"id": f"i{number}", "seq": number % 7, "at": 1000 + number}
    made: list[object] = [
        whole,
        {"all": [whole, {"seq": number, "at": 5}, whole]},
        {"all": []},
        [1],
        "text",
        {"id": {}},
    ]
    return b"no json" if kind == len(made) else json.dumps(made[kind], separators=(",", ":")).encode()


@pytest.mark.parametrize("form", FORMS)
@given(
    kinds=st.lists(st.integers(0, 6), max_size=12),
    sizes=SIZES,
    groups=st.lists(st.integers(1, 9), max_size=4),
    most=st.sampled_from([1, 100, 1 << 20]),
)
def test_chunks_and_groups_change_nothing(
    form: str, kinds: list[int], sizes: list[int], groups: list[int], most: int
) -> None:
    """Records, dead letters and their places, cursors, position: the same whatever the network and the log do."""
    options, before, behind = FORMS[form]
    one = source(**options)
    heads = (before % ((number,) * before.count(b"%d")) if before else b"" for number in range(len(kinds)))
    body = b"".join(head + document(n, kind) + behind for n, (head, kind) in enumerate(zip(heads, kinds, strict=True)))
    assert received(one, body, sizes, groups, most) == received(one, body, (), ())


def test_cursors_go_to_the_end() -> None:
    """The largest, or the last, of all frames; frames without are passed over."""
    one = source(**FORMS["with cursors"][0])
    body = b'{"seq":9,"at":1}\n{"seq":2,"at":2}\nno\n[]\n'
    records, bad, checkpoint = received(one, body, (), ())
    assert ([record.value for record in records], bad) == (body.splitlines(), [])
    assert checkpoint.progress is not None
    assert checkpoint.progress.cursors == {"seq": 9, "at": 2}


def test_position_of_each_group() -> None:
    """The id of the last event in it, not of what has come behind it."""
    one = source(format="sse")
    checkpoint = one.begun(Checkpoint())
    coming = receiving(one, checkpoint)
    coming.feed(b"id: 1\ndata: a\n\n")
    group = coming.gather(1)
    coming.feed(b"id: 2\ndata: b\n\nid: 3\ndata: half")
    reaped = coming.reap(group, checkpoint, MOMENT)
    assert reaped.checkpoint.stream is not None
    assert reaped.checkpoint.stream.event_id == "1"
    reaped = coming.reap(coming.gather(1), reaped.checkpoint, MOMENT)
    assert reaped.checkpoint.stream is not None
    assert reaped.checkpoint.stream.event_id == "2"


def test_known_up_to_when_its_last_bytes_came() -> None:
    """What comes while a group is made is not stored with it, and is asked for after a kill."""
    one = source(stream=True)
    found = receiving(one, Checkpoint())
    found.feed(b"1\n", MOMENT.now - 70)
    found.feed(b"2\n", MOMENT.now - 50)
    group = found.gather(1000)
    found.feed(b"3\n", MOMENT.now - 10)
    stored = found.reap(group, Checkpoint(), MOMENT).checkpoint.stream
    assert stored is not None
    assert stored.until == MOMENT.now - 50


def test_what_waits_is_counted_as_what_it_takes() -> None:
    """A large frame that the last of many chunks completes, and very small chunks."""
    one = source(stream=True)
    coming = receiving(one, one.begun(Checkpoint()))
    for _ in range(10):
        coming.feed(b"x" * 10_000)
    assert coming.size == 0
    coming.feed(b"\n")
    assert coming.size >= 100_000
    coming.gather(1 << 30)
    assert coming.size == 0
    for _ in range(10):
        coming.feed(b"a\n")
    assert coming.size >= 1000


def test_many_short_frames_with_a_long_head() -> None:
    """Each record has the head in front of it: what one chunk brings is stored in several groups, and counted so."""
    one = source(stream=True, output_parts="full", records=None)
    head = Response(200, "HTTP/1.1", (("x-a", "b" * 50_000),), b"", "https://api.example.com/x", 0.0, 0)
    coming = one.receiving(one.request(Checkpoint(), MOMENT, "k"), head, Checkpoint(), MOMENT, "k")
    coming.feed(b"a\n" * 1000)
    assert coming.size > 50_000_000
    values = []
    while coming.waiting:
        group = coming.gather(1024 * 1024)
        reaped = one_megabyte(coming.reap(group, Checkpoint(), MOMENT).records)
        values += reaped
    assert coming.size == 0
    assert len(values) == 1000
    assert all(value.endswith(b"\n\na") for value in values)


def one_megabyte(records: Sequence[Record]) -> list[bytes]:
    """Return the values of a group, which are not much more than that together."""
    values = [record.value for record in records]
    assert sum(map(len, values)) < 2 * 1024 * 1024
    return values


def test_what_belongs_to_another_stream_is_forgotten() -> None:
    """Position and media type; cursors stay, as for polls."""
    one, other = source(format="sse"), source(format="sse", endpoint="https://api.example.com/y")
    known = one.begun(Checkpoint())
    assert known.stream is not None
    known = msgspec.structs.replace(
        known,
        stream=msgspec.structs.replace(known.stream, event_id="7", retry=5, until=9, gaps=((1, 2),)),
        media_type="text/event-stream",
    )
    assert one.begun(known) == known
    anew = other.begun(known)
    assert anew.stream is not None
    assert (anew.stream.event_id, anew.stream.gaps, anew.media_type) == ("", (), "")
