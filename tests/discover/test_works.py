"""What is written works: the connector that init writes finds the items of real APIs, page by page."""

from __future__ import annotations

import pytest

from headwater.config import load_text
from headwater.config.secrets import SecretSource
from headwater.core.checkpoint import Checkpoint
from headwater.core.moment import Moment
from headwater.discover.asking import Ask, from_url
from headwater.discover.finding import Draft
from headwater.discover.survey import Known, survey
from headwater.discover.write import write
from headwater.sources.poll import Poll
from sources.shapes.corpus import SHAPES, Shape

NOW = 1_714_554_000.0
# Two of them have another key that is as good.
OTHER_KEYS = {"fhir-bundle", "jira-search"}


def drafted(shape: Shape) -> Draft:
    """Survey a shape, with its pages as the answers."""
    params = tuple((name, str(value)) for name, value in shape.http.get("params", {}).items())
    ask: Ask = from_url(shape.url).replace(
        method=shape.http.get("method", "GET"),
        params=params,
        headers=tuple(shape.http.get("headers", {}).items()),
        body=shape.http.get("body"),
    )
    running = survey(ask, Known(), NOW)
    probe = next(running)
    while True:
        try:
            answer = shape.responses[1 if probe.purpose.startswith("the next page") else 0]
            probe = running.send(None if probe.purpose.startswith("whether") else answer)
        except StopIteration as ended:
            draft: Draft = ended.value
            return draft


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_written_connector_finds_every_item(shape: Shape) -> None:
    """Of each page come the records that are expected, and the last one is known as the last."""
    text = write(drafted(shape)).text
    config = load_text(text, secrets=SecretSource({}, "a test", closed=True)).connectors[0]
    poll, checkpoint = Poll(config), Checkpoint()
    for number, (page, response) in enumerate(zip(shape.pages, shape.responses, strict=True)):
        moment = Moment(round(NOW * 1000), round(NOW * 1000), first=number == 0)
        poll.request(checkpoint, moment)
        reaped = poll.reap(response, checkpoint, moment)
        assert not reaped.failure
        assert not reaped.bad
        if shape.name not in OTHER_KEYS:
            keys = [None if record.key is None else record.key.decode() for record in reaped.records]
            assert keys == [item.key for item in page.items]
        times = [record.timestamp for record in reaped.records]
        assert times == [item.time_ms for item in page.items]
        assert reaped.more == (page.next is not None)
        checkpoint = reaped.checkpoint
