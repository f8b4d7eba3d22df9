"""Owns how only what is new is asked for: a cursor and the parameter that takes it, or what drops repeats. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from headwater.discover.asking import Ask, marks
from headwater.discover.fields import Time, time_of
from headwater.discover.finding import Certainty, Finding
from headwater.discover.items import Items
from headwater.discover.vocabulary import SINCE

# Where a cursor begins when nothing says so: so long ago (seconds).
_AGO: Final = 30 * 86_400
_FILTERS: Final = {"iso": "iso", "date": "date('%Y-%m-%d')", "unix": "unix", "unix_ms": "unix_ms"}


class Parameter(msgspec.Struct, frozen=True):
    """A parameter that a document names: how its value is spelt (`iso`, `date`, `unix`, `unix_ms`), and its words."""

    name: str
    spelling: str = "iso"
    text: str = ""


def since(ask: Ask, items: Items, documented: list[Parameter], now: float) -> tuple[Ask, list[Finding]]:
    """Return what is asked for with a cursor in it where a parameter takes one, and the findings."""
    parameter, given = _parameter(ask, documented)
    if parameter is None or items.time is None:
        return ask, _without(items, parameter)
    time = items.time
    name = "updated" if time.changes else "newest"
    begins = given or _spelt(now - _AGO, time.spelling)
    where = f"the document says of it: {parameter.text}" if parameter.text else "the request has it"
    certainty = Certainty.LIKELY if given or documented else Certainty.GUESS
    if not time.changes and not any(
        word in parameter.name.lower() for word in ("creat", "since", "start", "from", "after")
    ):
        certainty = Certainty.GUESS
    findings = [
        Finding(
            f"cursor.{name}.from", time.pointer, f"the newest of it is remembered; {parameter.name} takes it", certainty
        ),
        Finding(f"cursor.{name}.take", "max", "over all items of a round", certainty),
        Finding(f"cursor.{name}.initial", begins, "where it begins the first time", certainty),
        Finding(f"cursor.{name}.look_back", "5m", "for what appears late; repeats are dropped below", certainty),
    ]
    if certainty is Certainty.GUESS:
        return ask, [*findings, *_without(items, parameter)]
    expression = f"cursor.{name}"
    if parameter.spelling != time.spelling and parameter.spelling in _FILTERS:
        expression = f"{expression} | {_FILTERS[parameter.spelling]}"
    kept = tuple(it for it in ask.params if it[0] != parameter.name)
    findings += [
        Finding(f"params.{parameter.name}", "${{ " + expression + " }}", f"asks for what is newer; {where}", certainty),
        *_repeats(items),
    ]
    return ask.replace(params=kept), findings


def _parameter(ask: Ask, documented: list[Parameter]) -> tuple[Parameter | None, str]:
    for name, value in ask.params:
        if SINCE.match(name) and not marks(value):
            spelling = time_of(value, "date") or next((it.spelling for it in documented if it.name == name), None)
            if spelling is not None:
                text = next((it.text for it in documented if it.name == name), "")
                return Parameter(name, spelling, text), value
    ranked = sorted(documented, key=lambda it: 0 if {"upd", "mod", "chang"} & {it.name.lower()[:3]} else 1)
    return next((it for it in ranked if SINCE.match(it.name)), None), ""


def _without(items: Items, parameter: Parameter | None) -> list[Finding]:
    """Return what drops repeats where each round brings everything again."""
    findings = _repeats(items)
    if items.time is None and parameter is not None:
        reason = f"the parameter {parameter.name} could ask for what is new, but no item has a time"
        findings.append(Finding("", None, reason, Certainty.GUESS))
    return findings


def _repeats(items: Items) -> list[Finding]:
    if not items.items:
        return []
    reason = "what comes again as it was is not stored again; `by: key` would also drop what has changed"
    return [Finding("deduplicate.by", "value", reason, Certainty.LIKELY)]


def newest_first(time: Time | None) -> bool:
    """Return whether items come with the newest first."""
    if time is None or len(time.field.values) < 3:
        return False
    values: list[Any] = [str(it) if isinstance(it, str) else it for it in time.field.values]
    try:
        return values == sorted(values, reverse=True) and values[0] != values[-1]
    except TypeError:
        return False


def _spelt(seconds: float, spelling: str) -> Any:
    day = datetime.fromtimestamp(seconds, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if spelling == "unix":
        return int(day.timestamp())
    if spelling == "unix_ms":
        return int(day.timestamp()) * 1000
    return day.strftime("%Y-%m-%d" if spelling == "date" else "%Y-%m-%dT%H:%M:%SZ")
