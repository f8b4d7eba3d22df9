"""Owns Fluvio's wire encoding: a message that is declared once becomes bytes of any version, and comes back from them.

What the messages are is `objects`', `admin`'s and `records`'. Pure. Fluvio's rules: fixed numbers big-endian, texts
behind 16 bits of length, lists and bytes behind 32, an option behind a flag, a choice behind a tag.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from functools import cache
from struct import Struct
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from headwater.core.errors import WireError

# The bodies of one message may hold so many elements in all lists together: a list of a million empty texts is short on
# the wire and long in memory.
MOST_ELEMENTS = 1_000_000
_LONGEST_TEXT = 0x7FFF


class Number(msgspec.Struct, frozen=True):
    """Marks an int with its form on the wire, as `struct` writes it."""

    form: str


class Since(msgspec.Struct, frozen=True):
    """Marks a field that is there from this version on."""

    version: int


class Until(msgspec.Struct, frozen=True):
    """Marks a field that is there up to this version, inclusive."""

    version: int


I8 = Annotated[int, Number(">b")]
I16 = Annotated[int, Number(">h")]
I32 = Annotated[int, Number(">i")]
I64 = Annotated[int, Number(">q")]
U8 = Annotated[int, Number(">B")]
U16 = Annotated[int, Number(">H")]
U32 = Annotated[int, Number(">I")]
U64 = Annotated[int, Number(">Q")]


class Message(msgspec.Struct, frozen=True):
    """Anything with an encoding: its fields in their order. One that is part of a choice has a TAG."""

    TAG: ClassVar[int] = -1


class Reader:
    """Bytes being decoded, from `position` on; `budget` is how many elements lists may still have."""

    __slots__ = ("budget", "data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, *, end: int | None = None, budget: int = MOST_ELEMENTS) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end
        self.budget = budget

    def take(self, count: int) -> int:
        """Move on by so many bytes, and return where they begin. Raises WireError when there are fewer."""
        begin = self.position
        if count > self.end - begin:
            raise WireError(f"a message ends at byte {self.end}, in the middle of {count} bytes from {begin} on")
        self.position = begin + count
        return begin

    def bytes(self, count: int) -> bytes:
        """Return the next bytes."""
        begin = self.take(count)
        return self.data[begin : begin + count]


_Put = Callable[[list[bytes], Any], None]
_Get = Callable[[Reader], Any]


class Codec(msgspec.Struct, frozen=True):
    """How values of one type are written and read in one version. `get` raises WireError for hostile bytes."""

    put: _Put
    get: _Get


_Value = TypeVar("_Value")


def encode(message: Any, version: int) -> bytes:
    """Return the bytes of a message in a version. Raises WireError when a value does not fit its field."""
    parts: list[bytes] = []
    codec_of(message.__class__, version).put(parts, message)
    return b"".join(parts)


def decode(kind: type[_Value], data: bytes | Reader, version: int) -> _Value:
    """Return the message at the beginning of the bytes; what follows it is left. Raises WireError."""
    reader = data if isinstance(data, Reader) else Reader(data)
    value: _Value = codec_of(typing.cast("Any", kind), version).get(reader)
    return value


def number(form: str) -> Codec:
    """Return the codec of a fixed number."""
    struct = Struct(form)
    pack, unpack, size = struct.pack, struct.unpack_from, struct.size

    def put(parts: list[bytes], value: int) -> None:
        try:
            parts.append(pack(value))
        except Exception as error:
            raise WireError(f"{value!r} does not fit into {size} bytes") from error

    def get(reader: Reader) -> int:
        value: int = unpack(reader.data, reader.take(size))[0]
        return value

    return Codec(put, get)


_I16, _I32, _U16, _U32, _U64 = (number(form) for form in (">h", ">i", ">H", ">I", ">Q"))


def _put_bool(parts: list[bytes], value: object) -> None:
    parts.append(b"\1" if value else b"\0")


def _get_bool(reader: Reader) -> bool:
    value = reader.data[reader.take(1)]
    if value > 1:
        raise WireError(f"byte {reader.position - 1} of a message is {value}, where only 0 and 1 are known")
    return value == 1


def _put_text(parts: list[bytes], value: str) -> None:
    data = value.encode()
    if len(data) > _LONGEST_TEXT:
        raise WireError(f"a text of {len(data)} bytes is longer than {_LONGEST_TEXT}")
    parts.append(len(data).to_bytes(2))
    parts.append(data)


def _get_text(reader: Reader) -> str:
    size = _I16.get(reader)
    if size <= 0:
        return ""
    data = reader.bytes(size)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"the text before byte {reader.position} of a message is not UTF-8") from error


def _put_bytes(parts: list[bytes], value: bytes) -> None:
    parts.append(len(value).to_bytes(4))
    parts.append(value)


def _get_bytes(reader: Reader) -> bytes:
    return reader.bytes(max(0, _I32.get(reader)))


def _put_duration(parts: list[bytes], value: timedelta) -> None:
    seconds, rest = divmod(value, timedelta(seconds=1))
    parts.append(seconds.to_bytes(8))
    parts.append((rest.microseconds * 1000).to_bytes(4))


def _get_duration(reader: Reader) -> timedelta:
    seconds, nanoseconds = _U64.get(reader), _U32.get(reader)
    try:
        return timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    except OverflowError:
        return timedelta.max


_PLAIN: dict[object, Codec] = {
    bool: Codec(_put_bool, _get_bool),
    str: Codec(_put_text, _get_text),
    bytes: Codec(_put_bytes, _get_bytes),
    timedelta: Codec(_put_duration, _get_duration),
}


@cache
def codec_of(hint: Any, version: int) -> Codec:
    """Return the codec of a type in a version."""
    plain = _PLAIN.get(hint)
    if plain is not None:
        return plain
    own = getattr(hint, "codec", None)
    if own is not None:
        made: Codec = own(version)
        return made
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        form = next((mark.form for mark in arguments[1:] if isinstance(mark, Number)), None)
        return codec_of(arguments[0], version) if form is None else number(form)
    if origin in {types.UnionType, typing.Union}:
        return _union(arguments, version)
    if origin in {list, tuple}:
        return _list(codec_of(arguments[0], version), tuple if origin is tuple else list)
    if origin is dict:
        return _map(codec_of(arguments[0], version), codec_of(arguments[1], version))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _enum(hint)
    if isinstance(hint, type) and issubclass(hint, Message):
        return _message(hint, version)
    raise TypeError(f"there is no encoding for {hint!r}")


def _message(kind: type[Message], version: int) -> Codec:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = []
    for name in kind.__struct_fields__:
        marks = getattr(hints[name], "__metadata__", ())
        first = next((mark.version for mark in marks if isinstance(mark, Since)), version)
        last = next((mark.version for mark in marks if isinstance(mark, Until)), version)
        if first <= version <= last:
            fields.append((name, codec_of(hints[name], version)))
    puts = tuple((name, codec.put) for name, codec in fields)
    gets = tuple((name, codec.get) for name, codec in fields)

    def put(parts: list[bytes], value: Any) -> None:
        for name, write in puts:
            write(parts, getattr(value, name))

    def get(reader: Reader) -> Any:
        return kind(**{name: read(reader) for name, read in gets})

    if len(fields) == len(kind.__struct_fields__):
        # Every field is there, so they need no names.
        reads = tuple(read for _, read in gets)

        def get_all(reader: Reader) -> Any:
            return kind(*[read(reader) for read in reads])

        return Codec(put, get_all)
    return Codec(put, get)


def _union(arguments: tuple[Any, ...], version: int) -> Codec:
    if type(None) in arguments:
        rest = tuple(argument for argument in arguments if argument is not type(None))
        return _option(codec_of(rest[0], version) if len(rest) == 1 else _choice(rest, version))
    return _choice(arguments, version)


def _option(inner: Codec) -> Codec:
    def put(parts: list[bytes], value: Any) -> None:
        _put_bool(parts, value is not None)
        if value is not None:
            inner.put(parts, value)

    def get(reader: Reader) -> Any:
        return inner.get(reader) if _get_bool(reader) else None

    return Codec(put, get)


def _choice(kinds: tuple[type[Message], ...], version: int) -> Codec:
    codecs = {kind.TAG: codec_of(kind, version) for kind in kinds}

    def put(parts: list[bytes], value: Any) -> None:
        parts.append(value.TAG.to_bytes(1))
        codecs[value.TAG].put(parts, value)

    def get(reader: Reader) -> Any:
        tag = reader.data[reader.take(1)]
        codec = codecs.get(tag)
        if codec is None:
            raise WireError(f"a message has the tag {tag}, where only {', '.join(map(str, codecs))} are known")
        return codec.get(reader)

    return Codec(put, get)


def _list(inner: Codec, made: type[list[Any] | tuple[Any, ...]]) -> Codec:
    def put(parts: list[bytes], value: Any) -> None:
        parts.append(len(value).to_bytes(4))
        for element in value:
            inner.put(parts, element)

    def get(reader: Reader) -> Any:
        count = max(0, _I32.get(reader))
        # Each element has a byte at least, so a count beyond the bytes that are left is a lie.
        if count > reader.end - reader.position or count > reader.budget:
            raise WireError(f"a list before byte {reader.position} of a message claims {count} elements")
        reader.budget -= count
        return made([inner.get(reader) for _ in range(count)])

    return Codec(put, get)


def _map(key: Codec, value: Codec) -> Codec:
    def put(parts: list[bytes], mapping: Any) -> None:
        _U16.put(parts, len(mapping))
        # Fluvio's maps are sorted.
        for name in sorted(mapping):
            key.put(parts, name)
            value.put(parts, mapping[name])

    def get(reader: Reader) -> Any:
        count = _U16.get(reader)
        if count > reader.budget:
            raise WireError(f"a map before byte {reader.position} of a message has too many elements")
        reader.budget -= count
        return {key.get(reader): value.get(reader) for _ in range(count)}

    return Codec(put, get)


def _enum(kind: type[IntEnum]) -> Codec:
    def put(parts: list[bytes], value: Any) -> None:
        parts.append(int(value).to_bytes(1))

    def get(reader: Reader) -> Any:
        value = reader.data[reader.take(1)]
        try:
            return kind(value)
        except ValueError:
            raise WireError(f"{value} is no {kind.__name__} that is known") from None

    return Codec(put, get)
