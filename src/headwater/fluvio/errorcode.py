"""Owns Fluvio's error codes: their numbers, what comes with each on the wire, and the sentences that clients show.

Which of our errors is which code is `as_code`'s: one table for the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headwater.core import errors
from headwater.fluvio.wire import I64, U8, U32, U64, Codec, Message, Reader, codec_of, number


class ErrorCode(msgspec.Struct, frozen=True):
    """One error code with what comes along, in the order of the wire. `not code` means that all is well."""

    number: int = 0
    details: tuple[Any, ...] = ()

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def name(self) -> str:
        """Fluvio's name of the code."""
        return _KNOWN[self.number].name if self.number in _KNOWN else f"Unknown{self.number}"

    @property
    def sentence(self) -> str:
        """What the code says, in Fluvio's words."""
        known = _KNOWN.get(self.number)
        return f"error code {self.number}" if known is None else known.sentence.format(*self.details)

    @classmethod
    def codec(cls, version: int) -> Codec:
        """Return how codes are written and read. What comes with a code that is not known cannot be read over."""

        def put(parts: list[bytes], value: ErrorCode) -> None:
            _TAG.put(parts, value.number)
            for hint, detail in zip(_hints(value.number), value.details, strict=True):
                codec_of(hint, version).put(parts, detail)

        def get(reader: Reader) -> ErrorCode:
            tag = _TAG.get(reader)
            return ErrorCode(tag, tuple([codec_of(hint, version).get(reader) for hint in _hints(tag)]))

        return Codec(put, get)


class Replica(Message, frozen=True):
    """A partition of a topic, as some messages name it."""

    topic: str
    partition: U32


class TransformFailure(Message, frozen=True):
    """What a SmartModule's refusal says of the record. `kind` counts filter, map, array map, aggregate, filter map."""

    hint: str
    offset: I64
    kind: U8
    key: bytes | None
    value: bytes

    @classmethod
    def codec(cls, version: int) -> Codec:  # noqa: ARG003 - the same in all versions
        """Return how it is written and read: key and value stand behind lengths as in records."""
        from headwater.fluvio.varint import decode_varint, encode_varint  # noqa: PLC0415 - only this rare error needs it

        def put(parts: list[bytes], failure: TransformFailure) -> None:
            codec_of(str, 0).put(parts, failure.hint)
            codec_of(I64, 0).put(parts, failure.offset)
            parts.append(failure.kind.to_bytes(1))
            parts.append(b"\0" if failure.key is None else b"\1" + encode_varint(len(failure.key)) + failure.key)
            parts.append(encode_varint(len(failure.value)) + failure.value)

        def text(reader: Reader) -> bytes:
            size, reader.position = decode_varint(reader.data, reader.position)
            return reader.bytes(max(0, size))

        def get(reader: Reader) -> TransformFailure:
            hint = codec_of(str, 0).get(reader)
            offset = codec_of(I64, 0).get(reader)
            kind = reader.data[reader.take(1)]
            key = text(reader) if codec_of(bool, 0).get(reader) else None
            return TransformFailure(hint, offset, kind, key, text(reader))

        return Codec(put, get)

    def __str__(self) -> str:
        return self.hint


class _Known(msgspec.Struct, frozen=True):
    name: str
    sentence: str
    hints: tuple[Any, ...] = ()


_TAG = number(">h")
# Characters of a text that says what is wrong: it is for people, and the wire has bounds.
_LONGEST_SAID = 2000
_KNOWN: dict[int, _Known] = {
    -1: _Known("UnknownServerError", "An unknown server error occurred"),
    0: _Known("None", "no error"),
    1: _Known("OffsetOutOfRange", "Offset out of range"),
    2: _Known("Other", "Other error: {}", (str,)),
    6: _Known("NotLeaderForPartition", "the given SPU is not the leader for the partition"),
    7: _Known("RequestTimedOut", "the request exceeded the timeout {0} ms", (U64, U8)),
    10: _Known("MessageTooLarge", "the message is too large to send"),
    13: _Known("PermissionDenied", "permission denied"),
    56: _Known("StorageError", "a storage error occurred"),
    60: _Known("InvalidCreateRequest", "invalid create request"),
    61: _Known("InvalidDeleteRequest", "invalid Delete request"),
    71: _Known("OffsetEvicted", "Offset {} is evicted. The next available is {}", (I64, I64)),
    72: _Known("PartitionFull", "Partition storage is full", (Replica,)),
    73: _Known("PartitionShortCircuited", "Partition is short-circuited"),
    1000: _Known("SpuError", "an error occurred on the SPU"),
    1001: _Known("SpuRegisterationFailed", "failed to register an SPU"),
    1002: _Known("SpuOffline", "the SPU is offline"),
    1003: _Known("SpuNotFound", "the SPU was not found"),
    1004: _Known("SpuAlreadyExists", "the SPU already exists"),
    2000: _Known("TopicError", "a topic error occurred"),
    2001: _Known("TopicNotFound", "the topic was not found"),
    2002: _Known("TopicAlreadyExists", "the topic already exists"),
    2003: _Known("TopicPendingInitialization", "the topic has not been initialized"),
    2004: _Known("TopicInvalidConfiguration", "the topic configuration is invalid"),
    2005: _Known("TopicNotProvisioned", "the topic is not provisioned"),
    2006: _Known("TopicInvalidName", "the topic name is invalid"),
    2007: _Known("TopicDeleted", "the topic was deleted"),
    2008: _Known("TopicInvalidReplicaType", "the topic has invalid replica type"),
    3000: _Known("PartitionPendingInitialization", "the partition is not initialized"),
    3001: _Known("PartitionNotLeader", "the partition is not a leader"),
    3002: _Known("FetchSessionNotFoud", "the fetch session was not found"),
    3003: _Known("OffsetFlushRequestError", "offset flush error: {}", (str,)),
    3004: _Known("OffsetManagementDisabled", "the offset management is disabled for the stream"),
    3005: _Known("MaxRetryReached", "max retry attempts reached"),
    5000: _Known("ManagedConnectorError", "an error occurred while managing a connector"),
    5001: _Known("ManagedConnectorNotFound", "the managed connector was not found"),
    5002: _Known("ManagedConnectorAlreadyExists", "the managed connector already exists"),
    6000: _Known("SmartModuleError", "an error occurred while managing a SmartModule"),
    6001: _Known("SmartModuleNotFound", "SmartModule {} was not found", (str,)),
    6002: _Known("SmartModuleInvalid", "SmartModule is invalid: {}", (str, str | None)),
    6003: _Known("SmartModuleInvalidExports", "SmartModule is not a valid '{1}' SmartModule due to {0}", (str, str)),
    6004: _Known("SmartModuleRuntimeError", "SmartModule transform error {}", (TransformFailure,)),
    6005: _Known("SmartModuleChainInitError", "Error initializing {} SmartModule Chain", (str,)),
    6006: _Known("SmartModuleInitError", "SmartModule init error {}", (str,)),
    6007: _Known("SmartModuleLookBackError", "SmartModule look_back error: {}", (str,)),
    6008: _Known(
        "SmartModuleMemoryLimitExceeded",
        "SmartModule memory limit exceeded: requested {} bytes, max allowed {} bytes",
        (U64, U64),
    ),
    7000: _Known("TableFormatError", "a tableformat error occurred"),
    7001: _Known("TableFormatNotFound", "the tableformat was not found"),
    7002: _Known("TableFormatAlreadyExists", "the tableformat already exists"),
    8000: _Known("DerivedStreamObjectError", "DerivedStream object error"),
    8001: _Known("DerivedStreamNotFound", "the derivedstream {} was not found", (str,)),
    8002: _Known("DerivedStreamJoinFetchError", "the derivedstream join data cannot be fetched"),
    8003: _Known("DerivedStreamInvalid", "the derivedstream {} is invalid", (str,)),
    9000: _Known("CompressionError", "a compression error occurred in the SPU"),
    10000: _Known("DeduplicationSmartModuleNotLoaded", "Deduplication SmartModule is not loaded into the cluster"),
    10001: _Known("DeduplicationSmartModuleNameInvalid", "Deduplication SmartModule name is invalid: {}", (str,)),
    11001: _Known("MirrorNotFound", "the mirror was not found"),
    11002: _Known("MirrorAlreadyExists", "the mirror already exists"),
    11003: _Known("MirrorProduceFromHome", "produce from home is not allowed"),
    11004: _Known("MirrorDeleteFromRemote", "delete from remote is not allowed"),
    11005: _Known("MirrorInvalidType", "the mirror is invalid"),
    11006: _Known("MirrorProduceFromRemoteNotAllowed", "produce from remote target is not allowed"),
    12001: _Known("SystemSpecDeletionAttempt", "system {} '{}' can only be deleted forcibly", (str, str)),
    12002: _Known("SystemSpecUpdatingAttempt", "system {} '{}' can only be updated forcibly", (str, str)),
}
NAMES: dict[str, int] = {known.name: number_ for number_, known in _KNOWN.items()}
OK = ErrorCode()


def _hints(tag: int) -> Sequence[Any]:
    known = _KNOWN.get(tag)
    return () if known is None else known.hints


def code(name: str, *details: Any) -> ErrorCode:
    """Return an error code by Fluvio's name of it; a text that comes along is cut to what the wire takes."""
    return ErrorCode(NAMES[name], tuple([clipped(it) if isinstance(it, str) else it for it in details]))


def clipped(text: str) -> str:
    """Return a text that the wire takes, though it may repeat what was sent."""
    return text if len(text) <= _LONGEST_SAID else text[:_LONGEST_SAID] + "…"


# What the log and the transforms raise, and Fluvio's code for it; the first that fits.
_CODES: tuple[tuple[type[errors.HeadwaterError], str], ...] = (
    (errors.TopicNotFoundError, "TopicNotFound"),
    (errors.TopicExistsError, "TopicAlreadyExists"),
    (errors.TopicNameError, "TopicInvalidName"),
    (errors.PartitionNotFoundError, "NotLeaderForPartition"),
    (errors.OffsetOutOfRangeError, "OffsetOutOfRange"),
    (errors.RecordTooLargeError, "MessageTooLarge"),
    (errors.LogError, "StorageError"),
)


def as_code(error: errors.HeadwaterError) -> ErrorCode:
    """Return Fluvio's code for an error of ours; the sentence goes along where no code fits."""
    for kind, name in _CODES:
        if isinstance(error, kind):
            return code(name)
    return code("Other", error.message)
