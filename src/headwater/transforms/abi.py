"""Owns the bytes that go in and out of a Fluvio SmartModule. Pure: it neither holds nor calls one.

The layouts are those of Fluvio's guest library; integers are big-endian, and the numbers inside records are Fluvio's
variable-length ones.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from headwater.core.errors import BatchError, SmartModuleError
from headwater.core.record import Record
from headwater.fluvio.varint import VARINTS, decode_varint, encode_varint

# The newest version whose inputs every three-argument module reads; aggregates from before 0.10.14 need the older one.
VERSION = 22
OLD_VERSION = 17
# A module with two arguments is of the first generation: no parameters, no version.
FIRST_VERSION = 0
# Guests read the length of a text as a signed 16-bit number.
LONGEST_TEXT = 32_767

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_U64 = struct.Struct(">Q")
_AGE = struct.Struct(">QI")
# Length, attributes, two deltas, the flag of the key, the length of the value, headers.
_SMALLEST_RECORD = 7


class Kind(StrEnum):
    """What a SmartModule does with records, by the name of the function it exports, in the order of looking."""

    FILTER = "filter"
    MAP = "map"
    FILTER_MAP = "filter_map"
    ARRAY_MAP = "array_map"
    AGGREGATE = "aggregate"


class Lookback(msgspec.Struct, frozen=True):
    """Which earlier records a module is shown: at most `last`, none older than `age` seconds."""

    last: int = 0
    age: float | None = None


class Parameters(msgspec.Struct, frozen=True):
    """What a module is initialised with."""

    values: Mapping[str, str] = {}
    lookback: Lookback | None = None


class Complaint(msgspec.Struct, frozen=True):
    """The error that a module reported for one record, at an absolute offset."""

    hint: str
    offset: int


class Output(msgspec.Struct, frozen=True):
    """What one call returned: the records before the first complaint, the complaint, and an aggregate's new state.

    `deltas` says for each of `records` which place in the input it comes from. Where only these were asked for,
    `records` is empty. `raw` is the encoded list of them all.
    """

    deltas: Sequence[int]
    records: Sequence[Record]
    raw: bytes
    complaint: Complaint | None = None
    accumulator: bytes | None = None


STATUS = {
    -1: "an unknown error",
    -2: "an error of its init",
    -10: "it could not decode its parameters",
    -11: "it could not decode its input",
    -22: "it could not decode the records",
    -33: "it could not encode its output",
    -44: "it did not accept its parameters",
    -55: "it wanted a record to join with",
    -66: "look_back: it could not decode its input",
    -77: "look_back: it could not decode the records",
    -88: "look_back: it did not accept its parameters",
    -99: "an error of its look_back",
}
INIT_ERROR, LOOK_BACK_ERROR, UNDECODABLE = -2, -99, -11


def encode_text(text: str) -> bytes:
    """Encode a text. Raises SmartModuleError when it is longer than guests can read."""
    data = text.encode()
    if len(data) > LONGEST_TEXT:
        raise SmartModuleError(
            f"a parameter of {len(data)} bytes is longer than the {LONGEST_TEXT} that SmartModules can read"
        )
    return _U16.pack(len(data)) + data


def encode_parameters(parameters: Parameters, version: int = VERSION) -> bytes:
    """Encode what `init` gets: the pairs in byte order of their names, then the lookback."""
    pairs = sorted((encode_text(name)[2:], value) for name, value in parameters.values.items())
    parts = [_U16.pack(len(pairs))]
    for name, value in pairs:
        parts += [_U16.pack(len(name)), name, encode_text(value)]
    if version >= 20:
        lookback = parameters.lookback
        if lookback is None:
            parts.append(b"\0")
        else:
            parts.append(b"\1" + _U64.pack(lookback.last))
            if version >= 21:
                if lookback.age is None:
                    parts.append(b"\0")
                else:
                    nanoseconds = round(lookback.age * 1e9)
                    parts.append(b"\1" + _AGE.pack(*divmod(nanoseconds, 1_000_000_000)))
    return b"".join(parts)


def encode_records(records: Sequence[Record], base_timestamp: int, places: Sequence[int] | None = None) -> bytes:
    """Encode a list of records; their offset deltas are their indexes in it, or `places`."""
    parts = [_U32.pack(len(records))]
    append = parts.append
    zero = VARINTS[0]
    for delta, record in enumerate(records) if places is None else zip(places, records, strict=True):
        value = record.value
        size = len(value)
        key = record.key
        timestamp = record.timestamp
        length = VARINTS[size] if size < 16384 else encode_varint(size)
        place = VARINTS[delta] if delta < 16384 else encode_varint(delta)
        away = zero if timestamp is None else encode_varint(timestamp - base_timestamp)
        marked = b"\0" if key is None else b"\1" + encode_varint(len(key)) + key
        body = size + len(length) + len(place) + len(away) + len(marked) + 2
        append(
            b"".join(
                (
                    VARINTS[body] if body < 16384 else encode_varint(body),
                    b"\0",
                    away,
                    place,
                    marked,
                    length,
                    value,
                    b"\0",
                )
            )
        )
    return b"".join(parts)


def encode_input(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    base_timestamp: int = 0,
    version: int = VERSION,
    parameters: bytes | None = None,
    accumulator: bytes | None = None,
    places: Sequence[int] | None = None,
    raw: bytes | None = None,
) -> bytes:
    """Encode the input of one call; see `encode_records` for `places`. `raw` are the records where they are encoded.

    `parameters` are the encoded ones of a module that reads them from every input; `accumulator` is an aggregate's.
    """
    if raw is None:
        raw = encode_records(records, base_timestamp, places)
    parts = [_I64.pack(base_offset), _U32.pack(len(raw)), raw]
    if version > FIRST_VERSION:
        parts.append(encode_parameters(Parameters(), version) if parameters is None else parameters)
        if version >= 16:
            parts.append(b"\0\0\0\0")
        if version >= 22:
            parts.append(_I64.pack(base_timestamp))
    if accumulator is not None:
        parts += [_U32.pack(len(accumulator)), accumulator]
    return b"".join(parts)


class _Reader:
    """Reads primitives from bytes that a guest wrote: anything may be wrong with them."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        start, end = self.position, self.position + size
        if size < 0 or end > len(self._data):
            raise SmartModuleError(f"its output is cut off at byte {start}")
        self.position = end
        return self._data[start:end]

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def text(self) -> str:
        return self.take(_U16.unpack(self.take(2))[0]).decode("utf-8", "replace")

    def flag(self) -> bool:
        value = self.byte()
        if value > 1:
            raise SmartModuleError(f"byte {self.position - 1} of its output is no flag: {value}")
        return value == 1

    def varint(self) -> int:
        try:
            value, self.position = decode_varint(self._data, self.position)
        except BatchError as error:
            raise SmartModuleError(f"its output does not decode: {error.message}") from error
        return value

    def data(self) -> bytes:
        return self.take(self.varint())

    def complaint(self, *, kind: bool = True) -> Complaint:
        hint = self.text()
        offset: int = _I64.unpack(self.take(8))[0]
        if kind:
            self.byte()
        if self.flag():
            self.data()
        self.data()
        return Complaint(hint, offset)

    def records(self, *, values: bool) -> tuple[list[int], list[Record]]:  # noqa: C901, PLR0912, PLR0915 - one hot loop
        """Read a list of records: the hot path, so the common short numbers are read in place."""
        count = self.u32()
        data = self._data
        position = self.position
        if count > (len(data) - position) // _SMALLEST_RECORD:
            raise SmartModuleError(f"its output of {len(data)} bytes cannot hold {count} records")
        deltas: list[int] = []
        found: list[Record] = []
        add_delta, add = deltas.append, found.append
        start = position
        try:
            for _ in range(count):
                start = position
                byte = data[position]
                if byte < 0x80:
                    position += 2
                elif data[position + 1] < 0x80:
                    position += 3
                else:
                    position = decode_varint(data, position)[1] + 1
                byte = data[position]
                position = position + 1 if byte < 0x80 else decode_varint(data, position)[1]
                byte = data[position]
                if byte < 0x80:
                    delta = (byte >> 1) ^ -(byte & 1)
                    position += 1
                else:
                    delta, position = decode_varint(data, position)
                key = None
                if data[position]:
                    size, position = decode_varint(data, position + 1)
                    if size < 0:
                        raise IndexError  # noqa: TRY301 - one sentence for whatever is wrong
                    key = data[position : position + size]
                    position += size
                else:
                    position += 1
                byte = data[position]
                following = data[position + 1]
                if byte < 0x80:
                    size = (byte >> 1) ^ -(byte & 1)
                    position += 1
                elif following < 0x80:
                    size = (byte & 0x7F) | following << 7
                    size = (size >> 1) ^ -(size & 1)
                    position += 2
                else:
                    size, position = decode_varint(data, position)
                end = position + size
                # The byte behind the value is the number of headers, which there are none of.
                if size < 0 or data[end]:
                    raise IndexError  # noqa: TRY301 - the same
                add_delta(delta)
                if values:
                    add(Record(data[position:end], key))
                position = end + 1
        except (IndexError, BatchError) as error:
            raise SmartModuleError(f"record {len(deltas)} at byte {start} of its output does not decode") from error
        self.position = position
        return deltas, found


def decode_output(data: bytes, *, accumulator: bool = False, values: bool = True) -> Output:
    """Decode what a transform returned, without `values` only the deltas. Raises SmartModuleError."""
    reader = _Reader(data)
    deltas, records = reader.records(values=values)
    raw = data[: reader.position]
    complaint = reader.complaint() if reader.flag() else None
    return Output(deltas, records, raw, complaint, reader.take(reader.u32()) if accumulator else None)


def decode_init_error(data: bytes) -> str:
    """Decode the sentence that `init` left."""
    return _Reader(data).text()


def decode_look_back_error(data: bytes) -> Complaint:
    """Decode the error that `look_back` left, which has no kind."""
    return _Reader(data).complaint(kind=False)
