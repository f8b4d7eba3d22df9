"""Owns the telling of which part of an answer is a list of items, and what each item's key and time are. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from headwater.core.pointer import WHOLE, Pointer
from headwater.discover.body import Sample
from headwater.discover.fields import Field, Time, fields_of, find_id, find_time
from headwater.discover.finding import Certainty, Finding, remark
from headwater.discover.vocabulary import BESIDE, ITEMS, pieces

_DEEPEST: Final = 8
_MOST_PLACES: Final = 5000


class Items(msgspec.Struct, frozen=True):
    """The items of an answer: the findings about them, the items themselves, and which fields they have.

    `split` is where they are in JSON, None where the format or the whole answer says it. `about` is what they are.
    """

    findings: tuple[Finding, ...] = ()
    items: list[Any] = []
    fields: list[Field] = []
    split: Pointer | None = None
    time: Time | None = None
    about: str = ""

    @property
    def key(self) -> str | None:
        """Where an item has its key."""
        return next((str(it.value) for it in self.findings if it.option == "records.key"), None)


def find_items(sample: Sample, about: str = "") -> Items:
    """Return what of an answer is a list of items. `about` is what the address calls them."""
    if sample.format == "json":
        return _in_json(sample, about)
    told: list[Finding] = []
    if sample.format in {"ndjson", "json-seq"}:
        told.append(Finding("records.format", sample.format, sample.reason, Certainty.SURE))
    elif sample.format == "csv":
        told.append(Finding("records.format", "csv", sample.reason, Certainty.SURE))
        if sample.delimiter != ",":
            shown = "a tab" if sample.delimiter == "\t" else sample.delimiter
            told.append(
                Finding("records.delimiter", sample.delimiter, f"columns are parted by {shown}", Certainty.SURE)
            )
    elif sample.format == "xml" and sample.element:
        told.append(Finding("records.format", "xml", sample.reason, Certainty.SURE))
        told.append(Finding("records.element", sample.element, "the element that repeats", Certainty.SURE))
    elif sample.format == "text" and sample.count > 1:
        reason = f"{sample.reason}, {sample.count} lines: each is a record"
        return Items((Finding("records.format", "delimited", reason),), list(sample.rows))
    else:
        return Items((remark(f"no list of items was found: {sample.reason}"),))
    return _described(told, sample.rows, None, about or sample.element)


def _in_json(sample: Sample, about: str) -> Items:
    document = sample.document
    if isinstance(document, list):
        reason = f"the answer is an array of {len(document)}"
        return _described([Finding("records.split", "/", reason, Certainty.SURE)], document, WHOLE, about)
    if not isinstance(document, dict):
        return Items((remark("the answer is a single value"),))
    candidates = sorted(_arrays(document), key=lambda it: -it[0])
    whole = _described([], [document], None, about)
    own = _record_score(document, whole)
    if candidates and candidates[0][0] > max(0.5, own):
        score, pointer, array = candidates[0]
        name = pointer.steps[-1]
        holds = f"an array of {len(array)}" if array else "an array, empty now,"
        why = f"{holds} called {name}"
        if len(candidates) > 1 and candidates[1][0] > 0.5:
            why = f"{why}; {candidates[1][1]} is another"
        sure = Certainty.SURE if score >= 5 and array else Certainty.LIKELY
        known = about if name.lower() in ITEMS and about else name
        return _described([Finding("records.split", str(pointer), why, sure)], array, pointer, known)
    findings = [remark("the whole answer is one record: no array in it looks like a list of items")]
    values = list(document.values())
    if len(values) > 3 and all(isinstance(it, dict) and it.keys() == values[0].keys() for it in values[:20]):
        findings = [remark(f"the answer is a map of {len(values)} alike objects, which cannot be split by a pointer")]
    return msgspec.structs.replace(whole, findings=(*findings, *whole.findings))


def _described(told: list[Finding], items: list[Any], split: Pointer | None, about: str) -> Items:
    fields = fields_of(items)
    found = list(told)
    key = find_id(fields, about)
    if key is not None and (split is not None or told):
        found.append(key)
    elif key is not None:
        # One object: what is called an id is one, what merely differs from nothing is not.
        found += [key] if key.value.lower().endswith(("/id", "/_id", "/uuid", "/key")) else []
    time = find_time(fields)
    if key is None and time is not None and len(items) > 1 and len(set(time.field.values)) == len(time.field.values):
        found.append(Finding("records.key", time.pointer, "no id was found, and each item has its own time"))
    if time is not None:
        what = "moves with each change" if time.changes else "a time by its name and its values"
        certainty = Certainty.SURE if time.score >= 3 else Certainty.LIKELY
        shown = str(time.field.values[0])[:40]
        found.append(Finding("records.timestamp", time.pointer, f"{what}, such as {shown}", certainty))
        if time.spelling.startswith("%"):
            found.append(Finding("records.timestamp_format", time.spelling, f"as {shown} is spelt", Certainty.LIKELY))
    return Items(tuple(found), items, fields, split, time, about)


def _arrays(document: dict[str, Any]) -> Iterator[tuple[float, Pointer, list[Any]]]:
    """Yield every array that is not inside of another, with how likely it holds the items."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), document)]
    for _ in range(_MOST_PLACES):
        if not waiting:
            return
        steps, value = waiting.pop(0)
        for key, below in value.items():
            place = (*steps, key)
            if isinstance(below, list):
                yield _list_score(place, below), Pointer(place), below
            elif isinstance(below, dict) and len(place) < _DEEPEST:
                waiting.append((place, below))


def _list_score(steps: tuple[str, ...], array: list[Any]) -> float:
    said = pieces(steps[-1])
    score = 0.0
    if steps[-1].lower() in ITEMS or (said and said[-1] in ITEMS):
        score += 3.0
    elif steps[-1].endswith("s"):
        score += 1.0
    for depth, step in enumerate(steps):
        if set(pieces(step)) & BESIDE and not (depth == len(steps) - 1 and step.lower() in ITEMS):
            score -= 4.0
    score -= (len(steps) - 1) * 0.5
    if not array:
        return score - 1.5
    score += min(len(array), 5) * 0.4
    first = array[:20]
    if all(isinstance(it, dict) for it in first):
        score += 3.0
        fields = fields_of(first)
        key = find_id(fields)
        score += 1.0 if key is not None and key.certainty >= Certainty.LIKELY else 0.0
        score += 0.7 if find_time(fields) is not None else 0.0
    elif all(isinstance(it, list) for it in first):
        score += 1.5
    else:
        score -= 1.5
    return score


def _record_score(document: dict[str, Any], whole: Items) -> float:
    """Return how likely an object is a record itself, instead of what stands around a list."""
    scalars = sum(isinstance(it, str | int | float) for it in document.values())
    score = min(scalars, 6) * 0.3
    if whole.key is not None and whole.key.count("/") == 1:
        score += 2.0
    if whole.time is not None and whole.time.field.depth == 0:
        score += 1.5
    return score
