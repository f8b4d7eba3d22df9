"""Owns what a configuration is for a backfill: the same requests, for a stretch of time, until that is done. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

from headwater.config.cursor import CursorOptions
from headwater.config.http import HttpOptions
from headwater.config.model import ConnectorConfig
from headwater.config.url import over_http
from headwater.config.window import Beginning, WindowOptions
from headwater.core.errors import ConfigError
from headwater.core.instant import Instant, read_instant, read_unix
from headwater.core.secret import Text
from headwater.core.template import Template

SEPARATOR = "@backfill-"
# How long after a failure it goes on, and how much it does without looking up.
_INTERVAL = timedelta(seconds=10)
_MOST_WINDOWS = 10_000
# What a backfill of a gap says itself, and what is not there when it does not.
_ASKED = (
    "method",
    "params",
    "body",
    "form",
    "records",
    "pagination",
    "accept_status",
    "accept_content_type",
    "rules",
    "retry",
    "timeout",
    "max_body",
)
_OF_THE_STREAM = (
    "stream",
    "format",
    "delimiter",
    "length_prefix",
    "sse",
    "websocket_config",
    "max_record",
    "idle_timeout",
    "reconnect",
    "gap",
    "cursor",
    "output_type",
    "output_parts",
)
_AUTHORITY = re.compile(r"[A-Za-z]+://[^/?#]*")


def stamp(ms: int) -> str:
    """Return a time as it stands in a name: 20240101T000000Z."""
    return Instant.of_ms(ms // 1000 * 1000).text.replace("-", "").replace(":", "")


def name_of(connector: str, start: int, end: int) -> str:
    """Return the name under which a backfill keeps how far it is."""
    return f"{connector}{SEPARATOR}{stamp(start)}-{stamp(end)}"


def backfilled(
    config: ConnectorConfig, start: int, end: int, *, cursor: str | None = None, size: timedelta | None = None
) -> ConnectorConfig:
    """Return the configuration that asks for what lies between two times (ms since the Unix epoch), and no more.

    `cursor` names the one that is meant where there are several; `size` is that of windows. Raises ConfigError when the
    configuration asks for everything, whatever its time.
    """
    http = config.http
    if http.window is not None and "window" in _spaces(http) and cursor is None:
        changes: dict[str, object] = {"window": _window(http.window, start, end, size)}
    else:
        changes = {"cursor": _cursors(config, start, end, cursor)}
    pagination = http.pagination
    if pagination is not None and pagination.stop_at is not None:
        # What was there before is just what is asked for.
        changes["pagination"] = pagination.model_copy(update={"stop_at": None})
    options = http.model_copy(update={**changes, "interval": _INTERVAL, "cron": None, "conditional": False})
    made = config.model_copy(update={"name": name_of(config.name, start, end), "http": options})
    return made.located(config.place, config.masker, config.secret_origins)


def gap_backfilled(config: ConnectorConfig, start: int, end: int) -> ConnectorConfig:
    """Return the poll that asks for what lies in a gap of a stream, between two times (ms since the Unix epoch).

    Its name is that of the stream, and so are who asks, how requests travel and how often: `auth`, `tls`, `proxy`,
    `egress`, `limits` and the like. The stream has a `gap`.
    """
    http = config.http
    assert http.gap is not None
    asked = http.gap.backfill
    own = {name.lower() for name, _ in asked.headers} | {"accept"}
    changes: dict[str, object] = {
        "endpoint": _at_host_of(http.endpoint, asked.endpoint),
        "headers": (*(it for it in http.headers if it[0].lower() not in own and not it[1].spans), *asked.headers),
        "window": _window(WindowOptions(size=asked.size, initial=Beginning("", ms=start)), start, end, None),
        "interval": _INTERVAL,
        "conditional": False,
        **{name: getattr(asked, name) for name in _ASKED},
        **{name: HttpOptions.model_fields[name].get_default() for name in _OF_THE_STREAM},
    }
    made = config.model_copy(update={"http": http.model_copy(update=changes)})
    return made.located(config.place, config.masker, config.secret_origins)


def _at_host_of(url: Text, endpoint: Text) -> Text:
    """Return an endpoint that may be a path as a whole URL."""
    if not endpoint.plain().startswith("/"):
        return endpoint
    real, shown = (_AUTHORITY.match(over_http(text)) for text in (url.reveal().strip(), str(url).strip()))
    assert real is not None
    assert shown is not None
    begun = len(real[0])
    spans = tuple((start + begun, end + begun) for start, end in endpoint.spans)
    parts = tuple(dict.fromkeys((*url.parts, *endpoint.parts)))
    return Text(f"{real[0]}{endpoint.reveal()}", f"{shown[0]}{endpoint}", parts, spans)


def _spaces(http: HttpOptions) -> set[str]:
    texts = [text for _, text in http.parts.texts() if text.spans]
    return {expression.space for text in texts for expression in Template.parse(text).expressions}


def _window(window: WindowOptions, start: int, end: int, size: timedelta | None) -> WindowOptions:
    update = {
        "initial": Beginning(Instant.of_ms(start).text, ms=start),
        "until": Beginning(Instant.of_ms(end).text, ms=end),
        "lag": timedelta(0),
        "max_windows": _MOST_WINDOWS,
    }
    return window.model_copy(update=update if size is None else {**update, "size": size})


def _cursors(config: ConnectorConfig, start: int, end: int, wanted: str | None) -> dict[str, CursorOptions]:
    cursors = config.http.cursor
    fit = [name for name, it in cursors.items() if _is_time(it)]
    name = wanted if wanted is not None else fit[0] if len(fit) == 1 else None
    if name is None or name not in fit:
        raise ConfigError(f"the connector {config.name} cannot be backfilled: {_why(fit, wanted)}")
    options = cursors[name]
    text = _spelt(options, start), _spelt(options, end)
    return {**cursors, name: options.model_copy(update={"initial": text[0], "until": text[1], "look_back": None})}


def _is_time(options: CursorOptions) -> bool:
    """Return whether a cursor is one of times of items, as far as the configuration says."""
    if options.where != "item" or options.taken != "max" or options.type in {"number", "text"}:
        return False
    initial = options.initial
    return options.type == "time" or (isinstance(initial, str) and read_instant(initial) is not None)


def _why(fit: list[str], wanted: str | None) -> str:
    if wanted is not None:
        return f"it has no cursor {wanted!r} of the times of its items"
    if fit:
        return f"it has several cursors of times; name one with --cursor: {', '.join(fit)}"
    return (
        "nothing in its requests says which time is meant; declare a window (window: {size: 1d}, and "
        "${{ window.start }} and ${{ window.end }} in params), or say that a cursor is of type: time"
    )


def _spelt(options: CursorOptions, ms: int) -> str | int:
    """Return a time as the API spells it, as far as the initial value shows that."""
    initial = options.initial
    if isinstance(initial, int):
        unix = read_unix(str(initial))
        return ms * 1_000_000 // unix.unit if unix is not None else ms // 1000
    found = read_instant(initial) if isinstance(initial, str) else None
    return (Instant.of_ms(ms) if found is None or found.form == "date" else found.moved(ms * 1_000_000 - found.ns)).text
