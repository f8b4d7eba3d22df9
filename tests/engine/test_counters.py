"""The figures of a running engine."""

from __future__ import annotations

import math

from headwater.core.exchange import Decision
from headwater.engine.counters import Figures, Histogram


def test_histogram_counts_by_upper_bound() -> None:
    """An observation on a bound belongs to it; one beyond all bounds has a place of its own."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1]
    assert histogram.total == 12.0


def test_quantile_is_the_bound_below_which_the_share_lies() -> None:
    """Quantiles are read off the bounds, infinity beyond the last."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 0.5, 1.5, 9.0):
        histogram.observe(value)
    assert [histogram.quantile(share) for share in (0.5, 0.75, 1.0)] == [1.0, 2.0, math.inf]


def test_counters_are_made_once_for_each_connector() -> None:
    """Asking again gives the same counters, with every outcome at zero to begin with."""
    figures = Figures()
    counters = figures.of("a")
    assert figures.of("a") is counters
    assert counters.decisions == dict.fromkeys(Decision, 0)
