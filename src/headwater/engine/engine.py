"""Owns the supervision of connectors: start, spread, restart after a crash, and the two phases of a stop.

What one connector does is in `connector`; this only keeps them apart from each other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from traceback import format_exception

import structlog

from headwater.config import ConnectorConfig, InvalidConfigError, Problem, TopicOptions, forgetful, transport_of
from headwater.core.callback import settle
from headwater.core.checkpoint import gap_name
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import ConnectorError, HeadwaterError, LogError, SmartModuleError, TopicExistsError
from headwater.core.http import Fetcher
from headwater.core.managed import Phase
from headwater.core.names import is_name
from headwater.core.topic import Deduplication
from headwater.engine.connector import Connector, schedule_of
from headwater.engine.counters import Counters, Figures, Trouble
from headwater.engine.credentials import Credentials, Wicket
from headwater.engine.gate import Gate
from headwater.engine.guard import Guard, GuardedFetcher
from headwater.engine.limits import Limits
from headwater.engine.round import Surroundings
from headwater.engine.schedule import Schedule, spread_offset
from headwater.engine.target import Target
from headwater.engine.worker import Worker
from headwater.fetch import CurlFetcher
from headwater.fluvio.compression import Compression, agreed
from headwater.log import Log, TopicSpec
from headwater.sources.request import build_request
from headwater.sources.retry import back_off
from headwater.transforms.chain import Chain

# With more connectors than this in one process, first polls are spread over the interval unless the config says no.
SPREAD_FROM = 1000
# From so many connectors on, polls may be this late (seconds) so that several share one turn of the event loop.
_SLACK_FROM, _SLACK = 200, 0.004

# So many streams that start together connect in each second; fewer of them at once.
_CONNECTIONS = 1000

# How long a SmartModule may take to be loaded, compiled and begun (seconds).
_LOADING = 60.0

logger = structlog.get_logger("headwater.engine")


class RunState(Enum):
    """Running; pausing after a crash; or given up, as its restart policy says."""

    RUNNING = "running"
    PAUSING = "pausing"
    GIVEN_UP = "given up"


class Run:
    """One connector that was started. `since` is when its state began, `reason` why it is in it; times in ms."""

    __slots__ = ("_before", "_counters", "connector", "reason", "restarts", "since", "state", "task")

    task: asyncio.Task[None]

    def __init__(self, connector: Worker, counters: Counters, now: int) -> None:
        self.connector = connector
        self._counters = counters
        self._before = counters.polls()
        self.restarts = 0
        self.enter(RunState.RUNNING, "", now)

    def settled(self, now: int) -> bool:
        """Return whether its first poll is done, or not due yet at `now`."""
        due = self.connector.next_poll()
        return self._counters.polls() > self._before or (due is not None and due > now)

    def enter(self, state: RunState, reason: str, now: int) -> None:
        """Be in a state from now on."""
        self.state, self.reason, self.since = state, reason, now


class Engine:
    """Runs connectors into a target. The failure of one becomes its state and never touches another.

    `grace` is how many seconds the exchanges under way have to end after a stop. `chance` returns random numbers in [0,
    1). `fatal` is done when the target is beyond repair, with the error. With a `guard` a connector sends nothing but
    under its permit; when that has ended, the connector does nothing more and is to be ended. `schedule` says when one
    polls whose first poll is so many seconds after its start. `credentials` are others than those of its own.
    """

    def __init__(
        self,
        target: Target,
        fetcher: Fetcher,
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        grace: float = 10.0,
        guard: Guard | None = None,
        schedule: Callable[[ConnectorConfig, float], Schedule] = schedule_of,
        credentials: Wicket | None = None,
    ) -> None:
        self.figures = Figures()
        self.fatal: asyncio.Future[LogError] = asyncio.get_running_loop().create_future()
        self._system = SystemClock() if clock is None else None
        self._shared = Surroundings(target, fetcher, clock or self._system or SystemClock(), chance, self.figures)
        self._target = target
        self._grace = grace
        self._guard = guard
        self._schedule = schedule
        self._limits = Limits(target, self._shared.clock, self.figures)
        self._runs: dict[str, Run] = {}
        self._chains: dict[str, Chain] = {}
        self.credentials: Wicket = credentials or Credentials(target, fetcher, self._shared.clock, chance)

    async def run(self, configs: Sequence[ConnectorConfig], stop: asyncio.Event) -> None:
        """Run the connectors until `stop` is set, then drain.

        Raises InvalidConfigError before anything is started when a configuration cannot run here, LogError when the log
        is beyond repair, and ConnectorError when none of the connectors is to be started again.
        """
        await self.prepare(configs)
        stopped = asyncio.create_task(stop.wait())
        try:
            await self.start(configs)
            ended = asyncio.gather(*(run.task for run in self._runs.values()), return_exceptions=True)
            await asyncio.wait((ended, stopped, self.fatal), return_when=asyncio.FIRST_COMPLETED)
            given_up = all(run.state is RunState.GIVEN_UP for run in self._runs.values())
            await self.drain()
        finally:
            stopped.cancel()
            # Nothing is left but after a cancellation, which does not wait.
            await self.drain(0)
        if self.fatal.done():
            raise self.fatal.result()
        if configs and given_up and not stop.is_set():
            raise ConnectorError("every connector has crashed as often as its restart.attempts allow")

    def runs(self) -> Mapping[str, Run]:
        """Return what runs, by the connectors' names."""
        return self._runs

    def standing(self, name: str, now: int) -> tuple[Phase, str, int | None]:
        """Return how a connector is at `now` (ms), why, and since when it has a reason."""
        run = self._runs.get(name)
        if run is None:
            return Phase.INIT, "", None
        if run.state is RunState.PAUSING:
            return Phase.PENDING, run.reason, run.since
        if run.state is RunState.GIVEN_UP:
            return Phase.FAILED, run.reason, run.since
        trouble = self.figures.of(name).trouble
        if trouble is not None:
            return Phase.FAILED, trouble.reason, trouble.since
        return Phase.RUNNING if run.settled(now) else Phase.INIT, "", None

    async def start(self, configs: Sequence[ConnectorConfig]) -> None:
        """Start connectors that were prepared. Raises LogError or ClusterError, and starts none then."""
        specs = {topic.name: topic.spec for topic in await self._target.topics()}
        if self._system is not None and len(self._runs) + len(configs) >= _SLACK_FROM:
            self._system.slack = _SLACK
        for config in configs:
            spec = specs.get(config.topic.name, TopicSpec())
            codec = agreed(config.producer.compression, spec.compression) or Compression.NONE
            shared = self._shared
            leave = None
            if self._guard is not None:
                permit = self._guard(config.name)
                if permit is None:
                    for name in _names(config):
                        self._chains.pop(name, None)
                    continue
                shared = replace(shared, fetcher=GuardedFetcher(shared.fetcher, permit))
                leave = permit.holds
            siblings = len(configs)
            connector = self._worker(config, shared, codec, partitions=spec.partitions, leave=leave, siblings=siblings)
            run = self._runs[config.name] = Run(connector, self.figures.of(config.name), self._shared.clock.time_ms())
            run.task = asyncio.create_task(self._supervise(run))

    def _worker(
        self,
        config: ConnectorConfig,
        shared: Surroundings,
        codec: Compression,
        *,
        partitions: int,
        leave: Callable[[], bool] | None,
        siblings: int,
    ) -> Worker:
        """Return what does the work of a connector, one of so many that start together."""
        chain, gates = self._chains.pop(config.name, None), self._gates(config, leave)
        if config.http.source != "poll":
            from headwater.engine.streaming.stream import Behind, Stream  # noqa: PLC0415 - only streams pay for it

            behind = None
            if (asking := _asking(config)) is not None:
                behind = Behind(self._chains.pop(asking.name, None), self._gates(asking, leave))
            offset = spread_offset(config.name, siblings / _CONNECTIONS)
            return Stream(
                config, shared, codec, offset=offset, chain=chain, partitions=partitions, gates=gates, behind=behind
            )
        schedule = self._schedule(config, first_offset(config, siblings))
        return Connector(config, shared, schedule, codec, chain=chain, partitions=partitions, gates=gates)

    def _gates(self, config: ConnectorConfig, leave: Callable[[], bool] | None) -> tuple[Gate, ...]:
        """Return what stands between a connector and the network. With a `leave` nothing is sent without it."""
        limits = self._limits.gate(config)
        gates: tuple[Gate, ...] = () if limits is None else (limits,)
        if config.http.auth is not None:
            # A turn comes first, so that what a request shows of who asks is as new as it can be.
            gates = (*gates, *self.credentials.gates(config, build_request(config.http, transport_of(config)), leave))
        return gates

    async def end(self, names: Iterable[str], grace: float | None = None) -> None:
        """End connectors: those that wait at once, the others after the exchange under way, within the grace."""
        runs = [self._runs[name] for name in names if name in self._runs]
        if not runs:
            return
        for run in runs:
            run.connector.stop()
        try:
            await asyncio.wait([run.task for run in runs], timeout=self._grace if grace is None else grace)
        finally:
            for run in runs:
                run.task.cancel()
            await asyncio.gather(*(run.task for run in runs), return_exceptions=True)
            ended = [name for run in runs for name in _names(run.connector.config)]
            await self.credentials.release(ended, self._grace if grace is None else grace)
            for run in runs:
                self._runs.pop(run.connector.config.name, None)
                # One that somebody paused is not failing.
                self.figures.of(run.connector.config.name).trouble = None
            await self._limits.leave(ended)

    async def drain(self, grace: float | None = None) -> None:
        """End every connector, in `grace` seconds instead of the usual ones when they are given."""
        await self.end(list(self._runs), grace)

    async def prepare(self, configs: Sequence[ConnectorConfig]) -> None:
        """Check that the connectors can run here, and create the topics that are missing. `run` does it by itself.

        Raises InvalidConfigError with every problem, creating no topic then, or LogError.
        """
        chains, missing = await self.check(configs)
        await asyncio.gather(*(self._create_topic(name, spec) for name, spec in missing.items()))
        for config in configs:
            # What was prepared before and not started has gone by.
            for name in _names(config):
                self._chains.pop(name, None)
        self._chains |= chains

    async def check(self, configs: Sequence[ConnectorConfig]) -> tuple[dict[str, Chain], dict[str, TopicSpec]]:
        """Check that the connectors can run here, and return their chains and the topics that are missing.

        Raises InvalidConfigError with every problem, or LogError.
        """
        chains: dict[str, Chain] = {}
        if any(config.chain for config in configs):
            # Imported here: most connectors have no transforms, and the machine for them takes long to load.
            from headwater.transforms.library import Library, chains_of  # noqa: PLC0415

            used = sorted({link.transform.uses for config in configs for link in config.chain})
            library = Library(self._target.directory, await self._target.modules(used))
            try:
                async with asyncio.timeout(_LOADING * len(used)):
                    behind = [asking for config in configs if (asking := _asking(config)) is not None]
                    chains = await asyncio.to_thread(chains_of, library, [*configs, *behind])
            except TimeoutError:
                # Nobody can end the thread; what it imports may wait for ever.
                raise SmartModuleError(
                    f"{', '.join(used)} could not be loaded within {_LOADING:g} s each",
                    hint="a Python module must not wait while it is imported",
                ) from None
        topics = {topic.name: topic.spec for topic in await self._target.topics()}
        missing: dict[str, ConnectorConfig] = {}
        others: dict[str, TopicSpec] = {}
        problems = [*await self.credentials.problems(configs), *self._forgetful(configs)]
        for config in configs:
            name = config.topic.name
            if name not in topics:
                if not config.topic.create:
                    message = f"there is no topic {name!r}, and create_topic is false"
                    hint = f"create it with: headwater topic create {name}"
                    problems.append(config.problem(("topic",), message, hint))
                    continue
                missing[name] = config
                topics[name] = topic_spec(config)
            if (letters := config.dead_letters) is not None and letters not in topics:
                if not is_name(letters):
                    hint = "name a shorter one with dead_letter_topic"
                    problems.append(config.problem(("topic",), f"{letters!r} is too long for a topic", hint))
                    continue
                others[letters] = topics[letters] = TopicSpec()
            wanted, allowed = config.producer.compression, topics[name].compression
            if agreed(wanted, allowed) is None:
                message = f"the topic {name!r} allows compression {allowed}, not {wanted}"
                problems.append(config.problem(("producer",), message, f"write compression: {allowed}"))
        if problems:
            raise InvalidConfigError(problems)
        return chains, {name: topic_spec(config) for name, config in missing.items()} | others

    def _forgetful(self, configs: Sequence[ConnectorConfig]) -> list[Problem]:
        return [] if self._target.remembers else [problem for config in configs for problem in forgetful(config)]

    async def _create_topic(self, name: str, spec: TopicSpec) -> None:
        try:
            await self._target.create_topic(name, spec)
        except TopicExistsError:
            return

    async def _create_topics(self, config: ConnectorConfig) -> None:
        """Create the topics of a connector again, which somebody may have deleted while it ran."""
        if config.topic.create:
            await self._create_topic(config.topic.name, topic_spec(config))
        if config.dead_letters is not None:
            await self._create_topic(config.dead_letters, TopicSpec())

    async def _supervise(self, run: Run) -> None:
        """Keep one connector running: the boundary at which whatever it raises becomes a log line and a pause."""
        shared = self._shared
        config = run.connector.config
        policy = config.http.restart
        counters = shared.figures.of(config.name)
        crashes = 0
        began = shared.clock.monotonic()
        while True:
            try:
                run.enter(RunState.RUNNING, "", shared.clock.time_ms())
                if crashes:
                    counters.trouble = None
                    await self._create_topics(config)
                await run.connector.run()
            except Exception as error:  # noqa: BLE001 - the boundary
                if isinstance(error, LogError) and not error.retryable:
                    settle(self.fatal, error)
                    return
                if shared.clock.monotonic() - began >= policy.reset.total_seconds():
                    crashes = 0
                crashes += 1
                pause = back_off(
                    crashes,
                    initial=policy.initial.total_seconds(),
                    longest=policy.max.total_seconds(),
                    chance=shared.chance(),
                )
                known = isinstance(error, HeadwaterError)
                reason = config.masker.mask(str(error) if known else f"{type(error).__name__}: {error}")
                gives_up = policy.attempts is not None and crashes > policy.attempts
                run.restarts += not gives_up
                run.enter(RunState.GIVEN_UP if gives_up else RunState.PAUSING, reason, shared.clock.time_ms())
                counters.trouble = Trouble("crash", reason, run.since)
                more = {"restart": "not again"} if gives_up else {"restart_in": round(pause, 1)}
                if known:
                    logger.error("connector stopped", connector=config.name, reason=reason, **more)  # noqa: TRY400 - the sentence says it all
                else:
                    # Formatted here: a defect's message and trace may hold whatever went into the configuration.
                    trace = config.masker.mask("".join(format_exception(error)))
                    logger.error("connector crashed", connector=config.name, reason=reason, **more, exception=trace)  # noqa: TRY400 - masked
                if gives_up:
                    return
                await shared.clock.sleep_until(shared.clock.monotonic() + pause)
                began = shared.clock.monotonic()
            else:
                return


@asynccontextmanager
async def running(
    configs: Sequence[ConnectorConfig], directory: Path | str, *, grace: float = 10.0
) -> AsyncIterator[Log]:
    """Run connectors into the log of a data directory while the block is entered; give the log to the block.

    Their topics are there when the block begins. Leaving it stops the connectors: polls under way have `grace` seconds
    to end. Raises InvalidConfigError or LogError.
    """
    stop = asyncio.Event()
    async with Log.open(directory) as log, CurlFetcher() as fetcher:
        engine = Engine(log, fetcher, grace=grace)
        await engine.prepare(configs)
        task = asyncio.create_task(engine.run(configs, stop))
        try:
            yield log
        finally:
            stop.set()
            await task


def topic_spec(config: ConnectorConfig) -> TopicSpec:
    """Return the topic that a configuration wants to be created."""
    topic = config.topic
    return TopicSpec(
        partitions=topic.partitions,
        retention=topic.retention_time,
        max_partition_bytes=topic.max_partition_size,
        compression=topic.compression,
        segment_bytes=topic.segment_size,
        replication=topic.replication,
        ignore_rack=topic.ignore_rack_assignment,
        deduplication=deduplication_of(topic),
    )


def deduplication_of(topic: TopicOptions) -> Deduplication | None:
    """Return how a topic is to drop repeats, None when it is not."""
    drops = topic.deduplication
    if drops is None:
        return None
    transform = drops.filter.transform
    parameters = {name: text.reveal() for name, text in transform.with_.items()}
    return Deduplication(transform.uses, drops.bounds.count, drops.bounds.age, parameters)


def _asks(config: ConnectorConfig) -> bool:
    """Return whether a connector is a stream whose gaps are asked for."""
    return config.http.gap is not None and config.http.source != "poll"


def _asking(config: ConnectorConfig) -> ConnectorConfig | None:
    """Return the poll that asks for the gaps of a stream, None where nothing does."""
    if not _asks(config):
        return None
    from headwater.engine.streaming.backfilling import poll_of  # noqa: PLC0415 - only streams pay for the import

    return poll_of(config)


def _names(config: ConnectorConfig) -> list[str]:
    """Return the names under which a connector works: its own, and that of what asks for its gaps."""
    return [config.name, gap_name(config.name)] if _asks(config) else [config.name]


def first_offset(config: ConnectorConfig, siblings: int) -> float:
    """Return how many seconds after the start a connector polls first: at once, or at its own moment."""
    spread = config.http.spread
    if spread is None:
        spread = siblings > SPREAD_FROM
    return spread_offset(config.name, config.interval.total_seconds()) if spread else 0.0
