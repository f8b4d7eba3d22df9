"""The change log of a collection: replayed, it is the collection, whatever crashes and however the pages fall."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.config.changes import ChangesOptions
from headwater.core.memory import Remembered
from headwater.core.moment import Moment
from headwater.core.record import Record
from headwater.sources import absence, census
from headwater.sources.changes import Changes
from headwater.sources.sifted import CollectionError, Sifted
from sources.patching import apply_merge, apply_patch
from sources.recalled import Recalled

AT = 1_700_000_000_000


def options(**given: Any) -> ChangesOptions:
    return ChangesOptions.model_validate({"key": "/id", **given})


def item(key: object, **members: Any) -> bytes:
    return msgspec.json.encode({"id": key, **members})


class Connector:
    """A connector's rounds over a memory: what is committed, and what a crash loses."""

    def __init__(self, chosen: ChangesOptions, *, topic: str = "cats", whole: bool = False) -> None:
        self.options = chosen
        self.topic = topic
        self.whole = whole
        self.memory = Recalled()
        self.remembered: Remembered | None = None
        self.log: list[Record] = []
        self.last: Sifted | None = None
        self.restart()

    def restart(self) -> None:
        """Begin again as another process would."""
        self.changes = Changes(self.options, connector="c", topic=self.topic, whole=self.whole)

    def exchange(
        self, items: Sequence[bytes], scheduled: int, *, last: bool = True, unfit: bool = False, commit: bool = True
    ) -> list[Record]:
        """Take the items of one exchange; return its records, which count only if they are committed."""
        going_on = self.remembered is not None and self.remembered.round == scheduled
        begun = self.changes.begin(self.memory, self.remembered, Moment(scheduled, AT + scheduled), going_on=going_on)
        # In two pieces, as a body that arrives.
        half = len(items) // 2
        for piece in (items[:half], items[half:]):
            begun.take(piece, lambda place, piece=piece: Record(piece[place], None, 7))  # type: ignore[misc]
        sifted = begun.close(last=last, unfit=unfit)
        # As it is in a checkpoint.
        remembered = msgspec.json.decode(msgspec.json.encode(sifted.remembered), type=Remembered)
        if commit:
            self.memory.apply(sifted.memory)
            self.remembered = remembered
            self.log += sifted.records
            assert remembered.known == sum(bool(row[1]) for row in self.memory.items.values())
        self.last = sifted
        return list(sifted.records)

    def poll(self, items: Sequence[bytes], scheduled: int = 1, **more: Any) -> list[Any]:
        """Take a whole collection; return the values of the records."""
        return [shown(record) for record in self.exchange(items, scheduled, **more)]


def shown(record: Record) -> Any:
    return json.loads(record.value) if record.value else None


def replay(log: Iterable[Record], form: str) -> dict[str, Any]:
    """Return the collection that a change log tells of; each change must be one."""
    state: dict[str, Any] = {}
    for record in log:
        assert record.key is not None
        key = record.key.decode()
        before = state.pop(key, None)
        if form == "item":
            after = json.loads(record.value) if record.value else None
        else:
            event = json.loads(record.value)
            assert str(event["key"]) == key
            assert form != "event" or event.get("before") == before
            assert (event["op"] == "added") == (before is None)
            after = _after(event, before)
            assert (event["op"] == "removed") == (after is None)
        assert (before is None) != (after is None) or counted(before) != counted(after), "nothing has changed"
        if after is not None:
            state[key] = after
    return state


def _after(event: dict[str, Any], before: Any) -> Any:
    if "patch" in event:
        return apply_patch(before, event["patch"])
    if "merge" in event:
        return apply_merge(before, event["merge"])
    return event.get("after")


def counted(value: dict[str, Any] | None) -> dict[str, Any]:
    return {} if value is None else {name: part for name, part in value.items() if name != "served"}


# An item as a server has it: its key, what counts of it, and whether its members come in another order.
ITEMS = st.tuples(st.integers(0, 7), st.sampled_from([0, 1, None]), st.booleans())
# Pages of a round; before each of them the process may begin anew, or what it makes of it may be lost first.
FATES = st.sampled_from(["good", "good", "good", "restart", "lost", "lost, restart"])
PAGES = st.lists(st.tuples(st.lists(ITEMS, max_size=7), FATES), min_size=1, max_size=4)
# Whether a round comes to its end.
ROUNDS = st.lists(
    st.tuples(PAGES, st.sampled_from(["ends", "ends", "ends", "is broken off", "has a bad item"])), max_size=7
)


def served(entry: tuple[int, int | None, bool], at: int, *, stamped: bool) -> bytes:
    key, version, turned = entry
    members = {"id": key, "v": version, "list": [version, {"deep": 1.5}]}
    if stamped:
        members["served"] = at
    return json.dumps(dict(reversed(members.items())) if turned else members).encode()


@pytest.mark.parametrize("ignored", [(), ("/served",)], ids=["", "ignoring"])
@pytest.mark.parametrize("form", ["event", "patch", "merge", "item"])
@given(rounds=ROUNDS, at_once=st.sampled_from([1, 2, 3, 4096]))
@settings(deadline=None, max_examples=60)
def test_the_log_replayed_is_the_collection(
    form: str, ignored: tuple[str, ...], rounds: list[tuple[list[tuple[list[Any], str]], str]], at_once: int
) -> None:
    """After each round that ends; of a key that is there twice the first counts, and each change is told once."""
    census._AT_ONCE = at_once
    connector = Connector(options(form=form, empty="accept", ignore=list(ignored)))
    expected: dict[str, Any] = {}
    for number, (pages, end) in enumerate(rounds, start=1):
        current: dict[str, Any] = {}
        for index, (entries, fate) in enumerate(pages):
            last = index == len(pages) - 1
            items = [served(entry, number * 100 + index, stamped=bool(ignored)) for entry in entries]
            if "lost" in fate:
                # A crash before the commit: this page is asked for again, and may be another one by then.
                connector.exchange([*items, item(99)][index % 2 :], number, last=last, commit=False)
            if "restart" in fate:
                connector.restart()
            if last and end == "is broken off":
                break
            connector.exchange(items, number, last=last, unfit=last and end == "has a bad item")
            for one in items:
                value = json.loads(one)
                current.setdefault(str(value["id"]), value)
        now = replay(connector.log, form)
        if end == "ends":
            expected = current
            assert now.keys() == expected.keys()
        else:
            assert now.keys() >= current.keys()
        for key, value in current.items():
            if key in now and end != "is broken off":
                assert counted(now[key]) == counted(value)
        assert not connector.memory.sightings or end == "is broken off"
    census._AT_ONCE = 4096


SIGHTINGS = st.lists(st.lists(ITEMS, max_size=9), max_size=8)


@given(rounds=SIGHTINGS, at_once=st.sampled_from([1, 3, 4096]))
@settings(deadline=None, max_examples=60)
def test_parts_of_a_collection(rounds: list[list[tuple[int, int | None, bool]]], at_once: int) -> None:
    """Where nothing is taken to be gone, every state of an item that is served is told, in order."""
    census._AT_ONCE = at_once
    connector = Connector(options(removed="ignore"))
    state: dict[int, Any] = {}
    for number, entries in enumerate(rounds, start=1):
        items = [served(entry, number, stamped=False) for entry in entries]
        expected = []
        for one in items:
            value = json.loads(one)
            before = state.get(value["id"])
            if before is None:
                expected.append({"op": "added", "key": value["id"], "after": value, "at": AT + number})
            elif before != value:
                changed = {"op": "changed", "key": value["id"], "before": before, "after": value, "at": AT + number}
                expected.append(changed)
            state[value["id"]] = value
        assert connector.poll(items, number) == expected
    census._AT_ONCE = 4096


@given(rounds=SIGHTINGS, most=st.integers(2, 6), at_once=st.sampled_from([1, 3, 4096]))
@settings(deadline=None, max_examples=60)
def test_parts_of_a_large_collection(rounds: list[list[tuple[int, int | None, bool]]], most: int, at_once: int) -> None:
    """No more items are known than may be, and what is told of those that are known is right all the same."""
    census._AT_ONCE = at_once
    connector = Connector(options(removed="ignore", max_items=most))
    told: dict[int, Any] = {}
    for number, entries in enumerate(rounds, start=1):
        items = [served(entry, number, stamped=False) for entry in entries]
        try:
            events = connector.poll(items, number)
        except CollectionError:
            assert len(entries) > most
            continue
        assert len(connector.memory.items) <= most
        for event in events:
            if event["op"] == "changed":
                assert event["before"] == told[event["key"]] != event["after"]
            told[event["key"]] = event["after"]
        for one in items:
            last = [value for it in items if (value := json.loads(it))["id"] == json.loads(one)["id"]][-1]
            assert told[last["id"]] == last
    census._AT_ONCE = 4096


def test_events_have_the_bytes_of_the_items() -> None:
    """What was there before and after is in them as it came, digits and spaces and all."""
    connector = Connector(options())
    first, second = b'{"id": 1, "price": 1.10}', b'{"price": 1.20,  "id": 1}'
    (added,) = connector.exchange([first], 1)
    assert added == Record(b'{"op":"added","key":1,"after":%b,"at":%d}' % (first, AT + 1), b"1", 7)
    (changed,) = connector.exchange([second], 2)
    expected = b'{"op":"changed","key":1,"before":%b,"after":%b,"at":%d}' % (first, second, AT + 2)
    assert changed == Record(expected, b"1", 7)
    connector.options = options(empty="accept")
    connector.restart()
    (removed,) = connector.exchange([], 3)
    assert removed == Record(b'{"op":"removed","key":1,"before":%b,"at":%d}' % (second, AT + 3), b"1", None)


@pytest.mark.parametrize(
    ("given", "records"),
    [
        (
            {"form": "patch"},
            [
                '{"op":"changed","key":"a","patch":[{"op":"replace","path":"/v","value":2}],"at":2}',
                '{"op":"removed","key":"b","at":2}',
            ],
        ),
        ({"form": "merge"}, ['{"op":"changed","key":"a","merge":{"v":2},"at":2}', '{"op":"removed","key":"b","at":2}']),
        ({"form": "item"}, ["A", ""]),
        ({"before": False}, ['{"op":"changed","key":"a","after":A,"at":2}', '{"op":"removed","key":"b","at":2}']),
        ({"removed": "tombstone"}, ['{"op":"changed","key":"a","before":O,"after":A,"at":2}', ""]),
        (
            {"removed": "both", "before": False},
            ['{"op":"changed","key":"a","after":A,"at":2}', '{"op":"removed","key":"b","at":2}', ""],
        ),
        ({"removed": "ignore", "before": False}, ['{"op":"changed","key":"a","after":A,"at":2}']),
        ({"emit": "snapshot"}, ["C", "A", ""]),
        ({"emit": "snapshot", "removed": "event"}, ["C", "A", '{"op":"removed","key":"b","before":B,"at":2}']),
        ({"emit": "both", "form": "item"}, ["C", "A", "A", ""]),
        (
            {"emit": "both", "form": "merge"},
            ["C", "A", '{"op":"changed","key":"a","merge":{"v":2},"at":2}', '{"op":"removed","key":"b","at":2}'],
        ),
    ],
    ids=str,
)
def test_what_is_appended(given: dict[str, Any], records: list[str]) -> None:
    """Each form of a change, each way to tell that something is gone, and the items themselves."""
    filler = "x" * 100
    old, new, other, same = item("a", v=1, w=filler), item("a", v=2, w=filler), item("b"), item("c")
    connector = Connector(options(**given))
    connector.exchange([old, other, same], 1)
    made = connector.exchange([same, new], 2)
    names = {"A": new, "O": old, "B": other, "C": same}
    expected = []
    for text in records:
        value = text.replace('"at":2', f'"at":{AT + 2}')
        for name, data in names.items():
            value = data.decode() if value == name else value.replace(f":{name},", f":{data.decode()},")
        expected.append(value.encode())
    assert [record.value for record in made] == expected
    assert all(record.key for record in made)


def test_a_patch_is_never_longer_than_the_item() -> None:
    """Where it would be, and where a merge patch cannot say it, the event has the item as it is now."""
    for form in ("patch", "merge"):
        connector = Connector(options(form=form))
        connector.poll([item(1, a=1)], 1)
        assert connector.poll([item(1, b=None)], 2)[0]["after"] == {"id": 1, "b": None}


def test_keys() -> None:
    """Texts, numbers and truth values are keys, however they are spelt; several make one together."""
    connector = Connector(options(key=["/a", "/b/c"]))
    (record,) = connector.exchange([b'{"a":"\\u00e9","b":{"c":1}}'], 1)
    assert record.key == '["é",1]'.encode()
    assert json.loads(record.value)["key"] == ["é", 1]
    assert connector.poll(['{"b":{"c":1},"a":"é"}'.encode()], 2) == []
    connector = Connector(options())
    keys = [record.key for record in connector.exchange([item("1"), item(2), item(True), item(1)], 1)]
    assert keys == [b"1", b"2", b"true", b"1"]
    assert [shown(record)["key"] for record in connector.log] == ["1", 2, True, 1]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{}", "there is nothing at /id, where its key should be"),
        (b'{"id":null}', "its key at /id is null"),
        (b'{"id":[1]}', "its key at /id is an array"),
        (b'{"id":{}}', "its key at /id is an object"),
        (b'{"id":"' + b"x" * 1100 + b'"}', "its key has 1,102 bytes, more than the 1,024"),
        (b'{"id":"\xff"}', "its key at /id is no text"),
        (b'{"id":1,"x":"\xff"}', "it cannot be read"),
        (b'{"id":1,"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "it"),
        (b"17", "there is nothing at /id"),
        (b"{", "it is not JSON"),
    ],
    ids=["none", "null", "array", "object", "long", "no text", "no UTF-8", "deep", "scalar", "no JSON"],
)
def test_items_that_cannot_be_told_apart(document: bytes, reason: str) -> None:
    """They are bad, the others are not; and nothing is taken to be gone, for it may be one of them."""
    connector = Connector(options())
    connector.poll([item(2), item(3)], 1)
    assert [event["key"] for event in connector.poll([item(3, v=1), document, item(4)], 2)] == [3, 4]
    assert connector.last is not None
    (bad,) = connector.last.bad
    assert reason in bad.reason
    assert document.startswith(bad.data)
    assert bad.data
    assert "nothing is taken to be gone" in connector.last.note
    assert [(event["op"], event["key"]) for event in connector.poll([item(4)], 3)] == [("removed", 2), ("removed", 3)]


def test_one_answer_is_one_item() -> None:
    """Without items in it, an answer needs no key, and its records have none."""
    connector = Connector(options(key=[], form="patch"), whole=True)
    filler = "x" * 80
    (added,) = connector.exchange([msgspec.json.encode({"up": True, "filler": filler})], 1)
    assert added.key is None
    assert connector.poll([msgspec.json.encode({"up": True, "filler": filler})], 2) == []
    patch = [{"op": "replace", "path": "/up", "value": False}]
    event = {"op": "changed", "key": None, "patch": patch, "at": AT + 3}
    assert connector.poll([msgspec.json.encode({"up": False, "filler": filler})], 3) == [event]


def test_items_that_are_their_own_keys() -> None:
    """Scalars need no pointer: they come and go."""
    connector = Connector(options(key=[]))
    assert [event["key"] for event in connector.poll([b'"a"', b"1"], 1)] == ["a", 1]
    events = connector.poll([b'"b"', b"1"], 2)
    assert [(event["op"], event["key"]) for event in events] == [("added", "b"), ("removed", "a")]
    assert connector.poll([b"{}", b'"b"', b"1"], 3) == []
    assert connector.last is not None
    assert "its key is an object" in connector.last.bad[0].reason


def test_a_sudden_empty_collection_fails() -> None:
    """When more was known than is believed to vanish at once; nothing is lost of it then."""
    connector = Connector(options(empty=2))
    connector.poll([item(1), item(2)], 1)
    assert [event["op"] for event in connector.poll([], 2)] == ["removed", "removed"]
    connector.poll([item(1), item(2), item(3)], 3)
    with pytest.raises(CollectionError, match="the collection is empty, and 3 items were known") as caught:
        connector.poll([], 4)
    assert "empty: accept" in caught.value.hint
    assert connector.poll([item(1), item(2), item(3)], 5) == []
    # All but one may go, whatever that means.
    assert len(connector.poll([item(3)], 6)) == 2


def test_an_empty_page_is_no_empty_collection() -> None:
    """The round has seen the pages before it."""
    connector = Connector(options(empty="fail"))
    connector.poll([item(1), item(2)], 1)
    assert connector.poll([item(1)], 2, last=False) == []
    assert [event["key"] for event in connector.poll([], 2)] == [2]


def test_only_a_round_that_ends_takes_something_to_be_gone() -> None:
    """One that is broken off is forgotten, and the next one begins again."""
    connector = Connector(options())
    connector.poll([item(number) for number in range(4)], 1)
    assert connector.poll([item(0)], 2, last=False) == []
    connector.restart()
    assert connector.poll([item(1)], 3, last=False) == []
    assert len(connector.memory.sightings) == 1
    connector.restart()
    assert [(event["op"], event["key"]) for event in connector.poll([item(2)], 3)] == [("removed", 0), ("removed", 3)]
    assert not connector.memory.sightings


def test_one_that_was_missed_once_is_not_gone() -> None:
    """When it is to be missing for some rounds in a row, others in between and restarts notwithstanding."""
    connector = Connector(options(removed_after=3))
    connector.poll([item(1), item(2), item(3)], 1)
    gone = []
    for round_, keys in enumerate(([1], [1, 2], [1], [1], [1], [2], [1, 2], [2], [2], [2], [2]), start=2):
        connector.restart()
        events = connector.poll([item(key) for key in keys], round_)
        gone += [(round_, event["op"], event["key"]) for event in events]
    assert gone == [(4, "removed", 3), (6, "removed", 2), (7, "added", 2), (11, "removed", 1)]
    assert not connector.memory.missing
    assert connector.remembered is not None
    assert (connector.remembered.missing, connector.remembered.known) == (0, 1)
    connector.poll([item(4)], 20)
    assert connector.last is not None
    assert "1 missing and not gone yet" in connector.last.note
    # A round that is not whole says nothing about what is missing.
    connector.poll([item(4)], 21, unfit=True)
    connector.poll([item(4)], 22)
    connector.options = options(removed_after=1)
    connector.restart()
    assert [event["key"] for event in connector.poll([item(4)], 23)] == [2]
    assert not connector.memory.missing


def test_a_bad_item_on_any_page_counts_for_the_whole_round() -> None:
    """Over a restart, too."""
    connector = Connector(options())
    connector.poll([item(1), item(2)], 1)
    connector.poll([item(1)], 2, last=False, unfit=True)
    connector.restart()
    assert connector.poll([], 2) == []
    assert [event["key"] for event in connector.poll([item(1)], 3)] == [2]


def test_numbers_are_used_again() -> None:
    """A collection whose items come and go needs no more of them than it has items at once."""
    connector = Connector(options(empty="accept"))
    for round_ in range(1, 30):
        connector.poll([item(f"{round_}-{number}") for number in range(5)], round_)
    assert connector.remembered is not None
    assert connector.remembered.following <= 10
    assert connector.remembered.known == 5


def test_very_many_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told a part at a time, with the rounds that follow."""
    monkeypatch.setattr(absence, "MOST_REMOVED", 3)
    connector = Connector(options(empty="accept"))
    connector.poll([item(number) for number in range(8)], 1)
    gone = []
    for round_, known in ((2, 5), (3, 2), (4, 0), (5, 0)):
        gone += [event["key"] for event in connector.poll([], round_)]
        assert connector.remembered is not None
        assert connector.remembered.known == known
    assert gone == list(range(8))


def test_too_many_items_fail() -> None:
    """A collection that has more than may be known is said to have."""
    connector = Connector(options(max_items=3))
    connector.poll([item(1), item(2), item(3)], 1)
    with pytest.raises(CollectionError, match="more than the 3 items"):
        connector.poll([item(1), item(2), item(3), item(4)], 2)
    assert len(connector.poll([item(3), item(2)], 3)) == 1
    assert len(connector.poll([item(3), item(2), item(4)], 4)) == 1


def test_nothing_changed_writes_nothing() -> None:
    """A round in which nothing has changed is no commit of the memory, unless it has several exchanges."""
    connector = Connector(options())
    connector.poll([item(1), item(2)], 1)
    assert connector.memory.commits == 1
    before = connector.remembered
    connector.poll([item(2), item(1)], 2)
    assert connector.memory.commits == 1
    assert connector.remembered == before
    assert connector.last is not None
    assert connector.last.note == "nothing changed, 2 known"


def test_a_key_that_is_there_twice_is_counted() -> None:
    """The first one counts, in this page and in others."""
    connector = Connector(options())
    connector.poll([item(1, v=1), item(1, v=2)], 1, last=False)
    connector.poll([item(1, v=3)], 1)
    assert [event["after"]["v"] for event in map(shown, connector.log)] == [1]
    assert connector.last is not None
    assert "1 had the key of one before them" in connector.last.note


@pytest.mark.parametrize("form", ["event", "item"])
def test_what_is_ignored_may_change(form: str) -> None:
    """It makes no change of what has not changed."""
    first, second = {"form": form}, {"form": form, "ignore": ["/served"]}
    connector = Connector(options(**first))
    connector.poll([item(1, v=1, served=1), item(2, v=1, served=1)], 1)
    connector.options = options(**second)
    connector.restart()
    # Where items are not kept, only what is the same to the last byte is known to be the same.
    records = connector.exchange([item(1, v=1, served=1), item(2, v=1, served=2)], 2)
    assert [record.key for record in records] == ([] if form == "event" else [b"2"])
    assert connector.poll([item(1, v=1, served=3), item(2, v=1, served=3)], 3) == []
    connector.options = options(**first)
    connector.restart()
    connector.poll([item(1, v=1, served=3), item(2, v=1, served=3)], 4)
    assert connector.poll([item(1, v=1, served=3), item(2, v=1, served=3)], 5) == []


def test_another_topic_gets_everything() -> None:
    """What was told in another one is of no use there."""
    connector = Connector(options())
    connector.poll([item(1), item(2)], 1)
    connector.topic = "dogs"
    connector.restart()
    assert [event["op"] for event in connector.poll([item(1), item(3)], 2)] == ["added", "added"]
    assert sorted(row[1] for row in connector.memory.items.values()) == [b"1", b"3"]


def test_values_are_remembered_only_where_they_are_told() -> None:
    """Large ones in less room than they have."""
    large = item(1, text="all work and no play " * 100)
    for chosen, kept in (({}, True), ({"before": False}, False), ({"form": "item"}, False), ({"form": "patch"}, True)):
        connector = Connector(options(**chosen))
        connector.poll([large], 1)
        (row,) = connector.memory.items.values()
        assert (row[4] is not None) is kept
        assert row[4] is None or len(row[4]) < len(large) / 4
