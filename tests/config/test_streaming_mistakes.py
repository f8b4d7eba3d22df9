"""What does not fit a stream is told when the file is read: all at once, each in its place, and what to write."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from config.streams import HEAD, PAGE, POLL, SOCKET, SSE, STREAM
from headwater.config import HttpOptions, InvalidConfigError, RecordsOptions, from_options, load_text
from headwater.config.streaming import OF_BODIES


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        load_text(text)
    return [problem.render() for problem in caught.value.problems]


def source(text: str) -> str:
    return load_text(text).connectors[0].http.source


BACKFILL = "  gap:\n    backfill:\n      endpoint: /x?${{ window.start }}\n"
# What has to be said of an option that only polls have: with the stream in line 5 it stands in line 6.
OF_POLLS = {
    "interval: 5s": "leave it out: a connection stays, and the next one follows it as reconnect says",
    "cron: '* * * * *'": "leave it out: a connection stays, and the next one follows it as reconnect says",
    "timezone: UTC": "leave it out: a connection stays, and the next one follows it as reconnect says",
    "adaptive: {}": "leave it out: a connection stays, and the next one follows it as reconnect says",
    "spread: true": "leave it out: a connection stays, and the next one follows it as reconnect says",
    "retry: {attempts: 3}": "write reconnect: {initial: 500ms, max: 30s}",
    "conditional: true": "leave it out: no response of a stream is like the one before",
    "pagination: auto": "leave it out; the requests of gap.backfill may have pages",
    "window: {size: 1h}": "leave it out; gap.backfill asks for the time without a connection",
    "children: {endpoint: /x}": "leave it out; another connector may poll what belongs to an item",
    "changes: {key: /id}": "leave it out; it compares answers that are whole collections",
    "deduplicate: {by: /id}": "leave it out; a topic with deduplication drops repeats",
    "record_id: true": "leave it out; a key tells repeats: records: {key: /id}",
}
OF_STREAMS = {
    "delimiter: x": "write stream: true, or cut the answer by records: {format: delimited, delimiter: ...}",
    "length_prefix: {size: 2}": "write format: length-prefixed, or leave it out",
    "sse: {key: id}": "write format: sse, or leave it out",
    "max_record: 1 MiB": "write stream: true, or records.max_item, which bounds the items of an answer",
    "idle_timeout: 1m": "write stream: true, or timeout, which bounds a whole request",
    "reconnect: {max: 1m}": "write stream: true, or retry, which says how a failed poll is tried again",
    "gap: {backfill: {endpoint: '/x?${{ window.start }}'}}": "write stream: true, or leave it out",
}
NO_BODY = "say it in websocket_config: {subscription_messages: [...]}"
WHOLE = "leave it out: each message is a record as it comes"
SWITCHED = "leave it out: a WebSocket begins with 101, and nothing else"
NOT_OF_WEBSOCKETS = {
    "body: x": NO_BODY,
    "form: {a: b}": NO_BODY,
    "format: ndjson": WHOLE,
    "delimiter: x": WHOLE,
    "length_prefix: {}": WHOLE,
    "sse: {key: id}": WHOLE,
    "accept_status: 200": SWITCHED,
    "accept_content_type: text/plain": SWITCHED,
}


@pytest.mark.parametrize(("line", "better"), list(OF_POLLS.items()))
def test_options_of_polls_do_not_fit(line: str, better: str) -> None:
    """Neither a stream nor a WebSocket."""
    name = line.partition(":")[0]
    for head, number, kind in ((STREAM, 6, "a stream"), (SOCKET, 5, "a WebSocket")):
        (said,) = problems(f"{head}  {line}\n")
        assert said == f"connect.yml:{number}:3: error: http.{name}: it is for polls, and this is {kind}; {better}"


@pytest.mark.parametrize(("line", "better"), list(OF_STREAMS.items()))
def test_options_of_streams_do_not_fit_polls(line: str, better: str) -> None:
    """Whether somebody says that there is no stream, or nothing."""
    name = line.partition(":")[0]
    for head, number in ((POLL, 5), (f"{POLL}  stream: false\n", 6)):
        (said,) = problems(f"{head}  {line}\n")
        assert said == f"connect.yml:{number}:3: error: http.{name}: it is for streams, and this is a poll; {better}"


@pytest.mark.parametrize(("line", "better"), list(NOT_OF_WEBSOCKETS.items()))
def test_options_that_do_not_fit_a_websocket(line: str, better: str) -> None:
    """What its request has not, and how other streams are cut."""
    name = line.partition(":")[0]
    (said,) = problems(f"{SOCKET}  {line}\n")
    assert said == f"connect.yml:5:3: error: http.{name}: it does not fit a WebSocket; {better}"


# What polls and streams have alike, and WebSockets where it is not said otherwise above.
OF_BOTH = {
    *("endpoint", "method", "body", "form", "stream", "format", "websocket_config", "headers", "params", "user_agent"),
    *("output_type", "output_parts", "accept_status", "accept_content_type", "connect_timeout", "timeout", "max_body"),
    *("max_redirects", "http_version", "proxy", "no_proxy", "unix_socket", "cookies", "tls", "egress", "auth", "rules"),
    *("limits", "restart", "records", "cursor"),
}
# The same of `records:`; the others are of bodies.
OF_FRAMES = {
    *("split", "split_required", "format", "key", "key_required", "timestamp", "timestamp_format", "timestamp_zone"),
    *("metadata", "metadata_headers"),
}


def names(lines: Iterable[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines}


def test_nothing_is_ignored_in_silence() -> None:
    """Every option is of polls, of streams, or of both, and `streaming` knows of which."""
    assert set(HttpOptions.model_fields) == names(OF_POLLS) | names(OF_STREAMS) | OF_BOTH
    assert set(RecordsOptions.model_fields) - OF_FRAMES == set(OF_BODIES)


def test_all_that_does_not_fit_comes_at_once() -> None:
    """One problem each, in the user's own words, in either dialect and whoever said it."""
    lines = list(OF_POLLS)
    # A schedule has one of two forms.
    lines.remove("interval: 5s")
    lines.remove("adaptive: {}")
    text = "".join(f"  {line.replace('_', '-')}\n" for line in lines)
    said = problems(f"{PAGE}  endpoint: https://x.test/\n  stream: true\n{text}")
    assert [it.split(": ")[2] for it in said] == [
        f"parameters.{line.partition(':')[0].replace('_', '-')}" for line in lines
    ]
    with pytest.raises(InvalidConfigError, match="--idle-timeout: it is for streams"):
        from_options(name="a", topic="b", options={"endpoint": "https://x/", "idle_timeout": "5s"}, flags=True)
    with pytest.raises(InvalidConfigError, match="--set interval: it is for polls"):
        load_text(STREAM, overrides={"interval": "5s"})


def test_what_is_so_anyway_may_be_said() -> None:
    """Nothing that a stream has not is asked for by switching it off, or by leaving it empty."""
    off = "  conditional: false\n  record_id: false\n  spread: false\n  pagination: none\n  window:\n  interval:\n"
    assert source(STREAM + off) == "stream"
    assert source(f"{SOCKET}{off}  method: GET\n  http_version: 1.1\n  body:\n  format:\n") == "websocket"
    assert source(f"{POLL}  stream: false\n  websocket_config:\n  gap:\n") == "poll"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # What says that it is a stream.
        (f"{POLL}  stream: perhaps\n", "5:3: error: http.stream: expected true or false; got 'perhaps'"),
        (f"{POLL}  format: see\n", "5:3: error: http.format: expected one of delimited, ndjson, json-seq, length-pref"),
        (f"{POLL}  format: see\n", "got 'see'; did you mean 'sse'?"),
        (
            f"{POLL}  stream: false\n  format: sse\n",
            "5:3: error: http.stream: it says that there is no stream, and format says how one is cut; leave one of",
        ),
        (
            f"{SOCKET}  stream: false\n",
            "a WebSocket is a stream in any case; leave it out, or write the endpoint as https",
        ),
        (
            f"{STREAM}  method: HEAD\n",
            "6:3: error: http.method: the response to a HEAD has no body that could be a str",
        ),
        (
            f"{SOCKET}  method: POST\n",
            "5:3: error: http.method: the request that begins a WebSocket is a GET; leave it",
        ),
        (
            f"{SOCKET}  http_version: 3\n",
            "error: http.http_version: a WebSocket is begun over HTTP/1.1, not 3; write 1.1",
        ),
        (f"{SOCKET}  http_version: 2-prior-knowledge\n", "a WebSocket is begun over HTTP/1.1, not 2-prior-knowledge"),
        # Where no WebSocket can be.
        (
            f"{POLL}  records: {{split: /}}\n  children: {{endpoint: 'wss://x/'}}\n",
            "error: http.children.endpoint: only the connector's own endpoint may be a WebSocket; write https://x/",
        ),
        (f"{POLL}  proxy: ws://x/\n", "error: http.proxy: "),
        (f"{HEAD}  endpoint: 'wss://x/#a'\n", "has a fragment, which the URL of a WebSocket has not (RFC 6455)"),
        (f"{HEAD}  endpoint: 'wss:///a'\n", "has no host that could be asked"),
        (
            f"{HEAD}  endpoint: 'wss://${{{{ cursor.x }}}}/'\n  cursor: {{x: {{from: /x, initial: 1}}}}\n",
            "4:3: error: http.endpoint: an expression can stand in the path or the query, not in the host",
        ),
        (
            f"{POLL}  websocket_config: {{}}\n",
            "5:3: error: http.websocket_config: it is for WebSockets, and the endpoin",
        ),
        (
            f"{SSE}  websocket-config: {{}}\n",
            "6:3: error: http.websocket-config: it is for WebSockets, and the endpoint",
        ),
        (f"{SSE}  websocket_config: {{}}\n", "the endpoint is none; begin the endpoint with wss://, or leave it out"),
        # How a stream is cut.
        (f'{STREAM}  delimiter: ""\n', "6:3: error: http.delimiter: the delimiter is empty"),
        (f"{STREAM}  delimiter: '\\q'\n", "has the unknown escape \\q; there are \\n \\r \\t \\0 \\\\ and \\x1e"),
        (f"{STREAM}  max_record: 0\n", "6:3: error: http.max_record: it must be at least 1; got 0"),
        (
            f"{SSE}  delimiter: x\n",
            "http.delimiter: it is for format: delimited, and this is sse; write format: delimi",
        ),
        (
            f"{STREAM}  sse: {{key: id}}\n",
            "http.sse: it is for format: sse, and this is delimited; write format: sse, or",
        ),
        (
            f"{SSE}  length_prefix: {{}}\n",
            "http.length_prefix: it is for format: length-prefixed, and this is sse; write",
        ),
        (
            f"{POLL}  format: length-prefixed\n  length_prefix: {{size: 3}}\n",
            "expected one of 1, 2, 4, 8, varint; got 3",
        ),
        (
            f"{POLL}  format: length-prefixed\n  length_prefix: {{size: varint, byte_order: big}}\n",
            "error: http.length_prefix: byte_order says nothing to size: varint; leave it out",
        ),
        (
            f"{POLL}  format: length-prefixed\n  length_prefix: {{size: 1, byte_order: big}}\n",
            "says nothing to size: 1",
        ),
        (
            f"{SSE}  sse: {{events: []}}\n",
            "6:9: error: http.sse.events: it names no event; leave it out to have all of",
        ),
        (f"{SSE}  sse: {{key: data}}\n", "6:9: error: http.sse.key: expected one of id, event; got 'data'"),
        (f"{SSE}  sse: {{event: [a]}}\n", "http.sse.event: unknown key; did you mean 'events'?"),
        # How long.
        (f"{STREAM}  idle_timeout: 0\n", "6:3: error: http.idle_timeout: it must be 1ms at least; write none to wait"),
        (f"{STREAM}  idle_timeout: soon\n", "error: http.idle_timeout: 'soon' is not a duration"),
        (f"{STREAM}  idle_timeout: [1]\n", "error: http.idle_timeout: expected a duration such as 5m, or none"),
        (f"{STREAM}  reconnect: {{initial: 0}}\n", "6:15: error: http.reconnect.initial: it must be 1ms at least"),
        (f"{STREAM}  reconnect: {{healthy: -1}}\n", "6:15: error: http.reconnect.healthy: -1 is negative"),
        (f"{STREAM}  reconnect: {{initial: 1m}}\n", "6:3: error: http.reconnect: max is shorter than initial"),
        (f"{STREAM}  reconnect: 5s\n", "6:3: error: http.reconnect: expected a map; got '5s'"),
        # Records.
        (
            f"{STREAM}  records: {{format: ndjson}}\n",
            "http.records.format: it says what one part of a stream is: json or text, not ndjson; write format: ndjson",
        ),
        (
            f"{SOCKET}  records: {{format: ndjson}}\n",
            "what one part of a WebSocket is: json or text, not ndjson; write js",
        ),
        (f"{STREAM}  records: {{format: csv}}\n", "one part of a stream is: json or text, not csv; write json or text"),
        (
            f"{STREAM}  records: {{max_item: 5}}\n",
            "records.max_item: it is for the bodies of polls, and this is a stream",
        ),
        (f"{STREAM}  records: {{max_item: 5}}\n", "write max_record beside the endpoint"),
        (
            f"{SOCKET}  records: {{buffer: 1 MiB}}\n",
            "records.buffer: it is for the bodies of polls, and this is a WebSoc",
        ),
        (
            f"{STREAM}  records: {{charset: latin-1}}\n",
            "records.charset: it is for the bodies of polls, and this is a st",
        ),
        (
            f"{SSE}  sse: {{key: id}}\n  records: {{key: /id}}\n",
            "6:9: error: http.sse.key: records.key says what the key",
        ),
        (
            f"{STREAM}  records: {{key: /id}}\n  output_type: json\n",
            "output_type and output_parts make one record of a",
        ),
        # WebSockets.
        (
            f"{SOCKET}  websocket_conf: {{}}\n",
            "5:3: error: http.websocket_conf: unknown key; did you mean 'websocket_con",
        ),
        (f"{SOCKET}  websocket_config: x\n", "5:3: error: http.websocket_config: expected a map; got 'x'"),
        (f"{SOCKET}  websocket_config: {{subscription_mesages: a}}\n", "did you mean 'subscription_messages'?"),
        (
            f"{SOCKET}  websocket_config: {{subscription_messages: [a, '']}}\n",
            "subscription_messages[1]: the message is em",
        ),
        (
            f"{SOCKET}  websocket_config: {{ping_interval_ms: -1}}\n",
            "5:22: error: http.websocket_config.ping_interval_ms",
        ),
        (f"{SOCKET}  websocket_config: {{ping_interval_ms: -1}}\n", "it must be at least 0; got -1"),
        (
            f"{SOCKET}  websocket_config: {{ping-interval-ms: 10s}}\n",
            "ping-interval-ms: expected a whole number; got '10",
        ),
        (
            f"{SOCKET}  websocket_config: {{pong_timeout: 0}}\n",
            "it must be 1ms at least; ping_interval_ms: 0 sends no pi",
        ),
        (
            f"{SOCKET}  websocket_config: {{ping_interval_ms: 0, pong_timeout: 3s}}\n",
            "5:43: error: http.websocket_config.pong_timeout: no ping is sent that it could be about: ping_interval_ms",
        ),
        (
            f"{SOCKET}  websocket_config: {{keep_alive: ping}}\n",
            "http.websocket_config.keep_alive: expected a map; got",
        ),
        (f"{SOCKET}  websocket_config: {{keep_alive: {{}}}}\n", "websocket_config.keep_alive.message: it is required"),
        (
            f"{SOCKET}  websocket_config: {{keep_alive: {{message: a, interval: 0}}}}\n",
            "keep_alive.interval: it must be 1",
        ),
        (f"{SOCKET}  websocket_config: {{answers: [{{to: a}}]}}\n", "websocket_config.answers[0].with: it is required"),
        (
            f"{SOCKET}  websocket_config: {{answers: [{{to: '(', with: a}}]}}\n",
            "answers[0].to: '(' is no regular expressi",
        ),
        (
            f"{SOCKET}  websocket_config: {{answers: [{{to: a, with: b, wit: c}}]}}\n",
            "answers[0].wit: unknown key; did you mean 'wi",
        ),
        (
            f"{SOCKET}  websocket_config: {{ignore: [a, '']}}\n",
            "ignore[1]: it is empty, and would be found in every tex",
        ),
        (f"{SOCKET}  websocket_config: {{ignore: [{{}}]}}\n", "websocket_config.ignore[0]: it names no pointer"),
        (f"{SOCKET}  websocket_config: {{ignore: 5}}\n", "ignore: expected a regular expression, or a map of pointers"),
        (f"{SOCKET}  websocket_config: {{subprotocols: ['a b']}}\n", "'a b' is no name of a subprotocol (RFC 6455)"),
        (f"{SOCKET}  websocket_config: {{subprotocols: [a, a]}}\n", "subprotocols: each subprotocol is offered once"),
        (
            f"{SOCKET}  websocket_config: {{resume_message: go on}}\n",
            "resume_message: it holds no cursor, so that nothing tells whether there is something to go on from; write",
        ),
        # Gaps.
        (f"{SOCKET}  gap: {{}}\n", "5:3: error: http.gap.backfill: it is required"),
        (f"{SOCKET}  gap: {{backfill: {{}}}}\n", "5:9: error: http.gap.backfill.endpoint: it is required"),
        (f"{SOCKET}  gap: {{backfill: {{endpoint: x}}}}\n", "'x' does not begin with http:// or https://; write https"),
        (
            f"{SOCKET}  gap: {{backfill: {{endpoint: 'wss://x/'}}}}\n",
            "only the connector's own endpoint may be a WebSocke",
        ),
        (f"{SOCKET}  gap: {{backfill: {{endpoint: /x, interval: 5s}}}}\n", "http.gap.backfill.interval: unknown key"),
        (
            f"{SOCKET}  gap: {{backfill: {{endpoint: /x, size: 1ms}}}}\n",
            "http.gap.backfill.size: it must be 1s at least",
        ),
        (
            f"{SOCKET}  gap: {{backfill: {{endpoint: /x, timeout: 0}}}}\n",
            "gap.backfill.timeout: it must be 1ms at least",
        ),
        (f"{SOCKET}  gap: {{backfill: {{endpoint: /x, body: a, form: {{b: c}}}}}}\n", "name either body or form"),
        (f"{SOCKET}  gap: {{backfill: {{endpoint: /x, headers: {{'a b': c}}}}}}\n", "'a b' is no name of a header"),
        (
            f"{SOCKET}  gap: {{backfill: {{endpoint: /x, pagination: {{type: link, stop_at: a}}}}}}\n",
            "stop_at goes by a cursor, and a gap has none; it ends with ${{ window.end }}",
        ),
        (
            f"{SOCKET}{BACKFILL}      pagination: {{type: cursor, next: /n}}\n",
            "error: http.gap.backfill.pagination: nothing says where the token of the next page goes",
        ),
        (
            f"{SOCKET}{BACKFILL}      headers: {{authorization: x}}\n  auth: {{type: bearer, token: t0ken}}\n",
            "8:17: error: http.gap.backfill.headers.authorization: headers and auth both say what authorization is",
        ),
        (
            f"{SOCKET}{BACKFILL}      rules: [{{status: 401, do: reauthenticate}}]\n",
            "http.gap.backfill.rules: a rule has do: reauthenticate, but there is no auth that could be renewed",
        ),
        (
            f"{SOCKET}  gap: {{shortest: -1, backfill: {{endpoint: /x}}}}\n",
            "5:9: error: http.gap.shortest: -1 is negative",
        ),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    """Each has its sentence, in its place, and is the only one."""
    (problem,) = problems(text)
    assert said in problem


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "  params: {a: '${{ page.number }}'}\n",
            "http.params.a: ${{ page.number }}: a stream has no pages; leave it out",
        ),
        (
            "  headers: {a: '${{ window.start }}'}\n",
            "http.headers.a: ${{ window.start }}: a stream has no window; leave",
        ),
        (
            "  params: {a: '${{ item./x }}'}\n",
            "${{ item./x }}: what comes is known only in websocket_config.answers; us",
        ),
        ("  params: {a: '${{ cursor.x }}'}\n", "${{ cursor.x }}: there is no cursor 'x'; declare it under cursor"),
        (
            "  params: {a: '${{ cursor.x }}'}\n  cursor: {x: /x}\n",
            "${{ cursor.x }} has no value when the first connection is begun; give the cursor an `initial`",
        ),
        (
            "  websocket_config: {subscription_messages: [a, {b: ['${{ window.end }}']}]}\n",
            "5:54: error: http.websocket_config.subscription_messages[1].b[0]: ${{ window.end }}: a stream",
        ),
        (
            "  websocket_config: {subscription_message: '${{ page.token }}'}\n",
            "${{ page.token }}: a stream has no pages",
        ),
        (
            "  websocket_config: {keep_alive: {message: '${{ item./x }}'}}\n",
            "keep_alive.message: ${{ item./x }}: what co",
        ),
        (
            "  websocket_config: {answers: [{to: a, with: '${{ window.end }}'}]}\n",
            "answers[0].with: ${{ window.end }}: a",
        ),
        (
            "  websocket_config: {resume_message: '${{ cursor.x }}'}\n",
            "resume_message: ${{ cursor.x }}: there is no cur",
        ),
        (
            "  cursor: {x: /x}\n  gap: {backfill: {endpoint: '/?${{ cursor.x }}${{ window.end }}'}}\n",
            "http.gap.backfill.endpoint: ${{ cursor.x }}: a cursor goes on with the new connection while a gap is",
        ),
        (
            "  gap: {backfill: {endpoint: '/?${{ page.number }}${{ window.end }}'}}\n",
            "http.gap.backfill.endpoint: ${{ page.number }}: there is no pagination; declare it",
        ),
        (
            "  gap: {backfill: {endpoint: '/?${{ item./x }}${{ window.end }}'}}\n",
            "${{ item./x }}: a gap has no item; use",
        ),
    ],
)
def test_expressions_that_have_no_value(lines: str, said: str) -> None:
    """What is not there for streams is told with its place, and where it would be."""
    found = [it for it in problems(SOCKET + lines) if "error" in it]
    assert len(found) == 1
    assert said in found[0]


def test_expressions_that_have_one() -> None:
    """Cursors and the time of the connection, wherever a connection is begun; what is answered, in answers."""
    text = (
        "  endpoint: https://x.test/${{ cursor.id }}\n  format: ndjson\n  method: POST\n"
        "  params: {a: '${{ cursor.id }}'}\n  headers: {b: '${{ scheduled | unix }}'}\n"
        "  body: {c: '${{ cursor.id }}'}\n"
        "  cursor: {id: {from: /id, initial: 0}}\n"
    )
    assert not load_text(HEAD + text).warnings
    text = (
        "  websocket_config:\n"
        "    subscription_messages: ['${{ scheduled }}', {d: '${{ cursor.id | default(null) }}'}]\n"
        "    resume_message: ['${{ cursor.id }}', again]\n    keep_alive: {message: {op: 1, d: '${{ scheduled }}'}}\n"
        "    answers: [{to: {/op: ping}, with: {op: pong, ts: '${{ item./ts }}', n: '${{ scheduled }}'}}]\n"
        "  cursor: {id: /id}\n"
    )
    assert not load_text(SOCKET + text).warnings


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "  cursor: {id: /id}\n",
            "5:12: warning: http.cursor.id: nothing that is sent when a connection is begun asks",
        ),
        (
            "  gap: {backfill: {endpoint: /x}}\n",
            "5:9: warning: http.gap.backfill: no expression of it asks for the windo",
        ),
        (
            "  websocket_config: {subscription_message: a}\n",
            "http.websocket_config.subscription_message: it is kept for o",
        ),
    ],
)
def test_what_is_worth_a_word(lines: str, said: str) -> None:
    """It runs, but hardly as it is meant."""
    (warning,) = load_text(SOCKET + lines).warnings
    assert said in warning.render()
