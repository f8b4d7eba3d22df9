"""docs/streaming.md is true: each configuration loads, without a warning, and every option of streams is told of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.config import ConnectorConfig, Options, load_text
from headwater.config.framing import LengthPrefixOptions, SseOptions
from headwater.config.gap import GapBackfillOptions, GapOptions
from headwater.config.reconnect import ReconnectOptions
from headwater.config.websocket import AnswerOptions, KeepAliveOptions, WebsocketOptions

TEXT = (Path(__file__).parents[1] / "docs" / "streaming.md").read_text()
EXAMPLES: list[str] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
# Where each group of options stands below the options of `http:`; of a list, in its elements.
GROUPS: tuple[tuple[type[Options], tuple[str, ...]], ...] = (
    (LengthPrefixOptions, ("length_prefix",)),
    (SseOptions, ("sse",)),
    (WebsocketOptions, ("websocket_config",)),
    (KeepAliveOptions, ("websocket_config", "keep_alive")),
    (AnswerOptions, ("websocket_config", "answers")),
    (ReconnectOptions, ("reconnect",)),
    (GapOptions, ("gap",)),
    (GapBackfillOptions, ("gap", "backfill")),
)
# What stands in no example: Fluvio's own older name.
UNSHOWN = {"subscription_message"}


def options_of(text: str) -> Any:
    """Return the options of `http:` in an example."""
    found = yaml.safe_load(text)
    return found.get("http", found)


def config_of(text: str) -> ConnectorConfig:
    """Return the connector of an example, or one with the options of an example; there is nothing to warn of."""
    if "apiVersion" not in text:
        document = {"apiVersion": "0.1.0", "meta": {"name": "a", "topic": "a"}, "http": yaml.safe_load(text)}
        text = yaml.safe_dump(document)
    loaded = load_text(text)
    assert not loaded.warnings
    return loaded.connectors[0]


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_load(text: str) -> None:
    """What a reader copies is right, and is a stream."""
    config = config_of(text)
    assert config.http.source == ("websocket" if re.search("wss?://", text) else "stream")
    assert config.dead_letters == f"{config.topic.name}-dead-letter"


def shown(path: tuple[str, ...]) -> Iterator[str]:
    """Yield the options of a group that stand in an example."""
    for text in EXAMPLES:
        found: list[Any] = [options_of(text)]
        for step in path:
            below = [it[step] for it in found if step in it]
            found = [item for it in below for item in (it if isinstance(it, list) else [it])]
        for it in found:
            yield from it


@pytest.mark.parametrize(("group", "path"), GROUPS)
def test_every_option_has_an_example(group: type[Options], path: tuple[str, ...]) -> None:
    """And has one that loads."""
    names = {name.removesuffix("_") for name in group.model_fields}
    assert names - set(shown(path)) <= UNSHOWN
    assert all(name in TEXT for name in names)


def test_options_beside_the_endpoint_have_an_example() -> None:
    """Those of streams alone, and what polls have as well and means something else here."""
    names = set(shown(()))
    assert names >= {"stream", "format", "delimiter", "length_prefix", "sse", "max_record", "idle_timeout", "reconnect"}
    assert names >= {"websocket_config", "gap", "timeout", "records", "cursor", "output_type", "output_parts", "rules"}


def test_metrics_that_are_named_are_there() -> None:
    """Each metric of the page is one that is served."""
    source = (Path(__file__).parents[1] / "src/headwater/engine/metrics.py").read_text()
    names = re.findall(r"`(headwater_\w+?)(?:_total)?\{", TEXT)
    assert names
    assert all(f'"{name}"' in source for name in names)
