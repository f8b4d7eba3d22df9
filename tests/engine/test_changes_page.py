"""docs/changes.md: every example, run with the answers that it shows, leaves the records that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.test_connector import bench
from engine.test_memory import polls
from headwater.config import load_text
from headwater.config.changes import ChangesOptions
from headwater.config.deduplicate import DeduplicateOptions
from headwater.testing import Answer

PAGE = (Path(__file__).parents[2] / "docs/changes.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```.*?```answers\n(.*?)```.*?```records\n(.*?)```", PAGE, re.DOTALL)


def test_every_configuration_is_an_example() -> None:
    """None is without its answers and its records."""
    assert len(EXAMPLES) == PAGE.count("```yaml") == PAGE.count("```answers") == PAGE.count("```records")


@pytest.mark.parametrize(("text", "answers", "records"), EXAMPLES, ids=range(len(EXAMPLES)))
async def test_the_examples(tmp_path: Path, text: str, answers: str, records: str) -> None:
    """Polled every ten seconds."""
    bodies = [line.replace("\\n", "\n").encode() for line in answers.splitlines()]
    async with bench(tmp_path) as it:
        path = it.server.route("/x", *(Answer(body=body) for body in bodies))
        (config,) = load_text(
            re.sub(r"endpoint: \S+", f"endpoint: {path}\n  conditional: false", text),
            overrides={"interval": "10s"},
        ).connectors
        async with it.running(config):
            await polls(it, len(bodies))
        topic = await it.log.topic(config.topic.name)
        made = [
            f"{'null' if record.key is None else record.key.decode()}: {record.value.decode()}".rstrip()
            for record in await topic.read()
        ]
        assert made == records.splitlines()


@pytest.mark.parametrize("options", [ChangesOptions, DeduplicateOptions])
def test_every_option_is_told_of(options: type[ChangesOptions | DeduplicateOptions]) -> None:
    """Each stands somewhere on the page."""
    for name in options.model_fields:
        assert f"`{name}" in PAGE or f" {name}: " in PAGE or f"{{{name}: " in PAGE, name
