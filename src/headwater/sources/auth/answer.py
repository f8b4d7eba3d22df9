"""Owns what is common to the answers that tokens come in: what was asked, what came back, and how long it lasts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from headwater.core.errors import FetchError
from headwater.core.http import Request, Response
from headwater.sources.auth.token import Failure
from headwater.sources.judge import media_type
from headwater.sources.output import phrase
from headwater.sources.retry import retry_after

# Statuses of a server that may answer better later.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# A number below this is seconds from now, and from there on a time; from the second on in milliseconds.
_A_TIME, _IN_MILLISECONDS = 1_000_000_000, 100_000_000_000
_LONGEST_LIFETIME = 10 * 365 * 86_400.0
_LONGEST_WAIT = 3600.0
_MOST_SAID = 200
_DECODER = msgspec.json.Decoder()


def what(request: Request, response: Response) -> str:
    """Return what was asked and the status that came back."""
    return f"{request.method} {request.shown_url}: {response.status} {phrase(response.status)}".rstrip()


def said(value: object) -> str:
    """Return what a server says, fit for a sentence: one line of it, not too long."""
    if not isinstance(value, str):
        return ""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in value[: 4 * _MOST_SAID]).split())
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}..."


def failed(error: FetchError) -> Failure:
    """Return the failure that an exchange without an answer is."""
    return Failure(error.message, error.hint, passing=error.retryable)


def passes(response: Response, *, now: float) -> tuple[bool, float]:
    """Return whether a refusal may pass, and for how many seconds the server wants quiet. `now` is Unix time."""
    wait = retry_after(response.header("retry-after"), now=now)
    return response.status in _PASSING, min(wait or 0.0, _LONGEST_WAIT)


def fields(response: Response) -> dict[str, Any] | None:
    """Return the members of an answer that is a JSON object, or a form as some servers answer; None for another."""
    if media_type(response) == "application/x-www-form-urlencoded":
        return dict(parse_qsl(response.body.decode("utf-8", "replace"), max_num_fields=100))
    found = document(response)
    return found if isinstance(found, dict) else None


def document(response: Response) -> Any:
    """Return the JSON of an answer, None when it is none."""
    try:
        return _DECODER.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def lifetime(value: object, *, now: float) -> float | None:
    """Read how long something lasts, in seconds from `now` (Unix time): seconds, a Unix time, or a date. None: unknown.

    Zero and less say nothing: some servers write it for "for ever".
    """
    seconds: float | None = None
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            seconds = _until(text, now)
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # noqa: PLR0124 - NaN
        # An integer of JSON may be too large for a float.
        number = float(max(min(value, 1e18), 0))
        seconds = number
        if number >= _A_TIME:
            seconds = (number / 1000 if number >= _IN_MILLISECONDS else number) - now
    return min(seconds, _LONGEST_LIFETIME) if seconds is not None and seconds > 0 else None


def _until(text: str, now: float) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return at.timestamp() - now
    except (ValueError, OverflowError):
        return retry_after(text, now=now)
