"""docs/records.md is true: each answer comes to the records that stand below it, each example loads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from headwater.config import ConnectorConfig, RecordsOptions, load_text
from headwater.core.checkpoint import Checkpoint
from headwater.core.http import Headers, Response
from headwater.core.instant import Instant
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.engine.deadletter import bad_letter
from headwater.sources.poll import Poll
from headwater.sources.reaped import BadItem

TEXT = (Path(__file__).parents[1] / "docs" / "records.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
NOW = 1_714_557_600_000


def answers() -> Iterator[tuple[str, str, str]]:
    """Yield each answer with the configuration before it and the records behind it."""
    config = ""
    for (word, text), (following, result) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if word == "yaml":
            config = text
        if word == "http":
            assert following == "text"
            yield config, text, result


def config_of(text: str) -> ConnectorConfig:
    options = {"endpoint": "https://api.example.com/", **yaml.safe_load(text)}
    loaded = load_text(yaml.safe_dump({"name": "orders", "topic": "orders", "parameters": options}))
    return next(iter(loaded.connectors))


def response(text: str) -> Response:
    head, _, body = text.rstrip("\n").partition("\n\n")
    first, *lines = head.splitlines()
    pairs = (line.partition(":") for line in lines)
    headers: Headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    return Response(int(first.split()[1]), "HTTP/1.1", headers, body.encode(), "https://x/", 0.1, len(body))


def shown(record: Record) -> str:
    key = "-" if record.key is None else record.key.decode()
    time = "-" if record.timestamp is None else Instant(record.timestamp * 1_000_000, digits=3).text
    return f"{key} | {time} | {record.value.decode()}"


@pytest.mark.parametrize("text", [text for word, text in BLOCKS if word == "yaml"])
def test_examples_load(text: str) -> None:
    """What a reader copies is right."""
    assert config_of(text).http.records is not None


@pytest.mark.parametrize(("config", "answer", "result"), list(answers()))
def test_answers_come_to_what_is_said(config: str, answer: str, result: str) -> None:
    """Records, bad items and failures are those that the page shows."""
    poll, moment = Poll(config_of(config)), Moment(NOW, NOW)
    poll.request(Checkpoint(), moment)
    reaped = poll.reap(response(answer), Checkpoint(), moment)
    lines = [shown(record) for record in reaped.records]
    lines += [f"! {it.position}: {it.reason}" for it in reaped.bad]
    lines += [f"failed: {reaped.failure}"] if reaped.failure else []
    assert lines == result.splitlines()


def test_the_dead_letter_is_one() -> None:
    """The letter on the page is what such an item becomes."""
    (letter,) = [json.loads(text) for word, text in BLOCKS if word == "json"]
    item = BadItem("item 2", letter["reason"], b'{"n":nope}')
    made = bad_letter(item, connector="orders", topic="orders", now_ms=NOW, mask=str)
    assert json.loads(made.value) == letter


def test_every_option_is_told_of() -> None:
    """No option of the group is missing on the page."""
    for name in RecordsOptions.model_fields:
        assert f"`{name}" in TEXT or f"{name}:" in TEXT, name
