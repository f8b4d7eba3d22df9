"""Owns `headwater consume`: from which record to which, and following. How a record looks is display's."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.display import FORMATS, Table, fast_lines, key_value, template, value_text
from headwater.cli.options import assignments, data_dir
from headwater.core.record import StoredRecord
from headwater.fluvio.batch import decode_records, decode_values
from headwater.log import LogReader, StoredBatch, TopicInfo

if TYPE_CHECKING:
    from headwater.cli.sieve import Sieve

# How often a follower asks the database for its version (seconds): an eighth of the delay that people are promised.
_NAP = 0.006
_CHUNK = 4 * 1024 * 1024


@dataclass(slots=True)
class Span:
    """What is still to be read of one partition: from `position` up to `end`, exclusive; None follows for ever."""

    partition: int
    position: int
    end: int | None

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.end is not None and self.position >= self.end


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: at most one of the four is set; none means the end."""

    beginning: bool = False
    head: int | None = None
    tail: int | None = None
    start: int | None = None

    def offset(self, first: int, end: int) -> int:
        """Return the first offset to read of a partition that holds `first` up to `end`."""
        if self.beginning:
            return first
        if self.head is not None:
            return min(first + self.head, end)
        if self.tail is not None:
            return max(first, end - self.tail)
        if self.start is not None:
            return max(first, self.start)
        return end


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
@data_dir
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
    begin = Start(beginning=beginning, head=head, tail=tail, start=start)
    with LogReader(data_dir) as reader:
        info = reader.topic(topic)
        spans = []
        for partition in partitions or range(info.spec.partitions):
            first, last = reader.offsets(topic, partition)
            bound = last if disable_continuous else None
            if end is not None:
                bound = end + 1 if bound is None else min(bound, end + 1)
            spans.append(Span(partition, begin.offset(first, last), bound))
        sieve = None
        if any(named):
            from headwater.cli.sieve import Sieve, chain_of  # noqa: PLC0415 - only SmartModules pay for the import

            uses = str(smartmodule_path) if smartmodule_path else smartmodule
            sieve = Sieve(chain_of(data_dir, uses, parameters, transforms), aggregate_initial)
            sieve.look_back(reader, info)
        _print_all(reader, info, spans, Printer(output, form, with_key=with_key), sieve)
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


def _print_all(
    reader: LogReader, topic: TopicInfo, spans: Sequence[Span], printer: Printer, sieve: Sieve | None
) -> None:
    while True:
        # Asked before reading: what is committed while this reads shows as a change afterwards.
        reader.changed()
        moved = False
        for span in spans:
            if not span.done:
                moved |= _print_chunk(reader, topic, span, printer, sieve)
        printer.flush()
        if all(span.done for span in spans):
            return
        while not moved and not reader.changed():
            time.sleep(_NAP)


def _print_chunk(reader: LogReader, topic: TopicInfo, span: Span, printer: Printer, sieve: Sieve | None) -> bool:
    """Print the next records of a span, and return whether there were any."""
    batches = reader.read(topic.name, span.partition, span.position, _CHUNK, topic_id=topic.id)
    if sieve is None:
        for batch in batches:
            if span.end is None or span.position < span.end:
                _print_batch(batch, span, printer)
    elif batches:
        _print_passed(batches, span, printer, sieve)
    return bool(batches)


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
