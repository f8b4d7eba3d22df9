"""Owns the passing of stored records through SmartModules on the reading side. Printing them is consume's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from headwater.cli.feed import Feed
from headwater.config import TransformOptions, load_transforms
from headwater.core.record import Record, StoredRecord
from headwater.transforms.chain import UNKNOWN, Chain
from headwater.transforms.library import Library
from headwater.transforms.stage import Limits

# A lookback by age alone must end somewhere.
_MOST_LOOKED_BACK = 100_000


def names_of(uses: str | None, transforms: Path | None) -> list[str]:
    """Return the names of the modules of a chain. Raises InvalidConfigError."""
    if transforms is not None:
        return [option.uses for option in load_transforms(transforms)]
    return [] if uses is None else [uses]


def chain_of(
    data_dir: Path,
    uses: str | None,
    parameters: Mapping[str, str],
    transforms: Path | None,
    *,
    given: Mapping[str, bytes] | None = None,
) -> Chain:
    """Return the chain of one module, or of a file. Raises SmartModuleError or InvalidConfigError.

    `given` is the code of modules that are kept elsewhere, by their names.
    """
    library = Library(data_dir, given)
    if transforms is not None:
        base, options = transforms.parent, load_transforms(transforms)
    else:
        base = Path()
        options = (TransformOptions.model_validate({"uses": uses, "with": dict(parameters)}),)
    return Chain([library.step(option, number, base, Limits()) for number, option in enumerate(options)])


class Sieve:
    """A chain at work on stored records. `refused` counts those that it refused."""

    def __init__(self, chain: Chain, initial: str | None = None) -> None:
        self._chain = chain
        self.refused = 0
        chain.begin({} if initial is None else dict.fromkeys((step.key for step in chain.steps), initial.encode()))

    async def look_back(self, feed: Feed, partitions: int) -> None:
        """Show the last records of a topic to the modules that want to see them."""
        for index, lookback in self._chain.lookbacks:
            most = min(lookback.last or _MOST_LOOKED_BACK, _MOST_LOOKED_BACK)
            found: list[StoredRecord] = []
            for partition in range(partitions):
                found += await feed.last(partition, most)
            found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
            newest = found[-1].timestamp if found else 0
            since = 0 if lookback.age is None else newest - lookback.age * 1000
            earlier = [Record(it.value, it.key, it.timestamp) for it in found[-most:] if it.timestamp >= since]
            if earlier:
                self._chain.steps[index].stage.look_back(earlier)

    def passed(self, records: Sequence[StoredRecord]) -> list[StoredRecord]:
        """Return what the chain leaves of records that follow each other in one partition; tell of what it refuses."""
        if not records:
            return []
        first = records[0]
        passed = self._chain.run(
            [Record(it.value, it.key, it.timestamp) for it in records],
            base_timestamp=first.timestamp,
            base_offset=first.offset,
        )
        for rejection in passed.rejections:
            self.refused += 1
            where = "a record" if rejection.origin == UNKNOWN else f"record {records[rejection.origin].offset}"
            click.echo(f"headwater: {where} refused by {rejection.name}: {rejection.reason}", err=True)
        return [
            StoredRecord(
                record.value,
                record.key,
                first.timestamp if record.timestamp is None else record.timestamp,
                first.partition,
                first.offset if origin == UNKNOWN else records[origin].offset,
            )
            for record, origin in zip(passed.records, passed.origins, strict=True)
        ]
