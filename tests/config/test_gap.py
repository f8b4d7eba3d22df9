"""What is asked for about a gap of a stream."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.streams import HEAD, SOCKET
from headwater.config import load_text
from headwater.config.backfill import gap_backfilled

START, END = 1_704_067_200_000, 1_704_153_600_000
GAP = """\
  params: {since: '${{ cursor.id | default(null) }}'}
  headers: {X-Key: k, Accept: text/event-stream, X-Since: '${{ cursor.id | default(null) }}', X-Own: theirs}
  auth: {type: basic, username: u, password: passw0rd}
  limits: {rate: 5/1s}
  max_record: 1 MiB
  cursor: {id: /id}
  gap:
    backfill:
      endpoint: ENDPOINT
      params: {from: '${{ window.start }}'}
      headers: {X-own: ours}
      size: 1h
      records: {split: /items}
      pagination: link
      retry: {attempts: 2}
      timeout: 7s
"""


def test_the_poll_about_a_gap() -> None:
    """It asks as the backfill says, for the time of the gap, as who the stream is; nothing of the stream is left."""
    config = load_text(SOCKET + GAP.replace("ENDPOINT", "/v1/items/${{ window.end | unix }}")).connectors[0]
    made = gap_backfilled(config, START, END)
    http = made.http
    assert (http.source, made.name, made.topic, made.place) == ("poll", "a", config.topic, config.place)
    assert http.endpoint.reveal() == "https://x.test/v1/items/${{ window.end | unix }}"
    assert [http.endpoint.reveal()[start:end] for start, end in http.endpoint.spans] == ["${{ window.end | unix }}"]
    assert [(name, text.reveal()) for name, text in http.headers] == [("X-Key", "k"), ("X-own", "ours")]
    assert [(name, text.reveal()) for name, text in http.params] == [("from", "${{ window.start }}")]
    assert http.window is not None
    assert http.window.initial is not None
    assert http.window.until is not None
    assert (http.window.initial.ms, http.window.until.ms, http.window.size) == (START, END, timedelta(hours=1))
    assert (http.auth, http.limits, http.tls) == (config.http.auth, config.http.limits, config.http.tls)
    assert (http.retry.attempts, http.timeout, http.conditional) == (2, timedelta(seconds=7), False)
    assert (http.cursor, http.gap, http.max_record, http.websocket_config) == ({}, None, 16 * 1024 * 1024, None)
    assert http.records is not None
    assert http.pagination is not None
    assert made.masker.mask("passw0rd") == "***"


@pytest.mark.parametrize(
    ("stream", "endpoint", "asked", "shown"),
    [
        ("ws://x.test:81/s?a", "/b", "http://x.test:81/b", "http://x.test:81/b"),
        ("wss://u:passw0rd@x.test", "/b", "https://u:passw0rd@x.test/b", "https://***@x.test/b"),
        ("https://x.test/s\n  stream: true", "/", "https://x.test/", "https://x.test/"),
        ("wss://x.test/s", "http://y.test/b", "http://y.test/b", "http://y.test/b"),
    ],
)
def test_where_a_gap_is_asked_for(stream: str, endpoint: str, asked: str, shown: str) -> None:
    """A path is one at the stream's own host, with the login that stands there."""
    text = (
        f"{HEAD}  endpoint: {stream}\n  gap: {{backfill: {{endpoint: '{endpoint}', body: '${{{{ window.end }}}}'}}}}\n"
    )
    made = gap_backfilled(load_text(text).connectors[0], START, END).http.endpoint
    assert (made.reveal(), str(made)) == (asked, shown)
