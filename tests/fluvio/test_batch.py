"""Fluvio's record batch, byte for byte."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.errors import BatchError
from headwater.core.record import Record, StoredRecord
from headwater.fluvio.batch import (
    MOST_BATCH_BYTES,
    _seal,
    check_batch,
    decode_header,
    decode_records,
    decode_values,
    encode_batch,
    encode_batches,
    with_base_offset,
)
from headwater.fluvio.batches import split_batches
from headwater.fluvio.compression import Compression
from headwater.fluvio.varint import encode_varint

NOW = 1_700_000_000_000
RECORDS = st.lists(
    st.builds(
        Record,
        value=st.binary(max_size=300),
        key=st.none() | st.binary(max_size=40),
        timestamp=st.none() | st.integers(0, 2**45),
    ),
    min_size=1,
    max_size=30,
)


def test_the_bytes_are_those_the_stock_client_sends() -> None:
    """Five records with empty keys give the header and records captured from Fluvio's own client (wire notes, 2.5)."""
    data = encode_batch([Record(f"v{number}".encode(), b"") for number in range(5)], NOW).data
    stamp = NOW.to_bytes(8).hex()
    records = (
        "1200000001000476300012000002010004763100" + "1200000401000476320012000006010004763300" + "12000008010004763400"
    )
    covered = bytes.fromhex("0000" + "00000004" + stamp + stamp + "ff" * 14 + "00000005" + records)
    assert data.hex() == "00" * 8 + "00000063" + "ffffffff" + "02" + f"{crc32c(covered):08x}" + covered.hex()


def test_a_null_key_is_a_single_zero() -> None:
    """A record without a key carries the flag alone."""
    assert encode_batch([Record(b"ab")], NOW).data.endswith(
        bytes.fromhex("10" + "00" + "00" + "00" + "00" + "04" + "6162" + "00")
    )


@given(RECORDS, st.sampled_from(Compression))
def test_records_survive_encoding(records: list[Record], compression: Compression) -> None:
    """Every codec gives back values, keys, times and offsets."""
    batch = encode_batch(records, NOW, compression)
    assert batch.count == len(records)
    data = with_base_offset(batch.data, 1000)
    expected = [
        StoredRecord(record.value, record.key, NOW if record.timestamp is None else record.timestamp, 3, 1000 + index)
        for index, record in enumerate(records)
    ]
    assert decode_records(data, partition=3) == expected
    assert decode_values(data) == [record.value for record in records]
    header = check_batch(data)
    assert (header.base_offset, header.count, header.length) == (1000, len(records), len(data))
    assert header.max_timestamp == batch.max_timestamp == max(record.timestamp for record in expected)


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=12))
def test_batches_are_split_before_they_stall_a_consumer(sizes: list[int]) -> None:
    """No batch passes the bound, none is empty, and the order is kept."""
    records = [Record(bytes([number]) * size) for number, size in enumerate(sizes)]
    batches = encode_batches(records, NOW)
    assert [value for batch in batches for value in decode_values(batch.data)] == [record.value for record in records]
    assert all(len(batch.data) <= MOST_BATCH_BYTES for batch in batches)


def test_a_record_beyond_the_bound_has_a_batch_of_its_own() -> None:
    """A large body is one batch, and its neighbours are others."""
    batches = encode_batches([Record(b"a"), Record(b"b" * 2 * MOST_BATCH_BYTES), Record(b"c")], NOW)
    assert [batch.count for batch in batches] == [1, 1, 1]


def test_no_records_make_no_batch() -> None:
    """Nothing to encode is nothing; a batch without records is refused."""
    assert encode_batches([], NOW) == []
    with pytest.raises(BatchError, match="without records"):
        encode_batch([], NOW)


@given(RECORDS, st.data())
def test_damage_is_noticed(records: list[Record], data: st.DataObject) -> None:
    """A changed byte behind the checksum does not pass the check."""
    batch = bytearray(encode_batch(records, NOW).data)
    position = data.draw(st.integers(21, len(batch) - 1))
    batch[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BatchError):
        check_batch(bytes(batch))


@given(RECORDS, st.sampled_from(Compression), st.data())
def test_hostile_bytes_are_a_batch_error(records: list[Record], codec: Compression, data: st.DataObject) -> None:
    """Changed and cut batches decode to something or raise BatchError, and nothing else."""
    batch = bytearray(encode_batch(records, NOW, codec).data)
    for _ in range(data.draw(st.integers(1, 4))):
        batch[data.draw(st.integers(8, len(batch) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(batch[: data.draw(st.integers(0, len(batch)))])
    for candidate in (bytes(batch), cut):
        for decode in (decode_values, decode_records, decode_header, check_batch):
            try:
                decode(candidate)
            except BatchError:
                continue


@given(st.binary(max_size=200))
def test_random_bytes_are_a_batch_error(data: bytes) -> None:
    """What never was a batch is refused."""
    for decode in (decode_values, decode_records):
        with pytest.raises(BatchError):
            decode(data)


def test_a_count_that_the_bytes_cannot_hold_is_refused() -> None:
    """A length bomb is noticed before anything is made room for."""
    data = bytearray(encode_batch([Record(b"x")], NOW).data)
    data[57:61] = (2**31 - 1).to_bytes(4)
    with pytest.raises(BatchError, match="says it holds 2147483647 records"):
        decode_values(bytes(data))


@given(st.binary(max_size=40_000), st.integers(0, 1 << 45))
def test_one_record_is_encoded_as_any_other(value: bytes, now: int) -> None:
    """The short way for one record without a key gives the bytes of the general one."""
    body = b"\0\0\0\0" + encode_varint(len(value)) + value + b"\0"
    expected = _seal(encode_varint(len(body)) + body, 1, (now, now), Compression.NONE, 0)
    assert encode_batch([Record(value)], now) == expected
    assert encode_batch([Record(value, timestamp=now)], 5) == expected


def test_a_batch_that_unpacks_to_more_than_it_says() -> None:
    """A small batch cannot make whoever looks into it hold millions of records."""
    bomb = bytearray(encode_batch([Record(b"")] * 500_001, NOW, Compression.ZSTD).data)
    with pytest.raises(BatchError, match="500001 records, where 500000 are allowed"):
        split_batches(bytes(bomb), most=2_000_000)
    # The offset of the last record, which says how many there are; the checksum covers it.
    bomb[23:27] = (9).to_bytes(4)
    with pytest.raises(BatchError, match="says it holds 500001 records"):
        decode_records(bytes(bomb))
