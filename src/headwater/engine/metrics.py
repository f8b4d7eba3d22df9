"""Owns the Prometheus view of a running engine. Reads the counters when it is scraped; nothing is counted here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headwater.core.address import parse_address
from headwater.core.errors import HeadwaterError
from headwater.engine.counters import Counters, Figures, Histogram, ShareFigures
from headwater.sources.limits.breaker import State


class EngineCollector(Collector):
    """Turns the figures of an engine into metric families. `log_size` returns the bytes of the log on disk."""

    def __init__(self, figures: Figures, log_size: Callable[[], int]) -> None:
        self._figures = figures
        self._log_size = log_size

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known only while collecting, and nobody registers them twice."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family, read from the counters at this moment."""
        polls = CounterMetricFamily(
            "headwater_polls",
            "Scheduled polls, and of streams connections and groups of records, by what became of them",
            labels=["connector", "outcome"],
        )
        attempts = CounterMetricFamily(
            "headwater_requests", "HTTP requests sent, retries included", labels=["connector"]
        )
        received = CounterMetricFamily("headwater_received_bytes", "Bytes of response bodies", labels=["connector"])
        records = CounterMetricFamily("headwater_records", "Records committed to the topic", labels=["connector"])
        rejected = CounterMetricFamily(
            "headwater_rejected_records", "Records that a transform refused", labels=["connector"]
        )
        failing = GaugeMetricFamily("headwater_failing", "1 while a connector is failing, else 0", labels=["connector"])
        last = GaugeMetricFamily(
            "headwater_last_record_timestamp_seconds", "Unix time of the last committed record", labels=["connector"]
        )
        held = CounterMetricFamily(
            "headwater_held_polls", "Polls that limits held, by the kind of limit", labels=["connector", "reason"]
        )
        for name, counters in list(self._figures.connectors.items()):
            for decision, count in counters.decisions.items():
                polls.add_metric([name, decision.value], count)
            attempts.add_metric([name], counters.attempts)
            received.add_metric([name], counters.bytes)
            records.add_metric([name], counters.records)
            rejected.add_metric([name], counters.rejected)
            failing.add_metric([name], 0 if counters.trouble is None else 1)
            if counters.last_record is not None:
                last.add_metric([name], counters.last_record / 1000)
            for reason, count in list(counters.held.items()):
                held.add_metric([name, reason], count)
        yield from (polls, attempts, received, records, rejected, failing, last, held)
        yield from _streams(list(self._figures.connectors.items()), time.time_ns() // 1_000_000)
        yield from _limits(list(self._figures.shares.items()))
        yield _histogram("headwater_request_seconds", "Time of whole responses", self._figures.requests)
        yield _histogram("headwater_schedule_lag_seconds", "How late polls begin", self._figures.lag)
        yield GaugeMetricFamily("headwater_log_bytes", "Size of the log on disk", value=self._log_size())
        yield GaugeMetricFamily("headwater_scrape_timestamp_seconds", "Time of this scrape", value=time.time())


def _streams(connectors: Sequence[tuple[str, Counters]], now: int) -> Iterator[Metric]:
    """Yield how streams stand at `now` (ms); nothing where there are none."""
    streams = [(name, counters.stream) for name, counters in connectors if counters.stream is not None]
    if not streams:
        return
    connected = GaugeMetricFamily(
        "headwater_stream_connected", "1 while a stream has a connection, else 0", labels=["connector"]
    )
    gap = CounterMetricFamily(
        "headwater_stream_gap_seconds", "Time that a stream was without a connection", labels=["connector"]
    )
    for name, stream in streams:
        connected.add_metric([name], 1 if stream.connected else 0)
        gap.add_metric([name], stream.without(now))
    yield from (connected, gap)


def _limits(shares: Sequence[tuple[str, ShareFigures]]) -> Iterator[Metric]:
    """Yield how limits stand that connectors share; nothing where there are none."""
    if not shares:
        return
    label = ["share"]
    breaker = GaugeMetricFamily(
        "headwater_breaker_state", "1 for the state that a circuit breaker is in", labels=["share", "state"]
    )
    opened = CounterMetricFamily("headwater_breaker_openings", "How often a circuit breaker has opened", labels=label)
    under_way = GaugeMetricFamily("headwater_limit_requests_under_way", "Requests under way", labels=label)
    waiting = GaugeMetricFamily("headwater_limit_requests_waiting", "Requests that wait for their turn", labels=label)
    waited = CounterMetricFamily("headwater_limit_wait_seconds", "Time that requests were kept waiting", labels=label)
    left, limit = (
        GaugeMetricFamily(f"headwater_quota_{word}", f"{text}, as its server says", labels=["share", "quota"])
        for word, text in (("remaining", "Requests left of a quota"), ("limit", "All requests of a quota"))
    )
    budget = GaugeMetricFamily(
        "headwater_budget_remaining", "Requests left of a budget at the last request", labels=["share", "period"]
    )
    for name, it in shares:
        for state in State:
            breaker.add_metric([name, state.value], 1 if it.breaker == state.value else 0)
        opened.add_metric([name], it.opened)
        under_way.add_metric([name], it.under_way)
        waiting.add_metric([name], it.waiting)
        waited.add_metric([name], it.waited)
        for scope, (most, remaining) in it.quotas.items():
            left.add_metric([name, scope], remaining)
            if most is not None:
                limit.add_metric([name, scope], most)
        for period, (_, remaining) in it.budgets.items():
            budget.add_metric([name, period], remaining)
    yield from (breaker, opened, under_way, waiting, waited, left, limit, budget)


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets, running = [], 0
    for bound, count in zip((*histogram.bounds, float("inf")), list(histogram.counts), strict=True):
        running += count
        buckets.append((str(bound) if bound != float("inf") else "+Inf", float(running)))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)


def serve_metrics(address: str, figures: Figures, log_size: Callable[[], int]) -> tuple[str, Callable[[], None]]:
    """Serve the metrics over HTTP in a thread of their own; return the URL and what stops it.

    Raises HeadwaterError when the address cannot be used. Port 0 takes a free one.
    """
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise HeadwaterError(f"--metrics {error}", hint="write a port such as 9090, or 127.0.0.1:9090") from error
    registry = CollectorRegistry()
    registry.register(EngineCollector(figures, log_size))
    try:
        server, thread = start_http_server(port, host, registry=registry)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HeadwaterError(
            f"cannot serve metrics on {host}:{port}: {reason}", hint="name another port, or 0 for any free one"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{server.server_port}/metrics", stop
