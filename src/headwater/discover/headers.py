"""Owns what the headers of an answer tell: validators, quota, how often to ask, and who is let in. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from headwater.core.http import Response
from headwater.core.units import format_duration, parse_duration
from headwater.discover.asking import Ask, Auth
from headwater.discover.finding import Certainty, Finding, remark
from headwater.discover.vocabulary import number_of, pieces, words

# The usual lengths of a quota's window (seconds), and what of it one connector is to use by itself.
_WINDOWS: Final = (1, 10, 60, 900, 3600, 86_400)
_SHARE: Final = 0.1
# What is asked every so often is asked often enough for most, and pleases most servers (seconds).
_USUAL: Final = 60
_NICE: Final = (10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
_CHALLENGE: Final = re.compile(
    r"""(?:^|,\s*)(Basic|Digest|Bearer|Negotiate|NTLM|ApiKey|Api-Key|Token|OAuth|AWS4-HMAC-SHA256|[A-Z][\w-]{2,30})"""
    r"""(?=\s+\w+\s*=|\s*(?:,|$))""",
    re.IGNORECASE,
)


# What headers about a quota say besides.
_BESIDE: Final = words("daily day secondly type resource interval policy used retry after")


class Quota(msgspec.Struct, frozen=True):
    """How many requests a server lets through: `limit` of them in `window` seconds, and by which headers it says so."""

    limit: int
    remaining: int | None
    window: float | None
    headers: tuple[str, ...]

    def sentence(self) -> str:
        """Say that in words."""
        left = "" if self.remaining is None else f", {self.remaining} of them left"
        per = "" if self.window is None else f" in {_spoken(self.window)}"
        return f"{self.limit} requests{per}{left} ({', '.join(self.headers)})"


def find_quota(response: Response, now: float) -> Quota | None:
    """Return what the headers say of a quota. `now` is Unix time."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in response.headers:
        said = set(pieces(name))
        lower = name.lower()
        if lower in {"ratelimit", "ratelimit-policy"} and (quota := _structured(response)) is not None:
            return quota
        if (used := _used_of(lower, value)) is not None:
            return Quota(used[1], max(0, used[1] - used[0]), None, (lower,))
        about = {"rate", "limit"} <= said or said & {"ratelimit", "quota", "calls", "throttle", "usage"}
        if about and not said & _BESIDE:
            kind = "remaining" if said & {"remaining", "left", "available"} else "reset" if "reset" in said else "limit"
            found.setdefault(kind, (lower, value.strip()))
    limit, remaining = _count(found.get("limit")), _count(found.get("remaining"))
    if limit is None:
        return None
    window = _window(found.get("reset"), now)
    milliseconds = next(
        (value for name, value in response.headers if name.lower().endswith("interval-milliseconds")), ""
    )
    if (length := number_of(milliseconds)) is not None:
        window = length / 1000
    names = tuple(found[kind][0] for kind in ("limit", "remaining", "reset") if kind in found)
    return Quota(limit, remaining, window, names)


def _structured(response: Response) -> Quota | None:
    """Read RateLimit and RateLimit-Policy of the IETF's draft, in its last forms."""
    text = response.header("ratelimit") or ""
    policy = response.header("ratelimit-policy") or ""
    limit = _number(r"(?:^|[;,\s])(?:q|limit)\s*=\s*(\d+)", policy) or _number(r"limit\s*=\s*(\d+)", text)
    limit = limit or _number(r"^\s*(\d+)", policy)
    window = _number(r"[;,\s]w\s*=\s*(\d+)", policy)
    left = _number(r"(?:^|[;,\s])(?:r|remaining)\s*=\s*(\d+)", text)
    if limit is None:
        return None
    return Quota(limit, left, None if window is None else float(window), ("ratelimit", "ratelimit-policy"))


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text[:1000], re.IGNORECASE)
    return int(found[1][:12]) if found else None


def _used_of(name: str, value: str) -> tuple[int, int] | None:
    """Read `32/40`, as Shopify's and Salesforce's headers are."""
    found = re.search(r"(?:^|[=\s])(\d{1,9})/(\d{1,9})\b", value[:200])
    said = set(pieces(name))
    return (int(found[1]), int(found[2])) if found and said & {"limit", "usage", "quota", "call", "calls"} else None


def _count(said: tuple[str, str] | None) -> int | None:
    if said is None:
        return None
    found = re.match(r"\s*(\d{1,12})", said[1])
    return int(found[1]) if found else None


def _window(reset: tuple[str, str] | None, now: float) -> float | None:
    """Return the length of the window, as far as when it ends tells: the usual one that is not shorter."""
    if reset is None:
        return None
    left = _until(reset[1], now)
    if left is None or left < 0:
        return None
    return next((float(window) for window in _WINDOWS if left <= window * 1.05), None)


def _until(text: str, now: float) -> float | None:
    """Return for how many seconds a text says, which is a number of seconds, a Unix time, a duration or a date."""
    if re.fullmatch(r"\d{1,14}(\.\d{1,6})?", text):
        number = float(text)
        if number > 1e12:
            return number / 1000 - now
        return number - now if number > 1e9 else number
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    try:
        return parse_duration(text[:40]).total_seconds()
    except ValueError:
        return None


def _spoken(seconds: float) -> str:
    known = {
        1: "a second",
        10: "10 seconds",
        60: "a minute",
        900: "a quarter of an hour",
        3600: "an hour",
        86_400: "a day",
    }
    return known.get(round(seconds), f"{seconds:g} s")


def find_interval(response: Response, quota: Quota | None, pages: int) -> Finding:
    """Return how often to ask: as headers say, or so that a tenth of the quota is enough for `pages` requests each."""
    least, why = 0.0, ""
    for name, value in response.headers:
        if name.lower() == "x-poll-interval" and (asked := number_of(value)) is not None:
            least, why = float(asked), f"the header x-poll-interval asks for {asked} s"
    found = re.search(r"(?:s-maxage|max-age)=(\d{1,9})", response.header("cache-control") or "")
    if found and least < float(found[1]) <= 86_400:
        least, why = float(found[1]), f"Cache-Control says that an answer is good for {found[1]} s"
    if quota is not None and quota.limit:
        window = quota.window or 3600.0
        needed = window / (quota.limit * _SHARE) * pages
        if needed > max(least, 1.0):
            each = f" for {pages} pages each time" if pages > 1 else ""
            guess = "" if quota.window else ", taken for those of an hour"
            least = needed
            why = f"a tenth of {quota.limit} requests in {_spoken(window)}{guess}{each}"
    if not why:
        return Finding("interval", _written(_USUAL), "nothing says how often; as fresh as you need it")
    chosen = next((it for it in _NICE if it >= least), _NICE[-1])
    if chosen < _USUAL:
        return Finding("interval", _written(_USUAL), f"{why} would allow {chosen} s")
    return Finding("interval", _written(chosen), why)


def _written(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))


def validators(response: Response) -> dict[str, str]:
    """Return the headers that ask whether an answer has changed, by what it said."""
    asked = {}
    if (etag := response.header("etag")) and len(etag) < 1024:
        asked["If-None-Match"] = etag
    if (modified := response.header("last-modified")) and len(modified) < 100:
        asked["If-Modified-Since"] = modified
    return asked


def on_validators(response: Response, again: Response | None) -> Finding | None:
    """Say what the validators of an answer are good for. `again` is the answer to a request that carried them."""
    sent = validators(response)
    if not sent:
        return None
    said = " and ".join(
        name for name, header in (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")) if header in sent
    )
    if again is None:
        return Finding("conditional", True, f"answers have {said}; whether 304 comes was not tried")
    if again.status == 304:
        return Finding(
            "conditional",
            True,
            f"answers have {said}, and 304 came for it: unchanged ones cost nothing",
            Certainty.SURE,
        )
    if again.status == 200 and validators(again) != sent:
        return Finding("conditional", True, f"answers have {said}, another one each time: 304 will be rare")
    if again.status == 200:
        reason = f"answers have {said}, but the server sent the whole answer again for it"
        return Finding("conditional", False, reason, Certainty.SURE)
    return Finding("conditional", False, f"asked with {said}, the server answered {again.status}", Certainty.SURE)


def challenged(ask: Ask, response: Response) -> tuple[Ask, Finding | None]:
    """Return what is asked for with the way in that the server names, when it wants one and there is none yet."""
    if response.status not in {401, 403, 407}:
        return ask, None
    status = f"the answer was {response.status}"
    schemes = [
        found[1].lower()
        for name, value in response.headers
        if name.lower() == "www-authenticate"
        for found in _CHALLENGE.finditer(value[:4096])
    ]
    if ask.auth is not None:
        wanted = f"; it wants {', '.join(dict.fromkeys(schemes))}" if schemes else ""
        return ask, remark(f"{status} with the credentials that were given{wanted}: are they still good?")
    if response.status == 403 and not schemes:
        return ask, remark(f"{status}: what it wants cannot be told; a browser's header may be missing")
    for scheme in schemes:
        if scheme in {"basic", "digest"}:
            ask, user = ask.keeping("USERNAME", None, "the user")
            ask, password = ask.keeping("PASSWORD", None, "the password")
            reason = f"{status} with WWW-Authenticate: {scheme.title()}"
            return ask.replace(auth=Auth(scheme, {"username": user, "password": password}, reason)), None  # type: ignore[arg-type]
        if scheme == "negotiate":
            return ask.replace(auth=Auth("negotiate", {}, f"{status} with WWW-Authenticate: Negotiate")), None
        if scheme in {"bearer", "oauth"}:
            break
    ask, token = ask.keeping("API_TOKEN", None, "the token")
    told = f" with WWW-Authenticate: {schemes[0]}" if schemes else ", and nothing said what it wants: a token is likely"
    return ask.replace(auth=Auth("bearer", {"token": token}, f"{status}{told}")), None
