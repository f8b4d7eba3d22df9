"""What a connector will do, told beforehand: times, requests without their secrets, requests a day."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from headwater.config import HttpOptions, InvalidConfigError, from_options, load_text
from headwater.core.checkpoint import Checkpoint, Progress
from headwater.engine.forecast import Forecast, forecast

NOW = round(datetime(2024, 5, 1, 10, 0, 30, tzinfo=UTC).timestamp() * 1000)
HEAD = "name: orders\ntopic: orders\nsecrets: {KEY: s3cret-key}\nparameters:\n  endpoint: https://x.test/orders\n"


def told(options: str, checkpoint: Checkpoint | None = None, times: int = 3) -> Forecast:
    return forecast(load_text(HEAD + options).connectors[0], checkpoint, NOW, times)


def at(fire: int) -> str:
    return datetime.fromtimestamp(fire / 1000, UTC).isoformat()


def test_an_interval_begins_at_the_start() -> None:
    """The first time is now, and each that follows a period later."""
    found = told("  interval: 90s\n")
    assert [at(it.at) for it in found.fires] == [
        "2024-05-01T10:00:30+00:00",
        "2024-05-01T10:02:00+00:00",
        "2024-05-01T10:03:30+00:00",
    ]
    assert (found.schedule, found.rounds, found.pages, found.begun) == (
        "every 1m 30s, the first at the start",
        960,
        1,
        False,
    )


def test_a_cron_in_its_zone() -> None:
    """Times are those of the expression, and a day has as many rounds as it says."""
    found = told('  cron: "0 5,17 * * *"\n  timezone: Europe/Berlin\n')
    assert [at(it.at) for it in found.fires[:2]] == ["2024-05-01T15:00:00+00:00", "2024-05-02T03:00:00+00:00"]
    assert found.rounds == 2
    assert told('  cron: "0 0 29 2 *"\n').rounds == 0
    assert told('  cron: "* * * * *"\n').rounds == 1440


def test_requests_are_masked() -> None:
    """A secret shows nowhere: not in the URL, a header, the body."""
    found = told(
        '  params: {key: "${{ secrets.KEY }}"}\n'
        '  headers: {X-Key: "${{ secrets.KEY }}", X-Open: yes}\n'
        "  method: POST\n"
        '  body: \'{"k": "${{ secrets.KEY }}"}\'\n'
    )
    request = found.fires[0].request
    assert request is not None
    assert request.url == "https://x.test/orders?key=***"
    assert dict(request.headers)["X-Key"] == "***"
    assert dict(request.headers)["X-Open"] == "yes"
    assert request.body == '{"k": "***"}'
    assert "s3cret" not in str(found)


def test_requests_of_each_time() -> None:
    """What depends on the scheduled time is another request each time."""
    found = told("  interval: 1d\n  params: {day: \"${{ scheduled | date('%Y-%m-%d') }}\"}\n")
    urls = [it.request.url for it in found.fires if it.request is not None]
    assert urls == [f"https://x.test/orders?day=2024-05-0{day}" for day in (1, 2, 3)]


def test_a_request_from_the_checkpoint() -> None:
    """A cursor that has got somewhere stands in the request; what does not fit there is told."""
    begun = Checkpoint(progress=Progress(cursors={"updated": "2024-04-01T00:00:00Z"}))
    cursor = "  cursor: {updated: {from: /updated_at, initial: '2024-01-01T00:00:00Z'}}\n"
    fresh = told('  params: {since: "${{ cursor.updated }}"}\n' + cursor)
    found = told('  params: {since: "${{ cursor.updated }}"}\n' + cursor, begun)
    assert (fresh.begun, found.begun) == (False, True)
    urls = [it.fires[0].request.url for it in (fresh, found) if it.fires[0].request is not None]
    assert urls == [f"https://x.test/orders?since=2024-0{month}-01T00%3A00%3A00Z" for month in (1, 4)]
    odd = Checkpoint(progress=Progress(cursors={"updated": "a\nb"}))
    wrong = told('  headers: {X-Since: "${{ cursor.updated }}"}\n' + cursor, odd)
    assert wrong.fires[0].request is None
    assert wrong.fires[0].wrong


def test_a_round_that_was_broken_off() -> None:
    """It goes on first, as the round that it was."""
    broken = Checkpoint(progress=Progress(round=NOW - 3_600_000, page={"n": 1, "token": "abc"}))
    found = told(
        "  interval: 1h\n  pagination: {type: cursor, next: /next, param: after}\n"
        "  params: {at: \"${{ scheduled | date('%H:%M') }}\"}\n",
        broken,
    )
    assert found.resumes
    request = found.fires[0].request
    assert request is not None
    assert request.url == "https://x.test/orders?at=09%3A00&after=abc"
    assert found.pages == 1000


def test_nothing_is_due() -> None:
    """A window that has not ended asks for nothing, which is not wrong."""
    found = told(
        '  window: {size: 1h, whole: true}\n  params: {from: "${{ window.start }}", to: "${{ window.end }}"}\n',
        Checkpoint(progress=Progress(window=NOW - 60_000)),
        times=1,
    )
    assert found.fires[0].request is None
    assert not found.fires[0].wrong


@pytest.mark.parametrize("option", ["interval", "retry.attempts", "params"])
def test_each_option_is_explained(option: str) -> None:
    """What the file says is told with what it means."""
    found = told("  interval: 1h\n  retry: {attempts: 2}\n  params: {a: 1}\n")
    assert [it.option for it in found.meanings] == ["endpoint", "interval", "params", "retry.attempts"]
    assert next(it for it in found.meanings if it.option == option).text
    assert found.attempts == 2


# What makes a source of which an option is.
STREAM: dict[str, object] = {"stream": True}
BESIDE: dict[str, dict[str, object]] = {
    **dict.fromkeys(("delimiter", "gap", "idle_timeout", "max_record", "reconnect"), STREAM),
    "length_prefix": {"format": "length-prefixed"},
    "sse": {"format": "sse"},
    "websocket_config": {"endpoint": "wss://a.test/x"},
}


@pytest.mark.parametrize("option", sorted(HttpOptions.model_fields))
def test_every_option_can_be_explained(option: str) -> None:
    """The example of each option, in whatever form it is kept, is told of in text that JSON can hold."""
    example = HttpOptions.model_fields[option].examples[0]  # type: ignore[index]
    given = {
        "endpoint": "https://a.test/x",
        **BESIDE.get(option, {}),
        **({} if option == "endpoint" else {option: example}),
    }
    try:
        config = from_options(name="a", topic="a", options=given)
    except InvalidConfigError as error:
        # It fits only with others, or names a file.
        if option not in {"children", "tls", "unix_socket", "deduplicate"}:
            raise AssertionError(error.report()) from error
        return
    found = forecast(config, None, NOW, times=1)
    assert any(it.option.partition(".")[0] == option for it in found.meanings)
    assert msgspec.json.encode([it.value for it in found.meanings])


def test_rules_are_told_as_they_are_written() -> None:
    """Patterns and what is wanted at a pointer are shown by their texts."""
    rule = "{header: {X-A: ^b}, body: {/error: [1, x], /c: {matches: d$}}, do: fail}"
    (found,) = [it for it in told(f"  rules: [{rule}]\n").meanings if it.option == "rules"]
    shown = msgspec.json.encode(found.value).decode()
    assert all(word in shown for word in ("^b", "d$", "/error", "fail"))


def test_budgets() -> None:
    """What the schedule needs at least is told against what is allowed."""
    found = told("  interval: 1m\n  limits: {requests_per_day: 1000, requests_per_hour: 100, rate: 2/1s}\n")
    assert {it.budget: (it.allowed, round(it.share, 2)) for it in found.uses} == {
        "requests_per_hour": (100, 0.6),
        "requests_per_day": (1000, 1.44),
        "rate 2/1s, in a day": (172_800, 0.01),
    }
