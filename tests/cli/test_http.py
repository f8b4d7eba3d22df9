"""The flags of `headwater http`: every option of the `http:` section, made from its field."""

from __future__ import annotations

import click
import pytest

from headwater.cli.http import command, flags, options_of
from headwater.config import ConnectorConfig, from_options
from headwater.config.gap import GapOptions
from headwater.config.websocket import WebsocketOptions


def connector(*arguments: str) -> ConnectorConfig:
    """Return the connector that these flags are for."""
    context = command.make_context("http", ["--topic", "c", *arguments])
    return from_options(name="c", topic="c", options=options_of(context.params), flags=True)


@pytest.mark.parametrize(
    ("arguments", "conditional", "cookies"),
    [
        ((), True, False),
        (("--cookies", "--conditional", "false"), False, True),
        (("--conditional=no", "--cookies=true"), False, True),
        (("--cookies", "true", "--conditional"), True, True),
    ],
)
def test_switches_need_no_value(arguments: tuple[str, ...], *, conditional: bool, cookies: bool) -> None:
    """What is true or false is true without one, and may have one."""
    made = connector("--endpoint", "https://x.test/", *arguments)
    assert (made.http.conditional, made.http.cookies) == (conditional, cookies)


def test_streams() -> None:
    """Fluvio's options and ours; a group is a prefix."""
    made = connector("--endpoint", "https://x.test/", "--stream", "--delimiter", r"\n\n", "--idle-timeout", "none")
    assert (made.http.source, made.http.delimiter, made.http.silence) == ("stream", "\n\n", None)
    sse = connector("--endpoint", "https://x.test/", "--format", "sse", "--sse-events", "a,b", "--sse-key", "id").http
    assert (sse.framing, sse.sse.events, sse.sse.key) == ("sse", ("a", "b"), "id")


def test_websockets() -> None:
    """Lists and maps are written as YAML; a message may stand alone, and a map is sent as JSON."""
    made = connector(
        *("--endpoint", "wss://x.test/", "--websocket-config-ping-interval-ms", "0"),
        *("--websocket-config-subscription-messages", '[{"op":"a"}, b]', "--reconnect-max", "1m"),
        *("--websocket-config-keep-alive", "{message: ping}", "--websocket-config-ignore", "[^pong$, {/type: ack}]"),
        *("--gap-backfill", "{endpoint: /x, params: {since: '${{ window.start }}'}}", "--gap-shortest", "5s"),
    ).http
    config, gap = made.websocket_config, made.gap
    assert isinstance(config, WebsocketOptions)
    assert [str(it) for it in config.subscriptions] == ["{'op': 'a'}", "b"]
    assert config.keep_alive is not None
    assert (config.ping_interval_ms, str(config.keep_alive.message), len(config.ignore)) == (0, "ping", 2)
    assert isinstance(gap, GapOptions)
    assert str(gap.backfill.endpoint) == "/x"
    one = connector("--endpoint", "wss://x.test/", "--websocket-config-subscription-messages", "hello").http
    assert one.websocket_config is not None
    assert [str(it) for it in one.websocket_config.subscriptions] == ["hello"]


def test_every_flag_is_told_of() -> None:
    """Each has a sentence, and a name of its own."""
    names: list[str] = []
    for flag in flags():
        assert isinstance(flag, click.Option)
        assert flag.help
        names += flag.opts
    assert len(names) == len(set(names))
