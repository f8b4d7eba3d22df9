"""What headers tell: quotas in every dialect, how often to ask, validators, and who is let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.http import Response
from headwater.discover.asking import Auth, from_url
from headwater.discover.finding import Certainty
from headwater.discover.headers import (
    Quota,
    challenged,
    find_interval,
    find_quota,
    on_validators,
    validators,
)
from sources.shapes.corpus import SHAPES, Shape

NOW = 1_714_554_000.0


def response(*headers: tuple[str, str], status: int = 200) -> Response:
    return Response(status, "HTTP/1.1", headers, b"", "https://x.test/", elapsed=0.0, received=0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", "4987"), ("x-ratelimit-reset", "1714557600")],
         (5000, 4987, 3600)),
        ([("ratelimit-limit", "100"), ("ratelimit-remaining", "99"), ("ratelimit-reset", "50")], (100, 99, 60)),
        ([("ratelimit-policy", '"burst";q=100;w=60'), ("ratelimit", '"burst";r=50;t=30')], (100, 50, 60)),
        ([("ratelimit", "limit=100, remaining=50, reset=5"), ("ratelimit-policy", "100;w=10")], (100, 50, 10)),
        ([("x-rate-limit-limit", "300"), ("x-rate-limit-reset", "2024-05-01T09:15:00Z")], (300, None, 900)),
        ([("x-rate-limit", "700"), ("x-rate-limit-remaining", "699")], (700, 699, None)),
        ([("x-shopify-shop-api-call-limit", "32/40")], (40, 8, None)),
        ([("sforce-limit-info", "api-usage=18/15000")], (15000, 14982, None)),
        ([("x-hubspot-ratelimit-max", "100"), ("x-hubspot-ratelimit-remaining", "99"),
          ("x-hubspot-ratelimit-interval-milliseconds", "10000"), ("x-hubspot-ratelimit-daily", "250000")],
         (100, 99, 10)),
        ([("x-ratelimit-limit", "many")], None),
        ([("retry-after", "5")], None),
        ([("accept-ranges", "bytes"), ("x-content-limit", "12/13 of it")], (13, 1, None)),
    ],
)  # fmt: skip
def test_quotas(headers: list[tuple[str, str]], expected: tuple[int, int | None, float | None] | None) -> None:
    """Limit, what is left, and the window that both are of."""
    found = find_quota(response(*headers), NOW)
    assert (None if found is None else (found.limit, found.remaining, found.window)) == expected


@pytest.mark.parametrize("shape", [it for it in SHAPES if it.quota], ids=lambda shape: shape.name)
def test_the_corpus(shape: Shape) -> None:
    """Of each API that tells of a quota, the headers are found."""
    found = find_quota(shape.responses[0], NOW)
    assert found is not None
    named = {it for name, it in shape.quota.items() if not name.startswith("daily")}
    assert set(found.headers) <= named
    assert found.sentence()


NAMES = (
    "x-ratelimit-limit", "ratelimit", "x-ratelimit-reset", "ratelimit-policy", "x-api-call-limit", "cache-control",
    "x-poll-interval",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text())))
def test_any_headers_are_read(headers: list[tuple[str, str]]) -> None:
    """Nothing that a server writes there is more than a text."""
    given_ones = response(*headers)
    find_interval(given_ones, find_quota(given_ones, NOW), 3)


@pytest.mark.parametrize(
    ("headers", "quota", "pages", "interval", "why"),
    [
        ([], None, 1, "1m", "nothing says how often"),
        ([("cache-control", "public, max-age=300")], None, 1, "5m", "good for 300 s"),
        ([("cache-control", "max-age=5")], None, 1, "1m", "would allow 10 s"),
        ([("x-poll-interval", "120")], None, 1, "2m", "x-poll-interval asks for 120 s"),
        ([], Quota(5000, None, 3600.0, ()), 1, "1m", "a tenth of 5000 requests in an hour"),
        ([], Quota(60, None, 3600.0, ()), 1, "10m", "a tenth of 60 requests in an hour"),
        ([], Quota(60, None, 3600.0, ()), 5, "1h", "for 5 pages each time"),
        ([], Quota(100, None, 86400.0, ()), 1, "6h", "in a day"),
        ([], Quota(100, None, None, ()), 1, "10m", "taken for those of an hour"),
    ],
)
def test_intervals(headers: list[tuple[str, str]], quota: Quota | None, pages: int, interval: str, why: str) -> None:
    """The interval fits what the server allows, and the reason says so."""
    found = find_interval(response(*headers), quota, pages)
    assert found.value == interval
    assert why in found.reason


def test_validators() -> None:
    """What the answer to a conditional request shows is what is written."""
    first = response(("etag", '"a"'), ("last-modified", "Tue, 05 Mar 2024 09:00:00 GMT"))
    assert validators(first) == {"If-None-Match": '"a"', "If-Modified-Since": "Tue, 05 Mar 2024 09:00:00 GMT"}
    assert on_validators(response(), None) is None
    for again, value, certainty, words in (
        (None, True, Certainty.LIKELY, "was not tried"),
        (response(status=304), True, Certainty.SURE, "304 came"),
        (first, False, Certainty.SURE, "the whole answer again"),
        (response(("etag", '"b"')), True, Certainty.LIKELY, "another one each time"),
        (response(status=412), False, Certainty.SURE, "answered 412"),
    ):
        found = on_validators(first, again)
        assert found is not None
        assert (found.value, found.certainty) == (value, certainty)
        assert words in found.reason


@pytest.mark.parametrize(
    ("status", "headers", "kind", "secrets"),
    [
        (401, [("www-authenticate", 'Basic realm="x"')], "basic", ["USERNAME", "PASSWORD"]),
        (401, [("www-authenticate", 'Digest realm="x", nonce="Bearer"')], "digest", ["USERNAME", "PASSWORD"]),
        (401, [("www-authenticate", 'Bearer realm="x", error="invalid_token"')], "bearer", ["API_TOKEN"]),
        (401, [("www-authenticate", "Negotiate"), ("www-authenticate", "NTLM")], "negotiate", []),
        (401, [("www-authenticate", 'Bearer realm="x", Basic realm="y"')], "bearer", ["API_TOKEN"]),
        (401, [], "bearer", ["API_TOKEN"]),
        (403, [], None, []),
        (404, [], None, []),
    ],
)
def test_challenges(status: int, headers: list[tuple[str, str]], kind: str | None, secrets: list[str]) -> None:
    """What a server wants is written with secrets that have no value yet."""
    ask, _ = challenged(from_url("https://x.test/"), response(*headers, status=status))
    assert (None if ask.auth is None else ask.auth.type) == kind
    assert [it.name for it in ask.secrets] == secrets
    assert all(it.value is None for it in ask.secrets)


def test_credentials_that_are_refused() -> None:
    """Where credentials were given, they are not replaced."""
    ask = from_url("https://x.test/").replace(auth=Auth("bearer", {"token": "x"}, "given"))
    same, finding = challenged(ask, response(("www-authenticate", "Basic"), status=401))
    assert same is ask
    assert finding is not None
    assert "it wants basic" in finding.reason
