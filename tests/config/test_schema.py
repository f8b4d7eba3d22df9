"""The JSON Schema and the reference page agree with what loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from headwater.config import InvalidConfigError, json_schema, load_text
from headwater.config.http import HttpOptions
from headwater.config.model import ProducerOptions
from headwater.config.reference import markdown
from headwater.config.retry import RetryOptions
from headwater.config.secrets import SecretSource

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))
PAGE = "name: a\ntopic: b\nparameters:\n  endpoint: http://x/\n"
SOCKET = "name: a\ntopic: b\nparameters:\n  endpoint: wss://x/\n"


def allows(text: str) -> bool:
    return Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text))


def loads(text: str) -> bool:
    try:
        return bool(load_text(text, secrets=SecretSource({"API_TOKEN": "x"}, "a test")).connectors)
    except InvalidConfigError:
        return False


def test_the_schema_is_one() -> None:
    """It is a valid schema of its draft."""
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name != "page-verbatim.yml"], ids=lambda p: p.name)
def test_examples_are_valid(path: Path) -> None:
    """Every example that is YAML passes the schema."""
    errors = list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(path.read_text())))
    assert not errors


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (PAGE, True),
        (PAGE + "  output-type: json\n  user_agent: x\n  filter: my-filter\n", True),
        (PAGE + "  intervall: 5\n", False),
        (PAGE + "  method: FETCH\n", False),
        (PAGE + "  retry: {attempts: 0}\n", False),
        (PAGE + "  retry: {attempts: 2, retry-after-max: 1m}\n", True),
        (PAGE + "producer: {linger: 1ms, batch-size: 44.0 MB}\n", True),
        (PAGE + "producer: {lingr: 1ms}\n", False),
        (PAGE + "  stream: true\n  delimiter: ';'\n  idle-timeout: none\n  reconnect: {initial: 1s}\n", True),
        (PAGE + "  format: sse\n  sse: {events: [a], key: id}\n", True),
        (PAGE + "  format: see\n", False),
        (PAGE + "  format: length-prefixed\n  length_prefix: {size: varint}\n", True),
        (PAGE + "  format: length-prefixed\n  length_prefix: {size: 3}\n", False),
        (SOCKET + "  websocket-config: {subscription_messages: [a, {b: 1}], ping-interval-ms: 5000}\n", True),
        (
            SOCKET
            + "  websocket_config: {resume_message: {a: '${{ scheduled }}${{ cursor.b }}'}}\n  cursor: {b: /b}\n",
            True,
        ),
        (SOCKET + "  websocket_config: {answers: [{to: {/a: 1}, with: b}], ignore: [c, {/d: e}]}\n", True),
        (SOCKET + "  websocket_config: {answers: [{to: a, wit: b}]}\n", False),
        (SOCKET + "  websocket_config: {ping_interval_ms: -1}\n", False),
        (SOCKET + "  gap: {shortest: 5s, backfill: {endpoint: /x, records: {split: /}, pagination: link}}\n", True),
        (SOCKET + "  gap: {backfill: {}}\n", False),
        (PAGE + "transforms: [{uses: a, with: {x: y}, lookback: {last: 1}}]\n", True),
        (PAGE + "secrets: {A: {env: PATH}, B: x}\n", True),
        (PAGE + "secrets: [{name: A, command: [echo, x]}]\n", True),
        (PAGE + "secrets: {A: {command: echo}}\n", False),
        (PAGE + "secrets: [{name: A, fil: x}]\n", False),
        ("name: a\ntopic: b\n", False),
        ("apiVersion: 0.1.0\nmeta: {name: a, topic: b, type: http-source}\nhttp: {endpoint: 'http://x/'}\n", True),
        ("apiVersion: 9.0.0\nmeta: {name: a, topic: b}\nhttp: {endpoint: 'http://x/'}\n", False),
        (
            """
apiVersion: 0.2.0
meta: {name: a, topic: {meta: {name: b}, partition: {count: 2, max-size: 1 GB}}}
http: {endpoint: 'http://x/'}
""",
            True,
        ),
    ],
)
def test_schema_and_loader_agree(text: str, *, valid: bool) -> None:
    """What the schema allows loads, and what it forbids does not."""
    assert (allows(text), loads(text)) == (valid, valid)


def test_the_reference_page_is_fresh() -> None:
    """docs/configuration.md is what `make docs` would write, and has every option with a meaning."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == markdown(), "run `make docs`"
    for options in (HttpOptions, RetryOptions, ProducerOptions):
        for name, field in options.model_fields.items():
            assert f"| `{name}` |" in page
            assert field.description
