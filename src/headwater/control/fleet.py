"""Owns the managed connectors of one machine: it keeps what is asked for, and the engine running what is kept.

What a connector does is the engine's; what is on disk is the store's; how it is asked is the API's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import zip_longest
from typing import Any

import msgspec
import structlog

from headwater.config import ConnectorConfig, InvalidConfigError, doubts, load_definition
from headwater.control.journal import Journal
from headwater.control.store import Kept, Mark, Store
from headwater.core.checkpoint import Checkpoint, encode_checkpoint, gap_name
from headwater.core.difference import plan
from headwater.core.errors import (
    ConnectorError,
    ConnectorExistsError,
    ConnectorNotFoundError,
    ConnectorOwnedError,
    HeadwaterError,
    LogError,
    ManagerError,
)
from headwater.core.managed import Definition, ManagedConnector, Phase, Plan
from headwater.core.memory import MemoryChange
from headwater.engine import Engine
from headwater.log import Append, Log

# So many connectors are loaded between two turns of the event loop.
_GROUP = 50
_LATEST = "latest"

logger = structlog.get_logger("headwater.control")


class File(msgspec.Struct, frozen=True):
    """A file of a watched directory: what it defines, with the configurations where they were loaded, and its mark."""

    definitions: Sequence[Definition]
    configs: Sequence[ConnectorConfig] = ()
    mark: Mark = (0, 0, 0)


class _Member:
    """A managed connector: what is kept of it, what that means, and what keeps it from running."""

    __slots__ = ("busy", "config", "kept", "problem", "since")

    def __init__(self, kept: Kept, config: ConnectorConfig | None = None) -> None:
        self.kept = kept
        self.config = config
        self.problem = ""
        self.since: int | None = None
        # Held by whatever changes it.
        self.busy = asyncio.Lock()


class Fleet:
    """The managed connectors of a data directory, a `core.managed.Manager`.

    `now` returns the time in ms since the Unix epoch. `elsewhere` says which connectors other processes run.
    """

    def __init__(
        self,
        log: Log,
        engine: Engine,
        journal: Journal,
        *,
        now: Callable[[], int] | None = None,
        elsewhere: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._log = log
        self._elsewhere = elsewhere
        self._engine = engine
        self._journal = journal
        self._now = now or (lambda: time.time_ns() // 1_000_000)
        self._store = Store(log.directory)
        self._members: dict[str, _Member] = {}
        # What was said last of trouble with the connectors of files: while it stays, it is not said again.
        self._said: dict[str, str] = {}

    # Start and stop.

    async def open(self, watched: bool = False) -> int:  # noqa: FBT001, FBT002 - the one choice there is
        """Load what is kept and start it; return how many connectors there are. Raises ManagerError, or LogError.

        Those of a watched directory are started only with `watched`: its watcher says what has become of them.
        """
        kept, damaged = self._store.load()
        for sentence in damaged:
            logger.error("a kept connector is damaged and left out", reason=sentence)
        members = [_Member(one) for one in kept if watched or not one.origin]
        async with AsyncExitStack() as held:
            # All are there before anybody can ask, and whoever changes one waits until it was started.
            for member in members:
                self._members[member.kept.definition.name] = await self._held(member, held)
            for name in self._store.buried():
                # Unless one of that name was created meanwhile, which has done it.
                if self._store.is_buried(name):
                    await self._forget_later(name)
            for number, member in enumerate(members):
                self._load(member)
                if number % _GROUP == 0:
                    await asyncio.sleep(0)
            ready = [it for it in members if it.config is not None and not it.kept.paused]
            await self._start_all(ready, once=True)
        return len(self._members)

    @staticmethod
    async def _held(member: _Member, held: AsyncExitStack) -> _Member:
        """Return a new connector that nobody changes until `held` is left. Nothing else runs meanwhile."""
        await held.enter_async_context(member.busy)
        return member

    def _load(self, member: _Member) -> None:
        try:
            member.config = load_definition(member.kept.definition)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not keep the others from starting
            self._invalid(member, error)

    def _invalid(self, member: _Member, error: Exception) -> None:
        member.problem, member.since = _sentence(error), self._now()
        self._say(member, "error", "connector cannot run", reason=member.problem)

    async def _start_all(self, members: Sequence[_Member], *, once: bool = False) -> None:
        """Start connectors. What is wrong with some is found by halves, so that one never keeps the others back.

        A log that refuses for now raises LogError, for all to be tried again; with `once`, it refuses some as well.
        """
        configs = [member.config for member in members if member.config is not None]
        if not configs:
            return
        try:
            await self._engine.prepare(configs)
        except Exception as error:
            if isinstance(error, LogError) and not (once and error.retryable):
                raise
            if len(members) == 1:
                self._invalid(members[0], error)
                return
            half = len(members) // 2
            await self._start_all(members[:half], once=once)
            await self._start_all(members[half:], once=once)
            return
        await self._set_going(configs)
        for member in members:
            member.problem, member.since = "", None

    async def _set_going(self, configs: Sequence[ConnectorConfig]) -> None:
        """Start connectors, and say in the log of each what is unsafe about it."""
        await self._engine.start(configs)
        for config in configs:
            for path, message, better in doubts(config):
                logger.warning(message, connector=config.name, option=".".join(path[1:]), hint=better)

    def wanted(self) -> list[str]:
        """Return the names of the connectors that are to run."""
        return [name for name, member in self._members.items() if not member.kept.paused and not member.problem]

    async def close(self) -> None:
        """End every connector within the engine's grace."""
        await self._engine.drain()

    # What is asked.

    async def list(self) -> list[ManagedConnector]:
        """Return every connector, sorted by name."""
        return [self._state(name) for name in sorted(self._members)]

    async def get(self, name: str) -> ManagedConnector:
        """Return one connector. Raises ConnectorNotFoundError."""
        self._member(name)
        return self._state(name)

    async def config(self, name: str) -> str:
        """Return the connect.yml of a connector, without the values of secrets. Raises ConnectorNotFoundError."""
        return self._member(name).kept.definition.text

    async def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of a connector's log, oldest first. Raises ConnectorNotFoundError."""
        if name not in self._members:
            raise ConnectorNotFoundError(f"Connector {name} does not exist", hint=self._near(name))
        if not follow:
            for line in self._journal.read(name, tail):
                yield line
            return
        async for line in self._journal.follow(name, tail):
            yield line

    # What is changed.

    async def create(self, definition: Definition, *, dry_run: bool = False, origin: str = "") -> Plan:
        """Make a connector and its topics, and start it. Raises ConnectorExistsError, InvalidConfigError, LogError."""
        name = definition.name
        if name in self._members:
            raise ConnectorExistsError(
                f"Connector already exists: {name}", hint="change it with: headwater connector update -c FILE"
            )
        self._check_alone(name)
        config = _loaded(definition)
        await self._engine.check([config])
        if name in self._members:
            raise ConnectorExistsError(f"Connector already exists: {name}", hint="it was created just now")
        if dry_run:
            return plan(name, None, definition)
        now = self._now()
        member = self._members[name] = _Member(Kept(definition, now, now, origin=origin))
        async with member.busy:
            try:
                await self._engine.prepare([config])
                if self._store.is_buried(name):
                    await self._forget(name)
                self._store.put(member.kept)
            except BaseException:
                del self._members[name]
                raise
            member.config = config
            self._say(member, "info", "connector created")
            await self._set_going([config])
        return plan(name, None, definition)

    async def update(self, definition: Definition, *, dry_run: bool = False, origin: str = "") -> Plan:
        """Run a connector by another definition from now on. A bad one changes nothing, and the last good one runs on.

        Raises ConnectorNotFoundError, ConnectorOwnedError, InvalidConfigError, LogError.
        """
        name = definition.name
        if name not in self._members:
            raise ConnectorNotFoundError(f"Invalid connector: {name} - does not exist.", hint=self._near(name))
        async with self._changing(name) as member:
            self._check_owner(member, origin)
            before = member.kept.definition
            difference = plan(name, before, definition)
            config = _loaded(definition)
            await self._engine.check([config])
            same = difference.action == "unchanged" and not member.problem
            if dry_run or (same and (definition, origin) == (before, member.kept.origin)):
                return difference
            if same and not config.chain:
                # It only stands in another file now; a chain may mean another one by the same words there.
                kept = msgspec.structs.replace(member.kept, definition=definition, origin=origin)
                self._store.put(kept)
                member.kept, member.config = kept, config
                return difference
            if not member.kept.paused:
                await self._engine.prepare([config])
            kept = msgspec.structs.replace(member.kept, definition=definition, updated=self._now(), origin=origin)
            self._store.put(kept)
            member.kept, member.config, member.problem, member.since = kept, config, "", None
            self._say(member, "info", "connector updated")
            if not kept.paused:
                await self._engine.end([name])
                await self._set_going([config])
            return difference

    async def delete(self, name: str, *, dry_run: bool = False, origin: str = "", forget: bool = True) -> Plan:
        """End a connector; with `forget` its checkpoint goes too. Its topic and its records stay.

        Raises ConnectorNotFoundError, ConnectorOwnedError, LogError.
        """
        async with self._changing(name) as member:
            self._check_owner(member, origin)
            difference = plan(name, member.kept.definition, None)
            if dry_run:
                return difference
            # First, for it can fail: one that cannot be deleted runs on.
            if forget:
                self._store.bury(name)
            else:
                self._store.remove(name)
            await self._engine.end([name])
            logger.info("connector deleted", connector=name)
            if forget:
                self._journal.forget(name)
                await self._forget_later(name)
            del self._members[name]
            self._engine.figures.forget(name)
            return difference

    async def _forget(self, name: str) -> None:
        """Forget the checkpoint and the memory of a connector that was deleted: the next of its name begins anew."""
        nothing, forgetting = encode_checkpoint(Checkpoint()), MemoryChange(name, anew=True)
        await self._log.submit(Append(None, (), checkpoint=(name, nothing), memory=forgetting))
        beside = gap_name(name)
        if await self._log.checkpoint(beside) is not None:
            await self._log.submit(Append(None, (), checkpoint=(beside, nothing)))
        self._store.forget(name)

    async def _forget_later(self, name: str) -> None:
        """The same; where the log refuses, it is done before the next one begins, or at the next start."""
        try:
            await self._forget(name)
        except HeadwaterError as error:
            logger.warning("the checkpoint of a deleted connector is not forgotten yet", reason=_sentence(error))

    async def pause(self, name: str) -> None:
        """Poll no more until `resume`, over restarts too. Raises ConnectorNotFoundError."""
        async with self._changing(name) as member:
            if not member.kept.paused:
                self._keep(member, paused=True)
                await self._engine.end([name])
                self._say(member, "info", "connector paused")

    async def resume(self, name: str) -> None:
        """Poll again. Raises ConnectorNotFoundError, InvalidConfigError, LogError."""
        async with self._changing(name) as member:
            if member.kept.paused:
                self._check_alone(name)
                self._keep(member, paused=False)
                self._say(member, "info", "connector resumed")
                await self._begin(member)

    async def restart(self, name: str) -> None:
        """End a connector and start it anew at once. Raises as `resume` does, and ConnectorError when it is paused."""
        async with self._changing(name) as member:
            if member.kept.paused:
                raise ConnectorError(f"Connector {name} is paused", hint=f"headwater connector resume {name}")
            self._say(member, "info", "connector restarted")
            await self._engine.end([name])
            await self._begin(member)

    async def _begin(self, member: _Member) -> None:
        """Load, prepare and start a connector that does not run."""
        try:
            member.config = config = _loaded(member.kept.definition)
            await self._engine.prepare([config])
        except HeadwaterError as error:
            self._invalid(member, error)
            raise
        await self._set_going([config])
        member.problem, member.since = "", None

    def _keep(self, member: _Member, *, paused: bool) -> None:
        kept = msgspec.structs.replace(member.kept, paused=paused)
        self._store.put(kept)
        member.kept = kept

    # A watched directory.

    def files(self) -> dict[str, File]:
        """Return the files that connectors come from, as far as what was read from them then is known to be true now.

        Values of secrets may have changed meanwhile wherever they come from: files that use any are left out.
        """
        found: dict[str, list[Kept]] = {}
        for member in self._members.values():
            if member.kept.origin:
                found.setdefault(member.kept.origin, []).append(member.kept)
        return {
            file: File([one.definition for one in kept], mark=kept[0].mark)
            for file, kept in found.items()
            if len({one.mark for one in kept}) == 1
            and len(kept) == kept[0].siblings
            and not any(one.definition.secrets for one in kept)
        }

    async def adopt(self, wanted: Mapping[str, File], unclear: Mapping[str, str]) -> bool:
        """Let the connectors of a watched directory be those that its files define; return whether all could be tried.

        `wanted` are the files. `unclear` says what is wrong with a file that cannot be read now: what was read from it
        before stays. Trouble with one connector is a line in its log and touches no other.
        """
        places: dict[str, str] = {}
        fresh: list[_Member] = []
        tried = True
        now = self._now()
        for name, file in wanted.items():
            for definition, config in zip_longest(file.definitions, file.configs):
                member = self._members.get(definition.name)
                conflict = ""
                if (other := places.setdefault(definition.name, name)) != name:
                    conflict = f"it is in {other} already"
                elif member is None and self._elsewhere(definition.name):
                    conflict = "another process runs one of that name"
                elif member is not None and not member.kept.origin:
                    conflict = "one of that name was created already"
                if conflict:
                    # Looked at again until whatever is in its way has gone.
                    tried = False
                    if self._is_news(f"{definition.name} of {name}", conflict):
                        logger.error("connector is ignored", connector=definition.name, file=name, reason=conflict)
                    continue
                self._is_news(f"{definition.name} of {name}", "")
                if member is None:
                    kept = Kept(definition, now, now, origin=name, mark=file.mark, siblings=len(file.definitions))
                    fresh.append(_Member(kept, config))
                elif (member.kept.definition, member.kept.origin) != (definition, name):
                    tried &= await self._quietly(definition.name, self.update(definition, origin=name))
        tried &= await self._adopt_all(fresh)
        return await self._let_go(places, unclear) and tried

    async def _let_go(self, places: Collection[str], unclear: Mapping[str, str]) -> bool:
        """End the connectors of files that are in none of `places` any more, but those whose file is unclear."""
        tried = True
        for name, member in list(self._members.items()):
            origin = member.kept.origin
            if not origin or name in places:
                continue
            if origin not in unclear:
                tried &= await self._quietly(name, self.delete(name, origin=origin, forget=False))
            elif self._is_news(name, unclear[origin]):
                self._say(member, "error", "its file cannot be used; the last good one stays", reason=unclear[origin])
        return tried

    async def _adopt_all(self, fresh: Sequence[_Member]) -> bool:
        """Start what is new in a watched directory, together: thousands at a time."""
        members: list[_Member] = []
        trouble = ""
        async with AsyncExitStack() as held:
            for number, member in enumerate(fresh):
                name = member.kept.definition.name
                try:
                    if self._store.is_buried(name):
                        await self._forget(name)
                    if name in self._members:
                        logger.error("a connector of that name was created just now", connector=name)
                        continue
                    self._store.put(member.kept)
                except HeadwaterError as error:
                    trouble = _sentence(error)
                    break
                self._members[name] = await self._held(member, held)
                if member.config is None:
                    self._load(member)
                members.append(member)
                if number % _GROUP == 0:
                    await asyncio.sleep(0)
            try:
                await self._start_all([member for member in members if member.config is not None])
            except HeadwaterError as error:
                trouble = _sentence(error)
                for member in members:
                    del self._members[member.kept.definition.name]
        if self._is_news("", trouble):
            logger.error("connectors of the watched directory cannot be started", reason=trouble)
        return not trouble

    async def _quietly(self, name: str, change: Coroutine[Any, Any, Plan]) -> bool:
        """Change a connector; return whether that is done, or in vain until its file is changed again."""
        try:
            await change
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not touch the others
            reason = _sentence(error)
            if self._is_news(name, reason):
                logger.error("connector cannot be changed", connector=name, reason=reason)  # noqa: TRY400 - the sentence says it all
            # A disk that is full or read-only may have room later.
            return not isinstance(error, LogError | ManagerError)
        self._is_news(name, "")
        return True

    def _is_news(self, name: str, reason: str) -> bool:
        """Return whether this is trouble that was not said yet of a connector; "" is none."""
        if not reason:
            self._said.pop(name, None)
            return False
        before, self._said[name] = self._said.get(name), reason
        return before != reason

    # What the above shares.

    def _member(self, name: str) -> _Member:
        member = self._members.get(name)
        if member is None:
            raise ConnectorNotFoundError(f"Connector not found: {name}", hint=self._near(name))
        return member

    @asynccontextmanager
    async def _changing(self, name: str) -> AsyncIterator[_Member]:
        """Let one change at a time work on a connector."""
        member = self._member(name)
        async with member.busy:
            # Whoever was before may have deleted it.
            if self._members.get(name) is not member:
                self._member(name)
                raise ConnectorError(f"Connector {name} was made anew meanwhile", hint="try again")
            yield member

    @staticmethod
    def _check_owner(member: _Member, origin: str) -> None:
        if member.kept.origin and not origin:
            raise ConnectorOwnedError(
                f"Connector {member.kept.definition.name} is kept in {member.kept.origin}", hint="change that file"
            )

    def _check_alone(self, name: str) -> None:
        if self._elsewhere(name):
            raise ConnectorExistsError(
                f"Connector {name} is run by another process beside this server", hint="end that one first"
            )

    def _near(self, name: str) -> str:
        from difflib import get_close_matches  # noqa: PLC0415 - only a mistake pays for it

        near = get_close_matches(name, list(self._members), n=1)
        return f"did you mean {near[0]}?" if near else "'headwater connector list' shows what there is"

    def _say(self, member: _Member, level: str, event: str, **more: object) -> None:
        logger.log(_LEVELS[level], event, connector=member.kept.definition.name, **more)

    def _state(self, name: str) -> ManagedConnector:
        member = self._members[name]
        kept, config = member.kept, member.config
        status, reason, since = self._standing(name, member)
        counters = self._engine.figures.connectors.get(name)
        run = self._engine.runs().get(name)
        return ManagedConnector(
            name=name,
            type="http" if config is None else config.type,
            version=_LATEST if config is None or config.version is None else config.version,
            status=status,
            topic="" if config is None else config.topic.name,
            reason=reason,
            since=since,
            paused=kept.paused,
            origin=kept.origin,
            created=kept.created,
            updated=kept.updated,
            last_record=None if counters is None else counters.last_record,
            next_poll=None if run is None else run.connector.next_poll(),
            records=0 if counters is None else counters.records,
            restarts=0 if run is None else run.restarts,
        )

    def _standing(self, name: str, member: _Member) -> tuple[Phase, str, int | None]:
        if member.kept.paused:
            return Phase.PAUSED, "", None
        if member.problem:
            return Phase.INVALID, member.problem, member.since
        if member.busy.locked():
            return Phase.INIT, "", None
        return self._engine.standing(name, self._now())


_LEVELS = {"info": 20, "warning": 30, "error": 40}


def _loaded(definition: Definition) -> ConnectorConfig:
    config = load_definition(definition)
    if config.name != definition.name:
        raise ConnectorError(f"the text names the connector {config.name}, not {definition.name}")
    return config


def _sentence(error: Exception) -> str:
    """Return what is wrong in one line."""
    if isinstance(error, InvalidConfigError):
        return "; ".join(error.message.splitlines())
    if isinstance(error, HeadwaterError):
        return error.message if not error.hint else f"{error.message} ({error.hint})"
    return f"{type(error).__name__}: {error}"
