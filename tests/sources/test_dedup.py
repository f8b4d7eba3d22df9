"""Items that were seen before: left out within the window, whatever crashes; and the window is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.config.deduplicate import DeduplicateOptions
from headwater.core.memory import Remembered
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources import dedup
from headwater.sources.dedup import Dedup
from headwater.sources.sifted import Sifted
from sources.recalled import Recalled

SECOND = 1000
AT = 1_700_000_000_000


class Connector:
    """A connector's rounds over a memory: what is committed, and what a crash loses."""

    def __init__(self, **given: Any) -> None:
        self.options = DeduplicateOptions.model_validate(given)
        self.memory = Recalled()
        self.remembered: Remembered | None = None
        self.last: Sifted | None = None

    def poll(
        self,
        keys: Sequence[object],
        second: int = 1,
        *,
        last: bool = True,
        commit: bool = True,
        topic: str = "cats",
        values: Sequence[bytes] | None = None,
    ) -> list[object]:
        """Take the items of an exchange; return the keys of those that are appended."""
        documents = values or [msgspec.json.encode({"id": key}) for key in keys]
        begun = Dedup(self.options, connector="c", topic=topic).begin(
            self.memory, self.remembered, Moment(AT + second * SECOND, 0)
        )

        def record(place: int) -> Record:
            key = keys[place]
            return Record(documents[place], None if key is None else str(key).encode())

        begun.take(documents, record)
        sifted = begun.close(last=last)
        if commit:
            self.memory.apply(sifted.memory)
            self.remembered = msgspec.json.decode(msgspec.json.encode(sifted.remembered), type=Remembered)
            assert self.remembered.known == len(self.memory.items)
            self.last = sifted
        by_value = dict(zip(documents, keys, strict=True))
        return [by_value[made.value] for made in sifted.records]


ANSWERS = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=8), st.sampled_from(["good", "good", "lost", "page"])), max_size=12
)


@given(answers=ANSWERS, at_once=st.sampled_from([1, 3, 4096]))
@settings(deadline=None)
def test_each_item_once(answers: list[tuple[list[int], str]], at_once: int) -> None:
    """As long as all are remembered, in whatever answers and pages they come, and whatever crash is in between."""
    dedup._AT_ONCE = at_once
    connector = Connector(by="/id")
    seen: set[int] = set()
    for second, (keys, fate) in enumerate(answers):
        new = [key for place, key in enumerate(keys) if key not in seen and key not in keys[:place]]
        if fate == "lost":
            assert connector.poll(keys, second, commit=False) == new
        assert connector.poll(keys, second, last=fate != "page") == new
        seen.update(keys)
    dedup._AT_ONCE = 4096


def test_a_null_at_the_pointer_tells_nothing() -> None:
    """As of keys: such items are told by their values, so that one is not taken for another."""
    connector = Connector(by="/id")
    values = [b'{"id":null,"n":1}', b'{"id":null,"n":2}', b'{"id":null,"n":1}']
    assert connector.poll([1, 2, 1], values=values) == [1, 2]


@given(answers=st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=15), count=st.integers(1, 20))
@settings(deadline=None, max_examples=100)
def test_the_window_by_count(answers: list[list[int]], count: int) -> None:
    """No more are remembered; and one that was followed by less than half as many others is not forgotten."""
    connector = Connector(by="/id", count=count)
    # Items in the order in which they were seen last, the newest last.
    order: list[int] = []
    for second, keys in enumerate(answers):
        made = connector.poll(keys, second)
        assert len(connector.memory.items) <= count
        assert len(made) == len(set(made))
        largest = len(set(keys))
        for key in set(keys):
            behind = len(order) - 1 - order.index(key) if key in order else None
            if behind is None:
                assert key in made
            elif behind < count // 2 - largest:
                # So few were seen after it that it cannot have been forgotten.
                assert key not in made
        for key in dict.fromkeys(keys):
            if key in order:
                order.remove(key)
            order.append(key)


def test_one_that_many_others_followed_is_new_again() -> None:
    """The window has so many and no more."""
    connector = Connector(by="/id", count=4)
    connector.poll(["a", "b"], 1)
    assert connector.poll(["c", "d", "a"], 2) == ["c", "d"]
    assert connector.poll(["e", "f", "g"], 3) == ["e", "f", "g"]
    assert connector.poll(["d", "a", "b"], 4) == ["d", "b"]


@given(answers=st.lists(st.tuples(st.sets(st.integers(0, 9)), st.integers(1, 40)), max_size=15))
@settings(deadline=None, max_examples=100)
def test_the_window_by_age(answers: list[tuple[set[int], int]]) -> None:
    """One that was in no answer for so long is new again, and one that the last answer had never is."""
    age = 24
    connector = Connector(by="/id", age=f"{age}s")
    second, before = 0, set[int]()
    last_seen: dict[int, int] = {}
    for keys, wait in answers:
        second += wait
        made = set(connector.poll(sorted(keys), second))
        for key in keys:
            away = second - last_seen[key] if key in last_seen else None
            if away is None:
                assert key in made
            elif key in before or away <= age - age // 8:
                assert key not in made
            elif away > age and second - wait - last_seen[key] > age // 8:
                assert key in made
        last_seen |= dict.fromkeys(keys, second)
        before = keys
        oldest = (AT + (second - age) * SECOND) - age // 8 * SECOND
        assert all(int(row[2]) >= oldest for row in connector.memory.items.values())


def test_a_list_that_stays_is_never_repeated_and_hardly_ever_written() -> None:
    """Though it is far older than the age, and its items long ago at the end of the window."""
    connector = Connector(by="/id", age="60s", count=40)
    steady = [f"steady {number}" for number in range(10)]
    assert connector.poll(steady, 0) == steady
    for second in range(1, 500):
        assert connector.poll(steady, second) == []
    assert connector.memory.commits <= 500 / 60 * 8 + 2
    # A week in which the server had nothing new to say is no reason, either.
    assert connector.poll([*steady, "new"], 7 * 86_400) == ["new"]
    for second in range(1, 200):
        assert connector.poll([*steady, f"news {second}"], 7 * 86_400 + second) == [f"news {second}"]
    assert len(connector.memory.items) <= 40


def test_pages_of_a_round_after_a_long_silence() -> None:
    """Items of its last page were in the last round, too."""
    connector = Connector(by="/id", age="10s")
    connector.poll([1, 2], 1, last=False)
    connector.poll([3, 4], 1)
    assert connector.poll([1, 2], 1000, last=False) == []
    assert connector.poll([3, 4, 5], 1000) == [5]


@pytest.mark.parametrize(
    ("by", "keys", "values", "expected"),
    [
        ("key", ["a", "b", "a"], [b"1", b"2", b"3"], ["a", "b"]),
        ("key", [None, None, None], [b"1", b"2", b"1"], 2),
        ("value", ["a", "b", "c"], [b"1", b"1", b"2"], ["b", "c"]),
        ("/id", ["a", "b", "c"], [b'{"id":1}', b'{"id":1,"x":2}', b'{"id":2}'], ["a", "c"]),
        ("/id", ["a", "b", "c"], [b'{"id":1}', b'{"id":"1"}', b"no JSON"], ["a", "b", "c"]),
        ("/id", ["a", "b", "c"], [b'{"x":1}', b'{"x":2}', b'{"x": 1}'], ["a", "b", "c"]),
        ("/id", ["a", "b"], [b'{"id":"' + b"x" * 100 + b'"}', b'{"id":"' + b"x" * 101 + b'"}'], ["a", "b"]),
    ],
)
def test_what_tells_an_item(by: str, keys: list[str | None], values: list[bytes], expected: list[str] | int) -> None:
    """Its key, else its value; its value; what is at a pointer, else its value."""
    connector = Connector(by=by)
    made = connector.poll(keys, values=values)
    assert (len(made) if isinstance(expected, int) else made) == expected
    assert connector.poll(keys, values=values) == []
    assert all(len(row[1]) <= 65 for row in connector.memory.items.values())


def test_keys_of_one_kind_are_not_those_of_another() -> None:
    """A key that looks like a digest, or like the value of another item, is neither."""
    connector = Connector(by="key")
    connector.poll([None], values=[b"a"])
    (digest,) = (row[1] for row in connector.memory.items.values())
    assert connector.poll(["a"], values=[b"x"]) == ["a"]
    assert connector.poll([digest.decode("latin-1")], values=[b"y"]) != []


def test_another_topic_or_another_way_to_tell_begins_anew() -> None:
    """What was appended elsewhere, or told apart otherwise, is no repeat."""
    connector = Connector(by="/id")
    assert connector.poll([1, 2]) == [1, 2]
    assert connector.poll([1, 2], topic="dogs") == [1, 2]
    connector.options = DeduplicateOptions.model_validate({"by": "value"})
    assert connector.poll([1], topic="dogs") == [1]
    assert len(connector.memory.items) == 1


def test_what_is_said() -> None:
    """How many were left out, and that the window is small for such answers."""
    connector = Connector(by="/id", count=4)
    connector.poll([1, 2])
    connector.poll([1, 2, 3], 2)
    assert connector.last is not None
    assert connector.last.note == "2 seen before"
    connector.poll([4, 5, 6], 3)
    assert connector.last.note == "3 new ones are many for deduplicate.count: 4"


def test_a_smaller_window_forgets_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no commit is long."""
    monkeypatch.setattr(dedup, "_MOST_DROPPED", 3)
    connector = Connector(by="/id")
    connector.poll(list(range(10)))
    connector.options = DeduplicateOptions.model_validate({"by": "/id", "count": 2})
    for second, left in ((2, 7), (3, 4), (4, 2), (5, 2)):
        connector.poll([], second)
        assert len(connector.memory.items) == left
