"""Owns the telling of streams: whether an answer that goes on is one, and what its first words show. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from headwater.core.http import Response
from headwater.discover.asking import Ask
from headwater.discover.body import MOST_ROWS, Sample
from headwater.discover.finding import Certainty, Finding, remark
from headwater.discover.items import Items, find_items

Framing = Literal["sse", "ndjson", "json-seq", "delimited", ""]
EVENTS: Final = "text/event-stream"
# So many events show what there is to see.
_ENOUGH_EVENTS: Final = 3
_LINES: Final = re.compile(r"\r\n|\n|\r")
_TAKEN: Final = ("records.key", "records.timestamp", "records.timestamp_format")


class Unending(msgspec.Struct, frozen=True):
    """An answer that went on after `seconds`: its head, with as much of the body as had come."""

    response: Response
    seconds: float


def is_events(content_type: str) -> bool:
    """Return whether a media type is that of Server-Sent Events."""
    return content_type.partition(";")[0].strip().lower() == EVENTS


def enough(body: bytes) -> bool:
    """Return whether so much has come of Server-Sent Events that no more is needed to see what they are."""
    return len(_events(body)) >= _ENOUGH_EVENTS


def framing_of(body: bytes, content_type: str) -> Framing:
    """Return how a response that goes on is cut into records, empty when it looks like one answer that is slow."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == EVENTS:
        return "sse"
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if kind == "application/json-seq" or text[:1] == "\x1e":
        return "json-seq"
    lines = [line for line in text.split("\n")[:-1] if line.strip()]
    if lines and isinstance(_value(lines[0]), dict):
        return "ndjson"
    if re.search(r"ndjson|jsonl|json-?lines|stream\+json", kind):
        return "ndjson"
    if kind == "text/plain" and len(lines) > 1 and text[:1] not in {"[", "{", "<"}:
        return "delimited"
    return ""


def find_stream(response: Response, seconds: float | None) -> tuple[list[Finding], Items]:
    """Return the findings about a stream, and its items; `seconds` is for how long it was listened to, None to its end.

    There are no findings where it is none.
    """
    kind = response.header("content-type") or ""
    framing = framing_of(response.body, kind)
    if not framing or (seconds is None and framing != "sse"):
        return [], Items()
    rows: list[Any]
    if framing == "sse":
        events = _events(response.body)
        found = [Finding("format", "sse", f"Content-Type {EVENTS}: Server-Sent Events", Certainty.SURE)]
        found += _about_events(events)
        rows = [_value(event.get("data", "")) for event in events[:MOST_ROWS]]
    else:
        lasts = f"and after {seconds:g} s the answer still went on"
        found = [_form(framing, lasts)]
        text = response.body.decode("utf-8", "replace").lstrip("\ufeff")
        pieces = text.split("\x1e" if framing == "json-seq" else "\n")[:-1]
        rows = [_value(piece) for piece in pieces[:MOST_ROWS] if piece.strip()]
    if not rows or not all(isinstance(row, dict) for row in rows):
        return found, Items()
    items = find_items(Sample("ndjson", "", rows=rows, count=len(rows)))
    found += [it for it in items.findings if it.option in _TAKEN]
    return found, items


def hints(ask: Ask) -> list[Finding]:
    """Return what a request says of its answer by itself, for when nothing was asked."""
    if is_events(ask.header("accept") or ""):
        return [Finding("format", "sse", f"what was given asks for {EVENTS}")]
    if ask.unbuffered:
        why = "curl's -N shows an answer while it comes: perhaps it has no end"
        return [Finding("stream", True, why, Certainty.GUESS)]
    return []


def without_own(ask: Ask) -> Ask:
    """Return what is asked for without what a connector of Server-Sent Events says by itself."""
    own = {"accept": EVENTS, "cache-control": None, "last-event-id": None}
    kept = tuple(it for it in ask.headers if own.get(it[0].lower(), "") not in {None, it[1].strip().lower()})
    return ask.replace(headers=kept)


def _form(framing: Framing, lasts: str) -> Finding:
    if framing == "delimited":
        return Finding("stream", True, f"lines of text, {lasts}", Certainty.SURE)
    what = "each line is JSON by itself" if framing == "ndjson" else "each text begins with a record separator"
    return Finding("format", framing, f"{what}, {lasts}", Certainty.SURE)


def _about_events(events: list[dict[str, str]]) -> Iterator[Finding]:
    if not events:
        yield remark("no event came while it was listened to: what they hold could not be seen")
        return
    if any("id" in event for event in events):
        yield remark("events have ids: the last one is kept, and the next connection goes on behind it")
    else:
        yield remark("events have no ids: what happens without a connection is missed, unless gap.backfill asks for it")
    names = list(dict.fromkeys(event.get("event", "message") for event in events))
    if names != ["message"]:
        why = "the names of the events that were seen; without it all are taken"
        yield Finding("sse.events", names, why, Certainty.GUESS)


def _events(body: bytes) -> list[dict[str, str]]:
    """Return the events that are whole and have data, by their fields."""
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    *lines, _ = _LINES.split(body.decode("utf-8", "replace").removeprefix("\ufeff"))
    for line in lines:
        if not line:
            if "data" in event:
                found.append(event)
            event = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in event:
            value = f"{event['data']}\n{value}"
        event[name] = value
    return found


def _value(text: str) -> Any:
    """Return the value of a JSON text, None where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
