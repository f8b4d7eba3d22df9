"""docs/transport.md: every example loads and does what the page says of it; every option has its section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headwater.cli.app import COMMANDS
from headwater.config import SecretSource, load_text, transport_of
from headwater.config.http import HttpOptions
from headwater.core.cookies import MOST, MOST_OF_AN_ORIGIN
from headwater.core.http import USUAL

PAGE = (Path(__file__).parents[2] / "docs" / "transport.md").read_text()
SECRETS = SecretSource({"KEY_PASSWORD": "s3cret", "PROXY_PASSWORD": "s3cret"}, "a test")


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_examples(text: str) -> None:
    """What a reader copies loads, and changes how requests travel."""
    (config,) = load_text(text, secrets=SECRETS, here=False).connectors
    assert transport_of(config) != USUAL
    assert "s3cret" not in f"{config!r}"


def test_options() -> None:
    """Each option that says how requests travel is in the table at the beginning."""
    for option in ("http_version", "proxy", "no_proxy", "unix_socket", "cookies", "tls", "egress", "max_redirects"):
        assert option in HttpOptions.model_fields
        assert re.search(rf"^\| .*`{option}`", PAGE, re.MULTILINE), option


def test_what_is_said() -> None:
    """Bounds are those that hold, and commands are there."""
    assert f"At most {MOST_OF_AN_ORIGIN} of one server and {MOST} in all" in PAGE
    for command in re.findall(r"^headwater (\w+)", PAGE, re.MULTILINE):
        assert command in COMMANDS
