"""What is queued for a connection: first in, first out, in whatever pieces it goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.fetch.outgoing import Outgoing


@given(st.lists(st.one_of(st.binary(max_size=20), st.tuples(st.integers(1, 30), st.integers(0, 30)))))
def test_whatever_goes_in_comes_out_in_order(steps: list[bytes | tuple[int, int]]) -> None:
    """However much is looked at, and however much of that goes, nothing is lost, doubled or out of order."""
    outgoing, put, gone = Outgoing(), b"", b""
    for step in steps:
        if isinstance(step, bytes):
            outgoing.append(step)
            put += step
        else:
            most, taken = step
            first = outgoing.first(most)
            assert first == put[len(gone) : len(gone) + most]
            taken = min(taken, len(first))
            outgoing.drop(taken)
            gone += first[:taken]
        assert outgoing.unsent == len(put) - len(gone)
    outgoing.drop(outgoing.unsent)
    assert (outgoing.first(10), outgoing.unsent) == (b"", 0)
