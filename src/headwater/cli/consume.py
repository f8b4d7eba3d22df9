"""Owns `headwater consume`: from which record to which, and following. How a record looks is display's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from headwater.cli.display import FORMATS, Table, fast_lines, key_value, template, value_text
from headwater.cli.feed import feed_of
from headwater.cli.options import assignments
from headwater.cli.place import Place, find_place, modules_of, place_options
from headwater.cli.span import Span, Start
from headwater.core.errors import PartitionNotFoundError
from headwater.core.record import StoredRecord
from headwater.fluvio.batch import StoredBatch, decode_records, decode_values

if TYPE_CHECKING:
    from headwater.cli.sieve import Sieve


@click.command()
@click.argument("topic")
@click.option("-B", "--beginning", is_flag=True, help="From the first record.")
@click.option("-H", "--head", type=click.IntRange(0), metavar="N", help="From N records after the first.")
@click.option("-T", "--tail", type=click.IntRange(0), metavar="N", help="From N records before the end.")
@click.option("--start", type=click.IntRange(0), metavar="OFFSET", help="From this offset.")
@click.option("--end", type=click.IntRange(0), metavar="OFFSET", help="Up to this offset, inclusive; then stop.")
@click.option("-d", "--disable-continuous", is_flag=True, help="Stop at the end instead of waiting for more.")
@click.option(
    "-p", "--partition", "partitions", type=click.IntRange(0), multiple=True, help="Only this one. Repeatable."
)
@click.option("-A", "--all-partitions", is_flag=True, help="All partitions, which is the default.")
@click.option("-k", "--key-value", "with_key", is_flag=True, help="Print `[key] value`.")
@click.option("-F", "--format", "form", metavar="TEMPLATE", help="Such as '{{offset}}: {{key}} {{value}} {{time}}'.")
@click.option("-O", "--output", type=click.Choice(FORMATS), default="dynamic", show_default=True)
@click.option("--smartmodule", "--sm", "smartmodule", metavar="NAME", help="Pass the records through this SmartModule.")
@click.option(
    "--smartmodule-path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Pass the records through this .wasm file.",
)
@click.option(
    "-e",
    "--params",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    callback=assignments,
    help="A parameter of the SmartModule. Repeatable.",
)
@click.option(
    "--transforms",
    "--transforms-file",
    "transforms",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Pass the records through the chain in this file.",
)
@click.option("--aggregate-initial", metavar="TEXT", help="The state that an aggregate begins with.")
@click.option("--disable-progressbar", is_flag=True, hidden=True)
@place_options
def command(
    topic: str,
    beginning: bool,  # noqa: FBT001 - a flag of the command line
    head: int | None,
    tail: int | None,
    start: int | None,
    end: int | None,
    disable_continuous: bool,  # noqa: FBT001 - a flag of the command line
    partitions: tuple[int, ...],
    all_partitions: bool,  # noqa: FBT001 - a flag of the command line
    with_key: bool,  # noqa: FBT001 - a flag of the command line
    form: str | None,
    output: str,
    smartmodule: str | None,
    smartmodule_path: Path | None,
    parameters: dict[str, str],
    transforms: Path | None,
    aggregate_initial: str | None,
    disable_progressbar: bool,  # noqa: ARG001, FBT001 - accepted because people's scripts give it
    profile: str | None,
    data_dir: Path,
) -> int:
    """Print the records of a topic, then wait for more, until Ctrl-C.

    Without -B, -H, -T or --start only records that arrive from now on are printed. A record that a SmartModule refuses
    is told on standard error, and the exit status is 1 then.
    """
    chosen = [beginning, head is not None, tail is not None, start is not None]
    if sum(chosen) > 1:
        raise click.UsageError("Name only one of -B, -H, -T and --start.")
    if all_partitions and partitions:
        raise click.UsageError("Name either -A or -p.")
    if form is not None and with_key:
        raise click.UsageError("Name either -F or -k.")
    named = [smartmodule is not None, smartmodule_path is not None, transforms is not None]
    if sum(named) > 1:
        raise click.UsageError("Name only one of --smartmodule, --smartmodule-path and --transforms.")
    if parameters and not any(named[:2]):
        raise click.UsageError("-e needs --smartmodule or --smartmodule-path.")
    place = find_place(profile, data_dir).say()
    uses = str(smartmodule_path) if smartmodule_path else smartmodule
    modules = Modules(uses, parameters, transforms, aggregate_initial) if any(named) else None
    bounds = Bounds(Start(beginning=beginning, head=head, tail=tail, start=start), end, disable_continuous, partitions)
    return asyncio.run(_consume(place, topic, bounds, Printer(output, form, with_key=with_key), modules))


class Bounds(NamedTuple):
    """Which records are wanted: from where, up to which offset, whether only those that are there, which partitions."""

    start: Start
    end: int | None
    only_present: bool
    partitions: tuple[int, ...]

    def spans(self, topic: str, offsets: Sequence[tuple[int, int]]) -> list[Span]:
        """Return what is to be read of partitions that hold these offsets. Raises PartitionNotFoundError."""
        spans = []
        for partition in self.partitions or range(len(offsets)):
            if partition >= len(offsets):
                raise PartitionNotFoundError(
                    f"partition not found: {topic}-{partition}",
                    hint=f"topic {topic} has partitions 0 to {len(offsets) - 1}",
                )
            first, last = offsets[partition]
            bound = last if self.only_present else None
            if self.end is not None:
                bound = self.end + 1 if bound is None else min(bound, self.end + 1)
            spans.append(Span(partition, self.start.offset(first, last), bound))
        return spans


class Modules(NamedTuple):
    """The SmartModules that the records are to pass: one by its name, or a file of several."""

    uses: str | None
    parameters: dict[str, str]
    transforms: Path | None
    initial: str | None


async def _consume(place: Place, topic: str, bounds: Bounds, printer: Printer, modules: Modules | None) -> int:
    async with feed_of(place, topic) as feed:
        offsets = await feed.offsets()
        spans = bounds.spans(topic, offsets)
        sieve = None
        if modules is not None:
            from headwater.cli.sieve import Sieve, chain_of, names_of  # noqa: PLC0415 - only modules pay for it

            given = await modules_of(place, names_of(modules.uses, modules.transforms))
            chain = chain_of(place.directory, modules.uses, modules.parameters, modules.transforms, given=given)
            sieve = Sieve(chain, modules.initial)
            await sieve.look_back(feed, len(offsets))
        async for pieces in feed.pieces(spans):
            for span, batches in pieces:
                _print(span, batches, printer, sieve)
            printer.flush()
    return 1 if sieve is not None and sieve.refused else 0


class Printer:
    """Writes records to standard output in one of the formats."""

    def __init__(self, output: str, form: str | None, *, with_key: bool) -> None:
        self._output = output
        self._fill = template(form) if form is not None else None
        self._with_key = with_key
        self._table = Table() if output == "table" else None
        self._stream = sys.stdout.buffer

    @property
    def values_only(self) -> bool:
        """Whether nothing but the values is shown, so that records need not be made."""
        return self._fill is None and not self._with_key

    def values(self, values: Sequence[bytes]) -> None:
        """Write values as lines."""
        lines = fast_lines(values, self._output)
        if lines is None:
            show = self._table.lines if self._table else lambda value: value_text(value, self._output)
            lines = b"\n".join([*map(show, values), b""])
        self._stream.write(lines)

    def records(self, records: Sequence[StoredRecord]) -> None:
        """Write records as lines, by the template or with their keys."""
        output = "dynamic" if self._output == "table" else self._output
        fill = self._fill or key_value
        self._stream.write(b"\n".join([*(fill(record, output) for record in records), b""]))

    def flush(self) -> None:
        """Hand everything to whoever reads."""
        self._stream.flush()


def _print(span: Span, batches: Sequence[StoredBatch], printer: Printer, sieve: Sieve | None) -> None:
    """Print what of batches lies in a span, and move the span on."""
    if sieve is not None:
        _print_passed(batches, span, printer, sieve)
        return
    for batch in batches:
        if span.end is None or span.position < span.end:
            _print_batch(batch, span, printer)


def _print_passed(batches: Sequence[StoredBatch], span: Span, printer: Printer, sieve: Sieve) -> None:
    """Print what a chain leaves of batches, and move the span on."""
    last = batches[-1].base_offset + batches[-1].count
    end = last if span.end is None else min(last, span.end)
    stored = [record for batch in batches for record in decode_records(batch.data, partition=span.partition)]
    passed = sieve.passed([record for record in stored if span.position <= record.offset < end])
    if passed:
        if printer.values_only:
            printer.values([record.value for record in passed])
        else:
            printer.records(passed)
    span.position = end


def _print_batch(batch: StoredBatch, span: Span, printer: Printer) -> None:
    """Print what of a batch lies in the span, and move the span on."""
    last = batch.base_offset + batch.count
    low = max(0, span.position - batch.base_offset)
    high = batch.count if span.end is None else min(batch.count, span.end - batch.base_offset)
    if printer.values_only:
        values = decode_values(batch.data)
        printer.values(values if (low, high) == (0, len(values)) else values[low:high])
    else:
        printer.records(decode_records(batch.data, partition=span.partition)[low:high])
    span.position = last if span.end is None else min(last, span.end)
