"""Owns the life of one container of a Pod: started, probed, restarted, stopped. `Surroundings` is its Pod's part."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from lightkube.models.core_v1 import Container, LifecycleHandler, Probe

from headwater.testing.kubernetes.containerlog import ContainerLog
from headwater.testing.kubernetes.events import Kind
from headwater.testing.kubernetes.probe import Threshold, passes
from headwater.testing.kubernetes.process import Box, ContainerProcess, StartError
from headwater.testing.kubernetes.status import Facts, Json, Running, State, Terminated, Waiting, restarts
from headwater.testing.kubernetes.volumes import NotThereError

_AGAIN = 0.25
"""Seconds after which something that is not there yet is looked for again."""

_LONGEST_DELAY = 300.0


class NoImageError(Exception):
    """A container's image stands for nothing here."""


class Prepared(msgspec.Struct, frozen=True):
    """What a container runs: a command line in a box. `last_words` is the file of its termination message."""

    argv: list[str]
    box: Box
    last_words: Path


class Surroundings(msgspec.Struct, frozen=True):
    """What a container has from its Pod. `prepare` raises NoImageError and NotThereError.

    `changed` says that facts have changed, `tell` tells of an event: its sort, its reason in one word, a message.
    `restart_delay` is how long a container waits that has crashed twice, seconds; each further crash doubles it.
    """

    directory: Path
    address: str
    prepare: Callable[[Container], Awaitable[Prepared]]
    changed: Callable[[], None]
    tell: Callable[[Kind, str, str], None]
    restart_delay: float
    grace: float


class Stop:
    """That a container is to stop, and how long it may take at most, seconds. A later wish only makes it shorter."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._until: float | None = None

    def ask(self, grace: float) -> None:
        """Ask to stop."""
        until = asyncio.get_running_loop().time() + grace
        if self._until is None or until < self._until:
            self._until = until
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def is_asked(self) -> bool:
        """Return whether somebody has asked."""
        return self._until is not None

    async def asked(self) -> None:
        """Wait until somebody asks."""
        while self._until is None:
            await self._changed.wait()

    async def expired(self) -> None:
        """Wait until the time is up that was last given."""
        loop = asyncio.get_running_loop()
        while self._until is None or (left := self._until - loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if self._until is None else left)


class ContainerRunner:
    """One container. `run` is its whole life; `stop` ends it; `facts` are what is to be told of it."""

    def __init__(self, container: Container, around: Surroundings, before: int, stop: Stop) -> None:
        self._container = container
        self._around = around
        self._stop = stop
        self._ports = {port.name: port.containerPort for port in container.ports or [] if port.name}
        self._logs: list[ContainerLog] = []
        self.process: ContainerProcess | None = None
        self.facts = Facts(container.name, container.image or "", restarts=before)

    def was_done(self, ended: Json) -> None:
        """Take over that the container has ended for good before the node restarted; `ended` is what was told of it."""
        since, until = (datetime.fromisoformat(ended[key]) for key in ("startedAt", "finishedAt"))
        self.facts.state = Terminated(ended["exitCode"], ended["reason"], since, until, ended.get("message", ""))
        self.facts.restarts = max(0, self.facts.restarts - 1)
        self.facts.for_good = True

    def log(self, *, previous: bool) -> ContainerLog | None:
        """Return the log of the run that is on, or of the last one; None when there is none."""
        logs = self._logs[:-1] if previous else self._logs
        return logs[-1] if logs else None

    async def run(self, policy: str) -> int | None:
        """Run the container until it is not to be started again; return its exit status, None when it never ran."""
        crashes = 0
        status: int | None = None
        while not self._stop.is_asked():
            prepared = await self._prepared()
            if prepared is None:
                break
            status = await self._once(prepared)
            if self._stop.is_asked() or not restarts(policy, status):
                break
            crashes += 1
            await self._before_restart(crashes)
            if not self._stop.is_asked():
                self.facts.restarts += 1
        if self.facts.last is not None and isinstance(self.facts.state, Waiting):
            self.facts.state = self.facts.last
        self.facts.for_good = True
        self._around.changed()
        return status

    async def _prepared(self) -> Prepared | None:
        """Wait until everything is there; return nothing when the container is to stop before that."""
        tried = False
        while not self._stop.is_asked():
            try:
                return await self._around.prepare(self._container)
            except NoImageError as error:
                self._refused("ImagePullBackOff" if tried else "ErrImagePull", str(error))
            except NotThereError as error:
                self._refused("CreateContainerConfigError", str(error))
            tried = True
            await self._pause(_AGAIN)
        return None

    async def _before_restart(self, crashes: int) -> None:
        """Wait before a crashed container is started again: not at all for the first time, then longer and longer."""
        assert isinstance(self.facts.state, Terminated)
        self.facts.last = self.facts.state
        if crashes > 1:
            delay = min(self._around.restart_delay * 2 ** (crashes - 2), _LONGEST_DELAY)
            message = f"back-off {delay:g}s restarting failed container={self.facts.name}"
            self._state(Waiting("CrashLoopBackOff", message))
            self._around.tell("Warning", "BackOff", message)
            await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.asked(), seconds)

    def _state(self, state: State) -> None:
        if self.facts.state != state:
            self.facts.state = state
            self._around.changed()

    def _refused(self, reason: str, message: str) -> None:
        state = Waiting(reason, message)
        if self.facts.state != state:
            self._around.tell("Warning", "Failed", f"Error: {reason}: {message}")
            self._state(state)

    async def _once(self, prepared: Prepared) -> int:
        """Run the command once; return its exit status."""
        log = ContainerLog(self._around.directory / f"{self.facts.restarts}.log")
        self._logs.append(log)
        since = datetime.now(UTC)
        try:
            process = await ContainerProcess.start(prepared.argv, prepared.box, log)
        except StartError as error:
            self._around.tell("Warning", "Failed", f"Error: {error}")
            self._state(Terminated(128, "StartError", since, datetime.now(UTC), str(error)))
            return 128
        self.process = process
        self.facts.started = self.facts.ready = False
        self._state(Running(since))
        self._around.tell("Normal", "Started", f"Started container {self.facts.name}")
        ending = asyncio.create_task(process.wait())
        health = asyncio.create_task(self._watch_health(process))
        stopping = asyncio.create_task(self._stop.asked())
        try:
            await asyncio.wait({ending, health, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                why = "failed its probe, and ends" if health.done() else "ends"
                self._around.tell("Normal", "Killing", f"Container {self.facts.name} {why}")
                await self._end(process, ending, health.result() if health.done() else None)
            status = await ending
        finally:
            process.signal(signal.SIGKILL)  # when this task is cancelled: the node dies
            health.cancel()
            stopping.cancel()
            await asyncio.gather(ending, health, stopping, return_exceptions=True)
        self.process = None
        self.facts.ready = self.facts.started = False
        reason = "Completed" if status == 0 else "Error"
        self._state(Terminated(status, reason, since, datetime.now(UTC), self._last_words(status, log, prepared)))
        return status

    def _last_words(self, status: int, log: ContainerLog, prepared: Prepared) -> str:
        """Return what a container has left to be read after its end."""
        left = prepared.last_words.read_bytes()[:4096].decode(errors="replace")
        if not left and status != 0 and self._container.terminationMessagePolicy == "FallbackToLogsOnError":
            return log.end(80, 2048)
        return left

    async def _end(self, process: ContainerProcess, ending: asyncio.Task[int], unhealthy: float | None) -> None:
        """Ask the process to end, and make it when it does not in time."""
        if unhealthy is not None:
            limit = asyncio.create_task(asyncio.sleep(unhealthy))
        else:
            limit = asyncio.create_task(self._stop.expired())
        asking = asyncio.create_task(self._ask(process))
        try:
            await asyncio.wait({limit, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            asking.cancel()
            await asyncio.gather(limit, asking, return_exceptions=True)
        process.signal(signal.SIGKILL)

    async def _ask(self, process: ContainerProcess) -> None:
        before = self._container.lifecycle and self._container.lifecycle.preStop
        if before:
            await self._hook(process, before)
        process.signal(signal.SIGTERM)

    async def _hook(self, process: ContainerProcess, hook: LifecycleHandler) -> None:
        if hook.sleep is not None:
            await asyncio.sleep(hook.sleep.seconds)
            return
        probe = Probe(exec=hook.exec, httpGet=hook.httpGet, tcpSocket=hook.tcpSocket, timeoutSeconds=86400)
        await passes(probe, self._around.address, self._ports, self._executor(process))

    def _executor(self, process: ContainerProcess) -> Callable[[list[str], float], Awaitable[bool]]:
        async def execute(command: list[str], limit: float) -> bool:
            try:
                status, _ = await process.execute(command, limit)
            except (StartError, TimeoutError):
                return False
            return status == 0

        return execute

    async def _watch_health(self, process: ContainerProcess) -> float:
        """Probe for as long as the container is healthy; return how long it may take to end, seconds."""
        startup, readiness, liveness = (
            self._container.startupProbe,
            self._container.readinessProbe,
            self._container.livenessProbe,
        )
        if startup is not None and not await self._first(process, startup):
            return self._grace(startup)
        self.facts.started = True
        self.facts.ready = readiness is None
        self._around.changed()
        watching = asyncio.create_task(self._watch_readiness(process, readiness)) if readiness else None
        try:
            if liveness is None:
                await asyncio.Event().wait()
                raise AssertionError
            threshold = Threshold(liveness, passing=True)
            await asyncio.sleep(liveness.initialDelaySeconds or 0)
            while True:
                threshold.observe(passed=self._judged("Liveness", await self._probe(process, liveness)))
                if not threshold.passing:
                    return self._grace(liveness)
                await asyncio.sleep(liveness.periodSeconds or 10)
        finally:
            if watching is not None:
                watching.cancel()

    async def _first(self, process: ContainerProcess, probe: Probe) -> bool:
        """Return whether a startup probe succeeds before it has failed too often."""
        threshold = Threshold(probe, passing=False)
        await asyncio.sleep(probe.initialDelaySeconds or 0)
        while True:
            threshold.observe(passed=self._judged("Startup", await self._probe(process, probe)))
            if threshold.decided:
                return threshold.passing
            if not await self._soon(process, probe):
                continue
            threshold.observe(passed=True)
            if threshold.passing:
                return True

    async def _watch_readiness(self, process: ContainerProcess, probe: Probe) -> None:
        threshold = Threshold(probe, passing=False)
        await asyncio.sleep(probe.initialDelaySeconds or 0)
        while True:
            threshold.observe(passed=self._judged("Readiness", await self._probe(process, probe)))
            self._ready(threshold.passing)
            if threshold.passing:
                await asyncio.sleep(probe.periodSeconds or 10)
            elif await self._soon(process, probe):
                threshold.observe(passed=True)
                self._ready(threshold.passing)
                await asyncio.sleep(probe.periodSeconds or 10)

    def _ready(self, ready: bool) -> None:  # noqa: FBT001 - the one value there is
        if self.facts.ready is not ready:
            self.facts.ready = ready
            self._around.changed()

    async def _soon(self, process: ContainerProcess, probe: Probe) -> bool:
        """Probe several times within a period; return whether that succeeded.

        No test has to wait for a whole period to see that a container is ready. Failures count only at a period's end.
        """
        try:
            async with asyncio.timeout(probe.periodSeconds or 10):
                while True:
                    await asyncio.sleep(_AGAIN if probe.exec is None else 1)  # commands cost a process each
                    if await self._probe(process, probe):
                        return True
        except TimeoutError:
            return False

    async def _probe(self, process: ContainerProcess, probe: Probe) -> bool:
        return await passes(probe, self._around.address, self._ports, self._executor(process))

    def _judged(self, what: str, passed: bool) -> bool:  # noqa: FBT001 - the one value there is
        if not passed:
            self._around.tell("Warning", "Unhealthy", f"{what} probe failed of container {self.facts.name}")
        return passed

    def _grace(self, probe: Probe) -> float:
        grace = probe.terminationGracePeriodSeconds
        return self._around.grace if grace is None else float(grace)
