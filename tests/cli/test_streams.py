"""What is for polls alone is refused for streams before anything is begun, with its place."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.config import InvalidConfigError
from headwater.core.errors import HeadwaterError

HEAD = "apiVersion: 0.1.0\nmeta: {name: a, topic: b}\nhttp:\n"
KINDS = {
    "  endpoint: https://x.test/\n  stream: true\n": ("5:3: error: http.stream:", "a stream"),
    "  endpoint: https://x.test/\n  format: sse\n": ("5:3: error: http.format:", "a stream"),
    "  endpoint: wss://x.test/\n  stream: true\n": ("4:3: error: http.endpoint:", "a WebSocket"),
}


def refusal(command: str, arguments: Sequence[str]) -> HeadwaterError:
    """Return what a command says of its arguments, which it cannot do."""
    result = CliRunner().invoke(import_module(f"headwater.cli.{command}").command, arguments)
    assert isinstance(result.exception, HeadwaterError), result.output
    return result.exception


@pytest.mark.parametrize("options", list(KINDS))
@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("plan", (), "a plan is of polls at their times; plan the others"),
        ("trial", ("--replay", "recording.yml"), "a recording is of polls, which have an end; replay the others"),
        ("record", ("-o", "recording.yml"), "a recording is of polls, which have an end; record the others"),
        ("backfill", ("--from", "2024-01-01"), "a backfill asks for a stretch of time as polls do; write a connector"),
    ],
)
def test_commands_for_polls_refuse_streams(
    tmp_path: Path, command: str, more: tuple[str, ...], said: str, options: str
) -> None:
    """Each says what it is for; nothing is sent, and no file is written."""
    config = tmp_path / "connect.yml"
    config.write_text(HEAD + options)
    error = refusal(command, (str(config), "--data-dir", str(tmp_path / "data"), *more))
    place, kind = KINDS[options]
    assert isinstance(error, InvalidConfigError)
    assert f"connect.yml:{place} this is {kind}, and {said}" in str(error)
    assert list(tmp_path.iterdir()) == [config]


def test_a_replay_takes_the_poll_of_several(tmp_path: Path) -> None:
    """A recording is of one connector: that others of the file are streams is no matter."""
    config = tmp_path / "connect.yml"
    poll = HEAD.replace("name: a", "name: c")
    config.write_text(f"{HEAD}  endpoint: wss://x.test/\n---\n{poll}  endpoint: https://x/\n")
    assert "none.yml cannot be read" in str(refusal("trial", (str(config), "--replay", str(tmp_path / "none.yml"))))
