"""The shapes of real answers, polled: records and pages together, in one piece and in many."""

from __future__ import annotations

import pytest
import yaml

from headwater.config import ConnectorConfig, load_text
from headwater.core.checkpoint import Checkpoint
from headwater.core.http import Response
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources import reaping
from headwater.sources.poll import Poll
from headwater.sources.reaped import Reaped
from sources.shapes.corpus import SHAPES, Shape

MOMENT = Moment(1_700_000_000_000, 1_700_000_000_000)


def config_of(shape: Shape) -> ConnectorConfig:
    options = {**shape.http, "records": shape.records, "pagination": shape.pagination}
    return load_text(yaml.safe_dump({"name": "a", "topic": "b", "parameters": options})).connectors[0]


def in_pieces(poll: Poll, response: Response, checkpoint: Checkpoint) -> tuple[list[Record], Reaped]:
    """Return the records of a response that comes in pieces, each a step, and the last step."""
    taking = poll.reaping(response, checkpoint, MOMENT)
    records: list[Record] = []
    for start in range(0, len(response.body), 50):
        step = taking.feed(response.body[start : start + 50])
        if step is not None:
            assert step.partial
            assert step.checkpoint.body is not None
            records += step.records
    last = taking.finish()
    return [*records, *last.records], last


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("way", ["whole", "pieces"])
def test_a_round_of_real_answers(shape: Shape, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page has its records and leads to the next, and nothing of it stays when the round is over."""
    monkeypatch.setattr(reaping, "STEP", 1)
    poll, checkpoint = Poll(config_of(shape)), Checkpoint()
    total = 0
    for page, response in zip(shape.pages, shape.responses, strict=True):
        request = poll.request(checkpoint, MOMENT)
        assert request.url.startswith(shape.url.partition("?")[0][:12])
        if way == "whole":
            reaped = poll.reap(response, checkpoint, MOMENT)
            records = [*reaped.records]
        else:
            records, reaped = in_pieces(poll, response, checkpoint)
        assert not reaped.failure
        assert not reaped.bad
        assert [None if it.key is None else it.key.decode() for it in records] == [item.key for item in page.items]
        assert [it.timestamp for it in records] == [item.time_ms for item in page.items]
        assert reaped.more == (page.next is not None)
        checkpoint = reaped.checkpoint
        total += len(records)
        assert (checkpoint.records, checkpoint.body) == (total, None)
    assert checkpoint.exchanges == len(shape.pages)
    assert checkpoint.progress is None or not checkpoint.progress.page
