"""Owns the judgement of one attempt: store, nothing new, try again, or give up until the next poll. Pure.

Does not build requests or records, and does not wait.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import lru_cache
from typing import Final

import msgspec

from headwater.core.errors import FetchError
from headwater.core.http import Response
from headwater.core.units import format_size
from headwater.sources.limits.quota import HeaderNames, asks_for_quiet
from headwater.sources.output import phrase
from headwater.sources.retry import back_off
from headwater.sources.rules import Rule, Rules, asked

# Statuses that say "later", not "no" (RFC 9110 and RFC 6585). Every other 5xx but 501 and 505 is retried too.
_TRANSIENT = frozenset({408, 425, 429})
_PERMANENT_5XX = frozenset({501, 505})
_REFUSED = frozenset({429, 503})
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
# The slug of an answer that a rule ignores.
IGNORED: Final = "ignored"
_HTML = frozenset({"text/html", "application/xhtml+xml"})


class Action(Enum):
    """What the engine does next."""

    STORE = auto()
    EMPTY = auto()
    UNCHANGED = auto()
    RETRY = auto()
    FAIL = auto()
    REAUTHENTICATE = auto()


class Verdict(msgspec.Struct, frozen=True):
    """The judgement of one attempt.

    `wait` is seconds: for RETRY, until the next attempt; for FAIL, how long the server asked to be left alone. `slug`
    is the stable word for metrics and for telling one kind of failure from another.
    """

    action: Action
    reason: str
    slug: str = "ok"
    wait: float = 0.0


class Attempt(msgspec.Struct, frozen=True):
    """The circumstances of one attempt.

    `number` counts from 1. `now` is Unix time in seconds. `left` is seconds until the next scheduled poll. `chance` is
    a random number in [0, 1). `conditional`: validators were sent. `renewed`: the credentials are new already.
    """

    number: int
    now: float
    left: float
    chance: float
    conditional: bool = False
    renewed: bool = False


class Policy(msgspec.Struct, frozen=True):
    """What the configuration says about judging. `accepted` holds inclusive ranges of statuses; times are seconds.

    `content_types` are the media types that are accepted; with none, HTML is refused where something else came before.
    `renewable`: there are credentials that may be renewed. `rules` come before everything else. With `quota` the
    headers that tell of it say how long a refused request is to wait where there is no Retry-After; `names` are others.
    """

    method: str = "GET"
    accepted: tuple[tuple[int, int], ...] = ((200, 299),)
    content_types: tuple[str, ...] = ()
    attempts: int = 5
    initial: float = 0.5
    longest: float = 30.0
    retry_after_longest: float = 3600.0
    body_only: bool = True
    renewable: bool = False
    rules: Rules | None = None
    quota: bool = True
    names: HeaderNames | None = None


def media_type(response: Response) -> str:
    """Return the media type of a response in lower case, without parameters; empty when it names none."""
    return _media_type(response.header("content-type") or "")


@lru_cache(maxsize=256)  # answers repeat their types
def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def judge(outcome: Response | FetchError, attempt: Attempt, policy: Policy, *, usual_type: str = "") -> Verdict:
    """Decide what one attempt means. `usual_type` is the media type of the answers accepted before."""
    if policy.rules is not None and (rule := policy.rules.first(outcome)) is not None:
        return _ruled(rule, outcome, attempt, policy)
    if isinstance(outcome, FetchError):
        repeatable = outcome.retryable and (not outcome.sent or policy.method in _SAFE_TO_REPEAT)
        return _again(str(outcome), outcome.slug, attempt, policy, repeatable=repeatable)
    verdict = accept(outcome, policy, usual_type=usual_type)
    if verdict is not None:
        return verdict
    status = outcome.status
    if status == 304:
        if attempt.conditional:
            return Verdict(Action.UNCHANGED, "304 Not Modified: unchanged since the last record")
        return Verdict(Action.FAIL, "304 Not Modified, but no validator was sent", "status")
    reason = f"{status} {phrase(status)}".rstrip()
    if status == 401 and policy.renewable:
        if not attempt.renewed:
            return Verdict(Action.REAUTHENTICATE, reason, "status")
        return Verdict(Action.FAIL, f"{reason}, also with a token that has just come", "status")
    wait = asks_for_quiet(outcome, now=attempt.now, quota=policy.quota, names=policy.names)
    if wait is not None:
        return _as_asked(reason, min(wait, policy.retry_after_longest), attempt, policy)
    if status in _REFUSED:
        # "Too many requests" and "unavailable" both say that the request was not worked on.
        return _again(reason, "status", attempt, policy, repeatable=True)
    transient = status in _TRANSIENT or (status >= 500 and status not in _PERMANENT_5XX)
    repeatable = transient and policy.method in _SAFE_TO_REPEAT
    return _again(reason, "status", attempt, policy, repeatable=repeatable)


def accept(response: Response, policy: Policy, *, usual_type: str = "", kind: str | None = None) -> Verdict | None:
    """Decide what a response with an accepted status means, whatever the circumstances; None for any other status.

    `kind` is its media type where that is known already.
    """
    status = response.status
    if status != 304:
        for low, high in policy.accepted:
            if low <= status <= high:
                return _accept(response, policy, usual_type, media_type(response) if kind is None else kind)
    return None


def _accept(response: Response, policy: Policy, usual_type: str, kind: str) -> Verdict:
    if kind == usual_type and not policy.content_types and response.body and response.status != 204:
        # Most answers by far.
        return stored(response.status, len(response.body))
    status = f"{response.status} {phrase(response.status)}".rstrip()
    if policy.content_types:
        if kind not in policy.content_types:
            wanted = ", ".join(policy.content_types)
            return Verdict(
                Action.FAIL, f"{status}, but {kind or 'no Content-Type'} instead of {wanted}", "content-type"
            )
    elif kind in _HTML and usual_type and usual_type not in _HTML:
        # A login page or a proxy's error page with a friendly status: the commonest bad record of all.
        reason = f"{status}, but {kind} where it answered {usual_type} before; accept_content_type allows it"
        return Verdict(Action.FAIL, reason, "content-type")
    if response.status == 204 or (policy.body_only and not response.body):
        return Verdict(Action.EMPTY, f"{status}, without content: no record")
    return stored(response.status, len(response.body))


@lru_cache(maxsize=1024)  # answers repeat their sizes
def stored(status: int, size: int) -> Verdict:
    """Return the verdict on an answer that is a record, by its status and the size of its body."""
    return Verdict(Action.STORE, f"{status} {phrase(status)}".rstrip() + f", {format_size(size)}")


def _ruled(rule: Rule, outcome: Response | FetchError, attempt: Attempt, policy: Policy) -> Verdict:
    """Decide what an attempt means that a rule matches."""
    said = str(outcome) if isinstance(outcome, FetchError) else f"{outcome.status} {phrase(outcome.status)}".rstrip()
    reason = rule.told(said)
    if rule.do == "ignore":
        return Verdict(Action.EMPTY, f"{reason}; ignored: no record", IGNORED)
    if isinstance(outcome, Response) and rule.do == "record":
        if policy.body_only and not outcome.body:
            return Verdict(Action.EMPTY, f"{reason}; without content: no record")
        return Verdict(Action.STORE, f"{reason}; {format_size(len(outcome.body))}")
    if rule.do == "reauthenticate":
        if policy.renewable and not attempt.renewed:
            return Verdict(Action.REAUTHENTICATE, reason, "rule")
        why = "with new credentials as well" if attempt.renewed else "there are no credentials that could be renewed"
        return Verdict(Action.FAIL, f"{reason}; {why}", "rule")
    slug = outcome.slug if isinstance(outcome, FetchError) else "rule"
    wait = asked(rule, outcome, now=attempt.now)
    if wait is None:
        return _again(reason, slug, attempt, policy, repeatable=rule.do == "retry")
    seconds, by_answer = wait
    if by_answer:
        seconds = min(seconds, policy.retry_after_longest)
    if rule.do == "retry":
        return _as_asked(reason, seconds, attempt, policy, slug=slug, by="the server" if by_answer else "the rule")
    return Verdict(Action.FAIL, f"{reason}; left alone for {seconds:g} s", slug, seconds)


def _as_asked(
    reason: str, wait: float, attempt: Attempt, policy: Policy, *, slug: str = "rate-limited", by: str = "the server"
) -> Verdict:
    reason = f"{reason}; {by} asked to wait {wait:g} s"
    if attempt.number < policy.attempts and wait < attempt.left:
        return Verdict(Action.RETRY, reason, slug, wait)
    return Verdict(Action.FAIL, reason, slug, wait)


def _again(reason: str, slug: str, attempt: Attempt, policy: Policy, *, repeatable: bool) -> Verdict:
    if not repeatable:
        return Verdict(Action.FAIL, reason, slug)
    if attempt.number >= policy.attempts:
        tries = f"; gave up after {attempt.number} attempts" if attempt.number > 1 else ""
        return Verdict(Action.FAIL, reason + tries, slug)
    wait = back_off(attempt.number, initial=policy.initial, longest=policy.longest, chance=attempt.chance)
    if wait >= attempt.left:
        return Verdict(Action.FAIL, f"{reason}; the next poll comes before another attempt", slug)
    return Verdict(Action.RETRY, reason, slug, wait)
