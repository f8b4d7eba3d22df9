"""Owns which rule matches an answer, and how long that rule or the answer says to wait. Pure, and bounded.

What comes of a match is the judge's. An answer is looked at no further than the first rule that matches: its status,
its headers, then its body, which is decoded once for all rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headwater.config.rules import RuleOptions
from headwater.core.errors import FetchError
from headwater.core.extract import extract
from headwater.core.http import Response
from headwater.core.pattern import Pattern
from headwater.core.pointer import Pointer, scalar_text
from headwater.sources.matching import MARK, Found, Placed, Values, meets, pattern
from headwater.sources.patience import Unit, patience


class Wait(msgspec.Struct, frozen=True):
    """How long to wait: `seconds`, or as a header or a value at a pointer says."""

    seconds: float | None = None
    header: str = ""
    pointer: Pointer | None = None
    unit: Unit = "auto"


class Rule(msgspec.Struct, frozen=True):
    """One rule. `number` counts from 1. What is empty asks for nothing; `values` has the places of its pointers."""

    number: int
    do: str
    statuses: tuple[tuple[int, int], ...] = ()
    headers: tuple[tuple[str, Pattern | bool], ...] = ()
    types: tuple[str, ...] = ()
    values: Placed = ()
    text: Pattern | None = None
    failures: tuple[str, ...] = ()
    within: int = 65_536
    wait: Wait | None = None
    reason: str = ""

    def told(self, said: str) -> str:
        """Return the sentence for an answer of which `said` tells: what it was, which rule matched, and why."""
        return f"{said}; rule {self.number}" + (f": {self.reason}" if self.reason else "")


class Rules:
    """The rules of one connector, in order. Holds no state."""

    __slots__ = ("_rules", "_values")

    def __init__(self, options: Sequence[RuleOptions]) -> None:
        self._values = Values([rule.body for rule in options])
        self._rules = tuple(
            _rule(number, rule, wanted)
            for number, (rule, wanted) in enumerate(zip(options, self._values.wanted, strict=True), start=1)
        )

    def first(self, outcome: Response | FetchError) -> Rule | None:
        """Return the first rule that matches what came of an attempt."""
        if isinstance(outcome, FetchError):
            for rule in self._rules:
                if outcome.slug in rule.failures:
                    return rule
            return None
        values: Found = None
        looked = False
        for rule in self._rules:
            if not _has_head(outcome, rule) or not _has_text(outcome, rule):
                continue
            if rule.values:
                if len(outcome.body) > rule.within:
                    continue
                if not looked:
                    looked = True
                    values = self._values.of(outcome.body)
                if not meets(values, rule.values):
                    continue
            return rule
        return None

    def may_match(self, head: Response, held: int) -> bool:
        """Return whether any rule may match an answer with this head, whose body is larger than `held` bytes."""
        return any(
            _has_head(head, rule) and (not rule.values or rule.within > held or rule.text is not None)
            for rule in self._rules
        )


def asked(rule: Rule, outcome: Response | FetchError, *, now: float) -> tuple[float, bool] | None:
    """Return the seconds that a rule says to wait, and whether it is the answer that says so; None when nobody does."""
    wait = rule.wait
    if wait is None:
        return None
    if wait.seconds is not None:
        return wait.seconds, False
    if isinstance(outcome, FetchError):
        return None
    said = outcome.header(wait.header) if wait.pointer is None else _text(wait.pointer, outcome, rule.within)
    seconds = None if said is None else patience(said, now=now, unit=wait.unit)
    return None if seconds is None else (seconds, True)


def _rule(number: int, options: RuleOptions, values: Placed) -> Rule:
    wait = options.wait
    return Rule(
        number,
        options.do,
        options.status,
        options.header,
        options.content_type,
        values,
        pattern(options.body),
        options.failure,
        options.within,
        None
        if wait is None
        else Wait(
            None if wait.after is None else wait.after.total_seconds(),
            (wait.header or "").lower(),
            wait.body,
            wait.unit,
        ),
        options.reason,
    )


def _has_head(response: Response, rule: Rule) -> bool:
    """Return whether an answer has the status, the type and the headers that a rule wants."""
    if rule.failures:
        return False
    if rule.statuses and not any(low <= response.status <= high for low, high in rule.statuses):
        return False
    return (not rule.types or _is_of(response, rule.types)) and (not rule.headers or _has(response, rule.headers))


def _has_text(response: Response, rule: Rule) -> bool:
    body = response.body
    return rule.text is None or rule.text.found(body, min(rule.within, len(body)))


def _is_of(response: Response, types: tuple[str, ...]) -> bool:
    kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
    for wanted in types:
        before, star, after = wanted.partition("*")
        if star:
            if len(kind) >= len(before) + len(after) and kind.startswith(before) and kind.endswith(after):
                return True
        elif kind == wanted:
            return True
    return False


def _has(response: Response, headers: tuple[tuple[str, Pattern | bool], ...]) -> bool:
    for name, wanted in headers:
        values = [value for key, value in response.headers if key == name]
        if isinstance(wanted, bool):
            if bool(values) is not wanted:
                return False
        elif not any(wanted.found(value.encode(errors="replace")) for value in values):
            return False
    return True


def _text(pointer: Pointer, response: Response, within: int) -> str | None:
    if len(response.body) > within:
        return None
    try:
        raw = extract(pointer, response.body.removeprefix(MARK))
        return None if raw is None else scalar_text(bytes(raw))
    except ValueError:
        return None
