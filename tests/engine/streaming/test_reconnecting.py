"""How long a stream waits for its next connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.engine.streaming.reconnecting import Connection, Reconnecting

SHORT = Connection(0.1, failed=True)
NEVER = Connection(failed=True)
LONG = Connection(60.0)


def pauses(*connections: Connection, chance: float = 1.0) -> list[float]:
    reconnecting = Reconnecting(0.5, 30.0, 30.0)
    return [reconnecting.after(it, chance) for it in connections]


def test_pauses_double_up_to_the_longest() -> None:
    """Each failure in a row doubles the pause; chance spreads it over its upper half."""
    assert pauses(*[NEVER] * 9) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert pauses(NEVER, NEVER, NEVER, chance=0.0) == [0.25, 0.5, 1.0]


def test_a_healthy_connection_lets_them_begin_anew() -> None:
    """What lasted long did well, however it ended."""
    assert pauses(NEVER, NEVER, NEVER, LONG, NEVER) == [0.5, 1.0, 2.0, 0.5, 0.5]
    assert pauses(NEVER, NEVER, Connection(31.0, failed=True), NEVER)[2:] == [0.5, 0.5]


def test_a_server_that_closes_at_once_does_not_spin() -> None:
    """Connections that are there and gone count as failures, with or without an error, and also with records."""
    assert pauses(*[SHORT] * 4) == [0.5, 1.0, 2.0, 4.0]
    assert pauses(*[Connection(0.1)] * 4) == [0.5, 1.0, 2.0, 4.0]
    assert pauses(*[Connection(0.1, records=10)] * 4) == [0.5, 1.0, 2.0, 4.0]


def test_what_brings_something_and_ends_properly_did_well() -> None:
    """Servers that end each answer after some seconds are asked again soon."""
    assert pauses(*[Connection(2.0, records=3)] * 4) == [0.5] * 4
    assert pauses(*[Connection(2.0, records=3, failed=True)] * 3) == [0.5, 1.0, 2.0]


def test_what_a_server_asks_for() -> None:
    """`retry` is the shortest pause, also after a good connection, and is not cut short by chance; nor is a wait."""
    assert pauses(Connection(60.0, retry=3000), chance=0.0) == [3.0]
    assert pauses(*[Connection(failed=True, retry=3000)] * 3) == [3.0, 6.0, 12.0]
    assert pauses(Connection(failed=True, wait=120.0)) == [120.0]
    assert pauses(Connection(60.0, retry=1), Connection(failed=True, retry=1), chance=0.0) == [0.25, 0.25]
    assert pauses(Connection(60.0, retry=10**15), Connection(failed=True, wait=1e12)) == [3600.0, 3600.0]


def test_what_was_not_asked_for_is_no_failure() -> None:
    """A connection that a limit held back waits for that, and the pauses after it are as they were."""
    assert pauses(NEVER, Connection(held=True, wait=7.0), NEVER) == [0.5, 7.0, 1.0]
    assert pauses(Connection(held=True)) == [0.5]


@given(
    st.lists(
        st.builds(
            Connection,
            st.floats(0, 1e6),
            st.integers(0, 100),
            st.booleans(),
            st.floats(0, 1e9),
            st.integers(0, 10**15),
            st.booleans(),
        )
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_whatever_comes_pauses_are_bounded(connections: list[Connection], chance: float) -> None:
    """No pause is shorter than half of the first, or longer than what may be asked for."""
    reconnecting = Reconnecting(0.5, 30.0, 30.0)
    for connection in connections:
        # A limit of our own may hold for a day.
        longest = max(connection.wait, 0.5) if connection.held else 3600.0
        assert 0.25 <= reconnecting.after(connection, chance) <= longest


@pytest.mark.parametrize(
    ("connection", "well"),
    [(LONG, True), (SHORT, False), (Connection(1.0, records=1), True), (Connection(0.9, records=1), False)],
)
def test_which_connections_did_well(connection: Connection, *, well: bool) -> None:
    """It lasted long enough, or it brought something and was ended properly."""
    assert Reconnecting(0.5, 30.0, 30.0).well(connection) is well
