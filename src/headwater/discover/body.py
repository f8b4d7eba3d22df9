"""Owns what the body of an answer is: its format, and its rows as JSON values, as far as a look at it needs them.

Input is hostile: everything is bounded, and what cannot be read is said to be so. Which rows matter is `items`'.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from typing import Any, Final, Literal
from xml.parsers import expat

import msgspec

Format = Literal["json", "ndjson", "json-seq", "csv", "xml", "html", "text", "stream", "binary", "empty", "broken"]

# So much is looked at (rows; elements; levels; characters of a value).
MOST_ROWS: Final = 200
_MOST_ELEMENTS: Final = 200_000
_DEEPEST: Final = 60
_LONGEST_VALUE: Final = 2000
_DELIMITERS: Final = ",;\t|"
# Of JSON: texts, which may hold anything, and what parts the rest.
_SIGNS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')
_MOST_MENDED: Final = 1024 * 1024


class Sample(msgspec.Struct, frozen=True):
    """A body that was looked at. `document` is its JSON value; of what has rows, `rows` are the first of them.

    `delimiter` is of CSV, `element` of XML; `columns` its header row. `reason` says how the format was told.
    """

    format: Format
    reason: str
    document: Any = None
    rows: list[Any] = []
    delimiter: str = ""
    element: str = ""
    # Of XML: how many of the element there are; of CSV: the names in its first row.
    count: int = 0
    columns: list[str] = []


def look(body: bytes, content_type: str) -> Sample:
    """Say what a body is. `content_type` is the header's value, empty when there is none."""
    kind = content_type.partition(";")[0].strip().lower()
    said = f"Content-Type {kind}" if kind else "the body"
    if not body.strip():
        return Sample("empty", "the answer has no body")
    if kind == "text/event-stream":
        return Sample("stream", said)
    text = _text(body, content_type)
    if text is None:
        return Sample("binary", f"{said} is no text")
    bare = text.lstrip("\ufeff \t\r\n")
    if bare[:1] == "\x1e":
        return _sequence(bare, said)
    if bare[:1] == "<" or "xml" in kind or kind == "text/html":
        if kind == "text/html" or re.match(r"(?i)<!doctype html|<html|<head|<body", bare):
            return Sample("html", f"{said} is a page for people")
        return _xml(bare, said)
    sample = _json(bare, said)
    if sample is not None:
        return sample
    if "json" in kind:
        return Sample("broken", f"{said}, but the body is no JSON")
    return _lines(text.lstrip("\ufeff"), kind, said)


def mended(body: bytes) -> bytes:
    """Return the beginning of a body as one that is whole: up to the last item or line that is, brackets closed."""
    text = body.decode("utf-8", "ignore")
    if text.lstrip("\ufeff \t\r\n")[:1] not in {"{", "["}:
        return text[: text.rfind("\n") + 1].encode() or body
    brackets: list[str] = []
    # Up to where an element of a list was whole, and what was open there.
    whole: tuple[int, list[str]] | None = None
    for found in _SIGNS.finditer(text[:_MOST_MENDED]):
        sign = found[0]
        if sign in {"{", "["}:
            brackets.append("}" if sign == "{" else "]")
        elif sign in {"}", "]"}:
            if brackets:
                brackets.pop()
            if not brackets:
                # One value after the other, a line each perhaps.
                whole = found.end(), []
        elif sign == "," and brackets and brackets[-1] == "]":
            whole = found.start(), list(brackets)
    if whole is None:
        return body
    end, left = whole
    return (text[:end] + "".join(reversed(left))).encode()


def _text(body: bytes, content_type: str) -> str | None:
    found = re.search(r"charset=[\"']?([\w-]+)", content_type, re.IGNORECASE)
    for encoding in (found[1] if found else "utf-8", "utf-8", "windows-1252"):
        try:
            text = body.decode(encoding)
        except (LookupError, UnicodeError):
            continue
        # Text has line breaks and tabs, and hardly anything else below the blank.
        odd = len(re.findall(r"[\x00-\x08\x0e-\x1a\x7f]", text[:10_000]))
        return None if odd > len(text[:10_000]) // 100 else text
    return None


def _json(text: str, said: str) -> Sample | None:
    try:
        document = _decoded(text)
    except RecursionError:
        return Sample("broken", f"{said}: the JSON is nested too deeply")
    except ValueError:
        return _ndjson(text, said)
    return Sample("json", f"{said}, and the body is JSON", document)


def _decoded(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError, or RecursionError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        # Some APIs answer with surrogates that stand alone, which only this one reads.
        return json.loads(text)


def _ndjson(text: str, said: str) -> Sample | None:
    rows: list[Any] = []
    for line in text.splitlines()[: 2 * MOST_ROWS]:
        if not line.strip():
            continue
        if len(rows) >= MOST_ROWS:
            break
        try:
            rows.append(_decoded(line))
        except (ValueError, RecursionError):
            if len(rows) < 2:
                return None
            break
    if len(rows) < 2 or not all(isinstance(row, dict | list) for row in rows):
        return None
    return Sample("ndjson", f"{said}, and each line is JSON by itself", rows=rows, count=len(rows))


def _sequence(text: str, said: str) -> Sample:
    rows = []
    for piece in text.split("\x1e")[1 : MOST_ROWS + 1]:
        try:
            rows.append(_decoded(piece))
        except (ValueError, RecursionError):
            continue
    return Sample("json-seq", f"{said}, and each text begins with a record separator", rows=rows, count=len(rows))


def _lines(text: str, kind: str, said: str) -> Sample:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = "\t" if "tab-separated" in kind else _delimiter(lines)
    if delimiter and (len(lines) > 1 or "csv" in kind):
        reader = csv.reader(io.StringIO(text[: 4 * 1024 * 1024], newline=""), delimiter=delimiter)
        try:
            table = [row for _, row in zip(range(MOST_ROWS + 1), (row for row in reader if row), strict=False)]
        except csv.Error:
            table = []
        if len(table) > 1 and len(set(table[0])) == len(table[0]) and all(name.strip() for name in table[0]):
            rows: list[Any] = [dict(zip(table[0], row, strict=False)) for row in table[1:]]
            reason = f"{said}, and the rows have {len(table[0])} columns"
            return Sample("csv", reason, rows=rows, delimiter=delimiter, count=len(rows), columns=table[0])
    return Sample("text", said, rows=[line[:_LONGEST_VALUE] for line in lines[:MOST_ROWS]], count=len(lines))


def _delimiter(lines: list[str]) -> str:
    """Return what parts the columns: the sign that each of the first lines has equally often, quotes left out."""
    heads = [re.sub(r'"[^"]*"', "", line) for line in lines[:10]]
    for sign in _DELIMITERS:
        counts = {head.count(sign) for head in heads if head.count('"') == 0}
        if len(counts) == 1 and counts.pop() > 0 and len(heads) > 1:
            return sign
    return ""


class _TooMuchError(Exception):
    """The document passes a bound."""


class _Element:
    """An element under way: its path, its text, and what stands in it."""

    __slots__ = ("children", "name", "path", "text", "value")

    def __init__(self, name: str, path: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.path = path
        self.text: list[str] = []
        self.children: Counter[str] = Counter()
        self.value: dict[str, Any] = {f"@{_local(key)}": value[:_LONGEST_VALUE] for key, value in attributes.items()}


class _Walk:
    """Walks through XML, counting what repeats, with the first elements of each path as values."""

    def __init__(self) -> None:
        self.repeated: Counter[str] = Counter()
        self.names: dict[str, set[str]] = {}
        self.values: dict[str, list[Any]] = {}
        self.composed: Counter[str] = Counter()
        self._open: list[_Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MOST_ELEMENTS or len(self._open) > _DEEPEST:
            raise _TooMuchError
        local = _local(name)
        above = self._open[-1] if self._open else None
        path = f"{above.path if above else ''}/{local}"
        if above is not None:
            above.children[local] += 1
            self.repeated[path] = max(self.repeated[path], above.children[local])
        self.names.setdefault(local, set()).add(path)
        self._open.append(_Element(local, path, attributes))

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text[:_LONGEST_VALUE])

    def end(self, name: str) -> None:  # noqa: ARG002 - expat's signature
        element = self._open.pop()
        text = "".join(element.text).strip()[:_LONGEST_VALUE]
        value: Any = element.value
        if text and not element.children:
            value = text  # its attributes stand beside it, and a pointer leads to the text all the same
        elif not value:
            value = ""
        if element.children:
            self.composed[element.path] += 1
        kept = self.values.setdefault(element.path, [])
        if len(kept) < MOST_ROWS:
            kept.append(value)
        if self._open:
            above = self._open[-1].value
            if len(above) < MOST_ROWS:
                above.setdefault(element.name, value)

    @staticmethod
    def refuse(*_: object) -> None:
        """Stop at a declaration of an entity: what it stands for could be anything."""
        raise _TooMuchError


def _xml(text: str, said: str) -> Sample:
    walk = _Walk()
    parser = expat.ParserCreate()
    parser.StartElementHandler = walk.start
    parser.EndElementHandler = walk.end
    parser.CharacterDataHandler = walk.data
    parser.EntityDeclHandler = walk.refuse
    try:
        # Its own declaration may name an encoding that the text has no more.
        parser.Parse(re.sub(r"^<\?xml[^>]*\?>", "", text).encode("utf-8", "replace"), True)
    except _TooMuchError:
        return Sample("broken", f"{said}: the XML is too large, too deep, or declares entities")
    except expat.ExpatError as error:
        return Sample("broken", f"{said}, but the body is no XML: {error}")
    path = _repeating(walk)
    if not path:
        return Sample("xml", f"{said}, and the body is XML without an element that repeats")
    name = path.rpartition("/")[2]
    element = name if walk.names[name] == {path} else path
    reason = f"{said}, and <{name}> stands there {walk.repeated[path]} times"
    return Sample("xml", reason, rows=walk.values[path], element=element, count=walk.repeated[path])


def _repeating(walk: _Walk) -> str:
    """Return the path of the element that is an item: one that repeats and has something in it."""
    best, most = "", 0.0
    for path, count in walk.repeated.items():
        name = path.rpartition("/")[2].lower()
        composed = walk.composed[path] > 0 or any(isinstance(it, dict) for it in walk.values.get(path, ())[:3])
        score = (
            float(min(count, 10)) + (5 if composed else 0) + (8 if name in {"item", "entry", "record", "row"} else 0)
        )
        score -= path.count("/") * 0.5
        if (count > 1 or name in {"item", "entry"}) and composed and score > most:
            best, most = path, score
    return best


def _local(name: str) -> str:
    return name.rpartition(":")[2]
