"""What the first words of a stream show, and what is none."""

from __future__ import annotations

import pytest

from headwater.config import load_text
from headwater.core.http import Response
from headwater.discover.asking import Ask, from_url
from headwater.discover.curlline import read_line
from headwater.discover.finding import Certainty, Draft
from headwater.discover.streaming import Framing, Unending, enough, find_stream, framing_of
from headwater.discover.survey import Known, Outcome, survey
from headwater.discover.write import write

EVENTS = b"""retry: 500

event: order
id: 7
data: {"id": 1, "time": "2024-05-01T10:00:00Z"}

: still there

event: refund
id: 8
data: {"id": 2,
data:  "time": "2024-05-01T10:00:01Z"}

event: order
data: {"id": 3"""


def response(body: bytes, kind: str, status: int = 200) -> Response:
    headers = (("content-type", kind),) if kind else ()
    return Response(status, "HTTP/1.1", headers, body, "https://x.test/v1/feed", 0.0, len(body))


def draft(outcome: Outcome, ask: Ask | None = None) -> Draft:
    """Return what comes of one request and its outcome; a second one is not to be sent."""
    running = survey(ask or from_url("https://x.test/v1/feed"), Known(), 1_714_554_000.0)
    next(running)
    with pytest.raises(StopIteration) as ended:
        running.send(outcome)
    found: Draft = ended.value.value
    return found


def options(found: Draft, least: Certainty = Certainty.LIKELY) -> dict[str, object]:
    return {name: it.value for name, it in found.chosen().items() if it.certainty >= least}


@pytest.mark.parametrize(
    ("body", "kind", "framing"),
    [
        (b"", "text/event-stream; charset=utf-8", "sse"),
        (b'{"a":1}\n{"a"', "", "ndjson"),
        (b'{"a":1}\n', "application/json", "ndjson"),
        (b"", "application/x-ndjson", "ndjson"),
        (b'\x1e{"a":1}\n', "", "json-seq"),
        (b"one\ntwo\n", "text/plain", "delimited"),
        (b'{"a":\n1', "application/json", ""),
        (b'[{"a":1},\n{"a":2},\n', "application/json", ""),
        (b"<a>\n<b/>\n", "text/plain", ""),
        (b"one\n", "text/plain", ""),
        (b"[" * 100_000 + b"\n", "application/json", ""),
        (b"\xff\xfe\x00\n\x00\n", "application/octet-stream", ""),
    ],
)
def test_what_goes_on(body: bytes, kind: str, framing: Framing) -> None:
    """Lines that are whole by themselves, or what the server says; one answer that is slow is none."""
    assert framing_of(body, kind) == framing


def test_events() -> None:
    """Their names are a guess, their keys and times are found, and nothing of an event that is not whole counts."""
    found = draft(Unending(response(EVENTS, "text/event-stream"), 5.0))
    assert options(found) == {"format": "sse", "records.key": "/id", "records.timestamp": "/time"}
    assert options(found, Certainty.GUESS)["sse.events"] == ["order", "refund"]
    assert any("the next connection goes on behind it" in it for it in found.remarks())
    assert not enough(EVENTS)
    assert enough(EVENTS + b"}\n\n")


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_events_that_end_or_do_not_come(seconds: float | None) -> None:
    """The media type says enough: of any length, and of none."""
    answer = response(b"data: hello\n\n" if seconds is None else b"", "text/event-stream")
    found = draft(answer if seconds is None else Unending(answer, seconds))
    assert options(found, Certainty.GUESS) == {"format": "sse"}
    assert any(("have no ids" if seconds is None else "no event came") in it for it in found.remarks())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"id":1}\n{"id":2}\n{"i', {"format": "ndjson", "records.key": "/id"}),
        (b'\x1e{"id":1}\n\x1e{"id":2}\n\x1e{"i', {"format": "json-seq", "records.key": "/id"}),
        (b"one\ntwo\nthr", {"stream": True}),
    ],
)
def test_long_responses(body: bytes, expected: dict[str, object]) -> None:
    """How it is cut, and why it is a stream: it went on."""
    found = draft(Unending(response(body, "text/plain"), 5.0))
    assert options(found) == expected
    first = next(iter(found.chosen().values()))
    assert first.reason.endswith("and after 5 s the answer still went on")


def test_what_ends_is_polled() -> None:
    """The same lines, but an end: that is an answer."""
    assert find_stream(response(b'{"id":1}\n{"id":2}\n', "application/x-ndjson"), None)[0] == []


def test_a_refusal_that_goes_on_is_a_refusal() -> None:
    """What follows does not make a stream of it."""
    found = draft(Unending(response(b"{}\n{}\n", "application/json", 403), 5.0))
    assert "format" not in found.chosen()
    assert any("403" in it for it in found.remarks())


@pytest.mark.parametrize(
    ("line", "written", "left"),
    [
        (
            "curl -N https://x.test/feed -H 'Accept: text/event-stream' -H 'Cache-Control: no-cache'",
            "format: sse",
            "Acc",
        ),
        ("curl -sN https://x.test/feed", "#? stream: true", "format"),
        ("curl --no-buffer https://x.test/feed", "#? stream: true", "not taken over"),
        ("curl https://x.test/feed", "endpoint:", "stream"),
        (
            "curl https://x.test/feed -H 'accept: text/event-stream' -H 'Last-Event-ID: 5' --retry 3",
            "format: sse",
            "ID",
        ),
    ],
)
def test_lines_of_curl_say_it_by_themselves(line: str, written: str, left: str) -> None:
    """What asks for events is a stream, what is shown while it comes may be one; it loads as it is written."""
    text = write(draft(None, read_line(line))).text
    assert f"  {written}" in text
    assert left not in text
    assert (load_text(text).connectors[0].http.source == "stream") == (written == "format: sse")
