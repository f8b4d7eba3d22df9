"""What a configuration says about the place that records go to: record ids and deduplication, in both dialects."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headwater.config import ConnectorConfig, InvalidConfigError, load_text
from headwater.core.topic import Deduplication
from headwater.core.window import MOST_REMEMBERED
from headwater.engine.engine import topic_spec

PAGE = "name: a\ntype: http\ntopic:\n  meta: {{name: b}}\n  {drops}\nparameters:\n  endpoint: http://x/\n"
TODAY = (
    "apiVersion: 0.2.0\nmeta:\n  name: a\n  type: http-source\n  version: 0.1.0\n  topic:\n    meta: {{name: b}}\n"
    "    {drops}\nhttp:\n  endpoint: http://x/\n"
)
DIALECTS = pytest.mark.parametrize("dialect", [PAGE, TODAY], ids=["page", "today"])
GOOD = "deduplication: {bounds: {count: 100, age: 60s}, filter: {transform: {uses: dedup-filter}}}"


def one(text: str) -> ConnectorConfig:
    (config,) = load_text(text).connectors
    return config


def said(text: str) -> str:
    with pytest.raises(InvalidConfigError) as raised:
        load_text(text)
    return "\n".join(problem.render() for problem in raised.value.problems)


@DIALECTS
def test_deduplication(dialect: str) -> None:
    """Bounds and filter come to the topic as Fluvio writes them."""
    assert topic_spec(one(dialect.format(drops=GOOD))).deduplication == Deduplication(
        "dedup-filter", 100, timedelta(seconds=60)
    )
    long = GOOD.replace("age: 60s", "").replace("100, ", "7")
    named = long.replace("dedup-filter", "infinyon-labs/dedup-filter@0.0.2, with: {key: value}")
    assert topic_spec(one(dialect.format(drops=named))).deduplication == Deduplication(
        "infinyon-labs/dedup-filter@0.0.2", 7, None, {"key": "value"}
    )
    assert topic_spec(one(dialect.format(drops="version: 0.1.0"))).deduplication is None


WRONG = [
    ("count: 100", "count: 0", "deduplication.bounds.count: it must be at least 1; got 0"),
    (
        "count: 100",
        f"count: {MOST_REMEMBERED + 1}",
        f"deduplication.bounds.count: it must be at most {MOST_REMEMBERED}",
    ),
    ("count: 100, ", "", "deduplication.bounds.count: it is required"),
    ("count: 100", "count: many", "deduplication.bounds.count: expected a whole number; got 'many'"),
    ("age: 60s", "age: soon", "deduplication.bounds.age: 'soon' is not a duration"),
    ("age: 60s", "agee: 60s", "deduplication.bounds.agee: unknown key; did you mean 'age'?"),
    ("uses: dedup-filter", "", "deduplication.filter.transform.uses: it is required"),
    ("bounds:", "bound:", "deduplication.bound: unknown key; did you mean 'bounds'?"),
]


@DIALECTS
@pytest.mark.parametrize(("right", "wrong", "words"), WRONG, ids=[wrong or right for right, wrong, _ in WRONG])
def test_mistakes_in_deduplication(dialect: str, right: str, wrong: str, words: str) -> None:
    """Each has its sentence and its place."""
    text = said(dialect.format(drops=GOOD.replace(right, wrong)))
    assert words in text
    assert f"connect.yml:{5 if dialect is PAGE else 8}:" in text


@DIALECTS
def test_record_ids(dialect: str) -> None:
    """`record_id` is an option of the request's section, false unless it is said."""
    text = dialect.format(drops=GOOD)
    assert not one(text).http.record_id
    assert one(text + "  record_id: true\n").http.record_id
    assert one(text + "  record-id: yes\n").http.record_id
    assert "record_id: expected true or false; got 'sometimes'" in said(text + "  record_id: sometimes\n")
    assert "record_idd: unknown key; did you mean 'record_id'?" in said(text + "  record_idd: true\n")
