"""Owns what the system controller's port does: topics and SmartModules are made, deleted, listed and watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import is_
from typing import TYPE_CHECKING

from headwater.core.errors import HeadwaterError, TopicError, TopicExistsError, TopicNameError, TopicNotFoundError
from headwater.core.names import check_topic_name
from headwater.fluvio import admin, objects
from headwater.fluvio.errorcode import ErrorCode, as_code, clipped, code
from headwater.fluvio.frame import Header
from headwater.fluvio.wire import Reader, decode, encode
from headwater.log import Log, TopicInfo
from headwater.log.waiters import Waiters
from headwater.server import describe
from headwater.server.connection import Apis, Connection, Turns
from headwater.server.refused import RefusedError

if TYPE_CHECKING:
    from headwater.server.modules import Modules

RANGES = {
    admin.CREATE: (6, 19),
    admin.DELETE: (6, 19),
    admin.LIST: (6, 19),
    admin.WATCH: (6, 19),
    admin.UPDATE: (15, 19),
}
_MOST_WATCHES = 64
# How long the reply to a change waits for watches to tell of it (seconds).
_TELLING = 0.2


class Controller:
    """The system controller. `address` returns the one SPU as a client finds it that has met us at some address."""

    def __init__(self, log: Log, modules: Callable[[], Modules], address: Callable[[str], objects.Spu]) -> None:
        self._log = log
        self._modules = modules
        self._address = address
        # One for each watch: set while it has told its client all that there is.
        self._caught_up: set[asyncio.Event] = set()
        self._modules_changed = Waiters()
        self._consumer_topic = describe.consumer_topic()
        self._told = {
            objects.Topic.LABEL: _Told(lambda info: [describe.topic(info)]),
            objects.Partition.LABEL: _Told(_partitions_of),
        }
        self.apis = Apis(
            {
                admin.CREATE: self._create,
                admin.DELETE: self._delete,
                admin.LIST: self._list,
                admin.WATCH: self._watch,
                admin.UPDATE: self._update,
            },
            RANGES,
        )

    async def _create(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        request = admin.decode_create(reader, header.version)
        name = request.common.name
        try:
            if isinstance(request.spec, objects.TopicSpec):
                await self._create_topic(name, request.spec, dry_run=request.common.dry_run)
            elif isinstance(request.spec, objects.ModuleSpec):
                dry_run = request.common.dry_run
                name = await self._modules().create(name, request.spec, now_ms=self._log.now_ms(), dry_run=dry_run)
                self._modules_changed.wake()
            else:
                raise RefusedError(code("InvalidCreateRequest"))
        except HeadwaterError as error:
            return self._refused(name, error, header.version, f"{request.label} cannot be created here")
        await self._all_told()
        return (encode(admin.Status(name), header.version),)

    async def _all_told(self) -> None:
        """Wait until every watch has told its client of a change, but not long for a slow one.

        Then a stock client that creates a topic and produces to it at once, over another connection, knows it already.
        """
        events = list(self._caught_up)
        for event in events:
            event.clear()
        self._log.tell_of_topics()
        with suppress(TimeoutError):
            async with asyncio.timeout(_TELLING):
                await asyncio.gather(*(event.wait() for event in events))

    async def _create_topic(self, name: str, spec: objects.TopicSpec, *, dry_run: bool) -> None:
        check_topic_name(name)
        if name == describe.CONSUMER_TOPIC:
            raise TopicExistsError(f"topic already exists: {name}")
        made = describe.topic_spec(spec)
        if not dry_run:
            await self._log.create_topic(name, made)
        elif self._log.info(name) is not None:
            raise TopicExistsError(f"topic already exists: {name}")

    async def _delete(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        label = admin.decode_label(reader, header.version)
        request = decode(admin.DeleteKey, reader, header.version)
        name = request.key
        try:
            if label == objects.Topic.LABEL:
                info = self._log.info(name)
                system = name == describe.CONSUMER_TOPIC or (info is not None and info.spec.system)
                if system and (info is None or not request.force):
                    raise RefusedError(code("SystemSpecDeletionAttempt", "topic", name))
                await self._log.delete_topic(name)
            elif label == objects.Module.LABEL:
                await self._modules().delete(name)
                self._modules_changed.wake()
            else:
                raise RefusedError(code("InvalidDeleteRequest"))
        except HeadwaterError as error:
            return self._refused(name, error, header.version, f"there is no {label} {name}")
        return (encode(admin.Status(name), header.version),)

    async def _update(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:  # noqa: ARG002 - a handler's signature
        label = admin.decode_label(reader, header.version)
        name = ""
        try:
            if label != objects.Topic.LABEL:
                raise RefusedError(code("Other", f"{label} cannot be changed here"))
            request = decode(admin.UpdateTopic, reader, header.version)
            name = request.key
            info = self._log.info(name)
            if info is None:
                raise TopicNotFoundError(f"topic not found: {name}")
            if isinstance(request.action, admin.AddMirror):
                raise TopicError("mirrored topics are not available here")
            if info.spec.partitions + request.action.count > describe.MOST_PARTITIONS:
                raise TopicError(f"a topic has at most {describe.MOST_PARTITIONS} partitions")
            await self._log.add_partitions(name, request.action.count)
        except HeadwaterError as error:
            return self._refused(name, error, header.version, "nothing was changed")
        return (encode(admin.Status(name), header.version),)

    @staticmethod
    def _refused(name: str, error: HeadwaterError, version: int, otherwise: str) -> Iterable[bytes]:
        answer: ErrorCode
        if isinstance(error, RefusedError):
            answer = error.code
            # What comes along with a code on the wire is not shown by every client; the message is.
            message = otherwise if answer.name in {"InvalidCreateRequest", "InvalidDeleteRequest"} else answer.sentence
        elif isinstance(error, TopicError) and type(error) is TopicError:
            answer, message = code("TopicInvalidConfiguration"), error.message
        else:
            answer = as_code(error)
            message = error.message
            if isinstance(error, TopicNameError) and error.hint:
                message = f"{message} ({error.hint})"
        return (encode(admin.Status(name, answer, clipped(message)), version),)

    async def _list(self, header: Header, reader: Reader, connection: Connection) -> Iterable[bytes]:
        label = admin.decode_label(reader, header.version)
        wanted = decode(admin.Filters, reader, header.version)
        found: Sequence[objects.Object]
        if label == objects.Topic.LABEL:
            infos = describe.matching(self._infos(), wanted.names, system=wanted.system)
            found = [describe.topic(info) for info in infos]
        elif label == objects.Partition.LABEL:
            infos = describe.matching(self._infos(), (), system=wanted.system)
            found = [it for it in await self._partitions(infos) if describe.named(it.name, wanted.names)]
        elif label == objects.Module.LABEL:
            found = await self._modules().listed(wanted.names, summary=wanted.summary)
        elif label == objects.Spu.LABEL:
            found = [self._address(connection.met)]
        else:
            # Kinds of objects that there are none of here.
            found = []
        return (admin.encode_objects(label, tuple(found), header.version),)

    def _infos(self) -> list[TopicInfo]:
        return [*self._log.topics_now(), self._consumer_topic]

    async def _partitions(self, infos: Iterable[TopicInfo]) -> list[objects.Partition]:
        found = []
        turns = Turns()
        for info in infos:
            for number in range(info.spec.partitions):
                await turns.next()
                start, end = (0, 0)
                if info.name != describe.CONSUMER_TOPIC:
                    try:
                        start, end = self._log.reader.offsets(info.name, number)
                    except TopicError:
                        # It has just been deleted, or is just being made.
                        continue
                found.append(describe.partition(info, number, start, end, objects.UNKNOWN_SIZE))
        return found

    async def _watch(self, header: Header, reader: Reader, connection: Connection) -> None:
        label = admin.decode_label(reader, header.version)
        decode(admin.Watch, reader, header.version)
        watches = connection.streams
        if len(watches) >= _MOST_WATCHES:
            raise TopicError(f"more than {_MOST_WATCHES} watches on one connection")
        number = len(watches) + 1
        watches[number] = label
        connection.later(self._tell(header, label, connection))

    async def _tell(self, header: Header, label: str, connection: Connection) -> None:
        """Tell a client all objects of a kind, then every change of them."""
        caught_up = asyncio.Event()
        self._caught_up.add(caught_up)
        try:
            await self._tell_changes(header, label, connection, caught_up)
        finally:
            self._caught_up.discard(caught_up)
            caught_up.set()

    async def _tell_changes(self, header: Header, label: str, connection: Connection, caught_up: asyncio.Event) -> None:
        epoch = 1
        changed = self._changed(label)
        known = await self._watched(label, connection.met)
        update = admin.Update(epoch, (), tuple(known.values()))
        while True:
            await connection.send(header, (admin.encode_update(label, update, header.version),))
            while True:
                caught_up.set()
                await changed
                changed = self._changed(label)
                now = await self._watched(label, connection.met)
                changes = [admin.Changed(deleted=True, object=known[name]) for name in known if name not in now]
                changes += [admin.Changed(deleted=False, object=it) for it in now.values() if _differs(known, it)]
                known = now
                if changes:
                    break
            epoch += 1
            update = admin.Update(epoch, tuple(changes), ())

    def _changed(self, label: str) -> asyncio.Future[None]:
        return self._modules_changed.add() if label == objects.Module.LABEL else self._log.topics_changed()

    async def _watched(self, label: str, met: str) -> dict[str, objects.Object]:
        found: Sequence[objects.Object] = ()
        if label in {objects.Topic.LABEL, objects.Partition.LABEL}:
            return self._told[label].objects(self._infos())
        if label == objects.Spu.LABEL:
            found = [self._address(met)]
        elif label == objects.Module.LABEL:
            found = await self._modules().listed((), summary=True)
        return {it.name: it for it in found}


def _differs(known: Mapping[str, objects.Object], it: objects.Object) -> bool:
    before = known.get(it.name)
    return before is not it and before != it


def _partitions_of(info: TopicInfo) -> list[objects.Object]:
    # Clients want to know who leads; how far a partition has got they ask its leader.
    return [describe.partition(info, number, 0, 0, objects.UNKNOWN_SIZE) for number in range(info.spec.partitions)]


class _Told:
    """What watches tell of topics: made once for each state of a topic, however many watch."""

    def __init__(self, make: Callable[[TopicInfo], Sequence[objects.Object]]) -> None:
        self._make = make
        self._infos: list[TopicInfo] = []
        self._made: dict[str, tuple[TopicInfo, Sequence[objects.Object]]] = {}
        self._objects: dict[str, objects.Object] = {}

    def objects(self, infos: list[TopicInfo]) -> dict[str, objects.Object]:
        """Return the objects of topics by their names. What is returned must not be changed."""
        if len(infos) != len(self._infos) or not all(map(is_, infos, self._infos)):
            made = {}
            for info in infos:
                known = self._made.get(info.name)
                made[info.name] = known if known is not None and known[0] is info else (info, self._make(info))
            self._infos, self._made = infos, made
            self._objects = {it.name: it for _, some in made.values() for it in some}
        return self._objects
