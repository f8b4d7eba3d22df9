"""Owns which options fit which source: what polls have that a stream has not, and the other way round.

Only options that somebody has set count; one that says what is so anyway, such as `conditional: false`, does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from headwater.config.finding import Finding
from headwater.config.framing import OF_FORMATS
from headwater.config.url import over_http, over_websocket

if TYPE_CHECKING:
    from headwater.config.fields import Options
    from headwater.config.http import HttpOptions
    from headwater.config.websocket import WebsocketOptions

NAMES: Final = {"poll": "a poll", "stream": "a stream", "websocket": "a WebSocket"}
_STAYS = "leave it out: a connection stays, and the next one follows it as reconnect says"
# What only polls have, and what a stream has instead.
_OF_POLLS: Final[dict[str, str]] = {
    "interval": _STAYS,
    "cron": _STAYS,
    "timezone": _STAYS,
    "adaptive": _STAYS,
    "spread": _STAYS,
    "retry": "write reconnect: {initial: 500ms, max: 30s}",
    "conditional": "leave it out: no response of a stream is like the one before",
    "pagination": "leave it out; the requests of gap.backfill may have pages",
    "window": "leave it out; gap.backfill asks for the time without a connection",
    "children": "leave it out; another connector may poll what belongs to an item",
    "changes": "leave it out; it compares answers that are whole collections",
    "deduplicate": "leave it out; a topic with deduplication drops repeats",
    "record_id": "leave it out; a key tells repeats: records: {key: /id}",
}
# What only streams have, and what makes one of a poll.
_OF_STREAMS: Final[dict[str, str]] = {
    "delimiter": "write stream: true, or cut the answer by records: {format: delimited, delimiter: ...}",
    "length_prefix": "write format: length-prefixed, or leave it out",
    "sse": "write format: sse, or leave it out",
    "max_record": "write stream: true, or records.max_item, which bounds the items of an answer",
    "idle_timeout": "write stream: true, or timeout, which bounds a whole request",
    "reconnect": "write stream: true, or retry, which says how a failed poll is tried again",
    "gap": "write stream: true, or leave it out",
}
_WHOLE = "leave it out: each message is a record as it comes"
_NO_BODY = "say it in websocket_config: {subscription_messages: [...]}"
_SWITCHED = "leave it out: a WebSocket begins with 101, and nothing else"
# What other requests have and the one that begins a WebSocket has not.
_NOT_OF_WEBSOCKETS: Final[dict[str, str]] = {
    "body": _NO_BODY,
    "form": _NO_BODY,
    "format": _WHOLE,
    "delimiter": _WHOLE,
    "length_prefix": _WHOLE,
    "sse": _WHOLE,
    "accept_status": _SWITCHED,
    "accept_content_type": _SWITCHED,
}
# What `records:` has for bodies, and frames have not.
OF_BODIES: Final[dict[str, str]] = {
    "delimiter": "write delimiter beside the endpoint",
    "element": "leave it out",
    "as_json": "leave it out",
    "header": "leave it out",
    "columns": "leave it out",
    "quote": "leave it out",
    "numbers": "leave it out",
    "charset": "leave it out: what comes stays as it is",
    "max_item": "write max_record beside the endpoint",
    "buffer": "leave it out: a frame is held as a whole, up to max_record",
}


def told_by(http: HttpOptions) -> str:
    """Return the option that makes a configuration one of a stream."""
    if http.source == "websocket":
        return "endpoint"
    return "stream" if http.stream else "format"


def check(http: HttpOptions) -> Iterator[Finding]:
    """Yield what does not fit the source of a configuration."""
    source = http.source
    if source == "poll":
        yield from _check_poll(http)
        return
    for name, better in _OF_POLLS.items():
        if _given(http, name):
            yield Finding((name,), f"it is for polls, and this is {NAMES[source]}", better)
    if source == "websocket":
        yield from _check_websocket(http)
    else:
        yield from _check_stream(http)
    yield from _check_records(http)


def _given(options: Options, name: str) -> bool:
    """Return whether somebody has set an option to something that it would not be anyway."""
    if name not in options.model_fields_set:
        return False
    value: Any = getattr(options, name)
    # `pagination: none` says that there is none.
    return value is not None and value is not False and getattr(value, "type", "") != "none"


def _check_poll(http: HttpOptions) -> Iterator[Finding]:
    if http.format is not None:
        message = "it says that there is no stream, and format says how one is cut"
        yield Finding(("stream",), message, "leave one of them out")
    for name, better in _OF_STREAMS.items():
        if _given(http, name):
            yield Finding((name,), "it is for streams, and this is a poll", better)
    if _given(http, "websocket_config"):
        yield _websocket_elsewhere(http)


def _websocket_elsewhere(http: HttpOptions) -> Finding:
    message = "it is for WebSockets, and the endpoint is none"
    scheme = over_websocket(str(http.endpoint)).partition(":")[0]
    return Finding(("websocket_config",), message, f"begin the endpoint with {scheme}://, or leave it out")


def _check_stream(http: HttpOptions) -> Iterator[Finding]:
    if http.method == "HEAD":
        yield Finding(("method",), "the response to a HEAD has no body that could be a stream", "write GET")
    for name, wanted in OF_FORMATS.items():
        if _given(http, name) and http.framing != wanted:
            message = f"it is for format: {wanted}, and this is {http.framing}"
            yield Finding((name,), message, f"write format: {wanted}, or leave it out")
    if _given(http, "websocket_config"):
        yield _websocket_elsewhere(http)


def _check_websocket(http: HttpOptions) -> Iterator[Finding]:
    if http.stream is False:
        url = over_http(str(http.endpoint))
        yield Finding(
            ("stream",), "a WebSocket is a stream in any case", f"leave it out, or write the endpoint as {url}"
        )
    if http.method != "GET":
        yield Finding(("method",), "the request that begins a WebSocket is a GET", "leave it out")
    if http.http_version not in {"auto", "1.1"}:
        message = f"a WebSocket is begun over HTTP/1.1, not {http.http_version}"
        yield Finding(("http_version",), message, "write 1.1, or leave it out")
    for name, better in _NOT_OF_WEBSOCKETS.items():
        if _given(http, name):
            yield Finding((name,), "it does not fit a WebSocket", better)
    if http.websocket_config is not None:
        yield from _check_config(http.websocket_config)


def _check_config(config: WebsocketOptions) -> Iterator[Finding]:
    above = "websocket_config"
    if not config.ping_interval_ms and _given(config, "pong_timeout"):
        message = "no ping is sent that it could be about: ping_interval_ms is 0"
        yield Finding((above, "pong_timeout"), message, "leave it out, or raise ping_interval_ms")
    if config.subscription_message is not None:
        message = "it is kept for older configurations"
        better = "write it as the first of subscription_messages"
        yield Finding((above, "subscription_message"), message, better, warning=True)


def _check_records(http: HttpOptions) -> Iterator[Finding]:
    records = http.records
    if records is None:
        return
    if records.format not in {"json", "text"}:
        named = records.format in {"ndjson", "json-seq", "delimited"} and http.source == "stream"
        better = f"write format: {records.format} beside the endpoint" if named else "write json or text"
        message = f"it says what one part of {NAMES[http.source]} is: json or text, not {records.format}"
        yield Finding(("records", "format"), message, better)
    for name, better in OF_BODIES.items():
        if _given(records, name):
            yield Finding(("records", name), f"it is for the bodies of polls, and this is {NAMES[http.source]}", better)
    if http.sse.key is not None and records.key is not None:
        yield Finding(("sse", "key"), "records.key says what the key is", "leave one of them out")
