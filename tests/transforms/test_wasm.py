"""SmartModules in WebAssembly, each kind, each generation and each way to go wrong."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from headwater.core.errors import SmartModuleError, SmartModuleTrapError
from headwater.core.record import Record
from headwater.transforms.abi import STATUS, Kind, Lookback, Parameters, encode_records
from headwater.transforms.stage import Call, Limits
from headwater.transforms.wasm import MOST_CODE, Host, WasmStage
from transforms import guests

NOW = 1_700_000_000_000


@pytest.fixture(scope="session")
def host() -> Host:
    return Host()


def begun(
    host: Host,
    code: bytes,
    parameters: Parameters | None = None,
    limits: Limits | None = None,
    state: bytes | None = None,
) -> WasmStage:
    stage = host.load(code, "guest").stage(parameters, limits)
    stage.begin(state)
    return stage


def call(stage: WasmStage, *values: str, base_offset: int = 0) -> Call:
    return stage.call([Record(value.encode()) for value in values], base_offset=base_offset, base_timestamp=NOW)


def values(result: Call) -> list[str]:
    return [record.value.decode() for record in result.records]


def test_a_filter_keeps_whole_records(host: Host) -> None:
    """What passes is the record that came, with its key and its time; `origins` says which."""
    given = [Record(b"apple", b"k", 5), Record(b"kiwi"), Record(b"pear" * 90, None, NOW)]
    result = begun(host, guests.letter_filter()).call(given, base_offset=0, base_timestamp=NOW)
    assert list(result.records) == [given[0], given[2]]
    assert list(result.origins) == [0, 2]
    assert result.complaint is None


def test_a_map_replaces_values_and_leaves_times(host: Host) -> None:
    """Keys and values are the module's, times are the record's."""
    given = [Record(b"apple", b"k", 5), Record(b"pear")]
    result = begun(host, guests.upper_map()).call(given, base_offset=0, base_timestamp=NOW)
    assert list(result.records) == [Record(b"APPLE", b"k", 5), Record(b"PEAR")]


def test_a_filter_map_does_both(host: Host) -> None:
    """Some records go, the others change."""
    assert values(call(begun(host, guests.upper_map("filter_map")), "apple", "kiwi", "pear")) == ["APPLE", "PEAR"]


def test_an_array_map_makes_records(host: Host) -> None:
    """Where its records come from is known when it was given one."""
    stage = begun(host, guests.letters())
    many, one = call(stage, "ab", "", "c"), call(stage, "de")
    assert (values(many), list(many.origins)) == (["a", "b", "c"], [-1, -1, -1])
    assert (values(one), list(one.origins)) == (["d", "e"], [0, 0])


@pytest.mark.parametrize("newest", [22, 17])
def test_an_aggregate_goes_on_with_its_state(host: Host, newest: int) -> None:
    """The state lives from call to call and in a new instance; modules of before 0.10.14 are spoken to in their way."""
    stage = begun(host, guests.counter(newest))
    assert values(call(stage, "x", "y")) == ["!", '"']
    assert values(call(stage, "z")) == ["#"]
    assert stage.state == b"#"
    assert values(call(begun(host, guests.counter(newest), state=b"A"), "x")) == ["B"]


def test_the_first_complaint_ends_a_call(host: Host) -> None:
    """What was before it is there; what is behind it was not looked at; an aggregate has counted up to it."""
    result = call(begun(host, guests.letter_filter()), "a", "b", "no!", "aa", base_offset=700)
    assert (values(result), result.complaint, result.refused) == (["a"], "no", 2)
    stage = begun(host, guests.counter())
    assert call(stage, "x", "!", "y").refused == 1
    assert stage.state == b"!"


def test_the_first_generation(host: Host) -> None:
    """Modules with two arguments get neither a version nor parameters; an aggregate's state is its last value."""
    assert values(call(begun(host, guests.letter_filter(third=False)), "a", "b")) == ["a"]
    with pytest.raises(SmartModuleError, match="takes no parameters"):
        begun(host, guests.letter_filter(third=False), Parameters({"a": "b"}))
    old = encode_records([Record(b"sum")], 0) + b"\0"
    stage = begun(host, guests.blunt("aggregate", output=old, status=1, arguments=2))
    assert values(call(stage, "x")) == ["sum"]
    assert stage.state == b"sum"


def test_parameters_in_every_input(host: Host) -> None:
    """A module without `init` reads them from its input: this one keeps nothing unless there are some."""
    # Behind the records: the number of pairs, two bytes.
    body = """
    (if
      (i32.eqz
        (i32.load16_u
          (i32.add (local.get $input) (i32.add (i32.const 12) (i32.load8_u offset=11 (local.get $input))))))
      (then (return (i32.const -44))))"""
    code = guests.blunt(body=body)
    assert values(call(begun(host, code, Parameters({"a": "b"})), "x")) == []
    with pytest.raises(SmartModuleTrapError, match="did not accept its parameters"):
        call(begun(host, code), "x")


def test_init_refuses_parameters(host: Host) -> None:
    """Its sentence reaches the user; so does every other status."""
    for status, output, said in (
        (-2, b"\0\x11Missing param key", "Missing param key"),
        (-2, b"", "an error of its init"),
        (-10, b"", "could not decode its parameters"),
        (-1, b"", "an unknown error"),
        (-77777, b"", "status -77777"),
    ):
        code = guests.blunt(init=guests.says(status, output))
        with pytest.raises(SmartModuleError, match=said) as caught:
            begun(host, code)
        assert "refuses its parameters" in caught.value.message


def test_init_gets_parameters_and_lookback(host: Host) -> None:
    """The bytes of the worked example, length and last byte checked by the guest."""
    body = """
    (if (i32.or (i32.ne (local.get $length) (i32.const 32)) (i32.ne (local.get $version) (i32.const 22)))
      (then (return (i32.const -10))))
    (i32.const 0)"""
    begun(host, guests.blunt(init=body), Parameters({"key": "n"}, Lookback(10, 2.0)))
    with pytest.raises(SmartModuleError, match="could not decode its parameters"):
        begun(host, guests.blunt(init=body), Parameters({"key": "n"}))


def test_look_back(host: Host) -> None:
    """It is asked for only when the module has it; what it refuses is an error with its sentence."""
    lookback = Lookback(5)
    plain = host.load(guests.letter_filter(), "guest").stage(Parameters({}, lookback))
    assert plain.lookback is None
    seen = host.load(guests.blunt(look_back="(i32.const 0)"), "guest").stage(Parameters({}, lookback))
    assert seen.lookback == lookback
    seen.begin(None)
    seen.look_back([Record(b"x")])
    error = b"\0\3bad" + bytes(8) + b"\0\2x"
    for status, output, said in ((-99, error, "bad"), (-66, b"", "could not decode its input")):
        stage = begun(host, guests.blunt(look_back=guests.says(status, output)), Parameters({}, lookback))
        with pytest.raises(SmartModuleError, match=f"looked back: .*{said}"):
            stage.look_back([Record(b"x")])


def test_a_fresh_instance_is_shown_the_same(host: Host) -> None:
    """After a crash a stage looks back again, in an instance whose memory is clean."""
    # Crashes in its second call, and when it has not looked back.
    code = guests.blunt(
        more="(global $seen (mut i32) (i32.const 0))",
        look_back="(global.set $seen (i32.const 1)) (i32.const 0)",
        body="(if (i32.ne (global.get $seen) (i32.const 1)) (then unreachable)) (global.set $seen (i32.const 2))",
    )
    stage = begun(host, code, Parameters({}, Lookback(1)))
    stage.look_back([Record(b"x")])
    for _ in range(3):
        call(stage, "x")
        with pytest.raises(SmartModuleTrapError):
            call(stage, "x")


@pytest.mark.parametrize("status", [status for status in STATUS if status != -11])
def test_every_status_is_told(host: Host, status: int) -> None:
    """A negative status is an error in words."""
    stage = begun(host, guests.blunt(status=status))
    with pytest.raises(SmartModuleTrapError) as caught:
        call(stage, "x")
    assert STATUS[status] in caught.value.message
    assert caught.value.slug == "transform-status"


@pytest.mark.parametrize("kind", ["filter", "aggregate"])
def test_an_input_that_it_cannot_decode(host: Host, kind: str) -> None:
    """-11 is told as such; an aggregate is asked in the older way first."""
    with pytest.raises(SmartModuleTrapError, match="could not decode its input"):
        call(begun(host, guests.blunt(kind, status=-11)), "x")


def test_a_crash_an_endless_loop_and_a_full_memory(host: Host) -> None:
    """Each is told apart, with what was exceeded, and the stage works again afterwards with its state."""
    stage = begun(host, guests.counter(), limits=Limits(seconds=0.1), state=b"A")
    for bad, slug, said in (
        ("*", "transform-trap", "guest crashed: wasm `unreachable` instruction executed"),
        ("^", "transform-timeout", "guest took longer than 0.1 s to run its aggregate"),
    ):
        with pytest.raises(SmartModuleTrapError) as caught:
            call(stage, "x", bad)
        assert (caught.value.slug, caught.value.message) == (slug, said)
    assert values(call(stage, "x")) == ["B"]
    hog = guests.blunt(
        body="(loop $more (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $more))"
    )
    with pytest.raises(SmartModuleTrapError, match="more than the 8000000 bytes of memory") as caught:
        call(begun(host, hog, limits=Limits(memory=8_000_000)), "x")
    assert caught.value.slug == "transform-memory"


def test_endless_init_and_start(host: Host) -> None:
    """The time is bounded from the first instruction on."""
    for code in (
        guests.blunt(init="(loop $l (br $l)) (i32.const 0)"),
        guests.blunt(more="(func $go (loop $l (br $l))) (start $go)"),
    ):
        with pytest.raises(SmartModuleTrapError, match="took longer"):
            begun(host, code, limits=Limits(seconds=0.1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": b"\xff\xff\xff\xff\0"}, "broke its interface: .* cannot hold 4294967295 records"),
        ({"output": b""}, "cut off"),
        ({"output": b"\0\0\0\0\7"}, "no flag"),
        ({"output": encode_records([Record(b"x")] * 3, 0) + b"\0"}, "place 2 of 1"),
        ({"output": b"\0\0\0\0\1\0\0" + bytes(7) + b"\x09\0\0\0"}, "a record at place 9, which it was not given"),
        ({"claims": 0x7FFF_FFFF}, "out of bounds memory access"),
        ({"alloc": '(func (export "alloc") (param i32) (result i32) (i32.const -16))'}, "out of bounds memory access"),
    ],
)
def test_an_output_that_is_none(host: Host, change: dict[str, bytes | int], said: str) -> None:
    """Wrong bytes and wrong places in memory are the module's error, never ours."""
    with pytest.raises(SmartModuleTrapError, match=said):
        call(begun(host, guests.blunt(**change)), "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"", "is not a WebAssembly module"),
        (b"hello", "is not a WebAssembly module"),
        (b"\0asm\1\0\0\0\7\7", "does not compile"),
        (guests.compiled("(module)"), "exports none of filter, map, filter_map, array_map, aggregate"),
        (guests.blunt("join"), "exports none of"),
        (guests.blunt(exports="(memory 2)"), "does not export its memory"),
        (guests.blunt(alloc=""), "does not export alloc"),
        (guests.blunt(arguments=4), "its filter has other arguments"),
        (guests.bare(), "does not import copy_records"),
        (guests.bare('(import "env" "copy_records" (func (param i64)))'), "copy_records with other arguments"),
        (guests.bare('(import "env" "abort" (func))'), "needs env.abort"),
    ],
)
def test_a_module_that_is_none(host: Host, code: bytes, said: str) -> None:
    """It is refused when it is loaded, with what is wrong."""
    with pytest.raises(SmartModuleError, match=said) as caught:
        host.load(code, "guest")
    assert caught.value.message.startswith("guest ")


def test_a_module_that_is_too_large(host: Host) -> None:
    """It is not even compiled."""
    with pytest.raises(SmartModuleError, match="may have at most"):
        host.load(bytes(MOST_CODE + 1), "guest")


def test_wasi_and_other_names_of_the_library(host: Host) -> None:
    """Builds for WASI run, with nothing of the machine; the import is found under any name."""
    assert values(call(begun(host, guests.letter_filter(wasi=True, library="elsewhere")), "a", "b")) == ["a"]


def test_outputs_are_freed(host: Host) -> None:
    """The memory of a guest that forgets its outputs stays flat. 100,000 calls of it are a figure of the benchmark."""
    stage = begun(host, guests.leaky(frees=True))
    call(stage, "x")
    before = stage.memory
    for _ in range(3000):
        call(stage, "x")
    assert stage.memory == before


def test_large_batches_and_values(host: Host) -> None:
    """Rooms grow on both sides."""
    stage = begun(host, guests.letter_filter())
    big = "b" * 3_000_000
    assert values(call(stage, big, "a", "a" + big)) == ["a", "a" + big]
    many = [str(number) + "a" * (number % 2) for number in range(30_000)]
    assert len(values(call(stage, *many))) == 15_000


def test_an_empty_batch(host: Host) -> None:
    """It is legal, and gives nothing."""
    assert list(call(begun(host, guests.letter_filter())).records) == []


def test_a_guest_that_cannot_free_gets_fresh_memory(host: Host) -> None:
    """Without dealloc its memory grows, and before that becomes a crash it is begun anew."""
    stage = begun(host, guests.leaky(frees=False), limits=Limits(memory=1_000_000))
    used = set()
    for _ in range(100):
        call(stage, "x")
        used.add(stage.memory)
    assert len(used) > 1
    assert max(used) <= 1_000_000


def test_records_with_places_of_their_own(host: Host) -> None:
    """Behind a filter the places have gaps; they are the module's view of offsets, and map back to what was given."""
    stage = begun(host, guests.letter_filter())
    given = [Record(b"a1"), Record(b"b"), Record(b"a2"), Record(b"no!")]
    result = stage.call(given, base_offset=100, places=[3, 7, 200, 20_000])
    assert (values(result), list(result.origins), result.refused) == (["a1", "a2"], [0, 2], 3)


def _cached(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.cwasm"))


def test_the_cache_of_compiled_modules(tmp_path: Path) -> None:
    """A second host takes what the first has compiled; a damaged file or one that others may write is not run."""
    cache, code = tmp_path / "cache", guests.letter_filter()
    Host(cache).load(code, "guest")
    (file,) = (it for it in _cached(cache) if it.name.startswith(hashlib.sha256(code).hexdigest()))
    assert (cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    good, written = file.read_bytes(), file.stat().st_mtime_ns
    assert values(call(begun(Host(cache), code), "a", "b")) == ["a"]
    assert file.stat().st_mtime_ns == written
    for bad in (b"", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), struct.pack("32x")):
        file.write_bytes(bad)
        assert values(call(begun(Host(cache), code), "a", "b")) == ["a"]
        assert file.read_bytes() == good
    file.chmod(0o666)
    before = file.stat().st_ino
    assert values(call(begun(Host(cache), code), "a")) == ["a"]
    assert file.stat().st_ino != before
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert values(call(begun(Host(cache), code), "a")) == ["a"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """Without it a start is slower, and that is all."""
    place = tmp_path / "file"
    place.write_bytes(b"")
    assert values(call(begun(Host(place), guests.letter_filter()), "a")) == ["a"]
    assert list(tmp_path.iterdir()) == [place]


def test_kinds_are_looked_for_in_order(host: Host) -> None:
    """The first of the interface's order wins."""
    both = guests.blunt("map", more='(func (export "filter") (param i32 i32 i32) (result i32) i32.const 0)')
    assert host.load(both, "guest").kind is Kind.FILTER


def test_a_record_that_is_larger_than_its_numbers(host: Host) -> None:
    """Keys and offsets beyond one byte of a varint go both ways."""
    given: Sequence[Record] = [Record(b"a" * (number * 7), b"k" * (number % 300), number) for number in range(400)]
    result = begun(host, guests.letter_filter()).call(given, base_offset=10**12, base_timestamp=0)
    assert list(result.records) == list(given[1:])
