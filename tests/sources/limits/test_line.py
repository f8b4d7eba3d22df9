"""Whose turn it is: at a rate, so many at one time, fair among connectors."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headwater.sources.limits.bucket import Rate
from headwater.sources.limits.line import Line, Place

EVERY_SECOND = Rate(1, 1.0)


def called(line: Line, now: float) -> list[str]:
    """Return who is called at a time, in order."""
    found = []
    while (place := line.call(now)) is not None:
        found.append(place.who)
    return found


def test_connectors_take_turns() -> None:
    """One with many requests delays another by one of them; each one's requests keep their order."""
    line = Line(EVERY_SECOND)
    many = [line.join("many", 0) for _ in range(4)]
    line.join("one", 0)
    order = []
    for second in range(5):
        place = line.call(second)
        assert place is not None
        order.append(place)
    assert [place.who for place in order] == ["many", "one", "many", "many", "many"]
    assert [place for place in order if place.who == "many"] == many


def test_the_first_to_come_is_the_first_to_go() -> None:
    """Among connectors with a request each."""
    line = Line(EVERY_SECOND)
    for who in "cab":
        line.join(who, 0)
    assert [line.call(second).who for second in range(3)] == ["c", "a", "b"]  # type: ignore[union-attr]


def test_so_many_at_one_time() -> None:
    """The next one goes when one has ended, not before; time alone brings no turn."""
    line = Line(at_once=2)
    places = [line.join(who, 0) for who in "abc"]
    assert called(line, 0) == ["a", "b"]
    assert (line.under_way, line.waiting, line.due()) == (2, 1, None)
    line.ended()
    assert called(line, 0) == ["c"]
    line.leave(places[2])
    assert line.under_way == 1


def test_what_is_not_sent_does_not_count() -> None:
    """A turn that is given back is there for the next one, unless somebody went after it."""
    line = Line(EVERY_SECOND)
    first = line.join("a", 0)
    assert line.call(0) is first
    line.leave(first)
    second, third = line.join("b", 0), line.join("c", 0)
    assert line.call(0) is second
    assert line.call(1) is third
    line.leave(second)
    line.join("d", 1)
    assert line.call(1) is None
    assert line.due() == 2


def test_who_is_turned_away_comes_first_the_next_time() -> None:
    """With twice as many connectors as the rate has room for, all get the same."""
    line = Line(EVERY_SECOND)
    names = [f"c{number}" for number in range(10)]
    served: Counter[str] = Counter()
    now = 0.0
    for _ in range(20):
        waiting = []
        end = now + 5
        for who in names:
            place = line.join(who, now)
            if now + line.wait(place, now) > end - 0.5:
                line.turn_away(place)
            else:
                waiting.append(place)
        while now < end:
            served.update(called(line, now))
            now += 1
        for place in waiting:
            if not place.called:
                line.turn_away(place)
    assert set(served) == set(names)
    assert max(served.values()) - min(served.values()) <= 1


def test_it_is_forgotten_who_does_not_come_back() -> None:
    """A connector that has ended was turned away for nothing."""
    line = Line(EVERY_SECOND)
    line.turn_away(line.join("a", 0))
    line.forget("a")
    line.join("b", 1)
    line.join("a", 2)
    assert line.call(3).who == "b"  # type: ignore[union-attr]


class Crowd(RuleBasedStateMachine):
    """Connectors come, leave, are called and end, at any time; a list of what went says whether all was fair."""

    @initialize(
        rate=st.one_of(st.none(), st.builds(Rate, st.integers(1, 5), st.floats(0.1, 10), st.integers(1, 4))),
        at_once=st.one_of(st.none(), st.integers(1, 3)),
    )
    def begin(self, rate: Rate | None, at_once: int | None) -> None:
        """Begin with an empty line."""
        self.rate, self.at_once = rate, at_once
        self.line = Line(rate, at_once)
        self.now = 0.0
        self.waiting: list[Place] = []
        self.out: list[Place] = []
        self.sent: dict[Place, float] = {}
        # How often each other connector was called since one has come.
        self.passed: dict[str, Counter[str]] = {}

    @rule(who=st.sampled_from("abcd"))
    def join(self, who: str) -> None:
        """Come."""
        self.passed.setdefault(who, Counter())
        self.waiting.append(self.line.join(who, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), away=st.booleans())
    def leave(self, data: st.DataObject, *, away: bool) -> None:
        """Go, or be turned away."""
        place = data.draw(st.sampled_from(self.waiting))
        assert not place.called
        self.waiting.remove(place)
        self.line.turn_away(place) if away else self.line.leave(place)
        if not any(it.who == place.who for it in self.waiting):
            del self.passed[place.who]

    @rule(seconds=st.floats(0, 5))
    def time(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds

    @rule()
    def call(self) -> None:
        """Call whoever is next."""
        place = self.line.call(self.now)
        due = self.line.due()
        if place is None:
            assert not self.waiting or due is None or due > self.now
            return
        self.waiting.remove(place)
        self.out.append(place)
        self.sent[place] = self.now
        self.passed.pop(place.who)
        for who, others in self.passed.items():
            others[place.who] += 1
            assert others[place.who] <= 1, f"{place.who} went twice while {who} waited"
        if any(it.who == place.who for it in self.waiting):
            self.passed[place.who] = Counter()

    @precondition(lambda self: self.out)
    @rule(sent=st.booleans())
    def end(self, *, sent: bool) -> None:
        """End, sent or not."""
        place = self.out.pop()
        if sent:
            self.line.ended()
        else:
            self.line.leave(place)
            del self.sent[place]

    @invariant()
    def bounds(self) -> None:
        """Nothing is ever more than it may be."""
        if not hasattr(self, "line"):
            return
        assert self.line.waiting == len(self.waiting)
        assert self.line.under_way == len(self.out)
        assert self.at_once is None or len(self.out) <= self.at_once
        if self.rate is not None:
            times = list(self.sent.values())
            for first, start in enumerate(times):
                for last in range(first, len(times)):
                    allowed = self.rate.burst + (times[last] - start) / self.rate.interval
                    assert last - first + 1 <= allowed + 1e-6


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
