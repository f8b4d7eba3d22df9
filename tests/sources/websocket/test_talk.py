"""Which messages are records, which are answered, and which ignored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from pydantic import ConfigDict, TypeAdapter

from headwater.config.match import Match
from headwater.core.errors import RequestError
from headwater.sources.split.item import Bad, Item
from headwater.sources.websocket.talk import LOOKED_AT, Talk, Talked

MATCH: TypeAdapter[Match] = TypeAdapter(Match, config=ConfigDict(arbitrary_types_allowed=True))


def match(value: object) -> Match:
    """Return a MATCH as a configuration has it."""
    found: Match = MATCH.validate_python(value)
    return found


def talk(answers: Sequence[tuple[object, bytes]] = (), ignore: Sequence[object] = ()) -> Talk:
    """Return a talk with MATCHes as a configuration has them."""
    return Talk([(match(to), partial(said, text)) for to, text in answers], [*map(match, ignore)])


def said(text: bytes, message: bytes) -> bytes:
    """Return an answer that may hold what it answers."""
    return text.replace(b"%", message)


def test_without_any_nothing_is_looked_at() -> None:
    """What came is what is returned."""
    items: list[Item] = [b"ping", Bad("large", b"")]
    assert talk().sort(items).records is items


def test_answers_and_what_is_ignored() -> None:
    """The first that matches counts, answers before others; records keep their order."""
    it = talk(
        answers=[("^ping$", b"pong"), ({"/op": "ping"}, b'{"op":"pong"}')],
        ignore=[{"/op": ["ping", "ack"]}, {"/event": {"matches": "^sub"}}, "^ping"],
    )
    bad = Bad("large", b"ping", "too-large")
    items: list[Item] = [
        b"1",
        b"ping",
        b'{"op":"ping"}',
        b'{"op":"ack","id":7}',
        b'{"op":"trade"}',
        bad,
        b'{"event":"subscribed"}',
        b'{"event":"unsubscribed"}',
        b"ping ",
        b"",
        b"\xff\x00",
        b'\xef\xbb\xbf{"op":"ping"}',
    ]
    assert it.sort(items) == Talked(
        [b"1", b'{"op":"trade"}', bad, b'{"event":"unsubscribed"}', b"", b"\xff\x00"],
        [b"pong", b'{"op":"pong"}', b'{"op":"pong"}'],
        6,
    )


@pytest.mark.parametrize(
    ("wanted", "message", "matches"),
    [
        ({"/a": 1}, b'{"a":1}', True),
        ({"/a": 1}, b'{"a":true}', False),
        ({"/a": 1}, b'{"a":1', False),
        ({"/a": {"present": True}}, b'{"a":null}', False),
        ({"/a": {"present": False}}, b'{"b":1}', True),
        ({"/a": {"present": False}}, b"no JSON", False),
        ({"/a": 1, "/b": 2}, b'{"a":1,"b":3}', False),
        ({"": "pong"}, b'"pong"', True),
        ("pong", b"x" * (LOOKED_AT - 4) + b"pong", True),
        ("pong", b"x" * (LOOKED_AT - 3) + b"pong", False),
        ({"/a": 1}, b'{"a":1}' + b" " * (LOOKED_AT - 7), True),
        ({"/a": 1}, b'{"a":1}' + b" " * (LOOKED_AT - 6), False),
    ],
)
def test_the_language_is_that_of_rules(wanted: object, message: bytes, matches: bool) -> None:  # noqa: FBT001
    """Patterns are found in a beginning, values are what they are; what is no JSON has none."""
    assert talk(ignore=[wanted]).sort([message]) == Talked([] if matches else [message], [], int(matches))
    assert talk(answers=[(wanted, b"!")]).sort([message]).answers == ([b"!"] if matches else [])


def test_an_answer_may_be_what_was_said() -> None:
    """An echo is an answer, and no record."""
    assert talk(answers=[("ping", b"%")]).sort([b"ping 7"]) == Talked([], [b"ping 7"], 1)
    assert talk(answers=[("^.$", b"x")]).sort([b"x"]) == Talked([], [b"x"], 1)


def test_a_message_that_cannot_be_answered_is_not_lost() -> None:
    """It is a bad one, and those around it are what they are."""

    def failing(message: bytes) -> bytes:
        raise RequestError("${{ item./id }} has no value: the item has none")

    found = Talk([(match("ping"), failing)]).sort([b"1", b"ping", b"2"])
    assert found.records[::2] == [b"1", b"2"]
    assert isinstance(bad := found.records[1], Bad)
    assert (bad.data, bad.reason) == (b"ping", "${{ item./id }} has no value: the item has none")
    assert not found.answers
