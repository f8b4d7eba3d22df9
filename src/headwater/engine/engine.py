"""Owns the supervision of connectors: start, spread, restart after a crash, and the two phases of a stop.

What one connector does is in `connector`; this only keeps them apart from each other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from headwater.config import ConnectorConfig, InvalidConfigError, TopicOptions
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import HeadwaterError, LogError, TopicExistsError
from headwater.core.http import Fetcher
from headwater.core.names import is_name
from headwater.core.topic import Deduplication
from headwater.engine.connector import Connector, Surroundings, schedule_of
from headwater.engine.counters import Figures
from headwater.engine.schedule import spread_offset
from headwater.engine.target import Target
from headwater.fetch import CurlFetcher
from headwater.fluvio.compression import Compression, agreed
from headwater.log import Log, TopicSpec
from headwater.sources.retry import back_off
from headwater.transforms.chain import Chain

# With more connectors than this in one process, first polls are spread over the interval unless the config says no.
SPREAD_FROM = 1000
# From so many connectors on, polls may be this late (seconds) so that several share one turn of the event loop.
_SLACK_FROM, _SLACK = 200, 0.004
_RESTART_PAUSE, _LONGEST_RESTART_PAUSE = 1.0, 60.0

logger = structlog.get_logger("headwater.engine")


class Engine:
    """Runs connectors into a target. The failure of one becomes its status and never touches another.

    `grace` is how many seconds the exchanges under way have to end after a stop. `chance` returns random numbers in [0,
    1).
    """

    def __init__(
        self,
        target: Target,
        fetcher: Fetcher,
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        grace: float = 10.0,
    ) -> None:
        self.figures = Figures()
        self._clock = clock
        self._fetcher = fetcher
        self._chance = chance
        self._target = target
        self._grace = grace
        self._connectors: list[Connector] = []
        self._fatal: LogError | None = None
        self._chains: dict[str, Chain] = {}

    async def run(self, configs: Sequence[ConnectorConfig], stop: asyncio.Event) -> None:
        """Run the connectors until `stop` is set, then drain.

        Raises InvalidConfigError before anything is started when a configuration cannot run here, and LogError when the
        log is beyond repair.
        """
        await self.prepare(configs)
        clock = self._clock or SystemClock(_SLACK if len(configs) >= _SLACK_FROM else 0.0)
        shared = Surroundings(self._target, self._fetcher, clock, self._chance, self.figures)
        specs = {topic.name: topic.spec for topic in await self._target.topics()}
        for config in configs:
            schedule = schedule_of(config, first_offset(config, len(configs)))
            spec = specs[config.topic.name]
            codec = agreed(config.producer.compression, spec.compression) or Compression.NONE
            chain = self._chains.get(config.name)
            self._connectors.append(Connector(config, shared, schedule, codec, chain=chain, partitions=spec.partitions))
        tasks = [asyncio.create_task(self._supervise(connector, shared, stop)) for connector in self._connectors]
        stopped = asyncio.create_task(stop.wait())
        everything = asyncio.gather(*tasks, return_exceptions=True)
        try:
            await asyncio.wait((everything, stopped), return_when=asyncio.FIRST_COMPLETED)
            for connector in self._connectors:
                connector.stop()
            await asyncio.wait((everything,), timeout=self._grace)
        finally:
            stopped.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._fatal is not None:
            raise self._fatal

    async def prepare(self, configs: Sequence[ConnectorConfig]) -> None:
        """Check that the connectors can run here, and create the topics that are missing. `run` does it by itself.

        Raises InvalidConfigError with every problem, creating no topic then, or LogError.
        """
        if any(config.chain for config in configs):
            # Imported here: most connectors have no transforms, and the machine for them takes long to load.
            from headwater.transforms.library import Library, chains_of  # noqa: PLC0415

            used = sorted({link.transform.uses for config in configs for link in config.chain})
            library = Library(self._target.directory, await self._target.modules(used))
            self._chains = await asyncio.to_thread(chains_of, library, configs)
        topics = {topic.name: topic.spec for topic in await self._target.topics()}
        missing: dict[str, ConnectorConfig] = {}
        others: dict[str, TopicSpec] = {}
        problems = []
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
        created = {name: topic_spec(config) for name, config in missing.items()} | others
        await asyncio.gather(*(self._create_topic(name, spec) for name, spec in created.items()))

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

    async def _supervise(self, connector: Connector, shared: Surroundings, stop: asyncio.Event) -> None:
        """Keep one connector running: the boundary at which whatever it raises becomes a log line and a pause."""
        crashes = 0
        name = connector.config.name
        while True:
            try:
                if crashes:
                    await self._create_topics(connector.config)
                await connector.run()
            except Exception as error:
                if isinstance(error, LogError) and not error.retryable:
                    self._fatal = error
                    stop.set()
                    return
                crashes += 1
                pause = back_off(
                    crashes, initial=_RESTART_PAUSE, longest=_LONGEST_RESTART_PAUSE, chance=shared.chance()
                )
                if isinstance(error, HeadwaterError):
                    logger.error("connector stopped", connector=name, reason=str(error), restart_in=round(pause, 1))  # noqa: TRY400 - the sentence says it all
                else:
                    logger.exception("connector crashed", connector=name, restart_in=round(pause, 1))
                await shared.clock.sleep_until(shared.clock.monotonic() + pause)
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


def first_offset(config: ConnectorConfig, siblings: int) -> float:
    """Return how many seconds after the start a connector polls first: at once, or at its own moment."""
    spread = config.http.spread
    if spread is None:
        spread = siblings > SPREAD_FROM
    return spread_offset(config.name, config.interval.total_seconds()) if spread else 0.0
