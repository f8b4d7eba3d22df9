"""Owns what headers say of quotas: one table of their names, and the forms of their values. Pure, and bounded.

Whether anything is to be waited for is `quota`'s. Names and forms are those of public API documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from headwater.config.limits import QuotaHeaders
from headwater.core.http import Headers
from headwater.sources.limits.structured import Bare, Item, read_dictionary, read_list
from headwater.sources.patience import Unit, patience

_COUNT = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(?:$|[;,])", re.ASCII)
_WINDOW = re.compile(r"\bw(?:indow)?\s*=\s*(\d{1,9})", re.ASCII)
_SHARE = re.compile(r"\s*(?:[\w-]{1,40}=)?(\d{1,15})\s*/\s*(\d{1,15})", re.ASCII)
# Quotas are told apart by what a server calls them; nobody needs long names for that.
_LONGEST_SCOPE = 64
_LONGEST_VALUE = 1024


class Quota(msgspec.Struct, frozen=True):
    """What one answer says of one quota. Counts are of requests, times are seconds from that answer on.

    `scope` is the server's name for it, empty where it has none. `reset` is when all of it is there again, `window` how
    long it is for; with `refill`, so many come back each second. What is None is not said.
    """

    scope: str = ""
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    window: float | None = None
    refill: float | None = None


class Names(msgspec.Struct, frozen=True):
    """Names of the headers that tell of one quota, in lower case, each in the order of preference.

    One of `remaining`, `used` and `reset` has to be there. `scope` are headers with the quota's name; `fixed` is that
    name where a header's own name is all there is. `unit` is what a bare number of reset and window counts.
    """

    limit: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    window: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    fixed: str = ""
    unit: Unit = "auto"

    @property
    def marks(self) -> tuple[str, ...]:
        """Those without which nothing is said."""
        return (*self.remaining, *self.used, *self.reset)

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return (*self.limit, *self.marks, *self.window, *self.scope)


TABLE: tuple[Names, ...] = (
    # GitHub (used, resource), Discord (bucket, reset-after), Datadog (name, period), Freshdesk (total), and most.
    Names(
        ("x-ratelimit-limit", "x-ratelimit-total"),
        ("x-ratelimit-remaining",),
        ("x-ratelimit-used",),
        ("x-ratelimit-reset-after", "x-ratelimit-retry-after", "x-ratelimit-reset"),
        ("x-ratelimit-period", "x-ratelimit-interval-seconds"),
        ("x-ratelimit-resource", "x-ratelimit-bucket", "x-ratelimit-name"),
    ),
    # The drafts of the IETF up to 06; GitLab's reset is a Unix time, Yelp's limit is of a day.
    Names(
        ("ratelimit-limit", "ratelimit-dailylimit"),
        ("ratelimit-remaining",),
        ("ratelimit-observed",),
        ("ratelimit-reset", "ratelimit-resettime"),
        (),
        ("ratelimit-name",),
    ),
    # X (Twitter), Okta, Zendesk (x-rate-limit), Crossref (interval).
    Names(
        ("x-rate-limit-limit", "x-rate-limit"),
        ("x-rate-limit-remaining",),
        (),
        ("x-rate-limit-reset",),
        ("x-rate-limit-interval",),
    ),
    # OpenAI counts requests apart from tokens; Linear and RapidAPI turn the words around; Anthropic.
    Names(
        ("x-ratelimit-limit-requests", "x-ratelimit-requests-limit"),
        ("x-ratelimit-remaining-requests", "x-ratelimit-requests-remaining"),
        (),
        ("x-ratelimit-reset-requests", "x-ratelimit-requests-reset"),
    ),
    Names(
        ("anthropic-ratelimit-requests-limit",),
        ("anthropic-ratelimit-requests-remaining",),
        (),
        ("anthropic-ratelimit-requests-reset",),
    ),
    # BigCommerce.
    Names(
        ("x-rate-limit-requests-quota",),
        ("x-rate-limit-requests-left",),
        (),
        ("x-rate-limit-time-reset-ms",),
        ("x-rate-limit-time-window-ms",),
        unit="ms",
    ),
    # HubSpot and Contentful have two each.
    Names(
        ("x-hubspot-ratelimit-max",),
        ("x-hubspot-ratelimit-remaining",),
        window=("x-hubspot-ratelimit-interval-milliseconds",),
        fixed="interval",
        unit="ms",
    ),
    Names(("x-hubspot-ratelimit-daily",), ("x-hubspot-ratelimit-daily-remaining",), fixed="daily"),
    Names(
        ("x-contentful-ratelimit-second-limit",),
        ("x-contentful-ratelimit-second-remaining",),
        reset=("x-contentful-ratelimit-reset",),
        fixed="second",
    ),
    Names(
        ("x-contentful-ratelimit-hour-limit",),
        ("x-contentful-ratelimit-hour-remaining",),
        fixed="hour",
    ),
    # Sentry, Imgur, Brevo, football-data, Azure.
    Names(
        ("x-sentry-rate-limit-limit",),
        ("x-sentry-rate-limit-remaining",),
        (),
        ("x-sentry-rate-limit-reset",),
    ),
    Names(
        ("x-ratelimit-userlimit",),
        ("x-ratelimit-userremaining",),
        (),
        ("x-ratelimit-userreset",),
        fixed="user",
    ),
    Names(("x-ratelimit-clientlimit",), ("x-ratelimit-clientremaining",), fixed="client"),
    Names(("x-sib-ratelimit-limit",), ("x-sib-ratelimit-remaining",), (), ("x-sib-ratelimit-reset",)),
    Names((), ("x-requests-available-minute",), (), ("x-requestcounter-reset",)),
    Names((), ("x-ms-ratelimit-remaining-subscription-reads",), fixed="subscription-reads"),
)
# Leaky buckets that say how full they are (32/40), and what a second takes out of them.
_BUCKETS: dict[str, float | None] = {
    "x-shopify-shop-api-call-limit": 2.0,
    "http_x_shopify_shop_api_call_limit": 2.0,
    "sforce-limit-info": None,  # of a day that rolls
}
# Of Meta: JSON with the percentages that are used.
_PERCENTAGES = frozenset({"x-app-usage", "x-ad-account-usage", "x-page-usage"})
# Of Strava: `used,used` beside `limit,limit`, of a quarter of an hour and of a day.
_STRAVA = ("x-ratelimit-limit", "x-ratelimit-usage", (900.0, 86_400.0))
_STRUCTURED = ("ratelimit", "ratelimit-policy")
_KNOWN = frozenset(
    {name for names in TABLE for name in names.all} | set(_BUCKETS) | _PERCENTAGES | {*_STRAVA[:2], *_STRUCTURED}
)
# The rows of the table in which a header tells something by itself.
_ROWS = {mark: row for row, names in reversed(list(enumerate(TABLE))) for mark in names.marks}
# A server whose clock is further off than this is not believed (seconds).
_MOST_SKEW = 6 * 3600.0


def quota_names(options: QuotaHeaders) -> Names | None:
    """Return the names that a configuration adds, None when it adds none."""
    names = Names(
        options.limit, options.remaining, options.used, options.reset, options.window, fixed="own", unit=options.unit
    )
    return names if names.marks else None


def quotas(headers: Headers, *, now: float, names: Names | None = None) -> tuple[Quota, ...]:
    """Return what the headers of an answer say of quotas. `now` is Unix time; `names` are further ones, of a kind.

    What makes no sense is as if it were not there.
    """
    further = () if names is None else names.all
    said = {name: value[:_LONGEST_VALUE] for name, value in headers if name in _KNOWN or name in further}
    if not said:
        return ()
    # Unix times are by the server's clock, which may be another one than ours.
    theirs = _clock(next((value for name, value in headers if name == "date"), ""))
    clock = theirs if theirs is not None and abs(theirs - now) < _MOST_SKEW else now
    found: dict[str, Quota] = {}
    if names is not None:
        _add(found, _by_names(said, names, clock), "further")
    for quota in _structured(said):
        _add(found, quota, "ratelimit")
    if _STRAVA[1] in said:
        for quota in _lists(said[_STRAVA[1]], said.get(_STRAVA[0], "")):
            _add(found, quota, _STRAVA[1])
    for row in sorted({_ROWS[name] for name in said if name in _ROWS}):
        _add(found, _by_names(said, TABLE[row], clock), TABLE[row].marks[0])
    for name, value in said.items():
        if name in _BUCKETS or name in _PERCENTAGES:
            _add(found, _bucket(name, value), name)
    return tuple(found.values())


def _add(found: dict[str, Quota], quota: Quota | None, name: str) -> None:
    """Add a quota to those that were found, by its scope. Of the same one said twice the first counts."""
    if quota is None:
        return
    other = found.get(quota.scope)
    if other is not None and other.limit != quota.limit:
        quota = msgspec.structs.replace(quota, scope=name)
    found.setdefault(quota.scope, quota)


@lru_cache(maxsize=16)  # answers of one second repeat theirs
def _clock(date: str) -> float | None:
    """Return the Unix time of a Date header."""
    return patience(date, now=0.0) if date else None


def _said(said: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in said:
            return said[name]
    return None


def _by_names(said: Mapping[str, str], names: Names, now: float) -> Quota | None:
    """Return what is said in headers of one number each."""
    limit, remaining = _said(said, names.limit), _said(said, names.remaining)
    count, total = _count(remaining), _count(limit)
    if count is None and total is not None and (used := _count(_said(said, names.used))) is not None:
        count = max(0.0, total - used)
    reset = next((it for text in names.reset if (it := _time(said.get(text), names.unit, now)) is not None), None)
    if count is None and reset is None:
        return None
    window = _time(_said(said, names.window), names.unit, now)
    if window is None and (match := _WINDOW.search(limit or "") or _WINDOW.search(remaining or "")) is not None:
        window = float(match[1])
    return Quota((names.fixed or _said(said, names.scope) or "")[:_LONGEST_SCOPE], total, count, reset, window)


def _time(text: str | None, unit: Unit, now: float) -> float | None:
    if text is None:
        return None
    # Of several values the first; a date has commas of its own.
    return patience(text.partition(",")[0] if text[:1].isdigit() else text, now=now, unit=unit)


def _structured(said: Mapping[str, str]) -> list[Quota]:
    """Read RateLimit and RateLimit-Policy: a list of named quotas (drafts from 08 on), or a dictionary (draft 07)."""
    text = said.get(_STRUCTURED[0])
    if text is None:
        return []
    policies = {str(it.value): it.parameters for it in read_list(said.get(_STRUCTURED[1], "")) or ()}
    items = read_list(text)
    if items is not None and any("r" in it.parameters for it in items):
        return [_named(it, policies.get(str(it.value), {})) for it in items if _requests(it, policies)]
    parts = {it.key: it.value for it in read_dictionary(text) or ()}
    remaining = _number(parts.get("remaining"))
    if remaining is None:
        return []
    windows = [_number(parameters.get("w")) for parameters in policies.values()]
    window = windows[0] if len(windows) == 1 else None
    return [Quota("", _number(parts.get("limit")), remaining, _number(parts.get("reset")), window)]


def _requests(item: Item, policies: Mapping[str, Mapping[str, Bare]]) -> bool:
    """Return whether an item says how many requests are left; others count bytes, or requests at one time."""
    unit = policies.get(str(item.value), {}).get("qu", "requests")
    return unit == "requests" and _number(item.parameters.get("r")) is not None


def _named(item: Item, policy: Mapping[str, Bare]) -> Quota:
    said = item.parameters
    return Quota(
        str(item.value)[:_LONGEST_SCOPE],
        _number(policy.get("q")),
        _number(said.get("r")),
        _number(said.get("t")),
        _number(policy.get("w")),
    )


def _bucket(name: str, text: str) -> Quota | None:
    if name in _BUCKETS:
        match = _SHARE.match(text)
        if match is None:
            return None
        used, limit = float(match[1]), float(match[2])
        return Quota("", limit, max(0.0, limit - used), refill=_BUCKETS[name])
    if name in _PERCENTAGES:
        try:
            shares = _PERCENTS.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return None
        most = max((it for it in shares.values() if isinstance(it, int | float)), default=0)
        # An integer of JSON may be too large for a float.
        return Quota(name, 100.0, 100.0 - min(max(most, 0), 100))
    return None


_PERCENTS = msgspec.json.Decoder(dict[str, int | float | str | None])


def _lists(usage: str, limit: str) -> list[Quota]:
    used, limits = [_count(it) for it in usage.split(",")], [_count(it) for it in limit.split(",")]
    return [
        Quota(f"{window:g}s", of, max(0.0, of - spent), window=window)
        for spent, of, window in zip(used, limits, _STRAVA[2], strict=False)
        if spent is not None and of is not None
    ]


def _count(text: str | None) -> float | None:
    match = None if text is None else _COUNT.match(text)
    return None if match is None else float(match[1])


def _number(value: Bare | None) -> float | None:
    return value if isinstance(value, float) and value >= 0 else None
