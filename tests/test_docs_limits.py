"""docs/limits.md is true: each answer is judged, each ledger is one that was written, each option loads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from engine.limited import limited
from headwater.config import ConnectorConfig, load_text
from headwater.core.http import Headers, Response
from headwater.core.units import format_duration
from headwater.engine.round import pacing_of
from headwater.sources.judge import Attempt, Policy, judge
from headwater.sources.limits.headers import Quota, quotas
from headwater.sources.rules import Rules
from headwater.testing import Answer, Received

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "limits.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
NOW = 1_700_000_000.0


def blocks(kind: str) -> Iterator[tuple[str, str, str]]:
    """Yield each block of a kind, with the last configuration and the block just before it."""
    config = before = ""
    for word, text in BLOCKS:
        if word == kind:
            yield config, before, text
        if word == "yaml":
            config = text
        before = text


def response(text: str) -> Response:
    head, _, body = text.rstrip("\n").partition("\n\n")
    first, *lines = head.splitlines()
    pairs = (line.partition(":") for line in lines)
    headers: Headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    return Response(int(first.split()[1]), "HTTP/1.1", headers, body.encode(), "https://x/", 0.1, len(body))


def config_of(text: str) -> ConnectorConfig:
    """Return the connector of an example, or one with the options of an example."""
    if not text.startswith("name:"):
        options = {"endpoint": "https://api.example.com/", **yaml.safe_load(text)}
        text = yaml.safe_dump({"name": "a", "topic": "b", "parameters": options})
    return load_text(text).connectors[0]


@pytest.mark.parametrize("text", [text for word, text in BLOCKS if word == "yaml"])
def test_examples_load(text: str) -> None:
    """What a reader copies is right."""
    assert config_of(text).name


@pytest.mark.parametrize(("config", "answer", "said"), list(blocks("text")))
def test_answers_mean_what_is_said(config: str, answer: str, said: str) -> None:
    """Each answer under rules is judged as it stands there, and each quota is read so."""
    heard = response(answer)
    http = config_of(config).http
    if not http.rules:
        found = [told(quota) for quota in quotas(heard.headers, now=NOW)]
        assert found == said.splitlines()
        return
    policy = Policy(rules=Rules(http.rules), renewable=http.auth is not None)
    verdict = judge(heard, Attempt(number=1, now=NOW, left=300, chance=0.5), policy)
    assert f"{verdict.action.name.lower()}: {verdict.reason}\n" == said


def told(quota: Quota) -> str:
    name = f"{quota.scope}: " if quota.scope else ""
    again = f"{quota.refill:g} more each second" if quota.refill else ""
    if quota.reset is not None:
        again = f"whole again in {format_duration(timedelta(seconds=quota.reset))}"
    return f"{name}{quota.remaining:g} of {quota.limit:g}, {again}"


def used_up(_: Received) -> Answer:
    headers = (("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "600"))
    return Answer(body=b"x", headers=headers)


def failing() -> Iterator[Answer]:
    yield from [Answer(500)] * 3
    while True:
        yield Answer(body=b"x")


# What the server of each example answers, and how long it is watched (seconds).
SCENES = {"issues": (used_up, 660), "prices": (failing, 50), "weather": (Answer(body=b"x"), 27 * 3600)}


@pytest.mark.parametrize(("config", "ledger"), [(config, ledger) for config, _, ledger in blocks("ledger")])
async def test_ledgers_are_written_so(tmp_path: Path, config: str, ledger: str) -> None:
    """Each example is run, and its ledger reads as it stands there."""
    name = yaml.safe_load(config)["name"]
    scene, seconds = SCENES[name]
    async with limited(tmp_path) as it:
        answers = failing()
        it.answer(
            "/x", scene if isinstance(scene, Answer) else used_up if scene is used_up else lambda _: next(answers)
        )
        shown = re.search(r"https://\S+", config)
        assert shown is not None
        connector = load_text(config.replace(shown[0], f"{it.server.url}/x")).connectors[0]
        async with it.running(connector):
            await it.pass_time(seconds)
        host = it.server.url.removeprefix("http://")
        lines: list[str] = []
        for entry in it.ledger(name):
            line = f"{entry.decision.value}: {entry.reason}".replace(host, "api.example.com:443")
            if not lines or lines[-1] != line or entry.decision.value == "failed":
                lines.append(line)
    assert lines[: len(ledger.splitlines())] == ledger.splitlines()


@pytest.mark.parametrize(("config", "warning"), [(config, warning) for config, _, warning in blocks("warning")])
def test_warnings_are_given_so(config: str, warning: str) -> None:
    """The arithmetic is the one that is printed."""
    (found,) = load_text(config).warnings
    assert found.render().endswith(f"warning: {warning.strip()}")


@pytest.mark.parametrize(("config", "paces"), [(config, paces) for config, _, paces in blocks("pace")])
def test_paces_are_kept_so(config: str, paces: str) -> None:
    """From the usual interval on, line after line."""
    pacing = pacing_of(load_text(config).connectors[0])
    assert pacing is not None
    pace = None
    for line in paces.splitlines():
        word, _, expected = line.partition(" ")
        for seconds in expected.split(", "):
            pace = pacing.after(pace, changed=word == "changes")
            assert format_duration(timedelta(seconds=pace.seconds)) == format_duration(
                timedelta(seconds=float(seconds.removesuffix("s")))
            )


def test_metrics_that_are_named_are_there() -> None:
    """Each metric of the page is one that is served."""
    source = (ROOT / "src/headwater/engine/metrics.py").read_text()
    for name in re.findall(r"`(headwater_\w+?)(?:_total)?\{", TEXT):
        stem = name.removesuffix("_remaining").removesuffix("_limit")
        assert f'"{name}"' in source or f'f"{stem}_{{word}}"' in source, name
