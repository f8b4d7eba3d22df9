"""Owns what people see of a checkpoint, and how they change it. Pure; reading and storing it is done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from headwater.core.checkpoint import Checkpoint, Progress, StreamPosition
from headwater.core.instant import Instant, read_instant, read_unix
from headwater.core.secret import Masker
from headwater.core.units import format_duration
from headwater.sources.requesting import shown_url
from headwater.sources.values import alive, kind_of, shown, stored, stored_text

_NOTHING: Final = Progress()
_LONGEST: Final = 200
# What a header can carry.
_LONGEST_ID: Final = 8000


def moment(ms: int) -> str:
    """Return a time for people, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Return what a checkpoint says, in words: pairs of a name and a text."""
    progress = checkpoint.progress or _NOTHING
    if checkpoint.stream is None:
        told = [("last poll", moment(checkpoint.scheduled) if checkpoint.scheduled else "none yet")]
        told.append(("stored", f"{_count(checkpoint.records, 'record')} of {_count(checkpoint.exchanges, 'exchange')}"))
    else:
        told = _of_stream(checkpoint, checkpoint.stream)
    told += [(f"cursor.{name}", shown(value)) for name, value in progress.cursors.items()]
    if progress.window:
        told.append(("window", f"up to {Instant.of_ms(progress.window).text}"))
    if progress.round:
        told.append(("round", f"that of {moment(progress.round)} is under way: {_where(progress.page)}"))
        told += [(f"pending.{name}", shown(value)) for name, value in progress.pending.items()]
    if checkpoint.etag is not None or checkpoint.last_modified is not None:
        told.append(("validators", ", ".join(it for it in (checkpoint.etag, checkpoint.last_modified) if it)))
    if checkpoint.transforms:
        count = len(checkpoint.transforms)
        told.append(("transforms", f"{count} {'has' if count == 1 else 'have'} state"))
    return [(name, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...") for name, text in told]


def _of_stream(checkpoint: Checkpoint, stream: StreamPosition) -> list[tuple[str, str]]:
    """Return what is said of a stream instead of the last poll."""
    stored = f"{_count(checkpoint.records, 'record')} of {_count(checkpoint.exchanges, 'connection')}"
    told = [("until", moment(stream.until) if stream.until else "no connection yet"), ("stored", stored)]
    if stream.event_id:
        told.append(("event_id", stream.event_id if stream.event_id.isprintable() else repr(stream.event_id)))
    if stream.retry:
        told.append(("retry", f"{format_duration(timedelta(milliseconds=stream.retry))}, as the server asks"))
    if stream.gaps:
        spans = ", ".join(f"{moment(start)} to {moment(end)}" for start, end in stream.gaps)
        told.append(("gaps", f"{len(stream.gaps)} to be asked for: {spans}"))
    return told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _where(page: Mapping[str, Any]) -> str:
    """Return where the pages of a round are."""
    said = f"page {page.get('n', 0) + 1} is next"
    if "window" in page:
        start, end = page["window"]
        said = f"{Instant.of_ms(start).text} to {Instant.of_ms(end).text}, {said}"
    if "url" in page:
        return f"{said}, at {shown_url(str(page['url']), Masker())}"
    for name in ("token", "number", "offset"):
        if name in page:
            return f"{said}, {name} {shown(page[name])}"
    return said


def plain(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as JSON has it, for programs: without the transforms' states, which are theirs alone."""
    progress = checkpoint.progress or _NOTHING
    found: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(checkpoint, transforms={}, progress=None))
    found["transforms"] = sorted(checkpoint.transforms)
    if checkpoint.stream is not None:
        found["stream"] = _plain_stream(checkpoint.stream)
    page = dict(progress.page)
    if "url" in page:
        page["url"] = shown_url(str(page["url"]), Masker())
    return {
        **found,
        "cursors": {name: _readable(value) for name, value in progress.cursors.items()},
        "window": Instant.of_ms(progress.window).text if progress.window else None,
        "round": moment(progress.round) if progress.round else None,
        "page": {name: _readable(value) for name, value in page.items() if name not in {"mark", "place", "digest"}},
        "pending": {name: _readable(value) for name, value in progress.pending.items()},
    }


def _plain_stream(stream: StreamPosition) -> dict[str, Any]:
    return {
        "event_id": stream.event_id,
        "retry": stream.retry,
        "until": moment(stream.until) if stream.until else None,
        "gaps": [{"start": moment(start), "end": moment(end)} for start, end in stream.gaps],
    }


def _readable(value: Any) -> Any:
    """Return a value that programs read; a number whose digits JSON of many programs would lose is a text."""
    live = alive(value) if isinstance(value, dict) and set(value) == {"json"} else value
    return shown(value) if live is not value and not isinstance(live, list | dict) else live


def changed(checkpoint: Checkpoint, assignments: Mapping[str, str], *, json: bool = False) -> Checkpoint:
    """Return the checkpoint with other values: `cursor.NAME`, which is text or with `json` JSON, and `window`, a time.

    Of a stream also `event_id`, the id that the next connection goes on behind, and `until`, a time: up to then there
    was a connection. A round that is under way is given up: it asked for something else. Raises ValueError with a
    sentence for people.
    """
    progress, stream = checkpoint.progress or _NOTHING, checkpoint.stream
    cursors, window = dict(progress.cursors), progress.window
    for key, text in assignments.items():
        if key == "window" and stream is None:
            window = _time(text, key)
        elif key in {"event_id", "until"} and (stream is not None or checkpoint == Checkpoint()):
            stream = _streamed(stream or StreamPosition(), key, text)
        elif key.startswith("cursor.") and key != "cursor.":
            name = key.removeprefix("cursor.")
            cursors[name] = _value(text, cursors.get(name), json=json)
        elif key in {"window", "event_id", "until"}:
            whose = "a poll" if stream is None else "a stream"
            raise ValueError(f"{key!r} cannot be set: this is the checkpoint of {whose}, which has none")
        else:
            others = "window" if stream is None else "event_id and until"
            raise ValueError(f"{key!r} cannot be set; there are cursor.NAME and {others}")
    return _anew(msgspec.structs.replace(checkpoint, stream=stream), Progress(cursors, window))


def _streamed(stream: StreamPosition, key: str, text: str) -> StreamPosition:
    if key == "until":
        until = _time(text, key)
        # What is asked for again has the gaps in it that were found since.
        gaps = tuple(it for it in stream.gaps if it[1] <= until)
        return msgspec.structs.replace(stream, until=until, gaps=gaps)
    if len(text) > _LONGEST_ID or not (text.isprintable() or not text):
        raise ValueError(f"{text[:40]!r} cannot be an event id, which goes into a header")
    return msgspec.structs.replace(stream, event_id=text)


def _time(text: str, key: str) -> int:
    instant = read_instant(text) or read_unix(text)
    if instant is None or instant.ns <= 0:
        raise ValueError(f"{text!r} is no time after 1970 for {key}; write 2024-01-01T00:00:00Z")
    return instant.ns // 1_000_000


def _value(text: str, before: Any, *, json: bool) -> Any:
    if json:
        return stored(text.encode())
    # What was a number in the answers stays one.
    was_number = before is not None and not isinstance(before, str)
    return stored(text.encode()) if was_number and kind_of(text) == "number" else stored_text(text)


def reset(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint of a connector that begins anew. The counts go on, which the ids of records hang on."""
    stream = None if checkpoint.stream is None else StreamPosition()
    return Checkpoint(checkpoint.exchanges, checkpoint.records, checkpoint.scheduled, stream=stream)


def _anew(checkpoint: Checkpoint, progress: Progress) -> Checkpoint:
    return msgspec.structs.replace(checkpoint, etag=None, last_modified=None, progress=progress)
