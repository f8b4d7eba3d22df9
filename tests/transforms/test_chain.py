"""Chains of real modules: every record passes every stage, or is rejected with its stage and reason."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from headwater.core.errors import SmartModuleTrapError
from headwater.core.record import Record
from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.chain import UNKNOWN, Chain, Passed, Rejection, Step
from headwater.transforms.stage import Call, Limits
from headwater.transforms.wasm import Host
from transforms import guests

NOW = 1_700_000_000_000
LIMITS = Limits(seconds=0.1)


@pytest.fixture(scope="session")
def host() -> Host:
    return Host()


def chain(host: Host, *codes: bytes, lookback: Lookback | None = None) -> Chain:
    made = Chain(
        [
            Step(f"m{number}", f"{number}", host.load(code, f"m{number}").stage(Parameters({}, lookback), LIMITS))
            for number, code in enumerate(codes, start=1)
        ]
    )
    made.begin({})
    return made


def run(chain: Chain, *values: str) -> Passed:
    return chain.run([Record(value.encode()) for value in values], base_timestamp=NOW)


def values(passed: Passed) -> list[str]:
    return [record.value.decode() for record in passed.records]


def told(rejections: Sequence[Rejection]) -> list[tuple[int, str, str, str, int]]:
    return [(it.stage, it.slug, it.reason, it.record.value.decode(), it.origin) for it in rejections]


def test_no_stage_is_the_identity(host: Host) -> None:
    """An empty chain gives back what it got."""
    assert values(run(chain(host), "a", "b")) == ["a", "b"]
    assert not chain(host)


def test_stages_in_order(host: Host) -> None:
    """The output of one is the input of the next, and `origins` lead back to the start."""
    passed = run(chain(host, guests.letter_filter(), guests.upper_map()), "pear", "kiwi", "apple")
    assert (values(passed), list(passed.origins)) == (["PEAR", "APPLE"], [0, 2])


def test_what_one_stage_refuses_does_not_keep_others_from_the_next(host: Host) -> None:
    """A stage goes on behind a record that it refuses, and its output passes the later stages: unlike in Fluvio."""
    passed = run(chain(host, guests.letter_filter(), guests.upper_map()), "a1", "no!", "a2", "b", "a!", "a3")
    assert values(passed) == ["A1", "A2", "A3"]
    assert told(passed.rejections) == [
        (1, "transform-error", "no", "no!", 1),
        (1, "transform-error", "no", "a!", 4),
    ]


def test_a_later_stage_tells_what_it_got_and_where_it_came_from(host: Host) -> None:
    """`record` is as the stage got it, `origin` what was given first; behind an array_map that is not always known."""
    passed = run(chain(host, guests.plain_filter(), guests.letters()), "b", "a*", "ab")
    crashed = "m2 crashed: wasm `unreachable` instruction executed"
    assert told(passed.rejections) == [(2, "transform-trap", crashed, "a*", 1)]
    # Both reached the array_map in one call, which crashed; so they went in one by one.
    assert (values(passed), list(passed.origins)) == (["a", "b"], [2, 2])
    upper_kept = chain(host, guests.letters(), guests.letter_filter())
    passed = run(upper_kept, "xa", "ay")
    assert (values(passed), list(passed.origins)) == (["a", "a"], [UNKNOWN, UNKNOWN])


def test_one_record_that_crashes_or_never_ends_costs_only_itself(host: Host) -> None:
    """Whatever surrounds it passes, in order."""
    given = [f"a{number}" for number in range(2500)]
    given[1234], given[40] = "a*", "a^"
    passed = run(chain(host, guests.letter_filter()), *given)
    assert values(passed) == [value for value in given if value not in {"a*", "a^"}]
    assert [(it.slug, it.origin) for it in passed.rejections] == [("transform-timeout", 40), ("transform-trap", 1234)]


def test_a_stage_that_always_times_out_is_given_up(host: Host) -> None:
    """The time that one poll can cost is bounded; what was not tried is rejected, not lost."""
    passed = run(chain(host, guests.letter_filter()), *["^"] * 50)
    reasons = [it.reason for it in passed.rejections]
    assert len(reasons) == 50
    assert reasons.count("not tried: m1 ran out of time 5 times before it in the same poll") == 46
    assert {it.slug for it in passed.rejections} == {"transform-timeout"}


def test_an_aggregate_counts_each_record_once(host: Host) -> None:
    """Refusals and crashes between them neither lose nor repeat what its state says."""
    counting = chain(host, guests.counter())
    passed = run(counting, "x", "!", "x", "*", "x", "x")
    assert values(passed) == ["!", '"', "#", "$"]
    assert counting.state == {"1": b"$"}
    again = chain(host, guests.counter())
    again.begin(counting.state)
    assert values(run(again, "x")) == ["%"]


def test_beginning_again_goes_back(host: Host) -> None:
    """`begin` with the state of the last commit forgets what was done since."""
    counting = chain(host, guests.counter())
    run(counting, "x")
    counting.begin({})
    assert values(run(counting, "x")) == ["!"]


def test_random_batches(host: Host) -> None:
    """Whatever is in a batch, in whatever order: passed, rejected and dropped are what each record alone would be."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    both = chain(host, guests.letter_filter(), guests.upper_map())
    for _ in range(30):
        given = [chance.choice(["a", "b", "ab", "a!", "!", "a*", ""]) for _ in range(chance.randrange(80))]
        passed = run(both, *given)
        assert values(passed) == [value.upper() for value in given if "a" in value and value not in {"a!", "a*"}]
        assert [it.origin for it in passed.rejections] == [
            index for index, value in enumerate(given) if value in {"a!", "!", "a*"}
        ]
        assert all(one < other for one, other in pairwise(passed.origins))


def test_watching(host: Host) -> None:
    """Each stage's output can be looked at."""
    seen: list[tuple[int, list[bytes], int]] = []
    chain(host, guests.letter_filter(), guests.upper_map()).run(
        [Record(b"a"), Record(b"b"), Record(b"!")],
        base_timestamp=NOW,
        watch=lambda number, records, rejected: seen.append((number, [it.value for it in records], len(rejected))),
    )
    assert seen == [(1, [b"a"], 1), (2, [b"A"], 0)]


class Offsets:
    """A stage that is told offsets, and drops every other record."""

    kind = Kind.FILTER
    lookback = None
    state = None

    def __init__(self) -> None:
        self.seen: list[int] = []

    def begin(self, state: bytes | None) -> None:
        """Do nothing."""

    def look_back(self, records: Sequence[Record]) -> None:
        """Do nothing."""

    def call(
        self,
        records: Sequence[Record],
        *,
        base_offset: int = 0,
        base_timestamp: int = 0,
        places: Sequence[int] | None = None,
        encoded: bytes | None = None,
    ) -> Call:
        """Note the offsets."""
        self.seen += [base_offset + place for place in (range(len(records)) if places is None else places)]
        kept = range(0, len(records), 2)
        return Call([records[index] for index in kept], list(kept))


def test_offsets_survive_the_stages() -> None:
    """Where records have offsets, every stage is told the right ones, in every chunk of a batch."""
    first, second, third = Offsets(), Offsets(), Offsets()
    chain = Chain([Step(f"{number}", "", stage) for number, stage in enumerate((first, second, third))])
    chain.run([Record(b"x")] * 3000, base_timestamp=0, base_offset=10_000)
    assert first.seen == list(range(10_000, 13_000))
    assert second.seen == list(range(10_000, 13_000, 2))
    assert third.seen == list(range(10_000, 13_000, 4))


def test_lookbacks(host: Host) -> None:
    """The stages that want to see earlier records are named."""
    shown = guests.blunt(look_back="(i32.const 0)")
    assert chain(host, guests.letter_filter(), shown, lookback=Lookback(3)).lookbacks == [(1, Lookback(3))]


def test_a_large_record_travels_alone(host: Host) -> None:
    """Calls are bounded in bytes as well."""
    big = "a" + "b" * 5_000_000
    assert values(run(chain(host, guests.letter_filter()), "a", big, "a", "a")) == ["a", big, "a", "a"]


def test_a_stage_that_breaks_its_interface_rejects(host: Host) -> None:
    """What a module returns wrongly is a rejection of the record that it was given, not an end of the chain."""
    passed = run(chain(host, guests.blunt(output=b"\0")), "x", "y")
    assert [(it.slug, it.origin) for it in passed.rejections] == [("transform-output", 0), ("transform-output", 1)]
    with pytest.raises(SmartModuleTrapError):
        chain(host, guests.blunt(output=b"\0")).steps[0].stage.call([Record(b"x")])
