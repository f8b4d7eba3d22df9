"""How soon to look again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.checkpoint import Pace
from headwater.core.http import Headers
from headwater.sources.limits.pace import Brought, Pacing, fresh_for

USUAL = Pacing(usual=10, fastest=2.5, slowest=60)


def after(*changed: bool | None, pace: Pace | None = None) -> list[float]:
    """Return the seconds that follow each of some rounds."""
    seconds = []
    for it in changed:
        pace = USUAL.after(pace, changed=it)
        seconds.append(pace.seconds)
    return seconds


def test_it_speeds_up_and_slows_down_within_its_bounds() -> None:
    """Changes halve it, their absence makes it half as long again; a round that shows nothing leaves it."""
    assert after(True, True, True, True) == [5, 2.5, 2.5, 2.5]
    assert after(False, False, False, False, False, False) == [15, 22.5, 33.75, 50.625, 60, 60]
    assert after(True, None, False) == [5, 5, 7.5]


def test_it_goes_on_from_what_is_remembered() -> None:
    """Within the bounds as they are now."""
    assert USUAL.seconds(None) == 10
    assert USUAL.seconds(Pace(20)) == 20
    assert USUAL.seconds(Pace(500)) == 60
    assert Pacing(usual=1, fastest=5, slowest=60).seconds(None) == 5


def test_the_digest_stays_where_nothing_new_came() -> None:
    """An answer without content does not make the next one look like a change."""
    pace = USUAL.after(None, changed=None, digest="abc")
    assert USUAL.after(pace, changed=False).digest == "abc"


@given(
    st.floats(0.1, 100),
    st.floats(1, 100),
    st.floats(1, 100),
    st.floats(1, 100),
    st.lists(st.sampled_from([True, False, None]), max_size=50),
)
def test_it_never_leaves_its_bounds(
    fastest: float, span: float, faster: float, slower: float, rounds: list[bool | None]
) -> None:
    """Whatever happens; and the same rounds make the same pace."""
    pacing = Pacing(fastest * 3, fastest, fastest * span, faster, slower)
    paces = []
    for _ in range(2):
        pace = None
        for changed in rounds:
            pace = pacing.after(pace, changed=changed)
            assert fastest - 0.001 <= pace.seconds <= fastest * span + 0.001
        paces.append(pace)
    assert paces[0] == paces[1]


def brought(*parts: bytes, records: int = 1) -> Brought:
    it = Brought()
    for part in parts:
        it.add((part,), records)
    return it


def test_what_counts_as_a_change() -> None:
    """Records from something else than the last time; the first round of all shows nothing."""
    first = brought(b"a", b"b")
    assert first.changes(None) is None
    pace = Pace(1, first.digest)
    assert brought(b"a", b"b").changes(pace) is False
    assert brought(b"ab").changes(pace) is True
    assert brought(b"a", b"c").changes(pace) is True
    assert brought(b"a", b"c", records=0).changes(pace) is False


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), 0),
        ((("cache-control", "max-age=60"),), 60),
        ((("cache-control", "public, Max-Age=60, must-revalidate"),), 60),
        ((("cache-control", 'max-age="60"'),), 60),
        ((("cache-control", "max-age=60"), ("age", "20")), 40),
        ((("cache-control", "max-age=60"), ("age", "90")), 0),
        ((("cache-control", "no-cache, max-age=60"),), 0),
        ((("cache-control", "no-store"), ("cache-control", "max-age=60")), 0),
        ((("cache-control", "s-maxage=600, private"),), 0),
        ((("cache-control", "max-age=soon"),), 0),
        ((("date", "Tue, 14 Nov 2023 22:13:20 GMT"), ("expires", "Tue, 14 Nov 2023 22:14:20 GMT")), 60),
        ((("date", "Tue, 14 Nov 2023 22:13:20 GMT"), ("expires", "Tue, 14 Nov 2023 22:12:20 GMT")), 0),
        ((("date", "Tue, 14 Nov 2023 22:13:20 GMT"), ("expires", "0")), 0),
        ((("expires", "Tue, 14 Nov 2023 22:14:20 GMT"),), 0),
        (
            (
                ("cache-control", "max-age=5"),
                ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
                ("expires", "Tue, 14 Nov 2023 22:14:20 GMT"),
            ),
            5,
        ),
    ],
)
def test_how_long_an_answer_is_fresh(headers: Headers, seconds: float) -> None:
    """RFC 9111: max-age before Expires, less Age; nothing for what may not be kept."""
    assert fresh_for(headers) == seconds


def test_freshness_is_bounded_by_the_slowest_pace() -> None:
    """A server's year is not believed."""
    assert USUAL.until(None, 5) == 10
    assert USUAL.until(None, 25) == 25
    assert USUAL.until(None, 31_536_000) == 60


@given(st.lists(st.tuples(st.sampled_from(["cache-control", "age", "expires", "date"]), st.text()), max_size=6))
def test_no_header_is_an_exception(headers: list[tuple[str, str]]) -> None:
    """Headers come from anywhere."""
    assert fresh_for(tuple(headers)) >= 0
