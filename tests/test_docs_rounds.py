"""docs/incremental.md and docs/pagination.md are true: each request is made as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import Checkpoint
from headwater.core.http import Headers, Request, Response
from headwater.core.instant import read_instant
from headwater.core.moment import Moment
from headwater.sources.kept import lines
from headwater.sources.poll import Poll

ROOT = Path(__file__).parents[1]
PAGES = ("incremental.md", "pagination.md")
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def examples() -> Iterator[tuple[str, str, str]]:
    """Yield each configuration with the exchanges and the outcome below it, which may be empty."""
    for page in PAGES:
        blocks = _BLOCK.findall((ROOT / "docs" / page).read_text())
        for place, (kind, text) in enumerate(blocks):
            if kind == "yaml":
                below = [*blocks[place + 1 : place + 3], ("", ""), ("", "")]
                trace = below[0][1] if below[0][0] == "http" else ""
                yield text, trace, below[1][1] if below[1][0] == "text" and trace else ""


def config_of(text: str) -> ConnectorConfig:
    """Return the connector with these options of `http:`."""
    document = {"apiVersion": "0.1.0", "meta": {"name": "a", "topic": "a"}, "http": yaml.safe_load(text)}
    return load_text(yaml.safe_dump(document)).connectors[0]


class Exchange(msgspec.Struct):
    """One request of a page of documentation, and its answer."""

    scheduled: int
    first: bool
    request: list[str] = []
    answer: list[str] = []


def exchanges(trace: str) -> list[Exchange]:
    """Read the lines of an example."""
    found: list[Exchange] = []
    scheduled, first = 1_714_564_800_000, True
    for line in trace.splitlines():
        sign, text = line[0], line[2:]
        if sign == "=":
            instant = read_instant(text)
            assert instant is not None
            scheduled, first = instant.ns // 1_000_000, True
        elif sign == ">" and re.match(r"[A-Z]+ /", text):
            found.append(Exchange(scheduled, first, [text], []))
            first = False
        else:
            (found[-1].request if sign == ">" else found[-1].answer).append(text)
    return found


def check(request: Request, said: list[str]) -> None:
    """Compare a request with the lines of the page."""
    parts = urlsplit(request.url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    assert f"{request.method} {target}" == said[0]
    for line in said[1:]:
        if line.startswith("{"):
            assert (request.body or b"").decode() == line
        else:
            name, _, value = line.partition(": ")
            assert dict(request.headers)[name] == value


def response(said: list[str], url: str) -> Response:
    """Return the answer of the page."""
    pairs = [line.partition(": ") for line in said if not line.startswith(("{", "["))]
    headers: Headers = tuple((name.lower(), value) for name, _, value in pairs)
    body = "".join(line for line in said if line.startswith(("{", "["))).encode()
    return Response(200, "HTTP/1.1", (*headers, ("content-type", "application/json")), body, url, 0.1, len(body))


@pytest.mark.parametrize(("config", "trace", "outcome"), list(examples()))
def test_requests_are_made_as_the_page_says(config: str, trace: str, outcome: str) -> None:
    """And no more of them; what the page says of the outcome is so."""
    poll, checkpoint = Poll(config_of(config)), Checkpoint()
    waiting = iter(exchanges(trace))
    records: list[bytes] = []
    for it in waiting:
        moment = Moment(it.scheduled, it.scheduled, it.first)
        request = poll.request(checkpoint, moment)
        check(request, it.request)
        answer = response(it.answer, request.url)
        reaped = poll.reap(answer, checkpoint, moment)
        assert not reaped.failure
        found = list(reaped.records)
        if poll.children is not None:
            children = poll.children.of(reaped.parents)
            scope: dict[str, Any] = poll.scope(checkpoint, moment)
            for child in children:
                while not child.done:
                    following = next(waiting)
                    asked = poll.children.request(child, scope, answer.url)
                    check(asked, following.request)
                    poll.children.take(child, response(following.answer, asked.url), asked, moment, empty=False)
            found, bad = poll.children.records(reaped.parents, found, children)
            assert not bad
        records += [record.value for record in found]
        checkpoint = reaped.checkpoint
    if trace:
        # The trace ends where the round does.
        assert checkpoint.progress is None or not checkpoint.progress.round
    if outcome.startswith("{"):
        assert b"\n".join(records).decode() + "\n" == outcome
    elif outcome:
        told = dict(lines(checkpoint))
        for line in outcome.splitlines():
            name, _, text = line.partition("  ")
            assert told[name] == text.strip()


def test_every_option_is_told_of() -> None:
    """Those of cursors, windows, pages and children stand on one of the pages, or only say where a value is."""
    text = "".join((ROOT / "docs" / page).read_text() for page in PAGES)
    for name in ("look_back", "initial", "until", "take", "type", "source", "whole", "lag", "max_windows", "max_pages"):
        assert name in text, name
    for name in (
        "beyond",
        "stop_at",
        "other_origins",
        "has_more",
        "total",
        "pages",
        "size_param",
        "start",
        "end",
        "last",
    ):
        assert name in text, name
    for name in ("parent", "only_if", "concurrency", "max", "rules"):
        assert name in text, name
