"""What one attempt means: store, nothing new, try again, or give up until the next poll."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import load_text
from headwater.core import errors
from headwater.core.checkpoint import Checkpoint
from headwater.core.errors import FetchError
from headwater.core.http import Headers, Response
from headwater.sources.judge import Action, Attempt, Policy, judge
from headwater.sources.poll import Poll

FIRST = Attempt(number=1, now=1_700_000_000.0, left=300.0, chance=0.5)


def response(status: int, body: bytes = b"x", headers: Headers = ()) -> Response:
    return Response(status, "HTTP/1.1", headers, body, "http://x/", 0.1, len(body))


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (200, Action.STORE),
        (201, Action.STORE),
        (206, Action.STORE),
        (299, Action.STORE),
        (204, Action.EMPTY),
        (301, Action.FAIL),
        (400, Action.FAIL),
        (401, Action.FAIL),
        (403, Action.FAIL),
        (404, Action.FAIL),
        (408, Action.RETRY),
        (425, Action.RETRY),
        (429, Action.RETRY),
        (500, Action.RETRY),
        (501, Action.FAIL),
        (502, Action.RETRY),
        (503, Action.RETRY),
        (504, Action.RETRY),
        (505, Action.FAIL),
        (599, Action.RETRY),
        (700, Action.RETRY),
    ],
)
def test_status(status: int, action: Action) -> None:
    """2xx is a record; what may pass is tried again; what will not is left until the next poll."""
    assert judge(response(status), FIRST, Policy()).action is action


def test_accept_status_widens_what_is_stored() -> None:
    """A status that the configuration accepts is a record, whatever it says."""
    policy = Policy(accepted=((200, 299), (404, 404)))
    assert judge(response(404), FIRST, policy).action is Action.STORE
    assert judge(response(410), FIRST, policy).action is Action.FAIL


def test_an_empty_body_is_no_record() -> None:
    """Where the record is the body alone, a response without one has nothing to store; a full record has."""
    assert judge(response(200, b""), FIRST, Policy()).action is Action.EMPTY
    assert judge(response(200, b""), FIRST, Policy(body_only=False)).action is Action.STORE
    assert judge(response(204, b""), FIRST, Policy(body_only=False)).action is Action.EMPTY


def test_304_is_unchanged_only_when_it_was_asked_for() -> None:
    """304 to a conditional request means nothing new; to any other it is a failure."""
    asked = Attempt(number=1, now=0, left=300, chance=0, conditional=True)
    assert judge(response(304, b""), asked, Policy()).action is Action.UNCHANGED
    assert judge(response(304, b""), FIRST, Policy()).action is Action.FAIL


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(status: int) -> None:
    """Within the interval the next attempt comes exactly when the server said."""
    verdict = judge(response(status, headers=(("retry-after", "7"),)), FIRST, Policy())
    assert (verdict.action, verdict.wait, verdict.slug) == (Action.RETRY, 7.0, "rate-limited")
    assert "wait 7 s" in verdict.reason


def test_retry_after_beyond_the_next_poll_holds_the_connector() -> None:
    """A longer wait ends the poll and keeps the following ones back, up to the bound."""
    far = judge(response(429, headers=(("retry-after", "900"),)), FIRST, Policy())
    assert (far.action, far.wait) == (Action.FAIL, 900.0)
    absurd = judge(response(429, headers=(("retry-after", "99999999"),)), FIRST, Policy())
    assert absurd.wait == 3600.0


def test_a_quota_that_is_used_up_says_how_long_to_wait() -> None:
    """Where a refusal has no Retry-After; 403 counts as one when nothing is left."""
    used = (("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000012"))
    for status in (429, 403):
        verdict = judge(response(status, headers=used), FIRST, Policy())
        assert (verdict.action, verdict.wait, verdict.slug) == (Action.RETRY, 12.0, "rate-limited")
    assert judge(response(403, headers=used), FIRST, Policy(quota=False)).action is Action.FAIL
    assert judge(response(403), FIRST, Policy()).action is Action.FAIL
    assert judge(response(429, headers=(("retry-after", "2.5"),)), FIRST, Policy()).wait == 2.5


def test_retry_after_of_other_statuses_is_not_read() -> None:
    """Only refusals give the header its meaning here."""
    assert judge(response(404, headers=(("retry-after", "9"),)), FIRST, Policy()).wait == 0


def test_attempts_end() -> None:
    """The last allowed attempt fails instead of asking for another, and says how many there were."""
    verdict = judge(response(500), Attempt(number=5, now=0, left=300, chance=0), Policy(attempts=5))
    assert verdict.action is Action.FAIL
    assert "gave up after 5 attempts" in verdict.reason


def test_no_attempt_is_begun_that_the_next_poll_would_overtake() -> None:
    """A retry stays inside its interval."""
    verdict = judge(response(500), Attempt(number=1, now=0, left=0.3, chance=0.9), Policy())
    assert verdict.action is Action.FAIL
    assert "next poll" in verdict.reason


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_is_not_repeated_once_the_server_may_have_seen_it(method: str) -> None:
    """Repeating is only for what is harmless to repeat, or surely was not done."""
    policy = Policy(method=method)
    assert judge(errors.ReadTimeoutError("x"), FIRST, policy).action is Action.FAIL
    assert judge(response(500), FIRST, policy).action is Action.FAIL
    assert judge(errors.ConnectError("x"), FIRST, policy).action is Action.RETRY
    assert judge(response(429), FIRST, policy).action is Action.RETRY


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (errors.DnsError, Action.RETRY),
        (errors.ConnectError, Action.RETRY),
        (errors.ConnectTimeoutError, Action.RETRY),
        (errors.ResetError, Action.RETRY),
        (errors.TruncatedError, Action.RETRY),
        (errors.ProtocolError, Action.RETRY),
        (errors.ReadTimeoutError, Action.RETRY),
        (errors.TlsError, Action.FAIL),
        (errors.BodyTooLargeError, Action.FAIL),
        (errors.RedirectError, Action.FAIL),
        (errors.RequestError, Action.FAIL),
    ],
)
def test_failed_exchanges(error: type[FetchError], action: Action) -> None:
    """What may pass is tried again at once; what needs a person waits for the next poll. The slug is the error's."""
    verdict = judge(error("told so"), FIRST, Policy())
    assert (verdict.action, verdict.slug) == (action, error.slug)
    assert verdict.reason.startswith("told so")


def test_html_where_json_came_before_is_no_record() -> None:
    """A login page with status 200 is refused, unless HTML is usual or the configuration accepts it."""
    page = response(200, b"<html>", (("content-type", "text/html; charset=utf-8"),))
    assert judge(page, FIRST, Policy(), usual_type="application/json").action is Action.FAIL
    assert judge(page, FIRST, Policy(), usual_type="text/html").action is Action.STORE
    assert judge(page, FIRST, Policy()).action is Action.STORE
    accepts = Policy(content_types=("text/html", "application/json"))
    assert judge(page, FIRST, accepts, usual_type="application/json").action is Action.STORE


def test_accept_content_type_refuses_all_others() -> None:
    """With the option, a media type that is not named, or none at all, is a failure that names both."""
    policy = Policy(content_types=("application/json",))
    good = response(200, headers=(("content-type", "Application/JSON; charset=utf-8"),))
    assert judge(good, FIRST, policy).action is Action.STORE
    verdict = judge(response(200, headers=(("content-type", "text/plain"),)), FIRST, policy)
    assert (verdict.action, verdict.slug) == (Action.FAIL, "content-type")
    assert "text/plain instead of application/json" in verdict.reason
    assert "no Content-Type" in judge(response(200), FIRST, policy).reason


# Answers repeat their headers, which are then the same object.
HEADS: tuple[Headers, ...] = (
    (),
    (("content-type", "application/json"),),
    (("content-type", "text/html"),),
    (("content-type", "text/csv"), ("etag", '"1"')),
)


@given(
    st.sampled_from(
        ["", ", output_parts: full", ", accept_status: [200-299, 404]", ", accept_content_type: [text/html]"]
    ),
    st.lists(
        st.tuples(
            st.sampled_from([200, 201, 204, 304, 404, 500]), st.sampled_from([b"", b"x"]), st.sampled_from(HEADS)
        ),
        max_size=12,
    ),
)
def test_what_came_before_changes_no_verdict(option: str, answers: list[tuple[int, bytes, Headers]]) -> None:
    """A source that has judged many answers judges the next one as one that has judged none."""
    text = f"name: c\ntopic: t\nparameters: {{endpoint: 'http://x.test/', interval: 1s{option}}}\n"
    config = load_text(text).connectors[0]
    poll, checkpoint = Poll(config), Checkpoint()
    for status, body, headers in answers:
        answer = response(status, body, headers)
        verdict = poll.accept(answer, checkpoint)
        assert verdict == Poll(config).accept(answer, checkpoint)
        if verdict is not None and verdict.action is Action.STORE:
            checkpoint = poll.reap_one(answer, checkpoint, 0)[1]


@given(
    st.integers(0, 999),
    st.lists(st.tuples(st.sampled_from(["retry-after", "content-type", "x"]), st.text()), max_size=4),
    st.integers(1, 10),
    st.floats(-10, 1e6),
)
def test_every_answer_is_judged(status: int, headers: list[tuple[str, str]], number: int, left: float) -> None:
    """No status and no header makes judging fail; no wait is negative; a retry comes before the next poll."""
    attempt = Attempt(number=number, now=1_700_000_000.0, left=left, chance=0.5)
    verdict = judge(response(status, headers=tuple(headers)), attempt, Policy())
    assert verdict.wait >= 0
    assert verdict.reason
    if verdict.action is Action.RETRY:
        assert verdict.wait < left
        assert number < Policy().attempts
