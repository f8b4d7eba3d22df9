"""When quotas of servers are used up, and for how long that is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.http import Headers, Response
from headwater.sources.limits.headers import Quota
from headwater.sources.limits.quota import Allowance, Reserve, asks_for_quiet

NOW = 1_700_000_000.0
HOUR = 3600.0
NONE = Reserve()


def heard(*said: Quota, flying: int = 0) -> Allowance:
    allowance = Allowance()
    allowance.heard(said, 0.0)
    allowance.flying = flying
    return allowance


def until(allowance: Allowance, reserve: Reserve = NONE, now: float = 0.0, longest: float = HOUR) -> float | None:
    hold = allowance.held(reserve, longest, now)
    return None if hold is None else hold.until


def test_it_is_used_up_until_its_reset() -> None:
    """With something left requests go; after the reset nobody knows, and requests go again."""
    assert until(heard(Quota("", 10, 1, 60))) is None
    used = heard(Quota("", 10, 0, 60))
    assert until(used) == 60
    assert until(used, now=59) == 60
    assert until(used, now=60) is None


def test_a_share_or_a_number_is_left_for_others() -> None:
    """A share is of the limit, rounded down; of a limit that nobody knows it is nothing."""
    share = Reserve(share=0.05)
    assert until(heard(Quota("", 100, 5, 60)), share) == 60
    assert until(heard(Quota("", 100, 6, 60)), share) is None
    assert until(heard(Quota("", 10, 1, 60)), share) is None
    assert until(heard(Quota("", None, 1, 60)), share) is None
    assert until(heard(Quota("", None, 20, 60)), Reserve(count=20)) == 60


def test_requests_under_way_count_as_used() -> None:
    """The server's last answer does not know of them."""
    assert until(heard(Quota("", 10, 2, 60), flying=1)) is None
    assert until(heard(Quota("", 10, 2, 60), flying=2)) == 60


@pytest.mark.parametrize(
    ("quota", "end"),
    [
        (Quota("", 10, 0, None, 30), 30),
        (Quota("", 10, 0), 60),
        (Quota("", 10, 0, 0.0), 1),
        (Quota("", 40, 0, refill=2), 0.5),
        (Quota("", 40, 0, None, None, 2), 0.5),
        (Quota("", 10, 0, 9e9), HOUR),
    ],
)
def test_how_long(quota: Quota, end: float) -> None:
    """The reset, else the window, else a minute; a bucket until a drop has gone; a second at least, an hour at most."""
    assert until(heard(quota)) == end


def test_when_the_longest_is_over_one_request_asks() -> None:
    """A reset in the year 3000 does not stop a connector for ever, and does not let all of them go at once."""
    allowance = heard(Quota("", 10, 0, 9e9))
    assert until(allowance, now=HOUR - 1) == HOUR
    assert until(allowance, now=HOUR) is None
    allowance.flying = 1
    assert until(allowance, now=HOUR) == HOUR + 1
    allowance.flying = 0
    allowance.heard((Quota("", 10, 0, 9e9),), HOUR)
    assert until(allowance, now=HOUR + 1) == 2 * HOUR


def test_of_several_quotas_the_longest_counts() -> None:
    """Only those that the connector's own answers told of count, once there was one."""
    allowance = heard(Quota("second", 10, 0, 1), Quota("day", 1000, 0, 500), Quota("search", 30, 0, 900))
    assert until(allowance) == 900
    hold = allowance.held(NONE, HOUR, 0, frozenset({"second", "day"}))
    assert hold is not None
    assert (hold.until, hold.quota.scope) == (500, "day")
    assert hold.sentence == "the quota 'day' of the server is used up: 0 of 1000 left"


def test_the_newest_answer_counts() -> None:
    """A refusal that only tells of a reset does not change what is left."""
    allowance = heard(Quota("", 10, 0, 60))
    allowance.heard((Quota("", None, None, 5),), 1.0)
    assert until(allowance, now=2) == 60
    allowance.heard((Quota("", 10, 9, 60),), 3.0)
    assert until(allowance, now=3) is None
    assert allowance.left()[""].remaining == 9


def test_a_server_with_ever_new_names_fills_nothing() -> None:
    """The oldest are forgotten."""
    allowance = Allowance()
    for number in range(100):
        allowance.heard((Quota(str(number), 10, 0, 60),), 0.0)
    assert len(allowance.left()) == 16
    assert "99" in allowance.left()


def test_a_bucket_fills_again_while_requests_are_under_way() -> None:
    """The wait is for the drops that have to go until one request has room."""
    assert until(heard(Quota("", 40, 2, refill=2)), Reserve(count=2)) == 0.5
    assert until(heard(Quota("", 40, 2, refill=2), flying=4), Reserve(count=2)) == 2.5


def refused(status: int, *headers: tuple[str, str]) -> Response:
    return Response(status, "HTTP/1.1", headers, b"", "", 0, 0)


REMAINING: Headers = (("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000060"))


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        (refused(429, ("retry-after", "7")), 7),
        (refused(503, ("retry-after", "7")), 7),
        (refused(403, ("retry-after", "7")), 7),
        (refused(404, ("retry-after", "7")), None),
        (refused(200, *REMAINING), None),
        (refused(429, *REMAINING), 60),
        (refused(429, ("retry-after", "7"), *REMAINING), 7),
        (refused(403, *REMAINING), 60),
        (refused(403, ("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "60")), None),
        (refused(403), None),
        (refused(429), None),
        (refused(429, ("x-ratelimit-reset", "12")), 12),
        (refused(503, ("x-ratelimit-reset", "12")), None),
        (refused(429, ("ratelimit", '"a";r=0;t=9')), 9),
        (refused(429, ("x-shopify-shop-api-call-limit", "40/40")), 1),
    ],
)
def test_how_long_a_refusal_asks_to_be_left_alone(response: Response, seconds: float | None) -> None:
    """Retry-After says so; without it the quota that is used up does."""
    assert asks_for_quiet(response, now=NOW) == seconds


def test_quotas_are_not_read_where_that_is_turned_off() -> None:
    """Retry-After is no quota."""
    assert asks_for_quiet(refused(429, *REMAINING), now=NOW, quota=False) is None
    assert asks_for_quiet(refused(429, ("retry-after", "7")), now=NOW, quota=False) == 7


_QUOTAS = st.builds(
    Quota,
    st.sampled_from(["", "a", "b"]),
    st.none() | st.floats(0, 1e15),
    st.none() | st.floats(0, 1e15),
    st.none() | st.floats(0, 1e12),
    st.none() | st.floats(0, 1e12),
    st.none() | st.floats(0.1, 10),
)


@given(st.lists(st.lists(_QUOTAS, max_size=3), max_size=6), st.integers(0, 50), st.floats(0, 1e6))
def test_nothing_holds_beyond_the_longest(answers: list[list[Quota]], flying: int, now: float) -> None:
    """Whatever a server says, a request goes again within the bound after its last answer."""
    allowance = Allowance()
    for answer in answers:
        allowance.heard(tuple(answer), now)
    allowance.flying = flying
    hold = allowance.held(Reserve(share=0.5), 100.0, now)
    assert hold is None or now < hold.until <= now + 100
    allowance.flying = 0
    assert allowance.held(Reserve(share=0.5), 100.0, now + 100) is None
