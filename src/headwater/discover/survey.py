"""Owns what is asked of an endpoint to find out how it works, and what comes of the answers. Pure.

It yields requests and is sent what came of them; whoever drives it decides how many there may be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from headwater.core.errors import FetchError
from headwater.core.http import Response
from headwater.discover.asking import Ask, clean
from headwater.discover.body import Sample, look
from headwater.discover.finding import Certainty, Draft, Finding, remark
from headwater.discover.headers import challenged, find_interval, find_quota, on_validators, validators
from headwater.discover.items import Items, find_items
from headwater.discover.paging import Proposal, find_paging
from headwater.discover.since import Parameter, newest_first, since
from headwater.discover.streaming import Unending, find_stream, hints, without_own
from headwater.discover.vocabulary import ITEMS, number_of

_ENDINGS = re.compile(r"(?i)\.(?:json|xml|csv|tsv|txt|ndjson|atom|rss|php|aspx?|ashx|asmx|jsp|do|cgi|html?)$")
# The second way of paging is tried when the first one was wrong, not a third.
_MOST_TRIED = 2


class Probe(msgspec.Struct, frozen=True):
    """A request to be sent: what is asked for, with headers beside, and what for."""

    ask: Ask
    purpose: str
    headers: tuple[tuple[str, str], ...] = ()


# None: there is no answer to be had, because no request may be sent any more.
Outcome = Response | Unending | FetchError | None
Survey = Generator[Probe, Outcome, Draft]


class Known(msgspec.Struct, frozen=True):
    """What a document says beforehand: parameters, and an answer (made from its schemas, or recorded)."""

    parameters: list[Parameter] = []
    answer: Response | None = None
    # Whether that answer is a real one.
    recorded: bool = False
    findings: tuple[Finding, ...] = ()


def survey(ask: Ask, known: Known, now: float) -> Survey:
    """Find out how an endpoint works. `now` is Unix time."""
    draft, response = yield from _first(Draft(ask, known.findings))
    real = response is not None or known.recorded
    response = response or known.answer
    if response is None:
        return _streaming(draft, hints(draft.ask))
    seconds = None
    if isinstance(response, Unending):
        seconds = response.seconds
        response = response.response
    draft = _moved(draft, response)
    stream, items = find_stream(response, seconds)
    if stream:
        return msgspec.structs.replace(_streaming(draft, stream), about=items.about)
    seen = _Seen(draft.ask, response, now)
    draft = draft.adding([*seen.items.findings, *seen.rules()])
    if real:
        draft = yield from _again(draft, response)
    draft = yield from _next(draft, seen)
    return msgspec.structs.replace(_finished(draft, seen, known, now), about=seen.about)


def _streaming(draft: Draft, findings: list[Finding]) -> Draft:
    """Return the draft of a stream: there is no other page of it, and no answer that could be unchanged."""
    events = any((it.option, it.value) == ("format", "sse") for it in findings)
    ask = without_own(draft.ask) if events else draft.ask
    return msgspec.structs.replace(draft, ask=ask).adding(findings)


def _first(draft: Draft) -> Generator[Probe, Outcome, tuple[Draft, Response | Unending | None]]:
    """Ask for what is wanted; return what came of it, when that is what a connector would get."""
    ask = draft.ask
    outcome = yield Probe(ask, "what it answers")
    if outcome is None:
        return draft, None
    draft = _counted_in(draft)
    if isinstance(outcome, FetchError):
        return draft.adding([remark(f"{ask.host} was asked in vain: {outcome}")]), None
    if _good(outcome):
        return draft, outcome
    draft = _refused(draft, outcome.response if isinstance(outcome, Unending) else outcome)
    if draft.ask.auth is None or draft.ask.auth == ask.auth:
        return draft, None
    # What the way in needs may be known already.
    outcome = yield Probe(draft.ask, "with credentials")
    if outcome is None:
        return draft.adding([remark("put the credentials in and run init again to see more")]), None
    draft = _counted_in(draft)
    if not isinstance(outcome, FetchError) and _good(outcome):
        return draft, outcome
    return draft.adding([remark("the credentials that are known were refused")]), None


def _again(draft: Draft, response: Response) -> Generator[Probe, Outcome, Draft]:
    """Ask whether the answer has changed, where it can be asked so."""
    again: Outcome = None
    if draft.requests and validators(response) and draft.ask.method in {"GET", "HEAD"}:
        again = yield Probe(draft.ask, "whether 304 comes", tuple(validators(response).items()))
        draft = _counted_in(draft) if again is not None else draft
    finding = on_validators(response, again if isinstance(again, Response) else None)
    return draft if finding is None else draft.adding([finding])


def _next(draft: Draft, seen: _Seen) -> Generator[Probe, Outcome, Draft]:
    """Ask for the next page, in the likeliest ways."""
    proposals = find_paging(draft.ask, seen.response, seen.sample.document, seen.items)
    chosen: Proposal | None = None
    tried = 0
    for proposal in proposals:
        if proposal.following is None or not draft.requests or tried >= _MOST_TRIED:
            continue
        outcome = yield Probe(proposal.following, f"the next page ({proposal.kind})")
        if outcome is None:
            break
        draft = _counted_in(draft)
        tried += 1
        chosen = _confirmed(seen, proposal, outcome)
        if chosen is not None:
            break
    return _paged(draft, proposals, chosen, tried=tried)


def _counted_in(draft: Draft) -> Draft:
    return msgspec.structs.replace(draft, requests=draft.requests + 1)


def _good(outcome: Response | Unending) -> bool:
    response = outcome.response if isinstance(outcome, Unending) else outcome
    return 200 <= response.status < 300


class _Seen:
    """What one answer shows."""

    def __init__(self, ask: Ask, response: Response, now: float) -> None:
        self.response = response
        self.sample: Sample = look(response.body, response.header("content-type") or "")
        self.items: Items = find_items(self.sample, subject(ask))
        self.quota = find_quota(response, now)

    @property
    def about(self) -> str:
        """What the items are called: the last step to them that is a word of its own."""
        steps = () if self.items.split is None else self.items.split.steps
        return next((step for step in reversed(steps) if step.lower() not in ITEMS), "")

    def rules(self) -> list[Finding]:
        """Return rules for answers that are failures although their status says nothing of it."""
        document = self.sample.document
        if not isinstance(document, dict):
            return []
        for name in ("ok", "success"):
            if document.get(name) is True:
                rule = {"body": {f"/{name}": False}, "do": "fail"}
                return [Finding("rules", [rule], f"answers say {name}: true; without it nothing was answered")]
        if (
            isinstance(document.get("data"), dict)
            and self.items.split is not None
            and self.items.split.steps[0] == "data"
        ):
            rule = {"body": {"/errors": {"present": True}}, "do": "fail"}
            return [Finding("rules", [rule], "GraphQL answers 200 to what failed, with errors in the body")]
        return []


def subject(ask: Ask) -> str:
    """Return what an address is about: the last word of its path."""
    steps = [step for step in unquote(urlsplit(ask.url).path).split("/") if step]
    for step in reversed(steps):
        bare = _ENDINGS.sub("", step).strip("_")
        if bare and not bare.isdigit() and bare.lower() not in {"search", "query", "list", "all", "index", "cursor"}:
            return clean(bare)
    return ""


def _refused(draft: Draft, response: Response) -> Draft:
    ask, finding = challenged(draft.ask, response)
    draft = msgspec.structs.replace(draft, ask=ask)
    if finding is not None:
        return draft.adding([finding])
    if ask.auth is not None and response.status in {401, 403, 407}:
        return draft
    return draft.adding([remark(f"the answer was {response.status}: nothing could be seen of what it would be")])


def _moved(draft: Draft, response: Response) -> Draft:
    """Write the address that a redirect led to, when that is the same place by another scheme or path."""
    there, asked = urlsplit(response.url), urlsplit(draft.ask.url)
    if not response.redirects or there[:3] == asked[:3]:
        return draft
    if there.hostname != asked.hostname:
        return draft.adding([remark(f"it redirects to another host, {there.hostname}; credentials stay behind there")])
    url = f"{there.scheme}://{there.netloc}{there.path}"
    return msgspec.structs.replace(draft, ask=draft.ask.replace(url=clean(url))).adding(
        [remark("it redirects; the address that it led to is written")]
    )


def _confirmed(seen: _Seen, proposal: Proposal, outcome: Response | Unending | FetchError) -> Proposal | None:
    """Return a proposal that an answer has confirmed, None when it has not."""
    if not isinstance(outcome, Response) or not _good(outcome):
        return None
    sample = look(outcome.body, outcome.header("content-type") or "")
    items: list[Any] = []
    if seen.items.split is not None:
        found = seen.items.split.find(sample.document) if sample.document is not None else None
        items = found if isinstance(found, list) else []
    else:
        items = find_items(sample).items
    before = {json.dumps(it, sort_keys=True, default=str) for it in seen.items.items[:1000]}
    after = {json.dumps(it, sort_keys=True, default=str) for it in items[:1000]}
    if after and after <= before:
        return None
    first = proposal.findings[0]
    certainty = Certainty.SURE
    if not after:
        certainty = Certainty.LIKELY
        said = "the next page was asked for, and was empty"
    else:
        said = (
            f"the next page was asked for, and has {_counted(items)}{', some of them again' if after & before else ''}"
        )
    findings = tuple(msgspec.structs.replace(it, certainty=max(it.certainty, certainty)) for it in proposal.findings)
    first = msgspec.structs.replace(findings[0], reason=f"{first.reason}; {said}")
    return msgspec.structs.replace(proposal, findings=(first, *findings[1:]))


def _counted(items: list[Any]) -> str:
    return f"{len(items)} other item{'s' if len(items) != 1 else ''}"


def _paged(draft: Draft, proposals: list[Proposal], chosen: Proposal | None, *, tried: int) -> Draft:
    if not proposals:
        return draft
    if chosen is None:
        untried = [it for it in proposals if it.following is None or not tried]
        chosen = (untried or proposals)[0]
        if tried and not untried:
            guesses = tuple(msgspec.structs.replace(it, certainty=Certainty.GUESS) for it in chosen.findings)
            first = msgspec.structs.replace(
                guesses[0], reason=f"{guesses[0].reason}; but asking so brought nothing new"
            )
            chosen = msgspec.structs.replace(chosen, findings=(first, *guesses[1:]))
    if any(it.certainty is Certainty.GUESS for it in chosen.findings):
        # One part that is guessed makes the whole a guess.
        guesses = tuple(msgspec.structs.replace(it, certainty=Certainty.GUESS) for it in chosen.findings)
        return draft.adding(guesses)
    kept = tuple(it for it in draft.ask.params if it[0] not in chosen.takes)
    body = draft.ask.body
    ask = draft.ask.replace(params=kept, body=body)
    return msgspec.structs.replace(draft, ask=ask).adding(chosen.findings)


def _finished(draft: Draft, seen: _Seen, known: Known, now: float) -> Draft:
    ask, findings = since(draft.ask, seen.items, known.parameters, now)
    draft = msgspec.structs.replace(draft, ask=ask).adding(findings)
    chosen = draft.chosen()
    paged = chosen.get("pagination.type")
    if (
        paged is not None
        and seen.items.time is not None
        and newest_first(seen.items.time)
        and not any(option.startswith("cursor.") for option in chosen)
    ):
        why = "the newest come first: a round could end where the one before began"
        draft = draft.adding(
            [
                Finding("cursor.newest.from", seen.items.time.pointer, why, Certainty.GUESS),
                Finding("pagination.stop_at", "newest", why, Certainty.GUESS),
            ]
        )
    quota = seen.quota
    if quota is not None:
        why = f"the server tells of a quota: {quota.sentence()}; it is minded, with a reserve for others"
        draft = draft.adding([Finding("limits.quota", "auto", why, Certainty.SURE)])
    return draft.adding([find_interval(seen.response, quota, _pages(chosen, seen))])


def _pages(chosen: dict[str, Finding], seen: _Seen) -> int:
    """Return how many requests a round will take, as far as that can be told."""
    paged = chosen.get("pagination.type")
    if paged is None or paged.certainty is Certainty.GUESS or any(it.startswith("cursor.") for it in chosen):
        return 1
    total = chosen.get("pagination.total")
    count = len(seen.items.items)
    if total is None or not count:
        return 2
    # It is said last: how many there are.
    there = number_of(total.reason.rpartition(" ")[2])
    return 2 if there is None else max(1, -(-there // count))
