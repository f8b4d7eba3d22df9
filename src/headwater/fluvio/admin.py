"""Owns the messages of Fluvio's system controller: create, delete, list and watch objects. Pure.

Their bodies stand behind the label of the object's kind and, from version 11 on, the length. Before that a request to
create says its kind with a number behind what all such requests have in common.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple

from headwater.core.errors import WireError
from headwater.fluvio.errorcode import OK, ErrorCode
from headwater.fluvio.objects import OBJECTS, ModuleSpec, Object, Rest, TopicSpec
from headwater.fluvio.wire import I64, U8, U32, Message, Reader, Since, decode, encode

CREATE, DELETE, LIST, WATCH, MIRRORING, UPDATE = range(1001, 1007)
# From this version on bodies stand behind their length.
MEASURED = 11
_CREATE_TAGS = {0: "Topic", 1: "CustomSpu", 2: "SpuGroup", 4: "SmartModule", 5: "TableFormat"}
_SPECS: dict[str, type[TopicSpec | ModuleSpec]] = {"Topic": TopicSpec, "SmartModule": ModuleSpec}


class Common(Message, frozen=True):
    """What every request to create something begins with. `timeout` is milliseconds."""

    name: str
    dry_run: bool = False
    timeout: Annotated[U32 | None, Since(7)] = None


class Create(NamedTuple):
    """A request to create an object. `spec` is Rest for kinds that are not looked into."""

    label: str
    common: Common
    spec: TopicSpec | ModuleSpec | Rest


class DeleteKey(Message, frozen=True):
    """What is to be deleted. `force` deletes what belongs to the system."""

    key: str
    force: Annotated[bool, Since(13)] = False


class Filters(Message, frozen=True):
    """Which objects are listed: all without filters. `system` asks for those of the system only."""

    names: tuple[str, ...] = ()
    summary: Annotated[bool, Since(10)] = False
    system: Annotated[bool, Since(13)] = False


class Watch(Message, frozen=True):
    """From which epoch on changes are to be told."""

    epoch: I64 = 0
    summary: Annotated[bool, Since(10)] = False


class AddPartitions(Message, frozen=True):
    """How many partitions a topic gets more."""

    TAG: ClassVar[int] = 0
    count: U32


class AddMirror(Message, frozen=True):
    """A cluster that a topic is mirrored with."""

    TAG: ClassVar[int] = 1
    remote_cluster: str
    home_to_mirror: bool = False


class UpdateTopic(Message, frozen=True):
    """What is to be changed of a topic."""

    key: str
    action: AddPartitions | AddMirror


class Status(Message, frozen=True):
    """How a request to create, delete or change something ended."""

    name: str
    code: ErrorCode = OK
    message: str | None = None


class Changed(NamedTuple):
    """A change of an object."""

    deleted: bool
    object: Object


class Update(NamedTuple):
    """What a watch tells: all objects at first, then what has changed since."""

    epoch: int
    changes: tuple[Changed, ...]
    all: tuple[Object, ...]


def encode_labelled(label: str, body: bytes, version: int) -> bytes:
    """Put the label, and the length where it is due, before a body."""
    parts = [len(label).to_bytes(2), label.encode()]
    if version >= MEASURED:
        parts.append(len(body).to_bytes(4))
    return b"".join((*parts, body))


def decode_label(reader: Reader, version: int) -> str:
    """Return the label at the beginning, and leave the reader bounded to the body. Raises WireError."""
    label = decode(str, reader, version)
    if version >= MEASURED:
        size = decode(U32, reader, version)
        begin = reader.position
        reader.take(size)
        reader.position, reader.end = begin, begin + size
    return label


def encode_create(request: Create, version: int) -> bytes:
    """Return the body of a request to create."""
    common, spec = encode(request.common, version), encode(request.spec, version)
    if version >= MEASURED:
        return encode_labelled(request.label, common + spec, version)
    tag = next(tag for tag, label in _CREATE_TAGS.items() if label == request.label)
    return common + tag.to_bytes(1) + spec


def decode_create(reader: Reader, version: int) -> Create:
    """Return the request to create in a body. Raises WireError."""
    if version >= MEASURED:
        label = decode_label(reader, version)
        common = decode(Common, reader, version)
    else:
        common = decode(Common, reader, version)
        tag = decode(U8, reader, version)
        if tag not in _CREATE_TAGS:
            raise WireError(f"a request to create an object of the kind {tag}, which is not known")
        label = _CREATE_TAGS[tag]
    spec: Any = decode(_SPECS.get(label, Rest), reader, version)
    return Create(label, common, spec)


def encode_request(label: str, body: Message, version: int) -> bytes:
    """Return the body of a request to delete, list, watch or change objects of a kind."""
    return encode_labelled(label, encode(body, version), version)


def encode_objects(label: str, objects: tuple[Object, ...], version: int) -> bytes:
    """Return the reply to a request to list objects."""
    return encode_labelled(label, _encode_all(objects, version), version)


def decode_objects(reader: Reader, version: int) -> tuple[Object, ...]:
    """Return the objects of a reply. Raises WireError, also for a kind that is not known."""
    return _decode_all(_kind(decode_label(reader, version)), reader, version)


def encode_update(label: str, update: Update, version: int) -> bytes:
    """Return one reply to a watch."""
    parts = [update.epoch.to_bytes(8), len(update.changes).to_bytes(4)]
    for change in update.changes:
        parts += [b"\1" if change.deleted else b"\0", encode(change.object, version)]
    parts.append(_encode_all(update.all, version))
    return encode_labelled(label, b"".join(parts), version)


def decode_update(reader: Reader, version: int) -> Update:
    """Return what a watch tells. Raises WireError."""
    kind = _kind(decode_label(reader, version))
    epoch: int = decode(I64, reader, version)
    count: int = decode(U32, reader, version)
    if count > reader.end - reader.position:
        raise WireError(f"a watch claims {count} changes")
    changes = tuple([Changed(decode(bool, reader, version), decode(kind, reader, version)) for _ in range(count)])
    return Update(epoch, changes, _decode_all(kind, reader, version))


def _kind(label: str) -> type[Object]:
    if label not in OBJECTS:
        raise WireError(f"objects of the kind {label!r} are not known")
    return OBJECTS[label]


def _encode_all(objects: tuple[Object, ...], version: int) -> bytes:
    return b"".join([len(objects).to_bytes(4), *(encode(it, version) for it in objects)])


def _decode_all(kind: type[Object], reader: Reader, version: int) -> tuple[Object, ...]:
    return decode(tuple[kind, ...], reader, version)  # type: ignore[valid-type] # the kind is known at run time
