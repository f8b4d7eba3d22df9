"""Which rule matches an answer, and what the judge makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config import load_text
from headwater.core import errors
from headwater.core.errors import FetchError
from headwater.core.http import Headers, Response
from headwater.sources.judge import Action, Attempt, Policy, Verdict, judge
from headwater.sources.rules import Rules

FIRST = Attempt(number=1, now=1_700_000_000.0, left=300.0, chance=0.5)
JSON = (("content-type", "application/json; charset=utf-8"),)


def rules(*lines: str) -> Rules:
    """Return the rules of a configuration, one to a line."""
    listed = "".join(f"    - {line}\n" for line in lines)
    auth = "  auth: {type: basic, username: a, password: b}\n"
    text = f"name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n{auth}  rules:\n{listed}"
    return Rules(load_text(text).connectors[0].http.rules)


def answer(status: int = 200, body: bytes = b"{}", headers: Headers = JSON) -> Response:
    return Response(status, "HTTP/1.1", headers, body, "http://x/", 0.1, len(body))


def matched(rule: str, outcome: Response | FetchError) -> bool:
    return rules(rule).first(outcome) is not None


def judged(
    rule: str, outcome: Response | FetchError, attempt: Attempt = FIRST, policy: Policy | None = None
) -> Verdict:
    before = policy or Policy()
    settings = {name: getattr(before, name) for name in before.__struct_fields__ if name != "rules"}
    return judge(outcome, attempt, Policy(**settings, rules=rules(rule)))


@pytest.mark.parametrize(
    ("rule", "outcome", "matches"),
    [
        ("{status: 404, do: ignore}", answer(404), True),
        ("{status: 404, do: ignore}", answer(405), False),
        ("{status: 4xx, do: ignore}", answer(499), True),
        ("{status: 500-503, do: ignore}", answer(503), True),
        ("{status: [404, 5xx], do: ignore}", answer(502), True),
        ("{header: {X-Stale: true}, do: ignore}", answer(headers=(("x-stale", ""),)), True),
        ("{header: {X-Stale: true}, do: ignore}", answer(), False),
        ("{header: {X-Stale: false}, do: ignore}", answer(), True),
        ("{header: {X-Stale: '^ye'}, do: ignore}", answer(headers=(("x-stale", "yes"),)), True),
        ("{header: {X-Stale: '^es'}, do: ignore}", answer(headers=(("x-stale", "yes"),)), False),
        # Of a repeated header any value counts; a number is a pattern as well.
        ("{header: {X: a}, do: ignore}", answer(headers=(("x", "a"), ("x", "b"))), True),
        ("{header: {X-Count: 0}, do: ignore}", answer(headers=(("x-count", "0"),)), True),
        ("{content_type: text/html, do: fail}", answer(headers=(("content-type", "Text/HTML; charset=x"),)), True),
        ("{content_type: text/*, do: fail}", answer(headers=(("content-type", "text/plain"),)), True),
        ("{content_type: a/*+json, do: fail}", answer(headers=(("content-type", "a/b+json"),)), True),
        ("{content_type: application/*+json, do: fail}", answer(), False),
        ("{content_type: 'text/html, text/plain', do: fail}", answer(headers=()), False),
        # All that a rule names must be so.
        ("{status: 200, header: {X: true}, do: fail}", answer(), False),
        ("{body: '(?i)log ?in', do: fail}", answer(body=b"<title>LogIn</title>"), True),
        ("{body: '^x', within: 1, do: fail}", answer(body=b"xy"), True),
        ("{body: 'y', within: 1, do: fail}", answer(body=b"xy"), False),
        ("{body: {/ok: false}, do: fail}", answer(body=b'{"ok":false}'), True),
        ("{body: {/ok: false}, do: fail}", answer(body=b'{"ok":0}'), False),
        ("{body: {/ok: false}, do: fail}", answer(body=b'{"ok":"false"}'), False),
        ("{body: {/n: 1}, do: fail}", answer(body=b'{"n":true}'), False),
        ("{body: {/n: 1}, do: fail}", answer(body=b'{"n":1.0}'), True),
        ("{body: {/n: null}, do: fail}", answer(body=b'{"n":null}'), True),
        ("{body: {/n: null}, do: fail}", answer(body=b"{}"), False),
        ("{body: {error.code: [a, b]}, do: fail}", answer(body=b'{"error":{"code":"b"}}'), True),
        ("{body: {/list/0: 7}, do: fail}", answer(body=b'{"list":[7]}'), True),
        ("{body: {/list: 7}, do: fail}", answer(body=b'{"list":[7]}'), False),
        ("{body: {/m: {matches: '^rate'}}, do: fail}", answer(body=b'{"m":"rate limit"}'), True),
        ("{body: {/m: {matches: 'é'}}, do: fail}", answer(body=b'{"m":"caf\\u00e9"}'), True),
        ("{body: {/m: {matches: '^42'}}, do: fail}", answer(body=b'{"m":429}'), True),
        ("{body: {/m: {matches: 'a'}}, do: fail}", answer(body=b'{"m":["a"]}'), True),
        ("{body: {/errors: {present: true}}, do: fail}", answer(body=b'{"errors":[{}]}'), True),
        ("{body: {/errors: {present: true}}, do: fail}", answer(body=b'{"errors":[ ]}'), False),
        ("{body: {/errors: {present: true}}, do: fail}", answer(body=b'{"errors":null}'), False),
        ("{body: {/errors: {present: true}}, do: fail}", answer(body=b'{"errors":""}'), False),
        ("{body: {/errors: {present: true}}, do: fail}", answer(body=b'{"errors":{ }}'), False),
        ("{body: {/errors: {present: true}}, do: fail}", answer(body=b'{"errors":0}'), True),
        ("{body: {/data: {present: false}}, do: fail}", answer(body=b"{}"), True),
        # What is no JSON has no values, and does not lack any.
        ("{body: {/data: {present: false}}, do: fail}", answer(body=b"<html>"), False),
        ("{body: {/ok: false}, do: fail}", answer(body=b'\xef\xbb\xbf{"ok":false}'), True),
        ("{body: {/ok: false}, within: 11, do: fail}", answer(body=b'{"ok":false}'), False),
        ("{body: {/ok: false}, do: fail}", answer(body=b"[" * 5000), False),
        ("{failure: timeout, do: retry}", errors.ReadTimeoutError("x"), True),
        ("{failure: [dns, tls], do: retry}", errors.TlsError("x"), True),
        ("{failure: timeout, do: retry}", errors.DnsError("x"), False),
        ("{failure: timeout, do: retry}", answer(504), False),
        ("{status: 504, do: retry}", errors.ReadTimeoutError("x"), False),
    ],
)  # fmt: skip
def test_matching(rule: str, outcome: Response | FetchError, *, matches: bool) -> None:
    """Status, headers, type, body and failure of an answer are what a rule says, or the rule is passed over."""
    assert matched(rule, outcome) is matches


def test_the_first_match_counts() -> None:
    """Later rules are for what earlier ones let by; the number is the one that a person counts."""
    several = rules("{status: 404, do: fail}", "{body: {/a: 1}, do: ignore}", "{status: 4xx, do: record}")
    found = [several.first(it) for it in (answer(404), answer(400, b'{"a":1}'), answer(400), answer())]
    assert [None if it is None else it.number for it in found] == [1, 2, 3, None]


def test_ignore_is_no_record_and_no_failure() -> None:
    """The ledger has status, rule and reason."""
    verdict = judged("{status: 404, do: ignore, reason: not made yet}", answer(404))
    assert (verdict.action, verdict.slug) == (Action.EMPTY, "ignored")
    assert verdict.reason == "404 Not Found; rule 1: not made yet; ignored: no record"


def test_record_stores_whatever_the_status() -> None:
    """A body is what it takes."""
    verdict = judged("{status: 500, do: record}", answer(500, b"oops"))
    assert (verdict.action, verdict.reason) == (Action.STORE, "500 Internal Server Error; rule 1; 4 B")
    assert judged("{status: 500, do: record}", answer(500, b"")).action is Action.EMPTY
    assert judged("{status: 500, do: record}", answer(500, b""), policy=Policy(body_only=False)).action is Action.STORE


def test_fail_refuses_a_good_status_and_leaves_the_server_alone() -> None:
    """Following polls wait as the rule says; without a wait they come as usual."""
    verdict = judged("{body: 'log in', do: fail, wait: 10m}", answer(body=b"log in"))
    assert (verdict.action, verdict.slug, verdict.wait) == (Action.FAIL, "rule", 600)
    assert verdict.reason == "200 OK; rule 1; left alone for 600 s"
    assert judged("{body: 'log in', do: fail}", answer(body=b"log in")).wait == 0


def test_retry_waits_as_the_rule_says() -> None:
    """A duration is obeyed as it is written; without one the pauses grow."""
    verdict = judged("{status: 404, do: retry, wait: 7s}", answer(404))
    assert (verdict.action, verdict.wait) == (Action.RETRY, 7)
    assert verdict.reason == "404 Not Found; rule 1; the rule asked to wait 7 s"
    assert judged("{status: 404, do: retry}", answer(404)).wait == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("wait", "outcome", "seconds"),
    [
        ("{header: X-Retry-In}", answer(429, headers=(("x-retry-in", "12"),)), 12),
        ("{header: X-Retry-In, unit: ms}", answer(429, headers=(("x-retry-in", "1500"),)), 1.5),
        ("{header: X-At}", answer(429, headers=(("x-at", "2023-11-14T22:14:20Z"),)), 60),
        ("{body: /retry_after}", answer(429, b'{"retry_after":1.5}'), 1.5),
        ("{body: backoff.seconds}", answer(429, b'{"backoff":{"seconds":"9"}}'), 9),
        # Where nothing sensible is said the pauses grow.
        ("{body: /retry_after}", answer(429, b'{"retry_after":[1]}'), 0.375),
        ("{body: /retry_after}", answer(429, b"no"), 0.375),
        ("{header: X-Retry-In}", answer(429), 0.375),
    ],
)
def test_retry_waits_as_the_answer_says(wait: str, outcome: Response, seconds: float) -> None:
    """Headers and values of the body hold seconds or a time."""
    verdict = judged(f"{{status: 429, do: retry, wait: {wait}}}", outcome)
    assert verdict.action is Action.RETRY
    assert verdict.wait == pytest.approx(seconds)


def test_an_answer_is_not_obeyed_for_ever() -> None:
    """What an answer says is bounded as Retry-After is; what the rule says is not."""
    asked = judged("{status: 429, do: retry, wait: {body: /s}}", answer(429, b'{"s":999999}'))
    assert (asked.action, asked.wait) == (Action.FAIL, 3600)
    assert judged("{status: 429, do: fail, wait: 1d}", answer(429)).wait == 86_400


def test_a_retry_ends_with_the_attempts_and_the_interval() -> None:
    """Rules do not lift the bounds of retries."""
    last = Attempt(number=5, now=0, left=300, chance=0.5)
    assert judged("{status: 404, do: retry}", answer(404), last).action is Action.FAIL
    short = Attempt(number=1, now=0, left=3, chance=0.5)
    verdict = judged("{status: 404, do: retry, wait: 7s}", answer(404), short)
    assert (verdict.action, verdict.wait) == (Action.FAIL, 7)


def test_a_rule_has_a_post_repeated() -> None:
    """A query that is sent by POST may be asked again: the rule says so."""
    post = Policy(method="POST")
    assert judge(errors.ReadTimeoutError("x"), FIRST, post).action is Action.FAIL
    assert judged("{failure: timeout, do: retry}", errors.ReadTimeoutError("x"), policy=post).action is Action.RETRY
    assert judged("{status: 5xx, do: retry}", answer(500), policy=post).action is Action.RETRY


def test_failures_can_be_ignored_and_left_for_later() -> None:
    """A server that is off at night is no trouble; another is tried again in an hour."""
    assert judged("{failure: connect, do: ignore}", errors.ConnectError("refused")).action is Action.EMPTY
    verdict = judged("{failure: connect, do: fail, wait: 1h}", errors.ConnectError("refused"))
    assert (verdict.action, verdict.slug, verdict.wait) == (Action.FAIL, "connect", 3600)
    assert verdict.reason == "refused; rule 1; left alone for 3600 s"


def test_reauthenticate_renews_once() -> None:
    """The second refusal of an attempt is a failure, and so is one where there is nothing to renew."""
    rule, login = "{body: 'session expired', do: reauthenticate}", answer(body=b"session expired")
    assert judged(rule, login, policy=Policy(renewable=True)).action is Action.REAUTHENTICATE
    again = Attempt(number=2, now=0, left=300, chance=0, renewed=True)
    verdict = judged(rule, login, again, Policy(renewable=True))
    assert (verdict.action, verdict.reason) == (Action.FAIL, "200 OK; rule 1; with new credentials as well")
    assert "no credentials that could be renewed" in judged(rule, login).reason


def test_what_no_rule_matches_is_judged_as_ever() -> None:
    """Rules come before everything else, and change nothing else."""
    rule = "{status: 418, do: ignore}"
    for outcome in (answer(), answer(204), answer(404), answer(500), errors.DnsError("x")):
        assert judged(rule, outcome) == judge(outcome, FIRST, Policy())


REAL: list[tuple[str, Response, Action]] = [
    # Slack: a friendly status, and the failure in the body.
    (
        "{body: {/ok: false, /error: ratelimited}, do: retry, wait: {header: Retry-After}}",
        answer(200, b'{"ok":false,"error":"ratelimited"}', (*JSON, ("retry-after", "30"))),
        Action.RETRY,
    ),
    ("{body: {/ok: false}, do: fail}", answer(200, b'{"ok":false,"error":"channel_not_found"}'), Action.FAIL),
    # GraphQL.
    ("{body: {/errors: {present: true}}, do: fail}", answer(200, b'{"data":null,"errors":[{"m":1}]}'), Action.FAIL),
    (
        "{body: {/errors/0/extensions/code: THROTTLED}, do: retry, wait: 2s}",
        answer(200, b'{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}'),
        Action.RETRY,
    ),
    # A login page.
    (
        "{content_type: text/html, do: reauthenticate}",
        answer(200, b"<html><form action=/login>", (("content-type", "text/html"),)),
        Action.FAIL,
    ),
    # Elasticsearch: a search that did not come to its end.
    (
        "{body: {/timed_out: true}, do: retry}",
        answer(200, b'{"took":30000,"timed_out":true,"hits":{"hits":[]}}'),
        Action.RETRY,
    ),
    # GitHub: statistics that are still being computed.
    ("{status: 202, do: retry, wait: 3s}", answer(202), Action.RETRY),
    # StackExchange says how long to leave it alone.
    (
        "{body: {/error_name: throttle_violation}, do: fail, wait: {body: /backoff}}",
        answer(400, b'{"error_id":502,"error_name":"throttle_violation","backoff":10}'),
        Action.FAIL,
    ),
    # Salesforce answers 403 where it means 429.
    (
        "{status: 403, body: {/0/errorCode: REQUEST_LIMIT_EXCEEDED}, do: fail, wait: 15m}",
        answer(403, b'[{"errorCode":"REQUEST_LIMIT_EXCEEDED"}]'),
        Action.FAIL,
    ),
    # An export that is not ready.
    (
        "{status: 404, header: {X-Status: pending}, do: ignore}",
        answer(404, headers=(("x-status", "pending"),)),
        Action.EMPTY,
    ),
]


@pytest.mark.parametrize(("rule", "outcome", "action"), REAL)
def test_answers_of_the_real_world(rule: str, outcome: Response, action: Action) -> None:
    """Each is one line."""
    assert judged(rule, outcome).action is action


@pytest.mark.parametrize(
    ("rule", "head", "may"),
    [
        ("{status: 404, do: ignore}", answer(200), False),
        ("{status: 200, header: {X: true}, do: fail}", answer(200), False),
        ("{header: {X: false}, do: fail}", answer(200), True),
        ("{body: {/ok: false}, do: fail}", answer(200), False),
        ("{body: {/ok: false}, within: 2 MiB, do: fail}", answer(200), True),
        ("{body: 'log in', do: fail}", answer(200), True),
        ("{body: 'log in', content_type: text/html, do: fail}", answer(200), False),
        ("{failure: timeout, do: retry}", answer(200), False),
    ],
)
def test_what_may_be_about_a_large_body(rule: str, head: Response, *, may: bool) -> None:
    """By its head, and because JSON that is larger than `within` matches no pointer."""
    assert rules(rule).may_match(head, 1024 * 1024) is may


@given(st.integers(100, 599), st.binary(max_size=80), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_no_answer_makes_a_rule_fail(status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
    """Bodies and headers come from anywhere."""
    every = (
        "{body: {/a/b: 1, /: {present: true}}, do: fail}",
        "{body: '(?i)x+y', do: retry, wait: {body: /a}}",
        "{header: {x: 'é', y: false}, do: retry, wait: {header: z}}",
        "{content_type: 'a/*', do: ignore}",
        "{status: 1xx, do: record}",
        "{body: {/a: {matches: .}}, do: retry, wait: {body: /a/0}}",
    )
    for rule in every:
        verdict = judged(rule, answer(status, body, tuple(headers)))
        assert verdict.wait >= 0
