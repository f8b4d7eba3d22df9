"""The window in which repeats are told, against one that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.window import MOST_REMEMBERED, Window

KEYS = st.sampled_from([None, b"", b"a", b"b"])
VALUES = st.sampled_from([b"", b"a", b"b", b"c", b"d"])
STEPS = st.lists(st.tuples(KEYS, VALUES, st.integers(0, 30)), max_size=40)


@given(STEPS, st.integers(1, 5))
def test_by_count(steps: list[tuple[bytes | None, bytes, int]], count: int) -> None:
    """The last `count` that were let through are remembered, by their keys, or by their values without one."""
    window = Window(count)
    passed: list[tuple[bytes | None, bytes | None]] = []
    for key, value, now in steps:
        told = (key, value if key is None else None)
        new = told not in passed[-count:]
        assert window.new(key, value, now) is new
        if new:
            passed.append(told)


@given(STEPS, st.integers(1, 5), st.integers(1, 60))
def test_by_age(steps: list[tuple[bytes | None, bytes, int]], count: int, age: int) -> None:
    """None of the last `count` passes again, and none that is not older than the age; what passes was neither."""
    window = Window(count, age)
    passed: list[tuple[tuple[bytes | None, bytes | None], int]] = []
    now = 0
    for key, value, pause in steps:
        now += pause
        told = (key, value if key is None else None)
        remembered = {it for it, _ in passed[-count:]} | {it for it, time in passed if now - time <= age}
        assert window.new(key, value, now) is (told not in remembered)
        if told not in remembered:
            passed.append((told, now))


@given(STEPS, st.integers(1, 5), st.sampled_from([0, 30]))
def test_what_is_packed_goes_on(steps: list[tuple[bytes | None, bytes, int]], count: int, age: int) -> None:
    """A window that was kept and taken over decides as the one that it was made of."""
    window = Window(count, age)
    now = 0
    for key, value, pause in steps:
        now += pause
        taken = Window(count, age, window.packed())
        assert taken.new(key, value, now) is window.new(key, value, now)
        assert taken.packed() == window.packed()


def test_a_key_is_not_a_value() -> None:
    """The same bytes in the other place are another record."""
    window = Window(5)
    assert window.new(None, b"a", 0)
    assert window.new(b"a", b"x", 0)
    assert not window.new(b"a", b"y", 0)


def test_what_is_no_window() -> None:
    """Bytes that are cut are refused."""
    with pytest.raises(ValueError, match="1 bytes are no whole number of entries"):
        Window(1, 0, b"x")


def test_there_is_a_bound() -> None:
    """Whatever the age says, no more is remembered than fits."""
    window = Window(1, 1_000_000)
    for number in range(MOST_REMEMBERED + 50):
        window.new(None, b"%d" % number, 0)
    assert len(window.packed()) <= (MOST_REMEMBERED + 1) * 24
    assert window.new(None, b"0", 0)
