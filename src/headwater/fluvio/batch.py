"""Owns Fluvio's record batch, byte for byte: what goes over the wire, into `.log` files and into our rows.

Knows nothing of topics or offsets beyond the field in the header; the log fills it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as struct_error

import msgspec
from crc32c import crc32c

from headwater.core.errors import BatchError
from headwater.core.record import Record, StoredRecord
from headwater.fluvio.compression import Compression, compress, decompress
from headwater.fluvio.varint import VARINTS, decode_varint, encode_varint

# Encoded batches stay below this (bytes), for a stock consumer stalls on one that its max_bytes cannot hold.
MOST_BATCH_BYTES = 1_000_000
# What is compressed can unpack to millions of empty records, each of which is an object for whoever looks into it. No
# batch that is written with the usual bounds holds a third of this.
MOST_RECORDS = 500_000
# Names two fields each: base offset and length; epoch, magic and checksum; what the checksum covers, with the count.
_BASE = Struct(">q")
_PREFIX = Struct(">qi")
_MIDDLE = Struct(">ibI")
_COVERED = Struct(">hiqqqhi")
_COUNT = Struct(">i")
_HEAD = Struct(">qiibI")
_COVERED_ONE = Struct(">hiqqqhii")
_HEADER = Struct(">qiibIhiqqqhi")
HEADER_BYTES = _HEADER.size + _COUNT.size
_MAGIC = 2
# Members of an enum by name cost as much as five function calls in Python 3.11.
_NONE = Compression.NONE
_CODEC_BITS = 0x07
_SCHEMA_BIT = 0x10
# Bytes of a batch that its length field does not count.
_NOT_COUNTED = 12
# The fewest bytes that a record can have: length, attributes, two deltas, key flag, value length, headers.
_SMALLEST_RECORD = 7


class EncodedBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch ready to be appended: `data` has base offset 0. Times are ms since the Unix epoch."""

    data: bytes
    count: int
    first_timestamp: int
    max_timestamp: int


class BatchHeader(msgspec.Struct, frozen=True, gc=False):
    """What the header of a batch says. `length` is that of the whole batch in bytes, the header included."""

    base_offset: int
    length: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    count: int


class StoredBatch(msgspec.Struct, frozen=True):
    """A batch that has its place: `data` is as it goes over Fluvio's wire, with its base offset."""

    base_offset: int
    count: int
    data: bytes


def encode_batch(
    records: Sequence[Record],
    now_ms: int,
    compression: Compression = Compression.NONE,
    deltas: Sequence[int] | None = None,
    first: int | None = None,
) -> EncodedBatch:
    """Encode records as one batch, whatever its size. Records without a time get `now_ms`.

    `deltas` are how far behind the first one's offset that of each is, when they do not follow each other. `first` is
    the time that the batch counts from, when that is not its first record's: stock clients take it when they open one.
    """
    if not records:
        raise BatchError("a batch without records cannot be encoded")
    if first is None:
        first = records[0].timestamp
    if first is None:
        first = now_ms
    latest = first
    parts: list[bytes] = []
    extend = parts.extend
    # Numbers from here on are encoded by a call; those below, nearly all there are, are looked up.
    known = len(VARINTS)
    varints = VARINTS
    if deltas is None:
        deltas = range(len(records))
    for delta, record in zip(deltas, records, strict=True):
        timestamp = record.timestamp
        if timestamp is None:
            timestamp = now_ms
        if timestamp > latest:  # noqa: PLR1730 - a call costs more than the comparison
            latest = timestamp
        away = timestamp - first
        value = record.value
        size = len(value)
        key = record.key
        moment = varints[away] if 0 <= away < known else encode_varint(away)
        place = varints[delta] if delta < known else encode_varint(delta)
        length = varints[size] if size < known else encode_varint(size)
        if key is None:
            # Attributes, the absent key and the headers are a zero byte each.
            whole = len(moment) + len(place) + len(length) + size + 3
            extend(
                (
                    varints[whole] if whole < known else encode_varint(whole),
                    b"\0",
                    moment,
                    place,
                    b"\0",
                    length,
                    value,
                    b"\0",
                )
            )
            continue
        of_key = len(key)
        name = varints[of_key] if of_key < known else encode_varint(of_key)
        whole = len(moment) + len(place) + len(name) + of_key + len(length) + size + 3
        extend(
            (
                varints[whole] if whole < known else encode_varint(whole),
                b"\0",
                moment,
                place,
                b"\1",
                name,
                key,
                length,
                value,
                b"\0",
            )
        )
    return _seal(b"".join(parts), len(records), (first, latest), compression, deltas[-1])


def encode_value(value: bytes, timestamp: int) -> EncodedBatch:
    """Encode the batch of one record without a key, which is what a poll leaves: half the time of the general way."""
    size = len(value)
    length = VARINTS[size] if size < 16384 else encode_varint(size)
    # Attributes, both deltas and the absent key are a zero byte each, and so are the headers at the end.
    body = len(length) + size + 5
    covered = b"".join(
        (
            _COVERED_ONE.pack(0, 0, timestamp, timestamp, -1, -1, -1, 1),
            VARINTS[body] if body < 16384 else encode_varint(body),
            b"\0\0\0\0",
            length,
            value,
            b"\0",
        )
    )
    head = _HEAD.pack(0, len(covered) + _MIDDLE.size, -1, _MAGIC, crc32c(covered))
    return EncodedBatch(head + covered, 1, timestamp, timestamp)


def _seal(
    payload: bytes, count: int, times: tuple[int, int], compression: Compression, last_delta: int
) -> EncodedBatch:
    """Put the header before the encoded records of a batch. The count is compressed with the records, as in Fluvio."""
    first, latest = times
    payload = compress(_COUNT.pack(count) + payload, compression)
    covered = _COVERED.pack(compression, last_delta, first, latest, -1, -1, -1) + payload
    data = b"".join(
        (
            _PREFIX.pack(0, len(covered) + _MIDDLE.size),
            _MIDDLE.pack(-1, _MAGIC, crc32c(covered)),
            covered,
        )
    )
    return EncodedBatch(data, count, first, latest)


def encode_batches(
    records: Sequence[Record], now_ms: int, compression: Compression = Compression.NONE
) -> list[EncodedBatch]:
    """Encode records as batches of at most MOST_BATCH_BYTES before compression; a larger record has its own."""
    if len(records) == 1:
        record = records[0]
        if record.key is None and compression is _NONE:
            return [encode_value(record.value, now_ms if record.timestamp is None else record.timestamp)]
        return [encode_batch(records, now_ms, compression)]
    batches = []
    start = size = 0
    for index, record in enumerate(records):
        # 32 bytes hold every fixed part and number of a record at its longest.
        needed = len(record.value) + (0 if record.key is None else len(record.key)) + 32
        if size and size + needed > MOST_BATCH_BYTES - HEADER_BYTES:
            batches.append(encode_batch(records[start:index], now_ms, compression))
            start, size = index, 0
        size += needed
    if records:
        batches.append(encode_batch(records[start:], now_ms, compression))
    return batches


def with_base_offset(data: bytes, base_offset: int) -> bytes:
    """Return an encoded batch with its base offset filled in, which its checksum does not cover."""
    return _BASE.pack(base_offset) + data[8:]


def decode_header(data: bytes) -> BatchHeader:
    """Decode the header at the beginning of `data`. Raises BatchError."""
    try:
        (base, length, _, magic, _, attributes, last, first, latest, _, _, _) = _HEADER.unpack_from(data)
    except struct_error as error:
        raise BatchError(f"{len(data)} bytes are too few for the header of a batch") from error
    if magic != _MAGIC:
        raise BatchError(f"a batch of format {magic} is not known; Fluvio's is {_MAGIC}")
    if length < _HEADER.size - _NOT_COUNTED or last < 0:
        raise BatchError(f"the header of a batch makes no sense: length {length}, last offset {last}")
    return BatchHeader(base, length + _NOT_COUNTED, attributes, last, first, latest, last + 1)


def check_batch(data: bytes) -> BatchHeader:
    """Decode the header of exactly one whole batch and verify its checksum. Raises BatchError."""
    header = decode_header(data)
    if header.length != len(data):
        raise BatchError(f"a batch of {header.length} bytes came with {len(data)}")
    stored = int.from_bytes(data[17:21])
    actual = crc32c(memoryview(data)[21:])
    if stored != actual:
        raise BatchError(f"the checksum of a batch is {actual:08x}, not {stored:08x}: its bytes are damaged")
    return header


def stated_count(data: bytes, header: BatchHeader) -> int | None:
    """Return how many records a batch itself says it holds, None when that is compressed. Raises BatchError."""
    if header.attributes & (_CODEC_BITS | _SCHEMA_BIT):
        return None
    if len(data) < HEADER_BYTES:
        raise BatchError("a batch ends before the count of its records")
    count: int = _COUNT.unpack_from(data, _HEADER.size)[0]
    return count


def _payload(data: bytes, header: BatchHeader) -> bytes:
    if header.length != len(data):
        raise BatchError(f"a batch of {header.length} bytes came with {len(data)}")
    start = _HEADER.size + (4 if header.attributes & _SCHEMA_BIT else 0)
    payload = decompress(data[start:], header.attributes & _CODEC_BITS)
    if len(payload) < _COUNT.size:
        raise BatchError("a batch ends before the count of its records")
    (count,) = _COUNT.unpack_from(payload)
    # Bounds every loop and list below by what the payload can hold.
    if not 0 <= count <= min(len(payload) // _SMALLEST_RECORD, MOST_RECORDS):
        raise BatchError(f"a batch of {len(payload)} bytes says it holds {count} records")
    return payload


def decode_values(data: bytes) -> list[bytes]:  # noqa: C901, PLR0912 - one hot loop; calls would double its time
    """Return only the values of a batch, which is faster than whole records. Raises BatchError."""
    payload = _payload(data, decode_header(data))
    count = _COUNT.unpack_from(payload)[0]
    values: list[bytes] = []
    append = values.append
    position = 4
    limit = len(payload)
    try:
        for _ in range(count):
            # Numbers of one and two bytes are read in place: they are nearly all there are, and a call costs more
            # than all the rest of a record.
            low = payload[position]
            if low < 0x80:
                end = position + 1 + (low >> 1)
                position += 2
            elif (high := payload[position + 1]) < 0x80:
                end = position + 2 + ((low & 0x7F | high << 7) >> 1)
                position += 3
            else:
                size, position = decode_varint(payload, position)
                end = position + size
                position += 1
            if end > limit or end < position:
                raise BatchError(f"a record before byte {position} of a batch is cut off")
            # Behind the attributes: the two deltas, which values do not need.
            while payload[position] >= 0x80:
                position += 1
            position += 1
            while payload[position] >= 0x80:
                position += 1
            if payload[position + 1]:
                size, position = decode_varint(payload, position + 2)
                if size < 0:
                    raise BatchError(f"a key before byte {position} of a batch has a negative length")
                position += size
            else:
                position += 2
            low = payload[position]
            if low < 0x80 and not low & 1:
                size = low >> 1
                position += 1
            elif (high := payload[position + 1]) < 0x80 and not low & 1:
                size = (low & 0x7F | high << 7) >> 1
                position += 2
            else:
                size, position = decode_varint(payload, position)
            if size < 0 or position + size > end:
                raise BatchError(f"a value at byte {position} of a batch is cut off")
            append(payload[position : position + size])
            position = end
    except IndexError:
        raise BatchError(f"a record at byte {position} of a batch is cut off") from None
    return values


def decode_records(data: bytes, *, partition: int = 0) -> list[StoredRecord]:
    """Return the records of a batch with their offsets and times. Raises BatchError."""
    header = decode_header(data)
    payload = _payload(data, header)
    count = _COUNT.unpack_from(payload)[0]
    base, first = header.base_offset, header.first_timestamp
    records: list[StoredRecord] = []
    position = 4
    for _ in range(count):
        size, position = decode_varint(payload, position)
        end = position + size
        if size < 0 or end > len(payload):
            raise BatchError(f"a record at byte {position} of a batch is cut off")
        position += 1
        away, position = decode_varint(payload, position)
        delta, position = decode_varint(payload, position)
        key = None
        if position >= end:
            raise BatchError(f"a record at byte {position} of a batch is cut off")
        if payload[position]:
            key, position = _bytes(payload, position + 1, end)
        else:
            position += 1
        value, _ = _bytes(payload, position, end)
        records.append(StoredRecord(value, key, first + away, partition, base + delta))
        position = end
    return records


def _bytes(payload: bytes, position: int, end: int) -> tuple[bytes, int]:
    size, start = decode_varint(payload, position)
    if size < 0 or start + size > end:
        raise BatchError(f"bytes at {position} of a batch are cut off")
    return payload[start : start + size], start + size
