"""The options of rules, limits and an interval that follows the changes: what they hold, and what is wrong in them."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from jsonschema import Draft202012Validator

from headwater.config import ConnectorConfig, InvalidConfigError, json_schema, load_text
from headwater.config.limits import Rate, Reserve
from headwater.config.secrets import SecretSource
from headwater.config.sharing import credential_of, host_of, slow_key

PAGE = "name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n"
SECRETS = SecretSource({"TOKEN": "s3cret", "OTHER": "0ther-one"}, "a test")


def one(more: str, name: str = "a") -> ConnectorConfig:
    return load_text(PAGE.replace("name: a", f"name: {name}") + more, secrets=SECRETS).connectors[0]


def warnings(*documents: str) -> list[str]:
    return [problem.render() for problem in load_text("---\n".join(documents), secrets=SECRETS).warnings]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/1s", Rate(10, 1)),
        ("10/s", Rate(10, 1)),
        ("100/m", Rate(100, 60)),
        ("5000 / 1h", Rate(5000, 3600)),
        ("1/2m 30s", Rate(1, 150)),
        ("3 per minute", Rate(3, 60)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    """So many in so much time; a unit alone is one of it."""
    limits = one(f"  limits: {{rate: {text}}}\n").http.limits
    assert limits is not None
    assert limits.rate == rate


@pytest.mark.parametrize(
    ("text", "reserve"),
    [
        ("5%", Reserve(share=0.05)),
        ("0", Reserve()),
        ("100", Reserve(100)),
        ("'7'", Reserve(7)),
        ("2.5%", Reserve(share=0.025)),
    ],
)
def test_reserves(text: str, reserve: Reserve) -> None:
    """A share or a number."""
    limits = one(f"  limits: {{quota_reserve: {text}}}\n").http.limits
    assert limits is not None
    assert limits.quota_reserve == reserve
    assert str(Rate(10, 1)) == "10/1s"
    assert str(reserve) == text.strip("'")


def test_defaults() -> None:
    """Nothing is limited without `limits`; with it quotas are read and a breaker stands by, for the host."""
    assert one("").http.limits is None
    limits = one("  limits: {}\n").http.limits
    assert limits is not None
    assert (limits.share, limits.rate, limits.concurrent, limits.budgets) == ("host", None, None, {})
    assert (limits.quota, str(limits.quota_reserve), limits.quota_longest) == ("auto", "5%", timedelta(hours=1))
    assert (limits.breaker_failures, limits.breaker_pause, limits.breaker_max) == (
        5, timedelta(seconds=30), timedelta(minutes=10),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("limits: {rate: 10}", "limits.rate: '10' is no rate; write 10/1s, 100/m or 5000/1h"),
        ("limits: {rate: 0/s}", "limits.rate: '0/s' lets nothing through"),
        ("limits: {rate: 1/0s}", "limits.rate: '1/0s' lets nothing through"),
        ("limits: {rate: 1/fortnight}", "limits.rate: '1/fortnight' is no rate: '1fortnight' has the unknown unit"),
        ("limits: {burst: 2}", "limits: burst says how many of a rate may come at once; write rate as well"),
        ("limits: {share: My API}", "limits.share: 'My API' is no name; write host, credential, connector, or"),
        ("limits: {share: credential}", "limits.share is credential, but nothing says who asks"),
        ("limits: {concurrent: 0}", "limits.concurrent: it must be at least 1; got 0"),
        ("limits: {requests_per_day: many}", "limits.requests_per_day: expected a whole number; got 'many'"),
        ("limits: {requests_per_week: 5}", "limits.requests_per_week: unknown key; did you mean 'requests_per_"),
        ("limits: {timezone: Mars}", "limits.timezone: 'Mars' is no time zone"),
        ("limits: {quota: of}", "limits.quota: expected one of auto, off; got 'of'; did you mean 'off'?"),
        ("limits: {quota_reserve: 100%}", "limits.quota_reserve: '100%' is neither a number of requests nor a share"),
        ("limits: {quota_reserve: -1}", "limits.quota_reserve: '-1' is neither"),
        ("limits: {quota_reserve: true}", "limits.quota_reserve: 'True' is neither"),
        ("limits: {quota_longest: 0}", "limits.quota_longest: it must be 1ms at least"),
        ("limits: {quota_headers: {limit: X}}", "limits.quota_headers: name remaining, used or reset"),
        ("limits: {quota_headers: {used: X}}", "limits.quota_headers: used says how many are left only beside limit"),
        ("limits: {quota_headers: {remaining: 'X Y'}}", "limits.quota_headers.remaining: 'x y' is no name of a header"),
        ("limits: {quota_headers: {remaining: {a: b}}}", "expected the name of a header, or a list of names"),
        ("limits: {quota: off, quota_headers: {remaining: X}}", "limits: quota_headers name what quota: off does not"),
        ("limits: {breaker_pause: 1h}", "limits: breaker_max is shorter than breaker_pause"),
        ("adaptive: {fastest: 5s, slowest: 1s}", "adaptive: slowest is shorter than fastest"),
        ("adaptive: {slowest: 0}", "adaptive: slowest must be 1ms at least"),
        ("adaptive: {faster: 0.5}", "adaptive.faster: it must be at least 1"),
        ("cron: '0 * * * *'\n  adaptive: {}", "adaptive changes an interval; it cannot change a cron"),
        ("rules: [{status: 404}]", "rules[0].do: it is required"),
        ("rules: [{do: ignore}]", "rules[0]: it matches everything; name one of status, header, content_type, body"),
        ("rules: [{status: 44, do: fail}]", "rules[0].status: '44' is no status; write 404, 200-299 or 2xx"),
        ("rules: [{status: 404, do: retri}]", "rules[0].do: expected one of retry, ignore, fail, record,"),
        ("rules: [{body: '(', do: fail}]", "rules[0].body: '(' is no regular expression of RE2: missing ): ("),
        ("rules: [{body: {/a: {match: x}}, do: fail}]", "rules[0].body: /a: expected a value, a list of values,"),
        ("rules: [{body: {/a: [[1]]}, do: fail}]", "rules[0].body: /a: expected a value, or a list of texts"),
        ("rules: [{body: {/a: []}, do: fail}]", "rules[0].body: /a: the list is empty"),
        ("rules: [{body: {}, do: fail}]", "rules[0].body: it names no pointer"),
        ("rules: [{body: [1], do: fail}]", "rules[0].body: expected a regular expression, or a map of pointers to"),
        ("rules: [{body: {'#/a': 1}, do: fail}]", "rules[0].body: '#/a' is the URI form of a pointer"),
        ("rules: [{header: {X Y: true}, do: fail}]", "rules[0].header: 'X Y' is no name of a header"),
        ("rules: [{header: {X: [a]}, do: fail}]", "rules[0].header: X: expected a regular expression, true"),
        ("rules: [{header: X, do: fail}]", "rules[0].header: expected a map of a header's name to"),
        ("rules: [{content_type: html, do: fail}]", "rules[0].content_type: 'html' is no media type"),
        ("rules: [{content_type: 'a/*b*', do: fail}]", "rules[0].content_type: 'a/*b*' has more than one *"),
        ("rules: [{failure: tls, do: record}]", "rules[0]: a failure has no answer that could be for record"),
        ("rules: [{failure: tls, status: 500, do: fail}]", "rules[0]: failure is about what has no answer, so it"),
        ("rules: [{failure: slow, do: fail}]", "rules[0].failure: expected one of dns, connect"),
        ("rules: [{failure: tls, do: fail, wait: {header: X}}]", "rules[0]: a failure has no answer that could"),
        ("rules: [{status: 404, do: ignore, wait: 1s}]", "rules[0]: wait is for retry and fail"),
        ("rules: [{status: 404, do: retry, wait: 10x}]", "rules[0].wait: '10x' has the unknown unit 'x'"),
        ("rules: [{status: 404, do: retry, wait: {}}]", "rules[0].wait: name one of after, header and body"),
        ("rules: [{status: 404, do: retry, wait: {header: X Y}}]", "rules[0].wait: 'X Y' is no name of a header"),
        ("rules: [{status: 404, do: retry, wait: {hedder: X}}]", "rules[0].wait.hedder: unknown key; did you mean"),
        ("rules: [{status: 401, do: reauthenticate}]", "a rule has do: reauthenticate, but there is no auth"),
        ("rules: [{status: 404, do: fail, within: 32 MiB}]", "rules[0].within: it must be at most 16777216"),
    ],
)  # fmt: skip
def test_mistakes(more: str, said: str) -> None:
    """Each has its sentence, in its place."""
    with pytest.raises(InvalidConfigError) as caught:
        one(f"  {more}\n")
    assert any(f"parameters.{said}" in line or said in line for line in str(caught.value).splitlines()), caught.value


@pytest.mark.parametrize(
    "more",
    [
        "rules: [{status: [404, 5xx], do: ignore}, {header: {X: true, Y: '^a', Z: 5}, do: record}]",
        "rules: [{body: {/a: 1, b.c: {matches: x}, /d: {present: true}, /e: [a, 1, null]}, do: retry, wait: 10s}]",
        "rules: [{body: text, content-type: text/*, do: fail, wait: {body: /a, unit: ms}, reason: why}]",
        "rules: [{failure: timeout, do: retry, wait: 5}, {failure: [dns, tls], do: ignore}]",
        "limits: {rate: 10/s, burst: 3, concurrent: 2, requests-per-day: 5, quota_reserve: 10, share: api}",
        "limits: {quota-headers: {remaining: X-Left, reset: [X-A, X-B], unit: s}, quota_reserve: 1%}",
        "adaptive: {fastest: 1s, slowest: 10m, faster: 3, slower: 1.1, cache_control: true}",
    ],
)
def test_what_loads_is_valid_by_the_schema(more: str) -> None:
    """Editors that know the schema find nothing wrong with it."""
    text = f"{PAGE}  {more}\n"
    assert load_text(text).connectors
    errors = list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text)))
    assert not errors


def test_overrides_and_flags_reach_every_level() -> None:
    """Lists and maps are YAML on the command line."""
    overrides = {
        "rules": "[{status: 404, do: ignore}]",
        "limits.quota_headers": "{remaining: X-Left}",
        "limits.rate": "5/s",
        "adaptive.fastest": "1s",
    }
    http = load_text(PAGE, overrides=overrides).connectors[0].http
    assert http.limits is not None
    assert http.adaptive is not None
    assert http.rules[0].do == "ignore"
    assert (http.limits.rate, http.limits.quota_headers.remaining) == (Rate(5, 1), ("x-left",))
    assert http.adaptive.fastest == timedelta(seconds=1)


def test_secrets_may_stand_in_rules() -> None:
    """A pattern with a secret in it is never shown."""
    rules = one("  rules: [{header: {X: '${{ secrets.TOKEN }}'}, body: {/a: '${{ secrets.OTHER }}'}, do: fail}]\n")
    assert rules.masker.mask("s3cret and 0ther-one") == "*** and ***"


# Budgets that do not fit.


def budgeted(name: str, endpoint: str, more: str, interval: str = "interval: 10s") -> str:
    return f"name: {name}\ntopic: b\nparameters:\n  endpoint: {endpoint}\n  {interval}\n  limits: {{{more}}}\n"


def test_a_schedule_that_does_not_fit_is_a_warning_with_the_arithmetic() -> None:
    """How many polls, how many requests, how far they last, and what would fit."""
    (warning,) = warnings(budgeted("a", "http://x/", "requests_per_day: 5000"))
    assert warning == (
        "connect.yml:6:12: warning: parameters.limits.requests_per_day: every 10s makes 8,640 polls a day, and the "
        "budget is 5,000: that is enough for 58% of them; an interval of 18s fits"
    )
    assert warnings(budgeted("a", "http://x/", "requests_per_day: 8640")) == []


def test_a_cron_is_counted() -> None:
    """By its times, in the shortest month."""
    (hour, month) = warnings(
        budgeted("a", "http://x/", "requests_per_hour: 10, requests-per-month: 5000", "cron: '*/5 * * * *'")
    )
    assert "cron '*/5 * * * *' makes 12 polls an hour" in hour
    assert "makes 8,064 polls a month, and the budget is 5,000" in month
    assert ":6:35: warning" in month


def test_all_who_share_a_budget_are_counted_together() -> None:
    """By host, by name or by credential; the smallest budget counts."""
    one = budgeted("a", "http://x/1", "requests_per_day: 9000")
    two = budgeted("b", "http://x/2", "requests_per_day: 10000")
    other = budgeted("c", "http://y/", "requests_per_day: 10000")
    (warning,) = warnings(one, two, other)
    assert "2 connectors that share it make 17,280 polls a day, and the budget is 9,000" in warning
    assert warning.endswith("an interval of 20s fits for each of them")
    alone = [budgeted(name, "http://x/", "share: connector, requests_per_day: 9000") for name in "ab"]
    assert warnings(*alone) == []
    named = [budgeted(name, f"http://{name}/", "share: api, requests_per_day: 9000") for name in "ab"]
    assert len(warnings(*named)) == 1
    auth = "  headers: {Authorization: '${{ secrets.TOKEN }}'}\n"
    credential = [
        budgeted(name, f"http://{name}/", "share: credential, requests_per_day: 9000") + auth for name in "ab"
    ]
    assert len(warnings(*credential)) == 1


def test_a_rate_is_counted_as_well() -> None:
    """Whether it is enough for every poll."""
    (warning,) = warnings(budgeted("a", "http://x/", "rate: 1/m"))
    assert (
        "every 10s makes 8,640 polls a day, and a rate of 1/1m allows 1,440: that is enough for 17% of them" in warning
    )
    assert warning.endswith("an interval of 1m fits")
    assert warnings(budgeted("a", "http://x/", "rate: 1/10s")) == []
    (warning,) = warnings(budgeted("a", "http://x/", "rate: 1/2d"))
    assert "allows 0.5" in warning
    assert warning.endswith("an interval of 2d fits")


def test_nothing_is_said_twice() -> None:
    """However often the result is asked for."""
    text = budgeted("a", "http://x/", "requests_per_day: 5000")
    assert len(load_text(text).warnings) == 1


def test_an_adaptive_interval_is_counted_at_its_usual_pace() -> None:
    """Within its bounds."""
    text = budgeted("a", "http://x/", "requests_per_day: 5000")
    assert "every 10s makes" in warnings(text + "  adaptive: {fastest: 1s}\n")[0]
    assert warnings(text + "  adaptive: {fastest: 1m}\n") == []


# Who shares.


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://X.example/a?b", "x.example:80"),
        ("https://x.example", "x.example:443"),
        ("http://u:p@x.example:8080/", "x.example:8080"),
        ("http://[::1]:7/", "[::1]:7"),
        ("http://x:99999/", ""),
    ],
)
def test_hosts(url: str, host: str) -> None:
    """Host and port; nothing of who asks."""
    assert host_of(url) == host


def test_credentials() -> None:
    """Whatever says who asks: headers, parameters, auth. Equal ones are equal, and none is shown."""
    none = credential_of(one("").http)
    assert none is None
    texts = [
        "  headers: {Authorization: Bearer abc}\n",
        "  headers: {X-Mine: '${{ secrets.TOKEN }}'}\n",
        "  headers: {X-Mine: '${{ secrets.OTHER }}'}\n",
        "  params: {key: '${{ secrets.TOKEN }}'}\n",
        "  auth: {type: basic, username: a, password: b}\n",
        "  auth: {type: basic, username: a, password: c}\n",
    ]
    digests = [credential_of(one(text).http) for text in texts]
    assert None not in digests
    assert len(set(digests)) == len(texts)
    assert digests == [credential_of(one(text, "other").http) for text in texts]
    assert credential_of(one("  headers: {X-Mine: abc}\n").http) is None
    first = digests[0]
    assert first is not None
    assert slow_key(first) == slow_key(first)
    assert len(slow_key(first)) == 16
    assert slow_key(first) != first.hex()[:16]
