"""Recordings: what is kept of an exchange, the file of it, and which exchange answers a request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import ConfigError, ConnectError, FetchError, ProtocolError
from headwater.core.http import Request, Response
from headwater.core.secret import Masker
from headwater.recording.tape import Answered, Asked, Player, Round, Take, Tape, answered, asked
from headwater.recording.tapefile import read_tape, write_tape

MASK = Masker(["s3cret-value"]).mask
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# What a header may have, and no blanks around it.
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F), max_size=30).map(str.strip)
HEADERS = st.lists(st.tuples(st.sampled_from(["accept", "x-a", "x-b"]), VALUES), max_size=4).map(tuple)
ASKED = st.builds(Asked, st.sampled_from(["GET", "POST"]), TEXTS, HEADERS, st.none() | TEXTS)
ANSWERED = st.builds(
    Answered,
    status=st.integers(100, 599),
    version=st.sampled_from(["HTTP/1.1", "HTTP/2.0"]),
    headers=HEADERS,
    body=st.binary(max_size=60) | TEXTS.map(str.encode),
    url=TEXTS,
    seconds=st.integers(0, 5000).map(lambda it: it / 1000),
    redirects=st.integers(0, 3),
) | st.builds(Answered, failure=st.sampled_from(["dns", "tls", "timeout"]), message=TEXTS, hint=TEXTS)
TAPES = st.builds(
    Tape,
    st.sampled_from(["orders", "a-b"]),
    st.lists(
        st.builds(
            Round, st.integers(0, 4_000_000_000_000), st.lists(st.builds(Take, ASKED, ANSWERED), min_size=1, max_size=3)
        ),
        max_size=3,
    ),
)


@given(TAPES)
def test_a_file_is_read_back(tape: Tape) -> None:
    """Every byte of every body, every header and every time comes back."""
    assert read_tape(write_tape(tape), "a test") == tape


def test_a_file_as_it_looks() -> None:
    """People can read it: JSON stands there as it came."""
    take = Take(
        Asked("GET", "https://x.test/a?k=***", (("Accept", "*/*"),)),
        Answered(
            200,
            "HTTP/1.1",
            (("content-type", "application/json"),),
            b'[{"id": 1.50}]\n',
            "https://x.test/a?k=***",
            0.25,
        ),
    )
    failed = Take(Asked("POST", "https://x.test/b", (), '{"a": 1}'), Answered(failure="dns", message="no such host"))
    assert (
        write_tape(Tape("orders", [Round(1_714_554_000_123, [take, failed])]))
        == """\
# Recorded by `headwater record`; replayed by `headwater test --replay`. Secrets are masked.
recording: 1
connector: orders
rounds:
  - scheduled: "2024-05-01T09:00:00.123Z"
    exchanges:
      - request:
          method: GET
          url: "https://x.test/a?k=***"
          headers:
            - "Accept: */*"
        response:
          status: 200
          version: HTTP/1.1
          seconds: 0.25
          headers:
            - "content-type: application/json"
          body: |
            [{"id": 1.50}]
      - request:
          method: POST
          url: https://x.test/b
          body: |-
            {"a": 1}
        failure:
          kind: dns
          message: "no such host"
"""
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "neither JSON nor YAML"),
        ("recording: 2\n", "no recording of version 1"),
        ("recording: 1\nrounds: 5\n", "there is no list rounds"),
        ("recording: 1\nrounds: [{scheduled: x, exchanges: []}]\n", "'x' is no time"),
        ("recording: 1\nrounds: [{exchanges: [{}]}]\n", "round 1, exchange 1: it needs a request"),
        (
            "recording: 1\nrounds: [{exchanges: [{request: {method: GET, url: x}, response: {status: 9}}]}]\n",
            "status is 9",
        ),
        (
            "recording: 1\nrounds: [{exchanges: [{request: {method: GET, url: x, headers: [a]}, failure: {}}]}]\n",
            "no colon",
        ),
        (
            "recording: 1\nrounds: [{exchanges: [{request: {method: G, url: x}, response: {status: 200, base64: 5}}]}]",
            "base64",
        ),
        ("recording: 1\nrounds: []\n", "needs a text connector"),
    ],
)
def test_what_is_no_recording(text: str, message: str) -> None:
    """What somebody has changed by hand is told where it is wrong."""
    with pytest.raises(ConfigError, match=message):
        read_tape(text, "a test")


def test_what_is_kept_is_masked() -> None:
    """Secrets, signed tokens and cookies are masked in request and answer, in whatever disguise."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.abcdefgh"
    request = Request(
        "POST",
        "https://x.test/?k=s3cret-value",
        "https://x.test/?k=***",
        (("Authorization", "Bearer s3cret-value"), ("X-Token", token), ("X-Open", "s3cret-value!")),
        body=b'{"password": "s3cret-value"}',
        secret_headers=frozenset({"authorization"}),
    )
    kept = asked(request, MASK)
    assert kept == Asked(
        "POST",
        "https://x.test/?k=***",
        (("Authorization", "***"), ("X-Token", "***"), ("X-Open", "***!")),
        '{"password": "***"}',
    )
    response = Response(
        200,
        "HTTP/1.1",
        (("set-cookie", "sid=1"), ("location", "/?k=s3cret-value")),
        f'{{"token": "{token}", "echo": "czNjcmV0LXZhbHVl"}}'.encode(),
        "https://x.test/?k=s3cret-value",
        0.1,
        10,
    )
    told = answered(response, MASK)
    assert told.headers == (("set-cookie", "***"), ("location", "/?k=***"))
    assert told.body == b'{"token": "***", "echo": "***"}'
    assert told.url == "https://x.test/?k=***"
    named = Response(200, "HTTP/1.1", (), b'{"accessToken" : "opaque-1", "next_token": "x"}', "x", 0.0, 1)
    assert answered(named, MASK).body == b'{"accessToken" : "***", "next_token": "x"}'
    failed = answered(ConnectError("s3cret-value refused", hint="s3cret-value"), MASK)
    assert (failed.failure, failed.message, failed.hint) == ("connect", "*** refused", "***")
    binary = answered(Response(200, "HTTP/1.1", (), b"\xff\xfes3cret-value", "x", 0.0, 1), MASK)
    assert binary.body == b"\xff\xfe***"


def test_failures_come_back_as_what_they_were() -> None:
    """A kind is found by its slug; one that is not known any more is still a failure."""
    outcome = Answered(failure="connect", message="refused", hint="h").outcome("x")
    assert isinstance(outcome, ConnectError)
    assert (str(outcome), outcome.hint) == ("refused", "h")
    assert isinstance(Answered(failure="of-tomorrow", message="x").outcome("x"), ProtocolError)
    assert isinstance(Answered(failure="x", message="x").outcome("x"), FetchError)


def take(url: str, body: str | None = None, answer: bytes = b"") -> Take:
    return Take(Asked("GET", url, (), body), Answered(200, body=answer, url=url))


def test_each_exchange_answers_once() -> None:
    """Equal requests get their answers in order; what is not there is told, with what would have been."""
    player = Player(
        Tape("a", [Round(0, [take("/1", answer=b"a"), take("/1", answer=b"b")]), Round(1, [take("/2", "x")])])
    )
    found: list[Any] = [player.answer(Asked("GET", "/1")) for _ in range(3)]
    assert [None if it is None else it.body for it in found] == [b"a", b"b", None]
    assert player.missed == ["GET /1; next in the recording is GET /2 with a body of 1 characters"]
    assert player.answer(Asked("GET", "/2", (), "y")) is None
    assert player.missed[-1] == (
        "GET /2 with a body of 1 characters; the recording has another body there: x instead of y"
    )
    assert [it.asked.url for it in player.left] == ["/2"]
    assert player.answer(Asked("GET", "/2", (), "x")) is not None
    assert player.answer(Asked("POST", "/2")) is None
    assert player.missed[-1] == "POST /2; nothing is left in the recording"
