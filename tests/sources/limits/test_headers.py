"""What headers say of quotas: a corpus of public APIs, written after their documentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.config.limits import QuotaHeaders
from headwater.sources.limits.headers import Quota, quota_names, quotas

NOW = 1_700_000_000.0
DATE = ("date", "Tue, 14 Nov 2023 22:13:20 GMT")


def said(*lines: str) -> tuple[Quota, ...]:
    headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return quotas((DATE, *headers), now=NOW)


CORPUS = {
    "github": (
        [
            "X-RateLimit-Limit: 5000",
            "X-RateLimit-Remaining: 4987",
            "X-RateLimit-Reset: 1700003600",
            "X-RateLimit-Used: 13",
            "X-RateLimit-Resource: core",
        ],
        [Quota("core", 5000, 4987, 3600)],
    ),
    "gitlab": (
        [
            "RateLimit-Limit: 60",
            "RateLimit-Name: throttle_authenticated_web",
            "RateLimit-Observed: 67",
            "RateLimit-Remaining: 0",
            "RateLimit-Reset: 1700000030",
        ],
        [Quota("throttle_authenticated_web", 60, 0, 30)],
    ),
    "x (twitter)": (
        ["x-rate-limit-limit: 900", "x-rate-limit-remaining: 875", "x-rate-limit-reset: 1700000900"],
        [Quota("", 900, 875, 900)],
    ),
    "okta": (
        ["X-Rate-Limit-Limit: 600", "X-Rate-Limit-Remaining: 598", "X-Rate-Limit-Reset: 1700000060"],
        [Quota("", 600, 598, 60)],
    ),
    "zendesk": (
        [
            "X-Rate-Limit: 700",
            "X-Rate-Limit-Remaining: 699",
            "ratelimit-limit: 700",
            "ratelimit-remaining: 699",
            "ratelimit-reset: 47",
        ],
        [Quota("", 700, 699, 47)],
    ),
    "shopify": (["X-Shopify-Shop-Api-Call-Limit: 32/40"], [Quota("", 40, 8, refill=2)]),
    "reddit": (
        ["X-Ratelimit-Used: 2", "X-Ratelimit-Remaining: 598.0", "X-Ratelimit-Reset: 421"],
        [Quota("", None, 598, 421)],
    ),
    "slack": (["Retry-After: 30"], []),
    "discord": (
        [
            "X-RateLimit-Limit: 5",
            "X-RateLimit-Remaining: 0",
            "X-RateLimit-Reset: 1700000001.250",
            "X-RateLimit-Reset-After: 1.25",
            "X-RateLimit-Bucket: abcd1234",
        ],
        [Quota("abcd1234", 5, 0, 1.25)],
    ),
    "hubspot": (
        [
            "X-HubSpot-RateLimit-Daily: 250000",
            "X-HubSpot-RateLimit-Daily-Remaining: 249736",
            "X-HubSpot-RateLimit-Interval-Milliseconds: 10000",
            "X-HubSpot-RateLimit-Max: 100",
            "X-HubSpot-RateLimit-Remaining: 99",
        ],
        [Quota("interval", 100, 99, None, 10), Quota("daily", 250000, 249736)],
    ),
    "openai": (
        [
            "x-ratelimit-limit-requests: 60",
            "x-ratelimit-remaining-requests: 59",
            "x-ratelimit-reset-requests: 1m6s",
            "x-ratelimit-limit-tokens: 150000",
            "x-ratelimit-remaining-tokens: 149984",
            "x-ratelimit-reset-tokens: 6ms",
        ],
        [Quota("", 60, 59, 66)],
    ),
    "anthropic": (
        [
            "anthropic-ratelimit-requests-limit: 50",
            "anthropic-ratelimit-requests-remaining: 49",
            "anthropic-ratelimit-requests-reset: 2023-11-14T22:13:50Z",
        ],
        [Quota("", 50, 49, 30)],
    ),
    "linear": (
        [
            "X-RateLimit-Requests-Limit: 1500",
            "X-RateLimit-Requests-Remaining: 1499",
            "X-RateLimit-Requests-Reset: 1700003600000",
        ],
        [Quota("", 1500, 1499, 3600)],
    ),
    "bigcommerce": (
        [
            "X-Rate-Limit-Requests-Left: 149",
            "X-Rate-Limit-Requests-Quota: 150",
            "X-Rate-Limit-Time-Reset-Ms: 15000",
            "X-Rate-Limit-Time-Window-Ms: 30000",
        ],
        [Quota("", 150, 149, 15, 30)],
    ),
    "contentful": (
        [
            "X-Contentful-RateLimit-Hour-Limit: 36000",
            "X-Contentful-RateLimit-Hour-Remaining: 35883",
            "X-Contentful-RateLimit-Reset: 1",
            "X-Contentful-RateLimit-Second-Limit: 10",
            "X-Contentful-RateLimit-Second-Remaining: 9",
        ],
        [Quota("second", 10, 9, 1), Quota("hour", 36000, 35883)],
    ),
    "sentry": (
        ["X-Sentry-Rate-Limit-Limit: 40", "X-Sentry-Rate-Limit-Remaining: 39", "X-Sentry-Rate-Limit-Reset: 1700000001"],
        [Quota("", 40, 39, 1)],
    ),
    "imgur": (
        [
            "X-RateLimit-ClientLimit: 12500",
            "X-RateLimit-ClientRemaining: 12499",
            "X-RateLimit-UserLimit: 500",
            "X-RateLimit-UserRemaining: 499",
            "X-RateLimit-UserReset: 1700003600",
        ],
        [Quota("user", 500, 499, 3600), Quota("client", 12500, 12499)],
    ),
    "brevo": (
        ["x-sib-ratelimit-limit: 36000", "x-sib-ratelimit-remaining: 35999", "x-sib-ratelimit-reset: 3541"],
        [Quota("", 36000, 35999, 3541)],
    ),
    "yelp": (
        ["RateLimit-DailyLimit: 5000", "RateLimit-Remaining: 4980", "RateLimit-ResetTime: 2023-11-15T00:00:00+00:00"],
        [Quota("", 5000, 4980, 6400)],
    ),
    "football-data": (["X-Requests-Available-Minute: 9", "X-RequestCounter-Reset: 42"], [Quota("", None, 9, 42)]),
    "datadog": (
        [
            "X-RateLimit-Limit: 100",
            "X-RateLimit-Period: 60",
            "X-RateLimit-Remaining: 99",
            "X-RateLimit-Reset: 12",
            "X-RateLimit-Name: query",
        ],
        [Quota("query", 100, 99, 12, 60)],
    ),
    "freshdesk": (["X-Ratelimit-Total: 200", "X-Ratelimit-Remaining: 199"], [Quota("", 200, 199)]),
    "salesforce": (["Sforce-Limit-Info: api-usage=18/5000"], [Quota("", 5000, 4982)]),
    "strava": (
        ["X-RateLimit-Limit: 600,30000", "X-RateLimit-Usage: 314,27536"],
        [Quota("900s", 600, 286, None, 900), Quota("86400s", 30000, 2464, None, 86400)],
    ),
    "meta": (['X-App-Usage: {"call_count":28,"total_time":25,"total_cputime":91}'], [Quota("x-app-usage", 100, 9)]),
    "docker hub": (
        ["ratelimit-limit: 100;w=21600", "ratelimit-remaining: 76;w=21600"],
        [Quota("", 100, 76, None, 21600)],
    ),
    "crossref": (["X-Rate-Limit-Limit: 50", "X-Rate-Limit-Interval: 1s"], []),
    "heroku": (["RateLimit-Remaining: 2400"], [Quota("", None, 2400)]),
    "azure": (
        ["x-ms-ratelimit-remaining-subscription-reads: 11999"],
        [Quota("subscription-reads", None, 11999)],
    ),
    "vimeo": (
        ["X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 98", "X-RateLimit-Reset: 2023-11-14T22:14:20+00:00"],
        [Quota("", 100, 98, 60)],
    ),
    "lemlist": (
        [
            "X-RateLimit-Limit: 20",
            "X-RateLimit-Remaining: 7",
            "X-RateLimit-Reset: Tue Nov 14 2023 23:13:22 GMT+0100 (Central European Standard Time)",
        ],
        [Quota("", 20, 7, 2)],
    ),
    "amazon's rate is no quota": (["x-amzn-RateLimit-Limit: 0.5"], []),
    "ietf, drafts up to 06": (
        ["RateLimit-Limit: 100, 100;w=60, 1000;w=3600", "RateLimit-Remaining: 50", "RateLimit-Reset: 50"],
        [Quota("", 100, 50, 50, 60)],
    ),
    "ietf, draft 07": (
        ["RateLimit: limit=100, remaining=50, reset=5", "RateLimit-Policy: 100;w=10"],
        [Quota("", 100, 50, 5, 10)],
    ),
    "ietf, drafts from 08 on": (
        [
            'RateLimit: "burst";r=3;t=1, "daily";r=700;t=3600',
            'RateLimit-Policy: "burst";q=100;w=60,"daily";q=1000;w=86400',
        ],
        [Quota("burst", 100, 3, 1, 60), Quota("daily", 1000, 700, 3600, 86400)],
    ),
    "ietf, quotas of bytes": (
        [
            'RateLimit: "bytes";r=0;t=10, "calls";r=3',
            'RateLimit-Policy: "bytes";q=65535;qu="content-bytes";w=10, "calls";q=5;w=1;pk=:cHNk:',
        ],
        [Quota("calls", 5, 3, None, 1)],
    ),
    "two that say different things": (
        ["X-RateLimit-Limit: 10", "X-RateLimit-Remaining: 9", "RateLimit-Limit: 5000", "RateLimit-Remaining: 4000"],
        [Quota("", 10, 9), Quota("ratelimit-remaining", 5000, 4000)],
    ),
}


@pytest.mark.parametrize(("lines", "expected"), CORPUS.values(), ids=CORPUS)
def test_the_corpus(lines: list[str], expected: list[Quota]) -> None:
    """Limit, remaining, reset and window of each, in seconds from the answer on."""
    assert list(said(*lines)) == expected


@pytest.mark.parametrize(
    "lines",
    [
        ["X-RateLimit-Remaining: many"],
        ["X-RateLimit-Remaining: -5"],
        ["X-RateLimit-Remaining: 99999999999999999999"],
        ["X-RateLimit-Limit: 10"],
        ['RateLimit: "x";r=-1'],
        ["RateLimit: ???"],
        ["X-Shopify-Shop-Api-Call-Limit: 40"],
        ["X-App-Usage: [1]"],
        ["X-App-Usage: {"],
        ["X-RateLimit-Usage: 1", "X-RateLimit-Limit: x"],
    ],
)
def test_nonsense_is_as_if_it_were_not_there(lines: list[str]) -> None:
    """A quota that nobody can make sense of holds nothing back."""
    assert said(*lines) == ()


def test_the_servers_clock_counts() -> None:
    """A reset is a time by the clock of its server, which stands beside it; one that is hours off is not believed."""
    headers = (("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000360"))
    theirs = (("date", "Tue, 14 Nov 2023 22:18:20 GMT"), *headers)
    assert quotas(theirs, now=NOW)[0].reset == 60
    mad = (("date", "Tue, 14 Nov 1995 22:18:20 GMT"), *headers)
    assert quotas(mad, now=NOW)[0].reset == 360


def test_names_of_ones_own() -> None:
    """Further headers are read first; without any that could tell something there are none."""
    names = quota_names(QuotaHeaders(limit="X-Calls", remaining="X-Left", reset="X-Again", unit="ms"))
    headers = (("x-calls", "10"), ("x-left", "1"), ("x-again", "1500"))
    assert quotas(headers, now=NOW, names=names) == (Quota("own", 10, 1, 1.5),)
    used = quota_names(QuotaHeaders(limit="a", used="b", window="c"))
    assert quotas((("a", "10"), ("b", "12"), ("c", "60")), now=NOW, names=used) == (Quota("own", 10, 0, None, 60),)
    assert quota_names(QuotaHeaders()) is None


_NAMES = sorted({line.partition(":")[0].lower() for lines, _ in CORPUS.values() for line in lines})


@given(
    st.lists(st.tuples(st.sampled_from(_NAMES), st.one_of(st.text(max_size=40), st.integers().map(str))), max_size=12),
    st.floats(0, 4e9),
)
def test_no_header_is_an_exception(headers: list[tuple[str, str]], now: float) -> None:
    """Whatever a server says, nothing is negative and nothing is raised."""
    for quota in quotas(tuple(headers), now=now):
        for value in (quota.limit, quota.remaining, quota.reset, quota.window):
            assert value is None or value >= 0


def test_a_percentage_that_no_float_can_hold() -> None:
    """Whatever a server writes there, it is all used up or nothing is."""
    for number, left in (("1" + "0" * 400, 0), ("-1" + "0" * 400, 100), ("-5", 100), ("1e308", 0)):
        found = quotas((("x-app-usage", f'{{"call_count":{number}}}'),), now=0.0)
        assert found == (Quota("x-app-usage", 100, left),)
