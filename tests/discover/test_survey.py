"""What is asked of an endpoint, how many requests that takes, and what the answers come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from headwater.core.errors import ConnectError
from headwater.core.http import Response
from headwater.discover.asking import Ask, Secret, from_url
from headwater.discover.finding import Certainty, Draft
from headwater.discover.since import Parameter
from headwater.discover.survey import Known, Outcome, Probe, survey

NOW = 1_714_554_000.0
PAGE = [{"id": number, "updated_at": f"2024-05-{30 - number:02}T10:00:00Z"} for number in range(1, 4)]
NEXT = [{"id": number, "updated_at": f"2024-05-{30 - number:02}T10:00:00Z"} for number in range(4, 7)]


def answer(
    value: Any, *headers: tuple[str, str], status: int = 200, url: str = "https://x.test/items", redirects: int = 0
) -> Response:
    body = msgspec.json.encode(value)
    kind = ("content-type", "application/json")
    return Response(status, "HTTP/1.1", (kind, *headers), body, url, 0.0, len(body), redirects)


def drive(
    ask: Ask, *outcomes: Outcome | Callable[[Probe], Outcome], known: Known | None = None
) -> tuple[Draft, list[Probe]]:
    """Answer each request in turn, then none; return the draft and what was asked."""
    probes = []
    waiting = list(outcomes)
    running = survey(ask, known or Known(), NOW)
    probe = next(running)
    while True:
        probes.append(probe)
        given = waiting.pop(0) if waiting else None
        try:
            probe = running.send(given(probe) if callable(given) else given)
        except StopIteration as ended:
            draft: Draft = ended.value
            return draft, probes


def options(draft: Draft, least: Certainty = Certainty.LIKELY) -> dict[str, Any]:
    return {name: it.value for name, it in draft.chosen().items() if it.certainty >= least}


def test_three_requests_tell_all() -> None:
    """What it answers, whether 304 comes, and whether the next page is another one."""
    link = ("link", '<https://x.test/items?page=2>; rel="next"')
    draft, probes = drive(
        from_url("https://x.test/items"), answer(PAGE, link, ("etag", '"a"')), answer(None, status=304), answer(NEXT)
    )
    assert [it.purpose for it in probes] == ["what it answers", "whether 304 comes", "the next page (link)"]
    assert probes[1].headers == (("If-None-Match", '"a"'),)
    assert probes[2].ask.params == (("page", "2"),)
    assert draft.requests == 3
    assert options(draft) == {
        "records.split": "/",
        "records.key": "/id",
        "records.timestamp": "/updated_at",
        "conditional": True,
        "pagination.type": "link",
        "deduplicate.by": "value",
        "interval": "1m",
    }
    reason = draft.chosen()["pagination.type"].reason
    assert reason == 'the header Link has rel="next"; the next page was asked for, and has 3 other items'
    assert draft.chosen()["pagination.stop_at"].certainty is Certainty.GUESS


def test_a_wrong_guess_is_found_out() -> None:
    """A parameter that changes nothing is not the one: the next is tried, and the one that works is written."""
    first = {"items": PAGE, "next_cursor": "x"}
    draft, probes = drive(
        from_url("https://x.test/items"), answer(first), answer(first), answer({"items": NEXT, "next_cursor": None})
    )
    assert [it.ask.params for it in probes[1:]] == [(("cursor", "x"),), (("start_cursor", "x"),)]
    assert options(draft)["pagination.param"] == "start_cursor"


def test_guesses_that_never_work_stay_guesses() -> None:
    """What was tried in vain is a comment in the file, and says so; a third way is not tried."""
    first = {"items": PAGE, "next_cursor": "x"}
    draft, probes = drive(from_url("https://x.test/items"), answer(first), answer(first), answer(first), answer(first))
    assert len(probes) == 3
    assert not any(name.startswith("pagination") for name in options(draft))
    assert "asking so brought nothing new" in draft.chosen()["pagination.type"].reason


@pytest.mark.parametrize(
    "outcome", [ConnectError("refused"), answer({"items": []}, status=500), answer({"error": 1}, status=404)]
)
def test_a_next_page_that_fails(outcome: Outcome) -> None:
    """A page that cannot be had confirms nothing."""
    draft, _ = drive(from_url("https://x.test/items?page=1"), answer({"items": PAGE, "total_pages": 5}), outcome)
    assert draft.chosen()["pagination.type"].certainty is Certainty.GUESS


def test_without_any_request() -> None:
    """Offline, nothing is known but what somebody brought."""
    draft, probes = drive(from_url("https://x.test/items"))
    assert (draft.requests, len(probes), options(draft)) == (0, 1, {})


def test_an_answer_that_is_known_already() -> None:
    """What a HAR has recorded is looked at without any request; what would have to be asked stays as likely."""
    link = ("link", '<https://x.test/items?page=2>; rel="next"')
    known = Known(answer=answer(PAGE, link, ("etag", '"a"')), recorded=True)
    draft, _ = drive(from_url("https://x.test/items"), known=known)
    found = options(draft)
    assert (draft.requests, found["records.split"], found["pagination.type"]) == (0, "/", "link")
    assert "was not tried" in draft.chosen()["conditional"].reason


def test_a_cursor_where_a_parameter_takes_one() -> None:
    """The newest time is remembered, spelt as the parameter wants it."""
    known = Known([Parameter("updated_since", "unix", "Only what changed since")])
    draft, _ = drive(from_url("https://x.test/items"), answer(PAGE), known=known)
    found = options(draft)
    assert found["cursor.updated.from"] == "/updated_at"
    assert found["params.updated_since"] == "${{ cursor.updated | unix }}"
    assert found["cursor.updated.initial"] == "2024-04-01T00:00:00Z"


def test_a_parameter_of_the_request_becomes_a_cursor() -> None:
    """What the line asks for is where it begins."""
    draft, _ = drive(from_url("https://x.test/items?since=2024-01-01T00:00:00Z&state=open"), answer(PAGE))
    found = options(draft)
    assert found["params.since"] == "${{ cursor.updated }}"
    assert found["cursor.updated.initial"] == "2024-01-01T00:00:00Z"
    assert draft.ask.params == (("state", "open"),)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 301])
def test_a_refusal(status: int) -> None:
    """What is refused is said, and for a 401 the way in is written, without a secret's value."""
    draft, _ = drive(from_url("https://x.test/items"), answer({}, status=status))
    assert draft.remarks()
    assert not any(name.startswith("records") for name in options(draft))
    assert (draft.ask.auth is not None) == (status == 401)


def test_credentials_that_are_known_after_all() -> None:
    """Whoever drives may know the secret that a 401 asks for; then what is behind it is seen."""
    draft, probes = drive(from_url("https://x.test/items"), answer({}, status=401), answer(PAGE))
    assert [it.purpose for it in probes] == ["what it answers", "with credentials"]
    assert probes[1].ask.secrets == (Secret("API_TOKEN", None, "the token"),)
    assert options(draft)["records.split"] == "/"
    draft, _ = drive(from_url("https://x.test/items"), answer({}, status=401), answer({}, status=401))
    assert "the credentials that are known were refused" in draft.remarks()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://x.test/v2/items", "https://x.test/v2/items"),
        ("http://x.test/items", "http://x.test/items"),
        ("https://other.test/items", "https://x.test/items"),
    ],
)
def test_a_redirect(url: str, expected: str) -> None:
    """The address that a redirect leads to is written, unless it is another host."""
    draft, _ = drive(from_url("https://x.test/items"), answer(PAGE, url=url, redirects=1))
    assert draft.ask.url == expected
    assert any("redirects" in it for it in draft.remarks())


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({"ok": True, "messages": PAGE}, {"body": {"/ok": False}, "do": "fail"}),
        ({"data": {"issues": {"nodes": PAGE}}}, {"body": {"/errors": {"present": True}}, "do": "fail"}),
        ({"items": PAGE}, None),
    ],
)
def test_failures_that_answer_200(value: Any, rule: Any) -> None:
    """Where an API says in the body that it failed, a rule does."""
    draft, _ = drive(from_url("https://x.test/items"), answer(value))
    assert options(draft).get("rules") == (None if rule is None else [rule])


def test_a_failure_of_the_network() -> None:
    """What cannot be asked is said."""
    draft, _ = drive(from_url("https://x.test/items"), ConnectError("x.test refused the connection"))
    assert draft.remarks() == ["x.test was asked in vain: x.test refused the connection"]


def sequence(*values: Any) -> Sequence[Outcome]:
    return [answer(value) for value in values]
