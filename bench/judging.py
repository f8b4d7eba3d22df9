"""What an exchange costs besides network and log: its request from templates, and the judgement of its answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import cycle

from bench.figures import Figure
from headwater.config import SecretSource, load_text
from headwater.core.checkpoint import Checkpoint, Progress
from headwater.core.http import Response
from headwater.core.moment import Moment
from headwater.sources.judge import Attempt
from headwater.sources.poll import Poll

_ROUNDS, _EXCHANGES = 7, 5_000
_PROMISE = 15.0

CONFIG = """
apiVersion: 0.1.0
meta: {name: orders, topic: orders, secrets: [{name: KEY}]}
http:
  endpoint: https://api.example.com/v2/orders
  method: POST
  params: {since: "${{ cursor.updated | iso }}", to: "${{ window.end | unix }}"}
  headers: {Authorization: "Bearer ${{ secrets.KEY }}"}
  body: {query: "orders(first: 100) { id }", variables: {after: "${{ page.token }}", size: "${{ page.size }}"}}
  records: {split: /data, key: /id}
  cursor: {updated: {from: /updated_at, initial: "2024-01-01T00:00:00Z", look_back: 5m}}
  window: {size: 1h}
  pagination: {type: cursor, next: /next, size: 100, has_more: /has_more}
  rules:
    - {status: [429, 503], do: retry}
    - {status: 200, header: {X-Partial: "yes"}, do: retry}
    - {status: 200, body: {/error/code: [1, 2]}, do: fail}
"""
BODY = b'{"data":[{"id":1,"updated_at":"2024-05-01T10:00:00Z"}],"next":"b64","has_more":true,"error":null}'


def _each(work: Callable[[], object]) -> float:
    """Return the microseconds of processor time of one call, the median of some rounds."""
    times = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(_EXCHANGES):
            work()
        times.append((time.process_time() - start) / _EXCHANGES * 1e6)
    return statistics.median(times)


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure exchanges with templates in URL and body and rules about their answers, and one with neither."""
    say("judging: rendering requests and judging answers ...")
    loaded = load_text(CONFIG, secrets=SecretSource({"KEY": "t0ps3cret"}, "the benchmark"))
    poll = Poll(loaded.connectors[0])
    moment = Moment(1_714_557_600_000, 1_714_557_600_000)
    cursors = {"updated": "2024-05-01T09:00:00+02:00"}
    window = [1_714_554_000_000, 1_714_557_600_000]
    # Every page has another token; cursor and window are those of the round.
    pages = cycle(
        Checkpoint(
            progress=Progress(
                cursors,
                window[0],
                moment.scheduled,
                {"n": number, "items": 100 * number, "token": f"Y3Vyc29yOn{number:05}", "window": window},
            )
        )
        for number in range(1000)
    )
    headers = (("content-type", "application/json"), ("date", "Wed, 01 May 2024 10:00:00 GMT"))
    response = Response(200, "HTTP/2.0", headers, BODY, "https://api.example.com/", 0.01, len(BODY))
    attempt = Attempt(number=1, now=1_714_557_600.0, left=10.0, chance=0.5)
    nothing = Checkpoint()

    def judge() -> None:
        if poll.accept(response, nothing) is None:
            poll.judge(response, attempt, nothing)

    plain = Poll(load_text("name: a\ntopic: a\nparameters: {endpoint: http://x.test/}\n").connectors[0])

    def usual() -> None:
        plain.request(nothing, moment)
        plain.accept(response, nothing)

    rendering, judging = _each(lambda: poll.request(next(pages), moment)), _each(judge)
    together = rendering + judging
    return [
        Figure(
            "templates and judging: four expressions in URL and body, three rules",
            f"{together:.1f} us",
            f"{_each(usual):.1f} us without any",
            f"<= {_PROMISE:g} us an exchange",
            together <= _PROMISE,
            {"request": round(rendering, 2), "judging": round(judging, 2)},
        )
    ]


if __name__ == "__main__":
    for figure in measure(print):
        print(figure)
