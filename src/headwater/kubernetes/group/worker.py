"""Owns what a pod of a group does: it claims slots, and keeps the engine running what is in those that it has.

What it may do is decided by `claims`, what there is to do by `work`; requests are `api`'s and polls the engine's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from headwater.config import ConnectorConfig, InvalidConfigError, load_definition
from headwater.core.checkpoint import GAP_SUFFIX, gap_name
from headwater.core.errors import HeadwaterError
from headwater.core.managed import Definition, Phase
from headwater.engine import Engine
from headwater.engine.guard import Permit
from headwater.engine.oncluster import OnCluster
from headwater.kubernetes.group.api import GroupApi
from headwater.kubernetes.group.claims import Act, Claims, Request, Standing
from headwater.kubernetes.group.members import Member, Told, encode_states, member_of
from headwater.kubernetes.group.slots import slot_of
from headwater.kubernetes.group.work import Stage, Todo, Trouble, Work, todo
from headwater.sources.retry import back_off

# When what is wrong with a connector may have passed: what is written in it, and what is around it (seconds).
_WRONG, _LACKING = 30.0, 5.0
# How long connectors may take to be prepared: the cluster is asked for topics and SmartModules (seconds).
_PREPARE = 30.0
# How long a watch that failed is left alone (seconds).
_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
# What giving back may take beyond the grace of the polls under way, and how often is looked meanwhile (seconds).
_FAREWELL, _HASTE = 5.0, 0.25
# So many connectors are loaded between two turns of the event loop.
_BUNCH = 20

logger = structlog.get_logger("headwater.group")


def lease_clock() -> float:
    """Return seconds that go on while the machine sleeps, where the system has such."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Worker:
    """The work of one process of a group. `guard` is for its engine and its target; `run` is its whole life.

    `grace` is how many seconds polls under way have when a slot is given up.
    """

    def __init__(self, api: GroupApi, claims: Claims, *, grace: float, now: Callable[[], float] = lease_clock) -> None:
        self._api = api
        self._claims = claims
        self._grace = grace
        self._now = now
        self._slots = api.slots
        self._members: dict[str, Member] = {}
        self._works: dict[str, Work] = {}
        self._troubles: dict[str, Trouble] = {}
        # Whether the connectors have been read, and what was said in vain of the API server.
        self._read = False
        self._unheard = ""
        self._said: dict[int, str] = {}
        self._had: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # What tasks have ended with that never should.
        self._mistakes: list[BaseException] = []
        self._engine: Engine
        self._target: OnCluster

    def guard(self, connector: str) -> Permit | None:
        """Return the permit by which a connector works here, and what asks for its gaps. An `engine.guard.Guard`."""
        work = self._works.get(connector.removesuffix(GAP_SUFFIX))
        return None if work is None else work.permit

    def wanted(self) -> list[str]:
        """Return what is to run for the process to have started: nothing, once it has joined the group."""
        return [] if self._read and self._claims.joined() else [self._api.group]

    async def run(self, engine: Engine, target: OnCluster, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then give everything back. Raises what the engine cannot go on with."""
        self._engine, self._target = engine, target
        stopped = asyncio.create_task(stop.wait())
        watching = asyncio.create_task(self._watch())
        try:
            while not stop.is_set() and not engine.fatal.done():
                await self._look()
                pause = self._claims.terms.look
                waiting = (stopped, watching, engine.fatal)
                await asyncio.wait(waiting, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    # It never ends but by a mistake.
                    watching.result()
                if self._mistakes:
                    raise self._mistakes[0]
            if not engine.fatal.done():
                await self._leave()
        finally:
            for task in (stopped, watching, *self._tasks):
                task.cancel()
            await asyncio.gather(stopped, watching, *self._tasks, return_exceptions=True)
            await engine.drain(0)
        if engine.fatal.done():
            raise engine.fatal.result()

    async def _leave(self) -> None:
        """Give everything back: what drains first is free first."""
        self._claims.leave()
        deadline = self._now() + self._grace + _FAREWELL
        while not self._claims.left() and self._now() < deadline:
            await self._look()
            await asyncio.sleep(_HASTE)
        logger.info("left the group", group=self._api.group, slots_kept=len(self._held()))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (mistake := task.exception()) is not None:
            self._mistakes.append(mistake)

    # Leases.

    async def _look(self) -> None:
        """Look at the leases, and do what is due."""
        asked = self._now()
        try:
            slots, members = await self._api.leases(self._claims.terms.patience)
        except HeadwaterError as error:
            self._failed(error)
        else:
            self._claims.observe(slots, members, asked, self._now())
            if self._unheard:
                logger.info("the API server answers again", group=self._api.group)
                self._unheard = ""
        states = self._states()
        for slot, text in states.items():
            if self._said.get(slot) != text:
                self._claims.restate(slot)
        self._said = states
        self._act()
        if (held := self._held()) != self._had:
            self._had = held
            logger.info("slots", group=self._api.group, slots=held, pods=len(self._claims.live(self._now())))

    def _failed(self, error: HeadwaterError) -> None:
        """Say once that the API server does not do what it should."""
        if not self._unheard:
            logger.warning(
                "the API server does not do what was asked; polls go on as long as leases hold",
                group=self._api.group,
                reason=error.message,
                **({"hint": error.hint} if error.hint else {}),
            )
        self._unheard = error.message

    def _act(self) -> None:
        """Ask for what is due, and start and end connectors by how things stand."""
        for request in self._claims.decide(self._now()):
            self._later(self._send(request))
        if self._read:
            self._do(todo(self._members, self._works, self._troubles, self._standing, self._now()))
        busy = {work.slot for work in self._works.values()}
        for slot in range(self._slots):
            if slot not in busy and self._claims.standing(slot) in {Standing.DRAINING, Standing.CUT}:
                self._claims.drained(slot)

    def _held(self) -> list[int]:
        return [slot for slot in range(self._slots) if self._claims.standing(slot) is Standing.HELD]

    def _standing(self, connector: str) -> Standing:
        return self._claims.standing(slot_of(connector, self._slots))

    async def _send(self, request: Request) -> None:
        terms = self._claims.terms
        states = "" if request.slot is None else self._said.get(request.slot, "")
        try:
            lease = await self._api.change(request, terms.duration, states, terms.patience)
        except HeadwaterError as error:
            self._claims.unanswered(request, self._now())
            self._failed(error)
            return
        self._claims.answered(request, lease, self._now())
        if lease is not None and request.act is not Act.RENEW:
            self._act()

    # Connectors.

    async def _watch(self) -> None:
        """Keep the connectors as their ConfigMaps have them."""
        failures = 0
        while True:
            try:
                found, version = await self._api.members()
                self._members = {it.name: it for one in found if (it := member_of(one)) is not None}
                self._read = True
                failures = 0
                self._act()
                async for there, one in self._api.changes(version):
                    member = member_of(one)
                    if member is None:
                        continue
                    if there:
                        self._members[member.name] = member
                    else:
                        self._members.pop(member.name, None)
                    self._act()
            except HeadwaterError as error:
                failures += 1
                self._failed(error)
                pause = back_off(failures, initial=_PAUSE, longest=_LONGEST_PAUSE, chance=random.random())  # noqa: S311 - no secret
                await asyncio.sleep(pause)

    def _do(self, due: Todo) -> None:
        """Begin what is to be done."""
        members, works = self._members, self._works
        for name in due.start:
            slot = slot_of(name, self._slots)
            permit = self._claims.permit(slot)
            if permit is not None:
                works[name] = Work(slot, permit, members[name].checksum)
        starting = [members[name] for name in due.start if name in works]
        if starting:
            self._later(self._start(starting))
        for name in due.cut:
            works[name].stage, works[name].cut = Stage.ENDING, True
            self._later(self._end(name, works[name], 0))
        for name in due.drain:
            works[name].stage = Stage.ENDING
            self._later(self._end(name, works[name], self._grace))
        for name in due.change:
            works[name].stage = Stage.STARTING
            self._later(self._change(members[name], works[name]))

    async def _start(self, members: Sequence[Member]) -> None:
        """Load, prepare and start connectors; what is wrong with one touches no other."""
        loaded: list[tuple[Member, ConnectorConfig]] = []
        for number, member in enumerate(members):
            config = await self._load(member)
            if config is not None:
                loaded.append((member, config))
            if number % _BUNCH == _BUNCH - 1:
                await asyncio.sleep(0)
        await self._prepare(loaded)
        for member in members:
            # Whatever has not begun is not here.
            if member.name not in self._engine.runs():
                await self._target.abandon(_with_gaps(member.name))
                self._works.pop(member.name, None)
            else:
                self._works[member.name].stage = Stage.RUNNING
                self._troubles.pop(member.name, None)
                logger.info("connector started", connector=member.name, slot=self._works[member.name].slot)
        self._act()

    async def _load(self, member: Member) -> ConnectorConfig | None:
        """Return what a connector is to be, None when that cannot be told now."""
        try:
            values = await self._api.secret(member.secret) if member.secret else {}
            wanted = {name: value for name, value in values.items() if name in member.secrets}
            config = load_definition(Definition(member.name, member.text, wanted))
            if config.name != member.name:
                self._wrong(member, Phase.INVALID, f"its text names the connector {config.name}", _WRONG)
                return None
        except InvalidConfigError as error:
            self._wrong(member, Phase.INVALID, "; ".join(error.message.splitlines()), _WRONG)
        except HeadwaterError as error:
            self._wrong(member, Phase.PENDING, _sentence(error), _LACKING)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not keep the others from starting
            self._wrong(member, Phase.INVALID, f"{type(error).__name__}: it cannot be read", _WRONG)
        else:
            return config
        return None

    async def _prepare(self, loaded: Sequence[tuple[Member, ConnectorConfig]]) -> None:
        """Prepare and start connectors. What is wrong with some is found by halves."""
        if not loaded:
            return
        configs = [config for _, config in loaded]
        try:
            for config in configs:
                self._target.expect(config)
            async with asyncio.timeout(_PREPARE):
                await self._engine.prepare(configs)
                await self._engine.start(configs)
        except InvalidConfigError as error:
            if len(loaded) == 1:
                self._wrong(loaded[0][0], Phase.INVALID, "; ".join(error.message.splitlines()), _WRONG)
                return
            half = len(loaded) // 2
            await self._prepare(loaded[:half])
            await self._prepare(loaded[half:])
        except TimeoutError:
            for member, _ in loaded:
                self._wrong(member, Phase.PENDING, f"the cluster did not answer within {_PREPARE:g} s", _LACKING)
        except HeadwaterError as error:
            for member, _ in loaded:
                self._wrong(member, Phase.PENDING, _sentence(error), _LACKING)

    async def _change(self, member: Member, work: Work) -> None:
        """Replace a connector by another version of it, unless that is wrong: then the one that runs goes on."""
        name = member.name
        config = await self._load(member)
        if config is not None:
            try:
                async with asyncio.timeout(_PREPARE):
                    await self._engine.check([config])
            except InvalidConfigError as error:
                self._wrong(member, Phase.INVALID, "; ".join(error.message.splitlines()), _WRONG)
                config = None
            except (TimeoutError, HeadwaterError) as error:
                reason = _sentence(error) if isinstance(error, HeadwaterError) else "the cluster did not answer"
                self._wrong(member, Phase.PENDING, reason, _LACKING)
                config = None
        work.stage = Stage.RUNNING
        if config is not None and work.permit.holds():
            work.stage = Stage.ENDING
            await self._end(name, work, self._grace)
        else:
            self._act()

    async def _end(self, name: str, work: Work, grace: float) -> None:
        """End a connector; after that nothing of it is here."""
        await self._engine.end([name], grace)
        await self._target.abandon(_with_gaps(name))
        if self._works.get(name) is work:
            del self._works[name]
            logger.info("connector ended", connector=name, slot=work.slot)
            if name not in self._members or self._standing(name) is not Standing.HELD:
                # Others tell of it now, if anybody does.
                self._troubles.pop(name, None)
                self._engine.figures.forget(name)
        self._act()

    def _wrong(self, member: Member, phase: Phase, reason: str, pause: float) -> None:
        """Note what keeps a version of a connector from running, and say it when it is news."""
        before = self._troubles.get(member.name)
        news = before is None or (before.checksum, before.reason) != (member.checksum, reason)
        now = time.time_ns() // 1_000_000
        since = now if news or before is None else before.since
        self._troubles[member.name] = Trouble(member.checksum, phase, reason, since, self._now() + pause)
        if news:
            logger.error("connector cannot run", connector=member.name, reason=reason)

    # What is said.

    def _states(self) -> dict[int, str]:
        """Return what is said of the connectors in each slot that is ours."""
        states: dict[int, dict[str, Told]] = {slot: {} for slot in self._held()}
        if not self._read:
            return {}
        now = time.time_ns() // 1_000_000
        for name, member in self._members.items():
            slot = slot_of(name, self._slots)
            if slot in states:
                states[slot][name] = self._told(member, now)
        return {slot: encode_states(some) for slot, some in states.items()}

    def _told(self, member: Member, now: int) -> Told:
        trouble, work = self._troubles.get(member.name), self._works.get(member.name)
        if member.paused:
            return Told(Phase.PAUSED, checksum=member.checksum)
        if trouble is not None and trouble.checksum == member.checksum:
            more = "" if work is None else "; the version before goes on"
            return Told(trouble.phase, f"{trouble.reason}{more}", trouble.since, member.checksum)
        if work is None or work.stage is not Stage.RUNNING:
            return Told(Phase.INIT, checksum=member.checksum)
        phase, reason, since = self._engine.standing(member.name, now)
        return Told(phase, reason, since, work.checksum)


def _sentence(error: HeadwaterError) -> str:
    return error.message if not error.hint else f"{error.message} ({error.hint})"


def _with_gaps(name: str) -> tuple[str, str]:
    """Return the names under which a connector keeps how far it is: its own, and that of what asks for its gaps."""
    return name, gap_name(name)
