"""The time limit of Python functions, with real threads and real time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from headwater.transforms.timelimit import ExpiredError, within


def busy(seconds: float) -> str:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return "done"


def flood(rounds: int = 300) -> int:
    """Reach limits just as the work ends: they raise from `within` or not at all. Return how many did."""
    over = 0
    for _ in range(rounds):
        try:
            assert within(0.0005, lambda: busy(0.0005)) == "done"
        except ExpiredError:
            over += 1
    total = 0
    for number in range(100_000):
        total += number
    assert total == 4999950000
    return over


def test_work_that_ends_in_time() -> None:
    assert within(60, lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 / 0)


def test_work_that_does_not_end() -> None:
    def endless() -> None:
        while True:
            pass

    with pytest.raises(ExpiredError):
        within(0.01, endless)


def test_work_that_holds_on() -> None:
    """It is told again until it ends, and its result is not used."""
    told = 0

    def stubborn() -> str:
        nonlocal told
        while told < 3:
            try:
                while True:
                    pass
            except ExpiredError:
                told += 1
        return "done"

    with pytest.raises(ExpiredError):
        within(0.01, stubborn)
    assert told == 3


def test_a_call_into_c_ends_first() -> None:
    started = time.monotonic()
    with pytest.raises(ExpiredError):
        within(0.01, lambda: time.sleep(0.05))
    assert time.monotonic() - started >= 0.05


def test_many_limits_in_a_row_leave_nothing_behind() -> None:
    flood()


def test_many_limits_side_by_side_leave_nothing_behind() -> None:
    """Each thread is told of its own."""
    with ThreadPoolExecutor(4) as pool:
        floods = [pool.submit(flood, 100) for _ in range(8)]
        calm = [pool.submit(within, 60, lambda: busy(0.01)) for _ in range(8)]
        assert all(it.result(60) in range(101) for it in floods)
        assert {it.result(60) for it in calm} == {"done"}
    assert sum(it.name == "headwater-watch" for it in threading.enumerate()) == 1
