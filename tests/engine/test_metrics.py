"""The Prometheus view of a running engine, over real HTTP."""

from __future__ import annotations

import urllib.request

import pytest

from headwater.core.address import parse_address
from headwater.core.errors import HeadwaterError
from headwater.core.exchange import Decision
from headwater.engine.counters import Figures, Trouble
from headwater.engine.metrics import serve_metrics


def test_a_scrape_shows_what_was_counted() -> None:
    """Polls by outcome, records, bytes, both histograms and the size of the log are served."""
    figures = Figures()
    counters = figures.of("cat-facts")
    counters.decisions[Decision.ACCEPTED] = 3
    counters.records = 3
    counters.bytes = 345
    counters.last_record = 1_700_000_000_000
    counters.trouble = Trouble("connect", "refused", 1)
    figures.requests.observe(0.02)
    figures.lag.observe(99.0)
    url, stop = serve_metrics("127.0.0.1:0", figures, lambda: 4096)
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
    finally:
        stop()
    for line in (
        'headwater_polls_total{connector="cat-facts",outcome="accepted"} 3.0',
        'headwater_polls_total{connector="cat-facts",outcome="failed"} 0.0',
        'headwater_records_total{connector="cat-facts"} 3.0',
        'headwater_received_bytes_total{connector="cat-facts"} 345.0',
        'headwater_failing{connector="cat-facts"} 1.0',
        'headwater_last_record_timestamp_seconds{connector="cat-facts"} 1.7e+09',
        'headwater_request_seconds_bucket{le="0.01"} 0.0',
        'headwater_request_seconds_bucket{le="0.025"} 1.0',
        'headwater_schedule_lag_seconds_bucket{le="5.0"} 0.0',
        'headwater_schedule_lag_seconds_bucket{le="+Inf"} 1.0',
        "headwater_log_bytes 4096.0",
    ):
        assert line in text


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    """The message names the address and what to do."""
    url, stop = serve_metrics("0", Figures(), lambda: 0)
    try:
        taken = url.split(":")[2].split("/")[0]
        with pytest.raises(HeadwaterError, match=f"cannot serve metrics on 127.0.0.1:{taken}: Address already in use"):
            serve_metrics(taken, Figures(), lambda: 0)
    finally:
        stop()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("9090", ("127.0.0.1", 9090)),
        (":9090", ("127.0.0.1", 9090)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:5", ("::1", 5)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    """Without a host the metrics stay on loopback."""
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", "host:", "x", "1:99999", "1:-2"])
def test_wrong_addresses(address: str) -> None:
    """What is not an address is an error of usage, not a crash."""
    with pytest.raises(HeadwaterError, match="is not"):
        serve_metrics(address, Figures(), lambda: 0)
