"""SmartModules in streams and appends, by name and ad hoc; good, bad and hostile."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from headwater.core.record import Record
from headwater.fluvio import invocation as wire
from headwater.fluvio import records as spu
from headwater.fluvio.errorcode import OK
from headwater.server.connection import Limits
from server.invocations import ad_hoc, follow, named
from server.peer import (
    NOW,
    fill,
    packed,
    produce_body,
    serving,
    stored,
    unpacked,
    values,
)
from transforms import guests


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (ad_hoc(guests.plain_filter(), wire.AsFilter()), [b"a1", b"ba"]),
        (ad_hoc(guests.upper_map(), wire.AsMap()), [b"A1", b"B2", b"BA", b"C"]),
        (ad_hoc(guests.upper_map("filter_map"), wire.AsFilterMap()), [b"A1", b"BA"]),
        (ad_hoc(guests.letters(), wire.AsArrayMap()), [b"a", b"1", b"b", b"2", b"b", b"a", b"c"]),
        (ad_hoc(guests.counter(), wire.AsAggregate()), [b"!", b'"', b"#", b"$"]),
        (ad_hoc(guests.counter(), wire.AsAggregate(b"0")), [b"1", b"2", b"3", b"4"]),
        (ad_hoc(guests.counter(), wire.AsAny(wire.AggregateContext(b"0"))), [b"1", b"2", b"3", b"4"]),
        (ad_hoc(guests.plain_filter()), [b"a1", b"ba"]),
        (named("regex-filter", values={"regex": "^b"}), [b"b2", b"ba"]),
        (named("infinyon/regex-filter@0.1.0", values={"regex": "^b"}), [b"b2", b"ba"]),
    ],
    ids=[
        "filter",
        "map",
        "filter_map",
        "array_map",
        "aggregate",
        "accumulator",
        "any",
        "says itself",
        "name",
        "version",
    ],
)
@pytest.mark.parametrize("version", [18, 20, 22, 25])
async def test_streams_through_a_module(
    tmp_path: Path, module: wire.Invocation, expected: list[bytes], version: int
) -> None:
    """Records of a stream pass a module of every kind, in every version that has chains."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a1", b"b2"], [b"ba", b"c"])
        stream = await follow(it, module, version=version)
        found = await stream.take(len(expected))
        assert values(found) == expected
        assert [record.offset for record in found] == sorted(record.offset for record in found)
        assert found[-1].offset <= 3


async def test_a_chain_of_modules(tmp_path: Path) -> None:
    """Modules of a chain work one behind the other; offsets are those of the records that went in."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"xx", b"a1", b"yy", b"ba"])
        stream = await follow(it, ad_hoc(guests.plain_filter()), ad_hoc(guests.upper_map()))
        reply = await stream.next()
        found = unpacked(reply.partition.batches)
        assert [(record.offset, record.value) for record in found] == [(1, b"A1"), (3, b"BA")]
        assert reply.partition.next_offset == 4


async def test_a_module_from_the_middle_on(tmp_path: Path) -> None:
    """What stands before the offset that was asked for never reaches a module."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a"] * 5)
        stream = await follow(it, ad_hoc(guests.counter()), offset=3)
        assert [(record.offset, record.value) for record in await stream.take(2)] == [(3, b"!"), (4, b'"')]


async def test_large_records_through_a_module(tmp_path: Path) -> None:
    """What a module leaves is cut into batches that every client takes."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a" * 600_000], [b"b" * 600_000, b"a" * 600_000], [b"a" * 600_000])
        found = await (await follow(it, ad_hoc(guests.plain_filter()))).take(3)
        assert [record.offset for record in found] == [0, 2, 3]


async def test_a_filter_that_lets_nothing_through(tmp_path: Path) -> None:
    """The client hears nothing until something passes, and then where to go on."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", *([b"b"] for _ in range(50)))
        peer = await it.spu()
        stream = peer.stream("cats", max_bytes=1, modules=(ad_hoc(guests.plain_filter()),))
        await peer.versions()
        await fill(it.log, "cats", [b"b"], [b"a"])
        reply = await stream.next()
        assert [record.offset for record in unpacked(reply.partition.batches)] == [51]
        assert reply.partition.next_offset == 52


async def test_refused_records_in_a_stream(tmp_path: Path) -> None:
    """A record that a module refuses is told with its offset, key and value; the others come."""
    async with serving(tmp_path, "cats") as it:
        unit = await it.spu()
        await unit.produce("cats", packed(b"a", Record(b"!", b"key", NOW), b"ba"))
        stream = await follow(it, ad_hoc(guests.letter_filter()))
        reply = await stream.next()
        assert values(unpacked(reply.partition.batches)) == [b"a", b"ba"]
        assert reply.partition.code.name == "SmartModuleRuntimeError"
        (failure,) = reply.partition.code.details
        assert (failure.offset, failure.kind, failure.key, failure.value) == (1, 0, b"key", b"!")
        await stream.more(reply)
        await fill(it.log, "cats", [b"more a"])
        assert values(await stream.take(1)) == [b"more a"]


async def test_a_module_that_crashes(tmp_path: Path) -> None:
    """A crash costs the record that it crashed at, in a stream as in an append."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a", b"*", b"ba"])
        reply = await (await follow(it, ad_hoc(guests.letter_filter()))).next()
        assert values(unpacked(reply.partition.batches)) == [b"a", b"ba"]
        assert reply.partition.code.details[0].offset == 1
        unit = await it.spu()
        produced = await unit.produce("cats", packed(b"a", b"*"), modules=(ad_hoc(guests.letter_filter()),))
        assert produced.code.name == "SmartModuleRuntimeError"
        assert await unit.offsets("cats") == (0, 3)


async def test_a_module_that_loops(tmp_path: Path) -> None:
    """A module that never ends is stopped, in streams and appends, and others are served meanwhile."""
    async with serving(tmp_path, "cats", Limits(call=0.3)) as it:
        await fill(it.log, "cats", [b"a", b"^", b"ba"])
        looping = await follow(it, ad_hoc(guests.letter_filter()))
        unit = await it.spu()
        append = unit.ask(
            spu.PRODUCE, 25, produce_body("cats", (0, packed(b"^")), modules=(ad_hoc(guests.letter_filter()),))
        )
        other = await it.spu()
        assert values(await other.stream("cats").take(3)) == [b"a", b"^", b"ba"]
        reply = await looping.next()
        assert values(unpacked(reply.partition.batches)) == [b"a", b"ba"]
        assert reply.partition.code.details[0].value == b"^"
        assert (await append.next(spu.Produced)).topics[0].partitions[0].code.name == "SmartModuleRuntimeError"


async def test_a_module_that_looks_back(tmp_path: Path) -> None:
    """A module that wants to is shown the last records first, so many or so old; a failure there ends the stream."""
    look_back = "(i32.store8 (i32.const 1029) (i32.const 0)) (i32.const 0)"
    blunt = guests.blunt("filter", look_back=look_back)
    failing = guests.blunt("filter", look_back="unreachable")
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a"] * 5)
        for lookback in (wire.Lookback(2), wire.Lookback(2**64 - 1), wire.Lookback(0, timedelta(days=10_000))):
            reply = await (await follow(it, ad_hoc(failing, lookback=lookback))).next()
            assert reply.partition.code.name == "SmartModuleLookBackError"
            peer = await it.spu()
            stream = peer.stream("cats", modules=(ad_hoc(blunt, lookback=lookback),))
            await peer.versions()
            assert stream.replies.waiting == 0
        # Nothing is so new, and so nothing is shown.
        recent = wire.Lookback(0, timedelta(seconds=1))
        peer = await it.spu()
        stream = peer.stream("cats", modules=(ad_hoc(failing, lookback=recent),))
        await peer.versions()
        assert stream.replies.waiting == 0


REFUSED = [
    (named("nobody"), "SmartModuleNotFound", "nobody"),
    (named("jaq", values={"filter": "."}), "SmartModuleNotFound", "jaq"),
    (ad_hoc(guests.plain_filter(), wire.AsMap()), "SmartModuleInvalidExports", "it is a filter"),
    (ad_hoc(guests.plain_filter(), wire.AsJoin("dogs")), "SmartModuleInvalid", "joins are not available"),
    (named("regex-filter"), "SmartModuleInitError", "regex"),
    (named("regex-filter", values={"regex": "("}), "SmartModuleInitError", "regex"),
    (ad_hoc(guests.blunt(init="unreachable")), "SmartModuleInitError", ""),
    (ad_hoc(guests.blunt(init=guests.says(-1, b""))), "SmartModuleInitError", ""),
]


@pytest.mark.parametrize(("module", "answer", "said"), REFUSED)
async def test_modules_that_are_refused(tmp_path: Path, module: wire.Invocation, answer: str, said: str) -> None:
    """A module that is not there, is another kind, or does not begin, is refused before any record, with a code."""
    async with serving(tmp_path, "cats") as it:
        await fill(it.log, "cats", [b"a"])
        unit = await it.spu()
        for found in (
            (await unit.produce("cats", packed(b"x"), modules=(module,))).code,
            (await unit.stream("cats", modules=(module,)).next()).partition.code,
        ):
            assert found.name == answer
            assert said in found.sentence
        assert await unit.offsets("cats") == (0, 1)


async def test_a_chain_that_is_too_long(tmp_path: Path) -> None:
    """A chain has a bound."""
    async with serving(tmp_path, "cats") as it:
        reply = await (await follow(it, *[ad_hoc(guests.plain_filter())] * 33)).next()
        assert reply.partition.code.name == "SmartModuleChainInitError"


async def test_modules_of_old_clients(tmp_path: Path) -> None:
    """The forms of modules before 0.10 are refused with a sentence."""
    legacy = wire.LegacyInvocation(wire.RawWasm(b"x"), wire.AsFilter(), {})
    module = wire.Invocation(wire.Predefined("x"), wire.AsFilter())
    async with serving(tmp_path, "cats") as it:
        unit = await it.spu()
        for version, fields in (
            (16, {"wasm": b"x"}),
            (17, {"legacy": legacy}),
            (18, {"module": module}),
            (16, {"derived": wire.DerivedStream("x", {})}),
        ):
            reply = await unit.stream("cats", version=version, **fields).next()
            assert reply.partition.code.name == "Other"
            assert "use a newer client" in reply.partition.code.sentence


@pytest.mark.parametrize("version", [8, 18, 20, 25])
async def test_appends_through_modules(tmp_path: Path, version: int) -> None:
    """Only what passes is appended, with keys and times; an append of which nothing is left is none."""
    async with serving(tmp_path, "cats") as it:
        unit = await it.spu()
        modules = (ad_hoc(guests.plain_filter()), ad_hoc(guests.upper_map()))
        batch = packed(Record(b"xx", b"k1", NOW), Record(b"a1", b"k2", NOW + 5), Record(b"ba", None, NOW + 6))
        produced = await unit.produce("cats", batch, version=version, modules=modules)
        assert (produced.code, produced.base_offset) == (OK, 0)
        assert [(it.value, it.key, it.timestamp) for it in stored(it.log, "cats")] == [
            (b"A1", b"k2", NOW + 5),
            (b"BA", None, NOW + 6),
        ]
        assert not (await unit.produce("cats", packed(b"x"), version=version, modules=modules)).code
        assert not (await unit.produce("cats", b"", version=version, modules=modules)).code
        assert await unit.offsets("cats") == (0, 2)


async def test_an_append_with_a_refused_record(tmp_path: Path) -> None:
    """An entry of which a module refuses a record is refused whole; other entries are appended."""
    async with serving(tmp_path, "cats") as it:
        unit = await it.spu()
        body = produce_body(
            "cats",
            (0, packed(b"a")),
            (0, packed(b"a", b"!")),
            (0, packed(b"ba")),
            modules=(ad_hoc(guests.letter_filter()),),
        )
        reply = await unit.call(spu.PRODUCE, 25, body, spu.Produced)
        first, refused, last = reply.topics[0].partitions
        assert (first.base_offset, last.base_offset) == (0, 1)
        assert refused.code.name == "SmartModuleRuntimeError"
        assert values(stored(it.log, "cats")) == [b"a", b"ba"]
