"""The log against a model of it: any sequence of appends, creations, deletions and restarts."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headwater.core.errors import TopicExistsError, TopicNotFoundError
from headwater.core.exchange import Decision, Exchange
from headwater.core.record import Record
from headwater.fluvio.batch import decode_values, encode_batches
from headwater.log import Append, Log, LogReader, TopicSpec, transaction

NAMES = st.sampled_from(["cats", "dogs", "ants"])
VALUES = st.lists(st.binary(max_size=200), min_size=1, max_size=5)
CONNECTORS = st.sampled_from(["one", "two"])


class LogMachine(RuleBasedStateMachine):
    """The model is a list of values for each partition, and the last checkpoint of each connector."""

    @initialize(fold_from=st.sampled_from([1, 7, 8192]))
    def begin(self, fold_from: int) -> None:
        """Open an empty log in a directory of its own, that folds its rows often or hardly ever."""
        transaction._FOLD_FROM = fold_from
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.log = self.runner.run(Log.open(Path(self.directory.name)).__aenter__())
        self.topics: dict[str, list[list[bytes]]] = {}
        self.checkpoints: dict[str, bytes] = {}
        self.entries: dict[str, int] = {}

    @rule(name=NAMES, partitions=st.integers(1, 3))
    def create(self, name: str, partitions: int) -> None:
        """Create a topic; a second of the name is refused."""
        try:
            self.runner.run(self.log.create_topic(name, TopicSpec(partitions=partitions)))
        except TopicExistsError:
            assert name in self.topics
        else:
            assert name not in self.topics
            self.topics[name] = [[] for _ in range(partitions)]

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """Delete a topic; one that is not there is refused."""
        try:
            self.runner.run(self.log.delete_topic(name))
        except TopicNotFoundError:
            assert name not in self.topics
        else:
            del self.topics[name]

    @rule(appends=st.lists(st.tuples(NAMES, VALUES, CONNECTORS), min_size=1, max_size=6))
    def append(self, appends: list[tuple[str, list[bytes], str]]) -> None:
        """Submit appends at once, so that they share a commit; those to missing topics fail alone."""

        async def submit() -> list[object]:
            futures = []
            for number, (name, values, connector) in enumerate(appends):
                batches = encode_batches([Record(value) for value in values], 1)
                entry = Exchange(connector, number, 0, 0, Decision.ACCEPTED, "")
                checkpoint = (connector, b"%d" % number + values[0])
                futures.append(self.log.submit(Append(name, batches, checkpoint=checkpoint, exchange=entry)))
            return list(await asyncio.gather(*futures, return_exceptions=True))

        results = self.runner.run(submit())
        for number, ((name, values, connector), result) in enumerate(zip(appends, results, strict=True)):
            if name not in self.topics:
                assert isinstance(result, TopicNotFoundError)
                continue
            partition = self.topics[name][result.partition]  # type: ignore[attr-defined]
            assert result.base_offset == len(partition)  # type: ignore[attr-defined]
            partition += values
            self.checkpoints[connector] = b"%d" % number + values[0]
            self.entries[connector] = self.entries.get(connector, 0) + 1

    @rule()
    def restart(self) -> None:
        """Close the log and open it again."""
        self.runner.run(self.log.close())
        self.log = self.runner.run(Log.open(Path(self.directory.name)).__aenter__())

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def read_from_somewhere(self, data: st.DataObject) -> None:
        """Reading from any offset with any bound gives whole batches that begin there or before, without gaps."""
        name = data.draw(st.sampled_from(sorted(self.topics)))
        partition = data.draw(st.integers(0, len(self.topics[name]) - 1))
        values = self.topics[name][partition]
        offset = data.draw(st.integers(0, len(values) + 1))
        with LogReader(Path(self.directory.name)) as reader:
            batches = reader.read(name, partition, offset, data.draw(st.integers(1, 500)))
        found = [value for batch in batches for value in decode_values(batch.data)]
        if offset >= len(values):
            assert found == []
        else:
            first = batches[0].base_offset
            assert first <= offset < first + batches[0].count
            assert found == values[first : first + len(found)]

    @invariant()
    def the_log_is_the_model(self) -> None:
        """Another connection sees exactly what the model holds."""
        if not hasattr(self, "topics"):
            return
        with LogReader(Path(self.directory.name)) as reader:
            assert [info.name for info in reader.topics()] == sorted(self.topics)
            for name, partitions in self.topics.items():
                for number, values in enumerate(partitions):
                    assert reader.offsets(name, number) == (0, len(values))
                    batches = reader.read(name, number, 0, 1 << 30)
                    assert [value for batch in batches for value in decode_values(batch.data)] == values
            for connector, checkpoint in self.checkpoints.items():
                assert reader.checkpoint(connector) == checkpoint
                assert len(reader.ledger(connector, 100_000)) == self.entries[connector]

    def teardown(self) -> None:
        """Close the log and remove its directory."""
        transaction._FOLD_FROM = 8192
        self.runner.run(self.log.close())
        self.runner.close()
        self.directory.cleanup()


LogMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestLog = LogMachine.TestCase
