"""What people see of a checkpoint, and how they change it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater.core.checkpoint import Checkpoint, Progress, StreamPosition
from headwater.sources.kept import changed, lines, plain, reset

ROUND = 1_714_564_800_000
NOON = "2024-05-01T12:00:00.000Z"
MIDWAY = Checkpoint(
    3,
    7,
    ROUND,
    "f",
    '"etag"',
    "Wed, 01 May 2024 10:00:00 GMT",
    "application/json",
    {"0": b"state", "1": b"more"},
    Progress(
        {"at": "2024-05-01", "id": 5, "price": {"json": "1.50"}, "code": "007"},
        ROUND - 3_600_000,
        ROUND,
        {"n": 2, "items": 6, "token": "t", "window": [ROUND - 3_600_000, ROUND], "mark": ["x", 2, 0], "place": "x"},
        {"id": 9},
    ),
)


def test_a_checkpoint_in_words() -> None:
    """Everything that a person may want to know of it."""
    assert lines(MIDWAY) == [
        ("last poll", "2024-05-01T12:00:00.000Z"),
        ("stored", "7 records of 3 exchanges"),
        ("cursor.at", "2024-05-01"),
        ("cursor.id", "5"),
        ("cursor.price", "1.50"),
        ("cursor.code", '"007"'),
        ("window", "up to 2024-05-01T11:00:00Z"),
        (
            "round",
            f"that of {NOON} is under way: 2024-05-01T11:00:00Z to 2024-05-01T12:00:00Z, page 3 is next, token t",
        ),
        ("pending.id", "9"),
        ("validators", '"etag", Wed, 01 May 2024 10:00:00 GMT'),
        ("transforms", "2 have state"),
    ]
    assert lines(Checkpoint()) == [("last poll", "none yet"), ("stored", "0 records of 0 exchanges")]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            {"n": 1, "url": "https://x.test/?page=2&api_key=abc"},
            "page 2 is next, at https://x.test/?page=2&api_key=***",
        ),
        ({"n": 1, "number": 2}, "page 2 is next, number 2"),
        ({"n": 1, "offset": 100}, "page 2 is next, offset 100"),
        ({"n": 1, "token": {"json": "[1.50]"}}, "page 2 is next, token [1.50]"),
        ({"windows": 1}, "page 1 is next"),
    ],
)
def test_where_a_round_is(page: dict[str, Any], said: str) -> None:
    """Credentials in URLs are masked."""
    checkpoint = Checkpoint(progress=Progress(round=ROUND, page=page))
    assert dict(lines(checkpoint))["round"].endswith(f"is under way: {said}")


def test_a_checkpoint_for_programs() -> None:
    """JSON, with the digits of numbers that JSON of many programs would lose as texts; states of transforms are not."""
    found = plain(MIDWAY)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert found["cursors"] == {"at": "2024-05-01", "id": 5, "price": "1.50", "code": "007"}
    assert found["transforms"] == ["0", "1"]
    assert found["page"] == {"n": 2, "items": 6, "token": "t", "window": [ROUND - 3_600_000, ROUND]}
    assert (found["window"], found["round"]) == ("2024-05-01T11:00:00Z", "2024-05-01T12:00:00.000Z")
    assert plain(Checkpoint())["window"] is None


def test_values_are_set() -> None:
    """The round under way is given up with its validators; kinds stay, and JSON says its own."""
    after = changed(MIDWAY, {"cursor.id": "8", "cursor.at": "2024-01-01", "cursor.new": "x", "window": "2024-01-01"})
    assert after.progress == Progress(
        {"at": "2024-01-01", "id": 8, "price": {"json": "1.50"}, "code": "007", "new": "x"}, 1_704_067_200_000
    )
    assert (after.etag, after.last_modified, after.transforms) == (None, None, MIDWAY.transforms)
    assert changed(MIDWAY, {"cursor.id": "x"}).progress.cursors["id"] == "x"  # type: ignore[union-attr]
    assert changed(MIDWAY, {"cursor.price": "2.50"}).progress.cursors["price"] == {"json": "2.50"}  # type: ignore[union-attr]
    assert changed(Checkpoint(), {"cursor.id": '"8"'}, json=True).progress == Progress({"id": "8"})


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        ({"page": "2"}, "'page' cannot be set; there are cursor.NAME and window"),
        ({"cursor.": "2"}, "'cursor.' cannot be set"),
        ({"window": "soon"}, "'soon' is no time after 1970"),
        ({"window": "1960-01-01"}, "is no time after 1970"),
        ({"cursor.id": "x" * 9000}, "too long to be remembered"),
    ],
)
def test_what_cannot_be_set(assignments: dict[str, str], said: str) -> None:
    """Says what could be."""
    with pytest.raises(ValueError, match=said):
        changed(MIDWAY, assignments)


def test_a_reset_keeps_the_counts() -> None:
    """The ids of records hang on them."""
    assert reset(MIDWAY) == Checkpoint(3, 7, ROUND)


GAPS = ((ROUND - 9000, ROUND - 8000), (ROUND - 2000, ROUND - 1000))
STREAM = Checkpoint(
    2,
    9,
    request="f",
    progress=Progress({"id": 5}),
    stream=StreamPosition("7", 1500, ROUND, GAPS),
)


def test_the_checkpoint_of_a_stream() -> None:
    """How far it is, in words and for programs; nothing of polls."""
    assert lines(STREAM) == [
        ("until", NOON),
        ("stored", "9 records of 2 connections"),
        ("event_id", "7"),
        ("retry", "1s 500ms, as the server asks"),
        (
            "gaps",
            (
                "2 to be asked for: 2024-05-01T11:59:51.000Z to 2024-05-01T11:59:52.000Z,"
                " 2024-05-01T11:59:58.000Z to 2024-05-01T11:59:59.000Z"
            ),
        ),
        ("cursor.id", "5"),
    ]
    assert plain(STREAM)["stream"] == {
        "event_id": "7",
        "retry": 1500,
        "until": NOON,
        "gaps": [
            {"start": "2024-05-01T11:59:51.000Z", "end": "2024-05-01T11:59:52.000Z"},
            {"start": "2024-05-01T11:59:58.000Z", "end": "2024-05-01T11:59:59.000Z"},
        ],
    }
    assert lines(Checkpoint(stream=StreamPosition("a\x1bb")))[0] == ("until", "no connection yet")
    assert dict(lines(Checkpoint(stream=StreamPosition("a\x1bb"))))["event_id"] == "'a\\x1bb'"


def test_a_stream_is_set_back() -> None:
    """What is asked for again has the gaps in it that were found since; its other values stay."""
    assert changed(STREAM, {"event_id": "3"}).stream == StreamPosition("3", 1500, ROUND, GAPS)
    assert changed(STREAM, {"event_id": ""}).stream == StreamPosition("", 1500, ROUND, GAPS)
    back = changed(STREAM, {"until": "2024-05-01T11:59:55Z", "cursor.id": "4"})
    assert back.stream == StreamPosition("7", 1500, ROUND - 5000, ((ROUND - 9000, ROUND - 8000),))
    assert back.progress == Progress({"id": 4})
    assert changed(Checkpoint(), {"event_id": "x"}).stream == StreamPosition("x")
    assert reset(STREAM) == Checkpoint(2, 9, stream=StreamPosition())


@pytest.mark.parametrize(
    ("checkpoint", "assignments", "said"),
    [
        (STREAM, {"window": "2024-01-01"}, "this is the checkpoint of a stream, which has none"),
        (STREAM, {"page": "2"}, "there are cursor.NAME and event_id and until"),
        (STREAM, {"until": "soon"}, "'soon' is no time after 1970 for until"),
        (STREAM, {"event_id": "a\nb"}, "cannot be an event id"),
        (STREAM, {"event_id": "x" * 9000}, "cannot be an event id"),
        (MIDWAY, {"event_id": "7"}, "this is the checkpoint of a poll, which has none"),
        (MIDWAY, {"until": "2024-01-01"}, "this is the checkpoint of a poll, which has none"),
    ],
)
def test_what_a_stream_has_a_poll_has_not(checkpoint: Checkpoint, assignments: dict[str, str], said: str) -> None:
    """And the other way round."""
    with pytest.raises(ValueError, match=said):
        changed(checkpoint, assignments)
