"""The bytes of the SmartModule interface, against worked examples and against every cut of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import SmartModuleError
from headwater.core.record import Record
from headwater.transforms.abi import (
    Complaint,
    Lookback,
    Parameters,
    decode_init_error,
    decode_look_back_error,
    decode_output,
    encode_input,
    encode_parameters,
    encode_records,
)

FRUIT = [Record(b"apple"), Record(b"fruit", b"k")]
RAW = "00000002 16 000000 00 0a6170706c65 00 1a 000002 01026b 0a6672756974 00"
NOW = 1_700_000_000_000

records = st.lists(
    st.builds(
        Record,
        value=st.binary(max_size=200),
        key=st.none() | st.binary(max_size=80),
        timestamp=st.none() | st.integers(0, 2**50),
    ),
    max_size=200,
)


def test_the_input_of_version_22() -> None:
    """A worked example, byte for byte."""
    expected = f"0000000000000064 0000001e {RAW} 0000 00 00000000 0000018bcfe56800"
    assert encode_input(FRUIT, base_offset=100, base_timestamp=NOW) == bytes.fromhex(expected)


def test_the_inputs_of_older_versions() -> None:
    """Version 17 has neither the lookback nor the time; the first generation has the records alone."""
    older = f"0000000000000064 0000001e {RAW} 0000 00000000"
    assert encode_input(FRUIT, base_offset=100, base_timestamp=NOW, version=17) == bytes.fromhex(older)
    assert encode_input(FRUIT, base_offset=100, version=0) == bytes.fromhex(f"0000000000000064 0000001e {RAW}")


def test_an_accumulator_follows_the_input() -> None:
    """An aggregate's state stands at the end."""
    plain = encode_input(FRUIT)
    assert encode_input(FRUIT, accumulator=b"zero") == plain + bytes.fromhex("00000004") + b"zero"


def test_parameters() -> None:
    """Pairs in byte order of their names, then the lookback, as far as the version has one."""
    lookback = Parameters({"key": "n"}, Lookback(10, 2))
    expected = "0001 0003 6b6579 0001 6e 01 000000000000000a 01 0000000000000002 00000000"
    assert encode_parameters(lookback) == bytes.fromhex(expected)
    assert encode_parameters(lookback, 20) == bytes.fromhex("0001 0003 6b6579 0001 6e 01 000000000000000a")
    assert encode_parameters(lookback, 17) == bytes.fromhex("0001 0003 6b6579 0001 6e")
    assert encode_parameters(Parameters({}, Lookback(10)))[-1:] == b"\0"
    ordered = encode_parameters(Parameters({"é": "", "z": "", "a": ""}), 17)
    assert ordered == encode_parameters(Parameters({"a": "", "z": "", "é": ""}), 17)
    assert ordered.index(b"a") < ordered.index(b"z") < ordered.index("é".encode())


def test_a_parameter_that_is_too_long() -> None:
    """What a guest would read as empty is refused."""
    assert len(encode_parameters(Parameters({"spec": "x" * 32_767}))) > 32_767
    with pytest.raises(SmartModuleError, match="32768 bytes is longer than the 32767"):
        encode_parameters(Parameters({"spec": "x" * 32_768}))


def test_outputs() -> None:
    """One record; one record and a complaint; an aggregate's; the errors of init and look_back."""
    good = bytes.fromhex("00000001 16 00000000 0a6170706c65 00 00")
    assert decode_output(good).records == [Record(b"apple")]
    hint = b"invalid utf-8 sequence of 1 bytes from index 0"
    bad = bytes.fromhex("00000001 0e 00000000 026100 01 002e") + hint + bytes.fromhex("0000000000000065 00 01026b 02ff")
    output = decode_output(bad)
    assert output.complaint == Complaint(hint.decode(), 101)
    assert output.records == [Record(b"a")]
    grown = bytes.fromhex("00000001 16 00000000 0a7a65726f61 00 00 00000005 7a65726f61")
    assert decode_output(grown, accumulator=True).accumulator == b"zeroa"
    assert decode_init_error(b"\0\x11Missing param key") == "Missing param key"
    assert decode_look_back_error(b"\0\1x" + bytes(7) + b"\5\0\2a") == Complaint("x", 5)


@given(records, st.integers(0, 2**45))
def test_records_survive(given: list[Record], base: int) -> None:
    """What is encoded decodes to the same values, keys and places."""
    data = encode_records(given, base) + b"\0"
    output = decode_output(data)
    assert list(output.deltas) == list(range(len(given)))
    assert list(output.records) == [Record(it.value, it.key) for it in given]
    assert decode_output(data, values=False).deltas == output.deltas


@given(records, st.data())
def test_a_damaged_output_is_an_error(given: list[Record], data: st.DataObject) -> None:
    """Bytes that are cut or changed decode or raise SmartModuleError, and nothing else."""
    whole = bytearray(encode_records(given, 0) + b"\0")
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
        with pytest.raises(SmartModuleError):
            decode_output(bytes(whole))
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        try:
            decode_output(bytes(whole))
        except SmartModuleError:
            return


@given(st.binary(max_size=300))
def test_any_bytes(given: bytes) -> None:
    """Whatever a module returns is decoded or refused."""
    for decode in (decode_output, decode_init_error, decode_look_back_error):
        try:
            decode(given)
        except SmartModuleError:
            continue
