"""A circuit breaker: closed, open, half-open."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headwater.core import errors
from headwater.core.errors import FetchError
from headwater.core.http import Response
from headwater.sources.limits.breaker import Breaker, Fuse, State, is_failure

FUSE = Fuse(3, 30.0, 100.0)


def failed(times: int, now: float = 0.0, breaker: Breaker | None = None) -> Breaker:
    breaker = breaker or Breaker()
    for _ in range(times):
        breaker = breaker.bad("refused", "connect", now, FUSE)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    """An answer in between begins the count anew."""
    assert failed(2).state is State.CLOSED
    assert failed(2, breaker=failed(2).good()).state is State.CLOSED
    opened = failed(3, now=7)
    assert (opened.state, opened.failures, opened.until, opened.reason) == (State.OPEN, 3, 37, "refused")
    assert not opened.admits(36.9)
    assert opened.admits(37)


def test_one_request_tries_and_the_pause_doubles() -> None:
    """While it is under way nobody else goes; each failure doubles the pause, up to its bound."""
    breaker, now, pauses = failed(3), 0.0, []
    for _ in range(4):
        now = breaker.until
        breaker = breaker.sent(now, patience=40)
        assert breaker.state is State.HALF_OPEN
        assert not breaker.admits(now + 39)
        breaker = failed(1, now + 1, breaker)
        assert breaker.state is State.OPEN
        pauses.append(breaker.until - now - 1)
    assert pauses == [60, 100, 100, 100]
    assert breaker.since == 0


def test_an_answer_closes_it() -> None:
    """From any state; then everything is as it was at first."""
    for breaker in (failed(3), failed(3).sent(30, 40), failed(2)):
        assert breaker.good() == Breaker()


def test_a_try_that_nobody_waits_for_lets_another_one_try() -> None:
    """So does one that is not answered in time."""
    trying = failed(3).sent(30, patience=40)
    assert trying.dropped(31).admits(31)
    assert trying.admits(70)
    assert failed(3).dropped(1) == failed(3)


def test_late_failures_do_not_make_the_pause_longer() -> None:
    """They are of requests that went before it opened."""
    late = failed(1, 20, failed(3))
    assert (late.until, late.failures) == (30, 4)


@pytest.mark.parametrize(
    ("outcome", "bad"),
    [
        (errors.ConnectError("x"), True),
        (errors.DnsError("x"), True),
        (errors.TlsError("x"), True),
        (errors.ReadTimeoutError("x"), True),
        (errors.ResetError("x"), True),
        (errors.BodyTooLargeError("x"), None),
        (errors.RedirectError("x"), None),
        (errors.RequestError("x"), None),
        (200, False),
        (304, False),
        (404, False),
        (401, False),
        (429, None),
        (408, None),
        (500, True),
        (501, False),
        (503, True),
        (505, False),
        (599, True),
    ],
)
def test_what_speaks_against_a_server(outcome: FetchError | int, *, bad: bool | None) -> None:
    """No answer and 5xx do; what it refuses for good reason does not; what says "later" says nothing."""
    heard = Response(outcome, "HTTP/1.1", (), b"", "", 0, 0) if isinstance(outcome, int) else outcome
    assert is_failure(heard) is bad


class Model(RuleBasedStateMachine):
    """Against a model that remembers everything that has happened."""

    @initialize(failures=st.integers(1, 4), pause=st.floats(1, 50), longest=st.floats(1, 200))
    def begin(self, failures: int, pause: float, longest: float) -> None:
        """Begin with a closed breaker."""
        self.fuse = Fuse(failures, pause, max(pause, longest))
        self.breaker = Breaker()
        self.now = 0.0
        self.row = 0  # failures in a row
        self.opens = 0  # how often in a row it has opened
        self.trying: float | None = None
        self.open_until: float | None = None

    @rule(seconds=st.floats(0, 100))
    def time(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds

    @precondition(lambda self: self.breaker.admits(self.now))
    @rule()
    def send(self) -> None:
        """Send a request."""
        self.breaker = self.breaker.sent(self.now, 40)
        if self.open_until is not None:
            self.trying = self.now

    @rule()
    def good(self) -> None:
        """Hear an answer."""
        self.breaker = self.breaker.good()
        self.row, self.opens, self.trying, self.open_until = 0, 0, None, None

    @rule()
    def bad(self) -> None:
        """Hear a failure."""
        self.breaker = self.breaker.bad("why", "slug", self.now, self.fuse)
        self.row += 1
        if self.open_until is None and self.row >= self.fuse.failures:
            self.opens, self.open_until = 1, self.now + self.fuse.pause
        elif self.trying is not None:
            self.opens += 1
            self.trying = None
            self.open_until = self.now + min(self.fuse.pause * 2 ** (self.opens - 1), self.fuse.longest)

    @rule()
    def dropped(self) -> None:
        """Wait for the answer no longer."""
        self.breaker = self.breaker.dropped(self.now)
        if self.trying is not None:
            self.trying, self.open_until = None, self.now

    @invariant()
    def agree(self) -> None:
        """The breaker is where the model is."""
        if not hasattr(self, "breaker"):
            return
        if self.open_until is None:
            assert self.breaker.state is State.CLOSED
            assert self.breaker.admits(self.now)
            return
        assert self.breaker.state is (State.OPEN if self.trying is None else State.HALF_OPEN)
        allowed = self.open_until if self.trying is None else self.trying + 40
        assert self.breaker.admits(self.now) == (self.now >= allowed)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
