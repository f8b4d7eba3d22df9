"""Owns the telling of which fields of items are their ids and their times, by names and by values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from headwater.core.pointer import Pointer
from headwater.discover.finding import Certainty, Finding
from headwater.discover.vocabulary import CREATED, MOMENTS, UPDATED, WRAPPERS, pieces

# So many items are looked at, so deep, and so many fields of each.
_MOST_ITEMS: Final = 50
_DEEPEST: Final = 4
_MOST_FIELDS: Final = 400
_IDS: Final = {
    "id": 10.0, "_id": 10.0, "@id": 9.5, "uuid": 9.5, "guid": 9.5, "gid": 8.0, "uid": 9.0, "key": 7.0, "rid": 7.0,
    "identifier": 9.0, "objectid": 9.0, "unique_key": 9.0, "sku": 6.0, "slug": 5.0, "number": 5.0, "no": 4.0,
    "nr": 4.0, "isbn": 6.0, "symbol": 5.0, "ticker": 5.0, "code": 5.0, "ts": 3.5, "name": 3.0, "username": 5.0,
    "login": 4.5, "email": 4.0, "fullurl": 5.0, "self": 4.0, "url": 3.5, "href": 3.0, "link": 3.0, "title": 1.0,
    "hash": 5.0, "sha": 7.0,
}  # fmt: skip
_SCALARS = str | int | float
# From 2000 to 2100, in seconds.
_EPOCHS: Final = (946_684_800, 4_102_444_800)
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,]\d+)?)?\s*(Z|UTC|GMT|[+-]\d\d:?(?:\d\d)?)?)?",
    re.IGNORECASE,
)
_LOCAL_DATES: Final = (
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"), "%d.%m.%Y"),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{4} \d\d:\d\d"), "%d.%m.%Y %H:%M"),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{4} \d\d:\d\d:\d\d"), "%d.%m.%Y %H:%M:%S"),
    (re.compile(r"\d{4}/\d\d/\d\d"), "%Y/%m/%d"),
    (re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"), "%Y/%m/%d %H:%M:%S"),
)


class Field(msgspec.Struct, frozen=True):
    """A field of items: where it is, and its value in each of those that were looked at."""

    pointer: Pointer
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The field's own name."""
        return self.pointer.steps[-1] if self.pointer.steps else ""

    @property
    def depth(self) -> float:
        """How deep it stands; what items are wrapped into counts little."""
        above = self.pointer.steps[:-1]
        return sum(0.3 if step.strip("_$").lower() in WRAPPERS else 1.0 for step in above)


def fields_of(items: Sequence[Any]) -> list[Field]:
    """Return the scalar fields that every item has."""
    looked = [item for item in items[:_MOST_ITEMS] if isinstance(item, dict | list)]
    if not looked:
        return []
    found: list[Field] = []
    for steps, _ in _walk(looked[0], ()):
        if len(found) >= _MOST_FIELDS:
            break
        pointer = Pointer(steps)
        values = tuple(pointer.find(item) for item in looked)
        if all(isinstance(value, _SCALARS) and not isinstance(value, bool) for value in values):
            found.append(Field(pointer, values))
    return found


def _walk(value: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if len(above) > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*above, key))
    elif isinstance(value, list) and not above:
        # A row; arrays inside of items have elements of their own.
        for place, item in enumerate(value[:50]):
            yield from _walk(item, (str(place),))
    elif above:
        yield above, value


def find_id(fields: Sequence[Field], about: str = "") -> Finding | None:
    """Return the field that tells items apart, None when none does. `about` is what the items are called."""
    best: tuple[float, Field] | None = None
    for field in fields:
        score = _id_score(field, about)
        if score > 0 and (best is None or score > best[0]):
            best = score, field
    if best is None:
        return None
    score, field = best
    count = len(field.values)
    if not field.name.isdigit():
        told = "by its name" if score >= 3 else "as the first field that differs"
    else:
        told = "as the first column"
    unique = f"in {count} items and different in each" if count > 1 else "in the only item there was"
    certainty = Certainty.SURE if score >= 8 and count > 1 else Certainty.LIKELY
    return Finding("records.key", str(field.pointer), f"{told}; {unique}", certainty)


def _id_score(field: Field, about: str) -> float:
    values = field.values
    if len(set(map(str, values))) < len(values) or any(it == "" or isinstance(it, float) for it in values):
        return 0.0
    if any(isinstance(it, str) and (len(it) > 300 or "\n" in it) for it in values):
        return 0.0
    name = field.name
    said = pieces(name)
    score = _IDS.get(name.lower().strip("@") if name.lower() not in _IDS else name.lower(), 0.0)
    if not score and said:
        singular = _singular(about)
        if said[-1] in {"id", "uuid", "guid", "key"}:
            own = "".join(said[:-1]) in {singular, about.lower()} or len(said) == 1
            score = 8.0 if own else 4.5
        elif said[-1] in {"number", "no", "code", "nr", "identifier", "sku"}:
            score = 4.0
        elif "".join(said) == singular:
            score = 3.0
    if not score:
        if name == "0" and isinstance(values[0], int):
            score = 1.5
        elif _looks_like_id(values) and time_of(values[0], name) is None:
            score = 1.0 if len(values) > 1 else 0.0
    return score - field.depth * 2 if score else 0.0


def _looks_like_id(values: Sequence[Any]) -> bool:
    return all(
        (isinstance(it, int) and it >= 0) or (isinstance(it, str) and bool(re.fullmatch(r"[\w:./-]{1,64}", it)))
        for it in values
    )


def _singular(word: str) -> str:
    lower = "".join(pieces(word))
    if lower.endswith("ies"):
        return f"{lower[:-3]}y"
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") else lower


class Time(msgspec.Struct, frozen=True):
    """A field that is a time: how it is spelt, how likely it is one, and whether it moves with changes."""

    field: Field
    spelling: str
    score: float
    changes: bool

    @property
    def pointer(self) -> str:
        """Where it is."""
        return str(self.field.pointer)


def find_time(fields: Sequence[Field]) -> Time | None:
    """Return the field that is the items' time: of the last change if there is one, None when none is a time."""
    best: Time | None = None
    for field in fields:
        found = _time_of_field(field)
        if found is not None and (best is None or found.score > best.score):
            best = found
    return best


def _time_of_field(field: Field) -> Time | None:
    name = field.name
    spellings = {time_of(value, name) for value in field.values}
    if None in spellings:
        return None
    told = {str(it).partition("_")[0] for it in spellings} - {"date"}
    if len(told) > 1:
        return None
    spelling = next((str(it) for it in spellings if it != "date"), "date")
    said = set(pieces(name))
    changes = bool(said & UPDATED)
    if changes:
        score = 6.0
    elif said & CREATED:
        score = 4.0
    elif said & MOMENTS:
        score = 3.0
    else:
        # By its values alone: a text that is a time is one; a number that could be one is not.
        score = 1.0 if not spelling.startswith("unix") or name.isdigit() else 0.0
    if not score:
        return None
    if said & {"gmt", "utc"}:
        score += 0.5
    if said & {
        "end",
        "expires",
        "expiry",
        "due",
        "until",
        "birth",
        "birthday",
        "deleted",
        "archived",
        "closed",
        "scheduled",
    }:
        score -= 3.0
    score -= field.depth * 1.2
    if spelling == "date" or spelling.startswith("%"):
        score -= 0.4
    return Time(field, spelling, score, changes) if score > 0 else None


def time_of(value: Any, name: str = "") -> str | None:
    """Return how a value is spelt when it is a time: iso, date, rfc2822, unix, unix_ms and the like, or a format."""
    if isinstance(value, int | float):
        return _epoch(float(value))
    if not isinstance(value, str) or not 6 <= len(value) <= 60:
        return None
    text = value.strip()
    if (found := _ISO.fullmatch(text)) is not None:
        return _iso(found, name)
    if re.fullmatch(r"\d{9,19}(\.\d{1,9})?", text):
        return _epoch(float(text))
    for pattern, form in _LOCAL_DATES:
        if pattern.fullmatch(text):
            return form
    return "rfc2822" if _is_rfc2822(text) else None


def _iso(found: re.Match[str], name: str) -> str | None:
    if "-" not in found[0][:8] and not found[4] and not set(pieces(name)) & (UPDATED | CREATED | MOMENTS):
        return None  # eight digits may be any number
    try:
        datetime(int(found[1]), int(found[2]), int(found[3]), int(found[4] or 0), int(found[5] or 0), tzinfo=UTC)
    except ValueError:
        return None
    return "iso" if found[4] else "date"


def _is_rfc2822(text: str) -> bool:
    if not re.match(r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{2,4} \d\d:\d\d", text):
        return False
    try:
        parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return False
    return True


def _epoch(number: float) -> str | None:
    for spelling, unit in (("unix", 1), ("unix_ms", 10**3), ("unix_us", 10**6), ("unix_ns", 10**9)):
        if _EPOCHS[0] * unit <= number < _EPOCHS[1] * unit:
            return spelling
    return None
