"""Owns one expression of a template, `cursor.updated | iso`: its parts, its filters, and its value in a scope. Pure.

Where it stands in a text, and how its value is escaped there, is the template's.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from headwater.core.errors import RequestError
from headwater.core.instant import NS, Instant, read_instant, read_unix
from headwater.core.pointer import MISSING, Pointer, parse_pointer
from headwater.core.units import parse_duration

# What stands before the first dot, and what may stand behind it; None for names that the configuration gives.
SPACES: Final[dict[str, tuple[str, ...] | None]] = {
    "cursor": None,
    "window": ("start", "end"),
    "scheduled": (),
    "page": ("number", "offset", "token", "size"),
    "item": None,
    "request": ("method", "url", "host", "path"),
}
_PARTS = re.compile(
    r"""\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\.\s*([^\s|'"()\[\]]+)|\[\s*(?:"([^"]*)"|'([^']*)')\s*\])?\s*(\||$)""",
    re.ASCII | re.DOTALL,
)
_FILTER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(\()?", re.ASCII)
_ARGUMENT = re.compile(
    r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(-?\d+(?:\.\d+)?|null|true|false))\s*([,)])""", re.DOTALL
)
_DIRECTIVES = frozenset("aAbBdefFGHIjmMpSTuUVwWyYzZ%-")
_LONGEST_SHOWN: Final = 60
# Numbers have at most so many digits: more are no number that anybody counts with.
_EXACT: Final = Context(prec=1000)


class Number:
    """A number that is no integer, or not written like one, by its own digits. Immutable."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text!r})"


_DECODER = msgspec.json.Decoder(float_hook=Number)


class ExpressionError(ValueError):
    """An expression that cannot be meant. `suggestion` says what would be right, if anything is near."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


class Encoded(str):
    """A text that is percent-encoded already."""

    __slots__ = ()


class Json(str):
    """A text that is JSON already."""

    __slots__ = ()


class Call(NamedTuple):
    """One filter with its arguments."""

    name: str
    arguments: tuple[Any, ...]


class Expression(msgspec.Struct, frozen=True):
    """One expression. `space` and `name` say what is asked for, `filters` what is done with it, one after the other.

    `name` is as it was written: that of a cursor, `start` of a window, a pointer into an item. `pointer` leads to the
    value within its space.
    """

    source: str
    space: str
    name: str
    pointer: Pointer
    filters: tuple[Call, ...] = ()

    @property
    def has_default(self) -> bool:
        """Whether a value that is missing is none too many."""
        return any(call.name == "default" for call in self.filters)


def parse_expression(source: str, spaces: Mapping[str, tuple[str, ...] | None] = SPACES) -> Expression:
    """Read what stands between `${{` and `}}`. Raises ExpressionError."""
    match = _PARTS.match(source)
    shown = source.strip() if len(source) <= _LONGEST_SHOWN else f"{source[:_LONGEST_SHOWN].strip()}..."
    if match is None:
        raise ExpressionError(f"{shown!r} is no expression", "write ${{ name.part | filter('argument') }}")
    space, dotted, double, single, more = match.groups()
    name = next((group for group in (dotted, double, single) if group is not None), "")
    if space not in spaces:
        raise ExpressionError(f"there is no {space!r} to take a value from", near(space, spaces))
    known = spaces[space]
    if not name and (known or (known is None and space != "item")):
        hint = f"write {space}.{known[0] if known else 'NAME'}"
        raise ExpressionError(f"{space} alone is no value", hint)
    if name and known is not None and name not in known:
        listed = f"; it has {' and '.join(known)}" if known else "; it is a value by itself"
        raise ExpressionError(f"there is no {name!r} in {space}{listed}", near(name, known))
    filters = tuple(_filters(source, match.end())) if more else ()
    return Expression(source.strip(), space, name, _pointer(name, space), filters)


def _pointer(name: str, space: str) -> Pointer:
    """Return the way to a value within its space. Only items have more than names."""
    if space != "item":
        return Pointer((name,) if name else ())
    try:
        return parse_pointer(name)
    except ValueError as error:
        raise ExpressionError(str(error)) from None


def near(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """Return `did you mean 'x'?` for the known name nearest to one, else those that there are."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    if found:
        return f"did you mean {found[0]!r}?"
    return f"there is {', '.join(known)}" if known else ""


def _filters(source: str, position: int) -> list[Call]:
    calls = []
    while True:
        match = _FILTER.match(source, position)
        if match is None:
            raise ExpressionError("a filter is missing behind |", f"there is {', '.join(FILTERS)}")
        name, position = match[1], match.end()
        if name not in FILTERS:
            raise ExpressionError(f"there is no filter {name!r}", near(name, FILTERS))
        arguments: list[Any] = []
        if match[2]:
            position = _arguments(source, position, name, arguments)
        calls.append(_checked(name, tuple(arguments)))
        rest = source[position:].lstrip()
        if not rest:
            return calls
        if rest[0] != "|":
            raise ExpressionError(f"{rest[:20]!r} is not expected behind the filter {name}", "part filters with |")
        position = len(source) - len(rest) + 1


def _arguments(source: str, position: int, name: str, arguments: list[Any]) -> int:
    if source[position:].lstrip()[:1] == ")":
        return source.index(")", position) + 1
    while True:
        match = _ARGUMENT.match(source, position)
        if match is None:
            raise ExpressionError(f"the argument of {name} is no text in quotes", f"write {FILTERS[name].example}")
        single, double, word, end = match.groups()
        if word is None:
            text = single if single is not None else double
            arguments.append(re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL))
        else:
            arguments.append(_DECODER.decode(word))
        position = match.end()
        if end == ")":
            return position


def _checked(name: str, arguments: tuple[Any, ...]) -> Call:
    kind = FILTERS[name]
    if not kind.fewest <= len(arguments) <= kind.most:
        raise ExpressionError(f"the filter {name} cannot have {len(arguments)} arguments", f"write {kind.example}")
    if kind.check is not None:
        kind.check(*arguments)
    return Call(name, arguments)


def look_up(expression: Expression, scope: Mapping[str, Any]) -> Any:
    """Return what an expression asks for, before its filters; None where there is none."""
    value = scope.get(expression.space)
    steps = expression.pointer.steps
    if not steps:
        return value
    if len(steps) == 1 and type(value) is dict:
        return value.get(steps[0])
    value = expression.pointer.find(value)
    return None if value is MISSING else value


def evaluate(expression: Expression, scope: Mapping[str, Any]) -> Any:
    """Return the value of an expression, None where there is none. Raises RequestError for one a filter cannot take."""
    return filtered(expression, look_up(expression, scope))


def filtered(expression: Expression, value: Any) -> Any:
    """Return a value after the filters of an expression. Raises RequestError for one that they cannot take."""
    for name, arguments in expression.filters:
        if value is None:
            if name == "default":
                value = arguments[0]
            continue
        try:
            value = FILTERS[name].apply(value, *arguments)
        except (ValueError, OverflowError) as error:
            raise RequestError(
                f"${{{{ {expression.source} }}}} has no value: {error}",
                hint=f"the filter {name} cannot take what is there; name another, or give a default before it",
            ) from error
    return value


def text_of(value: Any) -> str:
    """Return a value as a text: numbers by their digits, times as they are spelt, lists and maps as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Number | Instant):
        return value.text
    if isinstance(value, bool | list | dict) or value is None:
        return json_of(value)
    return str(value)


def json_of(value: Any) -> str:
    """Return a value as JSON; times are texts, but for Unix times, and numbers keep their digits."""
    if isinstance(value, Json):
        return value
    if isinstance(value, Instant):
        return value.text if value.form == "unix" else _ENCODER.encode(value.text).decode()
    return _ENCODER.encode(value).decode()


def _raw(value: object) -> object:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    # A kind of text of ours.
    return str.__str__(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_raw)


def instant_of(value: Any) -> Instant:
    """Return the time that a value stands for; numbers are Unix times. Raises ValueError for one that is none."""
    if isinstance(value, Instant):
        return value
    text = text_of(value)
    found = read_unix(text) if isinstance(value, int | float | Number) else read_instant(text) or read_unix(text)
    if found is None or isinstance(value, bool):
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
        raise ValueError(f"{shown!r} is no time")
    return found


def _date(value: Any, form: str, zone: str = "UTC") -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant_of(value).ns // 1000)
    return moment.astimezone(ZoneInfo(zone)).strftime(form)


def _check_date(form: Any, zone: Any = "UTC") -> None:
    if not isinstance(form, str) or not isinstance(zone, str):
        raise ExpressionError("the filter date takes texts", f"write {FILTERS['date'].example}")
    directives = re.findall(r"%(.?)", form, re.DOTALL)
    if not directives or any(letter not in _DIRECTIVES or not letter for letter in directives):
        raise ExpressionError(f"{form!r} is no form of a date", "write date('%Y-%m-%d')")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ExpressionError(f"{zone!r} is no time zone", "write a name such as Europe/Berlin") from None


def _moved(value: Any, by: Any, sign: int) -> Any:
    """Return a time or a number that is so much later or larger; a duration of a number is one of a Unix time."""
    if isinstance(by, str):
        return instant_of(value).moved(sign * duration_ns(by))
    if isinstance(value, int) and isinstance(by, int):
        return value + sign * by
    return moved_number(value, text_of(by) if sign > 0 else f"-{text_of(by)}")


def moved_number(value: Any, by: str) -> Number:
    """Return a number that is larger by another one, with every digit. Raises ValueError for what is no number."""
    try:
        moved = _EXACT.add(Decimal(text_of(value)), Decimal(by))
    except ArithmeticError:
        raise ValueError(f"{text_of(value)[:_LONGEST_SHOWN]!r} is no number") from None
    return Number(format(moved, "f"))


def duration_ns(text: str) -> int:
    """Return the nanoseconds of a duration as people write it. Raises ValueError."""
    return round(parse_duration(text) / timedelta(microseconds=1)) * 1000


def _check_moved(by: Any) -> None:
    if isinstance(by, str):
        try:
            duration_ns(by)
        except ValueError as error:
            raise ExpressionError(str(error), "write minus('1s')") from None
    elif isinstance(by, bool) or not isinstance(by, int | Number):
        raise ExpressionError("only a duration or a number can be added", "write minus('1s') or minus(1)")


def _base64(value: Any) -> str:
    return base64.b64encode(text_of(value).encode("utf-8", "surrogatepass")).decode()


class Filter(NamedTuple):
    """What a filter does, how many arguments it has, and an example of it."""

    apply: Callable[..., Any]
    example: str
    fewest: int = 0
    most: int = 0
    check: Callable[..., None] | None = None


FILTERS: Final[dict[str, Filter]] = {
    "iso": Filter(lambda value: instant_of(value).iso, "iso"),
    "unix": Filter(lambda value: instant_of(value).ns // NS, "unix"),
    "unix_ms": Filter(lambda value: instant_of(value).ns // 1_000_000, "unix_ms"),
    "date": Filter(_date, "date('%Y-%m-%d')", 1, 2, _check_date),
    "plus": Filter(lambda value, by: _moved(value, by, 1), "plus('1s')", 1, 1, _check_moved),
    "minus": Filter(lambda value, by: _moved(value, by, -1), "minus('1s')", 1, 1, _check_moved),
    "default": Filter(lambda value, _: value, "default('x')", 1, 1),
    "json": Filter(lambda value: Json(json_of(value)), "json"),
    "url": Filter(lambda value: Encoded(quote(text_of(value), safe="")), "url"),
    "base64": Filter(_base64, "base64"),
}
