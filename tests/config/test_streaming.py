"""Streams and WebSockets in a connect.yml: what makes one, and what is read of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.streams import HEAD, PAGE, POLL, SOCKET, STREAM
from headwater.config import ConnectorConfig, load_text
from headwater.config.delimiter import delimiter_bytes
from headwater.config.secrets import SecretSource
from headwater.config.sharing import host_of
from headwater.core.pattern import Pattern
from headwater.core.secret import Text


def one(text: str, **secrets: str) -> ConnectorConfig:
    return load_text(text, secrets=SecretSource(secrets, "a test")).connectors[0]


@pytest.mark.parametrize(
    ("options", "source", "framing"),
    [
        ("  endpoint: https://x/\n", "poll", "delimited"),
        ("  endpoint: https://x/\n  stream: false\n", "poll", "delimited"),
        ("  endpoint: https://x/\n  stream:\n  format:\n  delimiter:\n", "poll", "delimited"),
        ("  endpoint: https://x/\n  stream: true\n", "stream", "delimited"),
        ("  endpoint: https://x/\n  stream: 'true'\n  delimiter: \"\\n\\n\"\n", "stream", "delimited"),
        ("  endpoint: https://x/\n  format: sse\n", "stream", "sse"),
        ("  endpoint: https://x/\n  format: json-seq\n  stream: true\n", "stream", "json-seq"),
        ("  endpoint: ws://x/\n", "websocket", "delimited"),
        ("  endpoint: WSS://user:password@x:8443/path?a=b\n  stream: true\n", "websocket", "delimited"),
    ],
)
def test_what_makes_a_stream(options: str, source: str, framing: str) -> None:
    """`stream`, a format, or the scheme of the endpoint, in both dialects; nothing else."""
    for head in (HEAD, PAGE):
        http = one(head + options).http
        assert (http.source, http.framing) == (source, framing)


def test_names_and_spellings_of_fluvio() -> None:
    """Kebab and snake, values that are texts, one message instead of a list, the older name first."""
    websocket = (
        "  websocket-config:\n    subscription-messages: ['{\"a\":1}', {b: 2}]\n    subscription-message: first\n"
        "    ping-interval-ms: '5000'\n    pong-timeout: '3'\n    compression: 'false'\n"
    )
    for head in (HEAD, PAGE):
        loaded = load_text(f"{head}  endpoint: ws://x/\n{websocket}")
        config = loaded.connectors[0].http.websocket_config
        assert config is not None
        assert config.subscriptions == (Text("first"), Text('{"a":1}'), {"b": 2})
        assert (config.ping_interval_ms, config.pong_timeout, config.compression) == (5000, timedelta(seconds=3), False)
        (warning,) = loaded.warnings
        assert "subscription-message: it is kept for older configurations; write it as the first" in warning.render()
    single = one(f"{SOCKET}  websocket_config: {{subscription_messages: hello}}\n").http.websocket_config
    assert single is not None
    assert single.subscriptions == (Text("hello"),)
    prefix = one(f"{POLL}  format: length-prefixed\n  length-prefix: {{size: '2', byte-order: little}}\n").http
    assert (prefix.length_prefix.size, prefix.length_prefix.byte_order) == (2, "little")


def test_fluvios_own_examples_load() -> None:
    """The three that its connector's page has, as they are."""
    long = one(
        "apiVersion: 0.1.0\nmeta:\n  version: 0.3.3\n  name: wiki-updates\n  type: http-source\n  topic: wiki-updates\n"
        'http:\n  endpoint: "https://stream.example.org/v2/stream"\n  method: GET\n  stream: true\n'
        '  delimiter: "\\n\\n"\n'
    )
    assert (long.http.source, long.http.delimiter) == ("stream", "\n\n")
    socket = one(
        "apiVersion: 0.1.0\nmeta:\n  version: 0.3.6\n  name: websocket-connector\n  type: http-source\n"
        "  topic: websocket-updates\nhttp:\n  endpoint: ws://websocket.example/websocket\n"
    )
    assert socket.http.source == "websocket"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("';'", b";"),
        ("'\\r\\n'", b"\r\n"),
        ("'\\x1e'", b"\x1e"),
        ("'\\xff\\x00'", b"\xff\0"),
        ("tab", b"\t"),
        ("ü", b"\xc3\xbc"),
    ],
)
def test_delimiters_are_any_bytes(written: str, meant: bytes) -> None:
    """As those of records are written."""
    delimiter = one(f"{STREAM}  delimiter: {written}\n").http.delimiter
    assert delimiter is not None
    assert delimiter_bytes(delimiter) == meant


def test_silence() -> None:
    """Five minutes for a long response, for ever for a WebSocket, and what is said for both."""
    assert one(STREAM).http.silence == timedelta(minutes=5)
    assert one(SOCKET).http.silence is None
    assert one(POLL).http.silence is None
    for head in (STREAM, SOCKET):
        assert one(f"{head}  idle_timeout: 30\n").http.silence == timedelta(seconds=30)
        assert one(f"{head}  idle_timeout: none\n").http.silence is None


def test_what_streams_have_that_polls_have_not() -> None:
    """A topic of dead letters in any case, and `linger` for their groups: what is appended has waited already."""
    assert one(POLL).dead_letters is None
    assert one(STREAM).dead_letters == one(SOCKET).dead_letters == "b-dead-letter"
    assert one(STREAM.replace("{name: a,", "{name: a, producer: {linger: 1s},")).linger == timedelta(milliseconds=5)
    assert one(POLL).linger == timedelta(milliseconds=5)
    assert one(POLL.replace("{name: a,", "{name: a, producer: {linger: 1s},")).linger == timedelta(seconds=1)
    assert one(POLL).producer.linger is None


def test_a_websocket_shares_the_limits_of_its_host() -> None:
    """With those who ask it over http."""
    assert host_of("wss://x.test/s") == host_of("https://x.test/")
    assert host_of("ws://x.test/s") == host_of("http://x.test/")


def test_budgets_count_polls_alone() -> None:
    """A stream is no poll every ten seconds."""
    assert load_text(f"{POLL}  limits: {{requests_per_day: 100}}\n").warnings
    assert not load_text(f"{SOCKET}  limits: {{requests_per_day: 100}}\n").warnings


def test_secrets_in_messages_are_masked() -> None:
    """Those of a subscription, in texts and in maps, and of the URL."""
    text = (
        "apiVersion: 0.1.0\nmeta: {name: a, topic: b, secrets: [{name: TOKEN}]}\nhttp:\n"
        "  endpoint: wss://user:passw0rd@x.test/\n  websocket_config:\n"
        '    subscription_messages: ["auth ${{ secrets.TOKEN }}", {token: "${{ secrets.TOKEN }}"}]\n'
    )
    config = one(text, TOKEN="t0ps3cret")
    assert config.http.websocket_config is not None
    assert [str(config.masker.mask(it)) for it in ("t0ps3cret", "passw0rd")] == ["***", "***"]
    assert str(config.http.endpoint) == "wss://***@x.test/"
    assert "t0ps3cret" not in config.model_dump_json(include={"http": {"websocket_config"}})


def test_what_messages_look_like() -> None:
    """In the language of rules."""
    config = one(
        f"{SOCKET}  websocket_config: {{ignore: ['^pong$', {{/type: ack}}], answers: [{{to: ping, with: pong}}]}}\n"
    )
    websocket = config.http.websocket_config
    assert websocket is not None
    pattern, pointers = websocket.ignore
    assert pattern == Pattern("^pong$")
    assert isinstance(pointers, tuple)
    assert (str(pointers[0][0]), pointers[0][1].equals) == ("/type", ("ack",))
    (answer,) = websocket.answers
    assert (answer.to, answer.with_) == (Pattern("ping"), Text("pong"))
