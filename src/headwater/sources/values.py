"""Owns values of answers as they are remembered: JSON in a checkpoint, with every digit, and alive in a template. Pure.

Comparing them is here too; which of them is kept is the cursors'.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from headwater.core.expression import Number, text_of
from headwater.core.instant import Instant, read_instant, read_unix

Kind = Literal["number", "time", "text"]

_INTEGER: Final = re.compile(rb"-?(?:0|[1-9]\d{0,17})")
_DIGITS: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,4})?", re.ASCII)
_JSON: Final = msgspec.json.Decoder(float_hook=Number)
# Longer ones are no cursors but whole documents, and a hostile answer could fill the checkpoint with them (bytes).
LONGEST: Final = 8192
# Where JSON of Python's kinds would lose digits, its text is kept instead, under this key.
_KEY: Final = "json"


def stored(raw: bytes | Raw) -> Any:
    """Return a raw JSON value as a checkpoint holds it. Raises ValueError for one that is too long or no JSON."""
    data = bytes(raw).strip()
    if len(data) > LONGEST:
        raise ValueError(f"a value of {len(data)} bytes is too long to be remembered; {LONGEST} are allowed")
    first = data[:1]
    if first == b'"' or data in {b"null", b"true", b"false"} or _INTEGER.fullmatch(data):
        return _decoded(data)
    _decoded(data)
    return {_KEY: data.decode()}


def stored_text(text: str) -> Any:
    """Return a text of a header or of a person as a checkpoint holds it: a text."""
    if len(text.encode("utf-8", "replace")) > LONGEST:
        raise ValueError(f"a value of {len(text)} characters is too long to be remembered; {LONGEST} bytes are allowed")
    return text


def alive(value: Any) -> Any:
    """Return a value of a checkpoint as templates take it."""
    if isinstance(value, dict):
        text = value.get(_KEY)
        return _decoded(text.encode()) if isinstance(text, str) else None
    return value


def configured(value: str | float) -> Any:
    """Return a value that a configuration gives as templates take it."""
    return Number(repr(value)) if isinstance(value, float) else value


def _decoded(data: bytes) -> Any:
    try:
        return _JSON.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None


def shown(value: Any) -> str:
    """Return a value of a checkpoint for people: texts in quotes where they could be taken for something else."""
    live = alive(value)
    if isinstance(value, dict):
        return str(value.get(_KEY, ""))
    if isinstance(live, str) and not _DIGITS.fullmatch(live) and live.isprintable() and live.strip() == live and live:
        return live
    return msgspec.json.encode(live).decode()


def kind_of(value: Any, wanted: str = "auto") -> Kind | None:
    """Return how a value is compared, None for one that cannot be: a list, true, null, or not of the wanted kind."""
    if isinstance(value, bool) or not isinstance(value, str | int | Number):
        return None
    if wanted == "text":
        return "text"
    if wanted == "time":
        return "time" if time_of(value) is not None else None
    if isinstance(value, int) or _DIGITS.fullmatch(text_of(value)):
        return "number"
    if wanted == "number" or isinstance(value, Number):
        # Nothing can be added to a number whose exponent is that large.
        return None
    return "time" if read_instant(value) is not None else "text"


def time_of(value: Any) -> Instant | None:
    """Return the time that a value stands for, None for one that is none."""
    if isinstance(value, str):
        return read_instant(value) or read_unix(value)
    return read_unix(str(value) if isinstance(value, int) else value.text)


def rank_of(value: Any, kind: Kind) -> Any:
    """Return what a value is compared by, None for one that is not of the kind."""
    if isinstance(value, bool) or not isinstance(value, str | int | Number):
        return None
    if kind == "number":
        text = value if isinstance(value, str) else str(value) if isinstance(value, int) else value.text
        if not isinstance(value, int) and not _DIGITS.fullmatch(text):
            return None
        try:
            return Decimal(text)
        except InvalidOperation:
            return None
    if kind == "time":
        instant = time_of(value)
        return None if instant is None else instant.ns
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else value.text
